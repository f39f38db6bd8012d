"""The game of `star`, in a window of pyglet."""
