"""The gate of a game server: nobody gets in without a good token.

A client shows its token as the credential of its connection. The server hears of nobody else: a
client whose token is refused has no `connect` event, and none of its messages is handled.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from accounts.tokens import TokenChecker, TokenError
from mpgameserver import EventHandler, RefusedError, ServerClient

ELSEWHERE = 256
"""The code with which a player's older connection is ended."""


class GuardedHandler(EventHandler):
    """A handler behind a gate: `client.identity` is the player. Games override `joined`, `left`."""

    def __init__(self, checker: TokenChecker, wall_clock: Callable[[], float] = time.time) -> None:
        self._checker, self._wall_clock = checker, wall_clock
        self._players: dict[str, ServerClient] = {}

    @property
    def players(self) -> list[ServerClient]:
        """Those who are in the game."""
        return list(self._players.values())

    def joined(self, client: ServerClient) -> None:
        """A player has come in, and is connected from nowhere else any more."""

    def left(self, client: ServerClient) -> None:
        """A player has gone."""

    def authenticate(self, client: ServerClient, credential: bytes) -> str:
        """The player whose token it is; the client is told why if it is not good."""
        try:
            return self._checker.use(credential, self._wall_clock())
        except TokenError as error:
            client.log.info("refused: %s", error)
            raise RefusedError(f"refused: {error}") from None

    def connect(self, client: ServerClient) -> None:
        """Let a player in: the newest connection of a player is the one that counts."""
        older = self._players.get(client.identity)
        if older is not None:
            self._part(older)
            older.disconnect(ELSEWHERE, "logged in elsewhere")
        self._players[client.identity] = client
        client.log.info("is %s", client.identity)
        self.joined(client)

    def disconnect(self, client: ServerClient) -> None:
        """A player has gone, or has come in again before."""
        self._part(client)

    def _part(self, client: ServerClient) -> None:
        if self._players.get(client.identity) is client:
            del self._players[client.identity]
            self.left(client)
