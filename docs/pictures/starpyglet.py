"""A player of the star example at a window of pyglet, who meets one at a window of pygame.

No display is needed: pyglet draws with OpenGL by EGL.
"""

from __future__ import annotations

import os

os.environ["PYGLET_HEADLESS"] = "1"

import pygame
import pyglet
from starplayers import choose, draw, play

from mpgameserver import UdpClient
from star import look
from star.game import Game
from star.screen import SIZE
from star.session import Session
from star_pyglet.drawing import Drawing

CAPTIONS = {"Ada": "Ada, with pyglet", "Bob": "Bob, with pygame"}


class PygletPlayer:
    """A player at a window of pyglet, in virtual time."""

    def __init__(self, client: UdpClient, name: str) -> None:
        self.session = Session(client, Game(name))
        self.window = pyglet.window.Window(*SIZE)
        self._drawing = Drawing()

    def frame(self, now: float) -> None:
        """One frame, as in `star_pyglet.__main__`, which presses keys by what it sees."""
        session = self.session
        session.say(now, choose(session.game.view(now)))
        session.client.update()
        session.hear(now)
        link = look.link_lines(session.game.link.figures, session.client.latency())
        self._drawing.show(session.game.view(now), link, look.banner(session.client))

    @property
    def surface(self) -> pygame.Surface:
        """The content of the window."""
        self.window.switch_to()
        self.window.clear()
        self._drawing.draw()
        image = pyglet.image.get_buffer_manager().get_color_buffer().get_image_data()
        upside_down = pygame.image.frombytes(image.get_data("RGB", 3 * image.width), SIZE, "RGB")
        return pygame.transform.flip(upside_down, False, True)


def picture() -> pygame.Surface:
    """The windows of Ada and Bob beside each other."""
    players = play(PygletPlayer)
    drawn = draw(players, CAPTIONS)
    players["Ada"].window.close()
    return drawn
