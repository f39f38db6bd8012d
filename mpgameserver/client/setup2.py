"""A session of protocol 2 from the server's answer to its ACCEPT, without a socket or a clock.

The client sends CONNECT, which holds its credential and its channels, until the server accepts it
or closes the session. Nothing else goes over the session before that.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver.channels import ChannelTable
from mpgameserver.client.handshake2 import VerifiedAnswer
from mpgameserver.connection import CloseReason, Connection, Timing
from mpgameserver.enums import CloseCode
from mpgameserver.errors import HandshakeError
from mpgameserver.transport.keylog import KeyLog
from mpgameserver.wire.protocol2.kem_frames import LateDecapsulation
from mpgameserver.wire.protocol2.limits import own_limits
from mpgameserver.wire.protocol2.setup import AcceptData, ChannelKind, ConnectData, Window

__all__ = ["SessionSetup"]

CLOSE_COPIES = 3
"""CLOSEs of a session that is given up: at 30 % loss, one in 37 leaves it behind."""


class SessionSetup:
    """The session of an answer, and whether the server has accepted it.

    `max_datagram` is the size of the largest datagram that the interface takes, in bytes.
    """

    def __init__(
        self,
        answer: VerifiedAnswer,
        credential: bytes,
        channels: ChannelTable,
        timing: Timing,
        max_datagram: int,
        now: float,
        key_log: KeyLog | None = None,
    ) -> None:
        self.path: Hashable = answer.path
        self._channels = channels
        endpoint = Endpoint2(
            answer.secrets.client,
            answer.secrets.server,
            False,
            now,
            connection_id=answer.connection_id,
            max_datagram=max_datagram,
        )
        endpoint.peer_idle_timeout = answer.limits.idle_timeout / 1000
        endpoint.path_mtu.peer_limit = answer.limits.largest_datagram
        if key_log is not None:
            key_log.write(answer.connection_id, answer.secrets)
        if answer.key_to_send is not None:
            endpoint.exchange_keys(
                LateDecapsulation(answer.key_to_send, _mixed_secret_writer(answer, key_log))
            )
        endpoint.send_setup(ConnectData(credential, channels.declared, own_limits()).encode())
        self._endpoint = endpoint
        token = int.from_bytes(answer.connection_id, "big")
        self.connection: Connection = Connection(endpoint, token, timing)
        """Established once the server has accepted it."""

    @property
    def has_opened(self) -> bool:
        """True once a packet of the server has opened: it holds the secrets, too."""
        return self._endpoint.received > 0

    @property
    def is_accepted(self) -> bool:
        """True once messages may flow."""
        return self._endpoint.established

    @property
    def reason(self) -> CloseReason | None:
        """The reason why either side has closed the session; None while neither has."""
        reason = self.connection.close_reason
        return None if reason is None else CloseReason(*reason)

    def receive(self, datagram: bytes, now: float) -> str | None:
        """Process a datagram of the server; return the reason if it is dropped, else None."""
        dropped: str | None = self.connection.receive(datagram, now)
        if self.connection.is_live and self._endpoint.setup is not None and not self.is_accepted:
            self._use_accept(self._endpoint.setup, now)
        return dropped

    def datagrams(self, now: float) -> list[bytes]:
        """Do what is due, and return the datagrams to send now."""
        self.connection.advance(now)
        leaving = []
        while (datagram := self.connection.next_datagram(now)) is not None:
            self._endpoint.on_datagram_sent(len(datagram), now)
            leaving.append(datagram)
        return leaving

    def close(self, now: float, code: int = CloseCode.CLOSED, text: str = "") -> list[bytes]:
        """End the session; return the datagrams that say so, if it has not ended before."""
        last = self.connection.abort(now, code, text)
        return [] if last is None else [last] * CLOSE_COPIES

    def _use_accept(self, setup: bytes, now: float) -> None:
        """Open the channels with the windows that the server grants."""
        ordered = sum(row.kind is ChannelKind.ORDERED for row in self._channels.declared)
        try:
            accepted = AcceptData.decode(setup, ordered)
        except HandshakeError as error:
            self.connection.disconnect(now, CloseCode.PROTOCOL, str(error))
            return
        assert self._endpoint.peer_ids is not None  # that of a client
        self._endpoint.peer_ids.learn_token(accepted.reset_token)
        granted = iter(accepted.windows)
        for row, (_, channel) in zip(self._channels.declared, self._channels, strict=True):
            peers = next(granted) if row.kind is ChannelKind.ORDERED else Window()
            self._endpoint.open_channel(
                row.channel,
                row.kind,
                channel.priority,
                window=(row.window.number, row.window.total),
                peer_window=(peers.number, peers.total),
            )
        self.connection.establish(now)


def _mixed_secret_writer(answer: VerifiedAnswer, key_log: KeyLog | None) -> Callable[[bytes], None]:
    """Return what writes the keys to the key log, if there is one, once a secret is mixed in."""

    def write(shared_secret: bytes) -> None:
        if key_log is not None:
            key_log.write_mixed(answer.connection_id, answer.secrets, shared_secret)

    return write
