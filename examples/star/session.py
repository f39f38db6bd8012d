"""A client and its game, for a window's loop.

session.say(now, direction)   # 1. queue what this frame has to say
client.update()               # 2. send and receive; once per frame, never blocks
session.hear(now)             # 3. use what has come
...                           # 4. draw session.game.view(now)
"""

from __future__ import annotations

import logging

from mpgameserver import RetryMode, UdpClient
from star.game import Game
from star.rules import Direction

_LOG = logging.getLogger("star")


class Session:
    """Carries messages between a client and its game."""

    def __init__(self, client: UdpClient, game: Game) -> None:
        self.client, self.game = client, game

    def connect(self, server: tuple[str, int]) -> None:
        """Begin to connect, and ask to play when that is done."""
        self.client.connect(server, self._connected)

    def say(self, now: float, direction: Direction) -> None:
        """Queue the own player's steps. Once: the next message has these steps, too."""
        moves = self.game.advance(now, direction)
        if moves is not None and self.client.connected():
            self.client.send(moves, RetryMode.NONE)

    def hear(self, now: float) -> None:
        """Hand over what has come."""
        for _, message in self.client.getMessages():
            try:
                self.game.receive(message)
            except ValueError as error:
                _LOG.warning("ignored: %s", error)
        server_time = self.client.server_time()
        if server_time is not None:  # known a round trip after connecting
            self.game.set_clock(now, server_time, self.client.latency() / 2)
        if self.game.link.is_due(now):
            self.game.link.note(self.client.stats())

    def _connected(self, success: bool) -> None:
        if success:
            self.client.send_guaranteed(self.game.join())
