"""A client, as the handler's events get it."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from mpgameserver._core.progress import Progress
from mpgameserver._core.session import Session
from mpgameserver.channels import ChannelTable
from mpgameserver.connection import CloseReason, check_close
from mpgameserver.enums import ConnectionStatus, DisconnectReason, RetryMode
from mpgameserver.errors import OldPeerError
from mpgameserver.reprs import even_unmade
from mpgameserver.stats import ConnectionStats
from mpgameserver.transport.address import format_address

__all__ = ["ServerChannel", "ServerClient"]

_LOG = logging.getLogger("mpgameserver.server")
_NO_CHANNELS = ChannelTable()

if TYPE_CHECKING:
    _LoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:  # not generic before Python 3.11
    _LoggerAdapter = logging.LoggerAdapter


class Membership(Protocol):
    """A group, from which a client can be removed."""

    def discard(self, client: ServerClient, /) -> None:
        """Remove a client."""


class ClientLog(_LoggerAdapter):
    """Puts the client's address before each line; `extra` has it as `client`."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the address to a message and to its record."""
        msg, kwargs = super().process(msg, kwargs)
        return f"{(self.extra or {})['client']} {msg}", kwargs


class ServerClient:
    """A client that is connected to the server, or was.

    You can use it as a key of a dict, and set attributes of your own on it. `send`,
    `send_guaranteed` and `disconnect` may be called from any thread. A call from another thread
    than the handler's checks its arguments at once; the rest is done on the handler's thread, in
    order.
    """

    def __init__(
        self,
        session: Session,
        addr: tuple[str, int],
        channels: ChannelTable = _NO_CHANNELS,
        binding: bytes = b"",
    ) -> None:
        self.addr = addr
        """(host, port); an IPv4 client is shown as such by a server for both, too."""
        self.identity: Any = None
        """The result of the handler's `authenticate`; None if it has none."""
        self.binding: bytes = binding
        """32 bytes that this session alone has; empty in protocol 1.

        The client's function for its credential was called with the same bytes: `authenticate` can
        require a credential that proves something about them, a signature, say.
        """
        self._session = session
        self._channels = channels
        self._groups: set[Membership] = set()

    @property
    def token(self) -> int:
        """The number that identifies this session; no two connected clients have the same.

        It is not a credential: do not use it to decide who a player is.
        """
        return self._session.connection.token

    @property
    def status(self) -> ConnectionStatus:
        """CONNECTED, or the stage of its end: DISCONNECTING, DISCONNECTED or DROPPED."""
        return self._session.connection.status

    @property
    def reason(self) -> DisconnectReason | None:
        """Reason why the session has ended; None until the `disconnect` event."""
        return self._session.reason

    @property
    def close_reason(self) -> CloseReason | None:
        """The code and text with which the session was ended, by either side.

        None before that, in protocol 1, and for a session that has ended without a word.
        """
        reason = self._session.connection.close_reason
        return None if reason is None else CloseReason(*reason)

    @property
    def protocol(self) -> int:
        """The version of the protocol that the session speaks: 1 or 2."""
        return self._session.connection.endpoint.protocol

    @property
    def pending(self) -> int:
        """Bytes of the messages that are queued for the client and were not sent yet."""
        return self._session.connection.pending

    @property
    def arriving(self) -> list[tuple[int, int]]:
        """Of each long message that has arrived in part, the bytes so far and the bytes in all.

        The oldest is first. Those of channels are not among them; see `ServerChannel.arriving`. In
        protocol 1, which does not tell how long a message is, the bytes in all are an estimate.
        """
        return self._session.connection.channel_arriving(0)

    @property
    def latency(self) -> float:
        """The smoothed round-trip time, in seconds; 0.0 before the first ack."""
        return self._session.connection.latency

    @property
    def stats(self) -> ConnectionStats:
        """A snapshot of the session's statistics."""
        return ConnectionStats.of(self._session.connection.endpoint, self._session.now)

    @property
    def log(self) -> _LoggerAdapter:
        """The logger "mpgameserver.server", with the client's address before each line."""
        return ClientLog(_LOG, {"client": format_address(self.addr)})

    def send(
        self,
        payload: bytes | bytearray | memoryview,
        retry: int = RetryMode.NONE,
        callback: Callable[[bool], object] | None = None,
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Queue a message for the client; it leaves when the event returns.

        A message to a client that is not CONNECTED any more is dropped, and its callback gets
        False: soon, but while the server runs not from within this call. If it raises, nothing was
        queued and the client stays usable.

        Parameters:
            payload: any bytes-like object, of 0 bytes to the largest that can be fragmented
                (8,389,011 bytes at the default MTU over IPv4). It is copied at once.
            retry: a `RetryMode` or its number; NONE by default.
            callback: called once, on the handler's thread: with True when the message, with all of
                its fragments, was acked; with False when it timed out (never with RETRY_ON_TIMEOUT)
                or the session has ended.
            on_progress: called on the handler's thread with the bytes acked so far and the bytes in
                all, at most once in each turn that has got acks of this message. If all of it is
                acked, the last call says so, before that of `callback`.

        Raises:
            SendQueueFullError: too much is queued, for this client, its host, or all clients; send
                again when some of it has left. On another thread than the handler's this is not
                raised: the callback gets False, and the message counts as
                `ServerStats.messages_refused`.
            TypeError: an argument has another type.
            ValueError: the message is too long, or `retry` is not a retry mode.
        """
        if on_progress is not None:
            callback = Progress(on_progress, callback)
        self._session.send(payload, retry, callback)

    def send_guaranteed(
        self,
        payload: bytes | bytearray | memoryview,
        callback: Callable[[bool], object] | None = None,
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Queue a message that is retransmitted until it is acked: `send` with RETRY_ON_TIMEOUT."""
        self.send(payload, RetryMode.RETRY_ON_TIMEOUT, callback, on_progress=on_progress)

    def channel(self, name: str) -> ServerChannel:
        """Return the channel with that name, to send to this client on it.

        Raises:
            ValueError: no such channel is declared.
        """
        self._channels.number_of(name)
        return ServerChannel(self, name)

    def _send_on(
        self,
        number: int,
        payload: bytes | bytearray | memoryview,
        retry: int,
        callback: Callable[[bool], object] | None,
    ) -> None:
        """Queue a message on the channel with that number; see `ServerChannel.send`."""
        if number and self.protocol < 2:
            raise OldPeerError(f"{self!r} speaks protocol 1, which has no channels")
        self._session.send(payload, retry, callback, number)

    def disconnect(self, code: int = 0, text: str = "") -> None:
        """Disconnect the client after everything queued for it has been delivered.

        Reliable messages are retransmitted until they are acked, all others are sent once. From now
        on nothing can be sent to the client, and none of its messages is handled. The `disconnect`
        event follows when the client has replied, or after 1 second. Idempotent.

        Parameters:
            code: a number of the game's own, 256 or above, which tells the client why; 0 by
                default. A client of protocol 1 does not get it.
            text: the same in words, at most 256 bytes of UTF-8.

        Raises:
            TypeError: an argument has another type.
            ValueError: the code is neither 0 nor from 256 to 2**62 - 1, or the text is too long.
        """
        self._session.disconnect(DisconnectReason.KICKED, *check_close(code, text))

    def _leave_groups(self) -> None:
        """Leave all groups, because the session has ended."""
        for group in tuple(self._groups):
            group.discard(self)

    @even_unmade
    def __repr__(self) -> str:
        address = format_address(self.addr)
        return f"<ServerClient {address} {self.status.name}, latency {self.latency * 1000:.1f} ms>"


class ServerChannel:
    """A channel of one client, on which a server sends; `ServerClient.channel` returns it."""

    __slots__ = ("_client", "name")

    def __init__(self, client: ServerClient, name: str) -> None:
        self._client = client
        self.name: str = name
        """The name with which it was declared."""

    @even_unmade
    def __repr__(self) -> str:
        return f"<ServerChannel {self.name!r} of {self._client!r}>"

    def send(
        self,
        payload: bytes | bytearray | memoryview,
        callback: Callable[[bool], object] | None = None,
        *,
        retry: int | None = None,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Queue a message for the client on this channel, as `ServerClient.send` does.

        Parameters:
            payload: any bytes-like object; on an ordered channel at most as long as the window that
                the client has declared for it.
            callback: as for `ServerClient.send`. A message that a newer one replaces, or that is
                sent once and is lost, gets False.
            retry: only for an "unordered" channel: a `RetryMode` or its number; NONE by default.
            on_progress: as for `ServerClient.send`, with the bytes acked and those in all.

        Raises:
            OldPeerError: the client speaks protocol 1, which has no channels.
            SendQueueFullError: as for `ServerClient.send`.
            TypeError: an argument has another type.
            ValueError: the message is too long; `retry` is not a retry mode, or not this channel's
                to choose.
        """
        number, mode = self._client._channels.mode_on(self.name, retry)
        if on_progress is not None:
            callback = Progress(on_progress, callback)
        self._client._send_on(number, payload, mode, callback)

    @property
    def arriving(self) -> list[tuple[int, int]]:
        """Of each long message that has arrived in part, the bytes so far and the bytes in all.

        The oldest is first.
        """
        number = self._client._channels.number_of(self.name)
        return self._client._session.connection.channel_arriving(number)
