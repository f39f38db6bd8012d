"""A player's window, with pyglet."""

from __future__ import annotations

import time
from contextlib import suppress

import pyglet
from pyglet.window import key

from mpgameserver import UdpClient
from star import look
from star.game import Game
from star.options import player_options
from star.rules import HEIGHT, WIDTH, Direction
from star.session import Session
from star_pyglet.drawing import Drawing

FRAME = 1 / 60


class Player:
    """One player's window, and what pyglet calls once per frame."""

    def __init__(self, session: Session, name: str) -> None:
        self.window = pyglet.window.Window(int(WIDTH), int(HEIGHT), f"Hold the star: {name}")
        self.drawing = Drawing()
        self._session = session
        self._keys = key.KeyStateHandler()
        self.window.push_handlers(self._keys)
        self.window.push_handlers(on_draw=self.draw)
        pyglet.clock.schedule_interval(self.frame, FRAME)

    def frame(self, delta_t: float) -> None:
        """One turn of the game's loop. `client.update()` goes here, and not into `on_draw`."""
        now, session = time.monotonic(), self._session
        session.say(now, self._direction())
        session.client.update()
        session.hear(now)
        link = look.link_lines(session.game.link.figures, session.client.latency())
        self.drawing.show(session.game.view(now), link, look.banner(session.client))

    def draw(self) -> None:
        """Draw what the last frame has left: pyglet's `on_draw`."""
        self.window.clear()
        self.drawing.draw()

    def close(self) -> None:
        """Close the window, if the player has not, and end the frames."""
        pyglet.clock.unschedule(self.frame)
        self.window.close()

    def _direction(self) -> Direction:
        keys = self._keys
        return (keys[key.RIGHT] - keys[key.LEFT], keys[key.DOWN] - keys[key.UP])


def main() -> None:
    """Play until the window is closed."""
    options = player_options("python -m star_pyglet", __doc__)
    with UdpClient(options.key) as client:
        session = Session(client, Game(options.name))
        session.connect(options.server)
        player = Player(session, options.name)
        with suppress(KeyboardInterrupt):
            pyglet.app.run(FRAME)  # until the window is closed; Esc does that, too
        player.close()
        client.waitForDisconnect()


if __name__ == "__main__":
    main()
