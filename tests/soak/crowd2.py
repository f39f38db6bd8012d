"""The crowd with protocol 2, on all kinds of channels."""

from __future__ import annotations

from soak.arriving import Arriving
from soak.channeltalk import CHANNELS, Conversation, read_client
from soak.conditions import GAME
from soak.crowd import Crowd, CrowdCondition, Member, run_crowd
from soak.figures import Figures
from soak.soakpair import WALL_START
from support.recordingaead2 import recorded_sessions2

from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.netsim import LinkConditions
from mpgameserver.server import ServerClient, ServerContext

__all__ = ["Crowd2", "soak_crowd2"]


class Member2(Member):
    """One client of protocol 2."""

    _arriving: Arriving | None = None

    @property
    def is_away(self) -> bool:
        return self.connection is None and self._arriving is None

    def come(self, key: EllipticCurvePrivateKey, now: float) -> None:
        self._arriving = Arriving(key.getPublicKey(), Timing(), now, WALL_START + now)

    def _receive_reply(self, datagram: bytes, now: float) -> None:
        assert self._arriving is not None
        self._arriving.receive(datagram, now)
        if self._arriving.connection is not None:
            self.connection, self._arriving = self._arriving.connection, None

    def _attempts(self, now: float) -> list[bytes]:
        return [] if self._arriving is None else self._arriving.datagrams(now)


class Crowd2(Crowd):
    """The crowd, whose talks are conversations on all channels."""

    def _context(self) -> ServerContext:
        return ServerContext(self, self._key, channels=CHANNELS)

    def _member(self, number: int, link: LinkConditions, seed: str) -> Member:
        return Member2(number, link, seed)

    def _talk_down(self, client: ServerClient, seed: str) -> Conversation:
        return Conversation(client._send_on, GAME, seed)

    def _talk_up(self, connection: Connection, seed: str) -> Conversation:
        return Conversation(connection.send_on, GAME, seed)

    def handle_message(
        self, client: ServerClient, seqnum: int, msg: bytes = b"", channel: str = ""
    ) -> None:
        """Check that the message is one of this session and channel."""
        talk = self.up[client.token]
        assert isinstance(talk, Conversation)
        talk.take_on(channel, msg)

    def _is_listening(self, token: int) -> bool:
        # A client opens again what comes before it is accepted.
        return token in self.up and super()._is_listening(token)

    def _read(self, connection: Connection) -> None:
        talk = self.down[connection.token]
        assert isinstance(talk, Conversation)
        read_client(connection, talk)


def soak_crowd2(condition: CrowdCondition, seed: int) -> Figures:
    """Run one condition; raises AssertionError, which names it, as `soak` does."""
    with recorded_sessions2() as seals:
        return run_crowd(Crowd2(condition, seed), condition, seed, seals)
