"""A client, as the handler's events get it."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from mpgameserver._core.session import Session
from mpgameserver.enums import ConnectionStatus, DisconnectReason, RetryMode
from mpgameserver.reprs import even_unmade
from mpgameserver.stats import ConnectionStats
from mpgameserver.transport.address import format_address

__all__ = ["ServerClient"]

_LOG = logging.getLogger("mpgameserver.server")

if TYPE_CHECKING:
    _LoggerAdapter = logging.LoggerAdapter[logging.Logger]
else:  # not generic before Python 3.11
    _LoggerAdapter = logging.LoggerAdapter


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

    def __init__(self, session: Session, addr: tuple[str, int]) -> None:
        self.addr = addr
        """(host, port); an IPv4 client is shown as such by a server for both, too."""
        self._session = session

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

        Raises:
            SendQueueFullError: too much is queued, for this client, its host, or all clients; send
                again when some of it has left. On another thread than the handler's this is not
                raised: the callback gets False, and the message counts as
                `ServerStats.messages_refused`.
            TypeError: an argument has another type.
            ValueError: the message is too long, or `retry` is not a retry mode.
        """
        self._session.send(payload, retry, callback)

    def send_guaranteed(
        self,
        payload: bytes | bytearray | memoryview,
        callback: Callable[[bool], object] | None = None,
    ) -> None:
        """Queue a message that is retransmitted until it is acked: `send` with RETRY_ON_TIMEOUT."""
        self.send(payload, RetryMode.RETRY_ON_TIMEOUT, callback)

    def disconnect(self) -> None:
        """Disconnect the client after everything queued for it has been delivered.

        Reliable messages are retransmitted until they are acked, all others are sent once. From now
        on nothing can be sent to the client, and none of its messages is handled. The `disconnect`
        event follows when the client has replied, or after 1 second. Idempotent.
        """
        self._session.disconnect(DisconnectReason.KICKED)

    @even_unmade
    def __repr__(self) -> str:
        address = format_address(self.addr)
        return f"<ServerClient {address} {self.status.name}, latency {self.latency * 1000:.1f} ms>"
