"""A client as the events of a server's handler get it."""

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

    `send`, `send_guaranteed` and `disconnect` may be called from any thread: what another one than
    the handler's asks for is checked at once, and done on the handler's thread, in order. It can
    be a key of a dict, and takes attributes of the game's own.
    """

    def __init__(self, session: Session, addr: tuple[str, int]) -> None:
        self.addr = addr
        """(host, port); an IPv4 client is shown as such by a server for both, too."""
        self._session = session

    @property
    def token(self) -> int:
        """The number that names this session: no other client that is connected has it.

        It is no credential: do not let it stand for who the player is.
        """
        return self._session.connection.token

    @property
    def status(self) -> ConnectionStatus:
        """CONNECTED, or how far the end has come: DISCONNECTING, DISCONNECTED or DROPPED."""
        return self._session.connection.status

    @property
    def reason(self) -> DisconnectReason | None:
        """Reason why the session has ended; None until the `disconnect` event."""
        return self._session.reason

    @property
    def latency(self) -> float:
        """The weighted average time from sending a packet until it is acked, in seconds.

        0.0 before the first ack.
        """
        return self._session.connection.latency

    @property
    def stats(self) -> ConnectionStats:
        """A snapshot of the session's figures."""
        return ConnectionStats.of(self._session.connection.endpoint, self._session.now)

    @property
    def log(self) -> _LoggerAdapter:
        """Logs to "mpgameserver.server", with the client's address before each line."""
        return ClientLog(_LOG, {"client": format_address(self.addr)})

    def send(
        self,
        payload: bytes | bytearray | memoryview,
        retry: int = RetryMode.NONE,
        callback: Callable[[bool], object] | None = None,
    ) -> None:
        """Queue a message for the client; it leaves when the handler returns.

        `payload` is any bytes-like object, of 0 bytes to the largest that can be fragmented
        (8,389,011 bytes at the default MTU over IPv4), and is copied at once. `retry` is a
        `RetryMode` or its number. `callback` is called once on the handler's thread: with True
        when the message, with all its fragments, was acked; with False when it timed out (not
        with RETRY_ON_TIMEOUT) or the session ended.

        To a client that is not CONNECTED any more nothing is sent, and the callback is called
        with False: soon, and not from here while the server runs.

        Raises TypeError or ValueError for another type, retry mode or length, and
        SendQueueFullError while too much waits. Nothing is queued by these, and the client stays
        usable. On another thread nothing is raised for want of room: the callback is called with
        False, and the message counts as `ServerStats.messages_refused`.
        """
        self._session.send(payload, retry, callback)

    def send_guaranteed(
        self,
        payload: bytes | bytearray | memoryview,
        callback: Callable[[bool], object] | None = None,
    ) -> None:
        """Queue a message that is sent until it is acked: `send` with RETRY_ON_TIMEOUT."""
        self.send(payload, RetryMode.RETRY_ON_TIMEOUT, callback)

    def disconnect(self) -> None:
        """Disconnect the client, once what was queued for it has arrived.

        What is reliable is retransmitted until it is acked, all else leaves once. From here on
        nothing can be sent to it and no message of it is handled. The `disconnect` event follows
        when it has answered, or after 1 second. Of no effect on one that is gone.
        """
        self._session.disconnect(DisconnectReason.KICKED)

    @even_unmade
    def __repr__(self) -> str:
        address = format_address(self.addr)
        return f"<ServerClient {address} {self.status.name}, latency {self.latency * 1000:.1f} ms>"
