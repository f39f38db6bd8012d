"""The gate of a game server: who has connected is nobody yet, until their token is good.

The protocol proves the server to the client and not the client to the server. So what a client
says first is its token, and until that is found good it is told nothing, nothing else that it
says is used, and it has `PATIENCE` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from accounts.tokens import TokenChecker, TokenError
from mpgameserver import EventHandler, ServerClient

PATIENCE = 5.0
"""Seconds: some tries of a reliable message on a very bad link."""
ADMITTED = b"admitted"
REFUSED = b"refused: "
"""Before the reason."""

Clock = Callable[[], float]


class Gate:
    """Clients waiting at the gate, and since when. Times at the gate are monotonic; those of tokens
    are of the wall clock."""

    def __init__(self, checker: TokenChecker, patience: float = PATIENCE) -> None:
        self._checker, self._patience = checker, patience
        self._waiting: dict[ServerClient, float] = {}

    def arrive(self, client: ServerClient, now: float) -> None:
        """A client has connected."""
        self._waiting[client] = now + self._patience

    def leave(self, client: ServerClient) -> bool:
        """A client waits no longer; True if it did."""
        return self._waiting.pop(client, None) is not None

    def holds(self, client: ServerClient) -> bool:
        """True while a client waits."""
        return client in self._waiting

    def open(self, client: ServerClient, token: bytes, wall_now: float) -> str:
        """The player that a waiting client is. TokenError if the token is not good.

        Either way it waits no longer: a client has one try.
        """
        del self._waiting[client]
        return self._checker.use(token, wall_now)

    def late(self, now: float) -> list[ServerClient]:
        """Take those whose time is over."""
        late = []
        while self._waiting:
            client, deadline = next(iter(self._waiting.items()))
            if deadline > now:
                break
            late.append(client)
            del self._waiting[client]
        return late


class GuardedHandler(EventHandler):
    """A handler behind a gate: games override `joined`, `said` and `left`."""

    def __init__(
        self, gate: Gate, clock: Clock = time.monotonic, wall_clock: Clock = time.time
    ) -> None:
        self._gate, self._clock, self._wall_clock = gate, clock, wall_clock
        self._players: dict[ServerClient, str] = {}

    def joined(self, client: ServerClient, player: str) -> None:
        """A player has come in, and is connected from nowhere else any more."""

    def said(self, client: ServerClient, player: str, message: bytes) -> None:
        """A message of a player."""

    def left(self, client: ServerClient, player: str) -> None:
        """A player has gone."""

    def connect(self, client: ServerClient) -> None:
        """The client waits from here on."""
        self._gate.arrive(client, self._clock())

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """Take a client's first message as its token, and a player's as the game's."""
        if self._gate.holds(client):
            self._admit(client, msg)
        elif client in self._players:
            self.said(client, self._players[client], msg)

    def update(self, delta_t: float) -> None:
        """Send away those who have said nothing for too long."""
        for client in self._gate.late(self._clock()):
            self._refuse(client, "too late")

    def disconnect(self, client: ServerClient) -> None:
        """A client has gone, from the gate or from the game."""
        self._gate.leave(client)
        self._part(client)

    def _admit(self, client: ServerClient, token: bytes) -> None:
        try:
            player = self._gate.open(client, token, self._wall_clock())
        except TokenError as error:
            self._refuse(client, str(error))
            return
        self._end_older(player)
        self._players[client] = player
        client.log.info("is %s", player)
        client.send_guaranteed(ADMITTED)
        self.joined(client, player)

    def _refuse(self, client: ServerClient, reason: str) -> None:
        client.log.info("refused: %s", reason)
        client.send_guaranteed(REFUSED + reason.encode())
        client.disconnect()  # after the reason has been delivered

    def _end_older(self, player: str) -> None:
        """Disconnect a player who is here already: the newest connection is the one that counts."""
        for client in [client for client, name in self._players.items() if name == player]:
            self._part(client)
            client.disconnect()

    def _part(self, client: ServerClient) -> None:
        player = self._players.pop(client, None)
        if player is not None:
            self.left(client, player)
