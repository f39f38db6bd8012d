"""Two connections in memory, over a seeded link, on a clock of their own."""

from __future__ import annotations

import math

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.connection import Connection, Timing
from mpgameserver.netsim import LinkConditions, LinkPair

FRAME = 1 / 64
WALL_START = 1_700_000_000.0
TOKEN = 0x4000_0001
KEY = bytes(range(16))


class ConnectionPair:
    """A client's and a server's connection; `run` lets frames of 1/64 s pass."""

    def __init__(
        self,
        conditions: LinkConditions | None = None,
        seed: int | str = 0,
        timing: Timing | None = None,
    ) -> None:
        self.now = 0.0
        self.link = LinkPair(conditions or LinkConditions(), seed=seed)
        self.client = self._connection(False, timing or Timing())
        self.server = self._connection(True, timing or Timing())
        self.leaving: list[bytes] = []

    def _connection(self, is_server: bool, timing: Timing) -> Connection:
        endpoint = Endpoint1(AESGCM(KEY), is_server, self.now, WALL_START)
        return Connection(endpoint, TOKEN, timing)

    def relink(self, conditions: LinkConditions) -> None:
        """Change what the link does from now on; what is in flight is lost."""
        self.link = LinkPair(conditions)

    def frame(self, seconds: float = FRAME) -> None:
        """One frame of both sides: receive, advance, send."""
        self.now += seconds
        for connection, incoming, outgoing in (
            (self.client, self.link.down, self.link.up),
            (self.server, self.link.up, self.link.down),
        ):
            for datagram in incoming.receive(self.now):
                connection.receive(datagram, self.now)
            connection.advance(self.now)
            while (datagram := connection.next_datagram(self.now)) is not None:
                connection.endpoint.on_datagram_sent(len(datagram), self.now)
                outgoing.send(datagram, self.now)

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        for _ in range(math.ceil(seconds / FRAME)):
            self.frame()


def received(connection: Connection) -> list[bytes]:
    """Take the messages that a connection has received, without their numbers."""
    return [message for _, message in connection.endpoint.take_messages()]
