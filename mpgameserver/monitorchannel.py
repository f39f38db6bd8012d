"""The connection between a running server and those who watch it: a second, small server.

It speaks the same protocol on a port of its own, in a thread of its own, under a key that is for
this only: the monitor's key. Both sides have the private key. The watcher trusts only a server that
has it, and proves in its first message, which only that server can decrypt, that it has it too. A
watcher that sends anything else, nothing, or anything more is disconnected. A watcher's bytes are
only ever compared, so the channel is read-only.

The statistics go to all watchers once a second. While nobody watches, the game's server is not
asked for any.
"""

from __future__ import annotations

import logging
import os
from types import TracebackType

from mpgameserver.crypto import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    load_private_key,
)
from mpgameserver.enums import RetryMode
from mpgameserver.errors import InvalidSignature
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.limits import Limits
from mpgameserver.server.snapshot import FiguresAsker
from mpgameserver.server.udpserver import ThreadedServer
from mpgameserver.transport.address import format_address, host_and_port
from mpgameserver.transport.ratelog import LimitedLog

__all__ = ["DEFAULT_ADDRESS", "MonitorChannel", "make_proof"]

DEFAULT_ADDRESS = ("127.0.0.1", 1475)
"""Loopback: access from elsewhere has to be requested."""
MAX_WATCHERS = 4
"""Watchers that get statistics; each costs a few datagrams a second."""
MAX_CHANNEL_CLIENTS = 32
"""Sessions, most of them perhaps from unknown addresses: each has `PROOF_TIMEOUT` for its proof."""
MAX_CHANNEL_CLIENTS_PER_HOST = 8
PROOF_TIMEOUT = 2.0
"""Seconds from the handshake to the proof; then a session is ended."""
MAX_CHANNEL_REASSEMBLY = 64 << 10
"""Bytes of incomplete messages: no message of a watcher is long enough to be fragmented."""
MAX_CHANNEL_QUEUE = 1 << 20
"""Bytes queued for a watcher that acks nothing: a minute of statistics."""
CHANNEL_HANDSHAKE_RATE = 20.0
"""Handshakes begun per second: a flood of hellos costs a hundredth of what the game's may."""

_LOG = logging.getLogger("mpgameserver.monitor")
_INTERVAL = 0.25
_QUESTION_INTERVAL = 1.0
_PROOF_TEXT = b"mpgameserver monitor 1\0"
_TOKEN_SIZE = 8


def _to_be_signed(token: int) -> bytes:
    # Data that a server signs in a handshake begins differently: neither passes for the other.
    return _PROOF_TEXT + token.to_bytes(_TOKEN_SIZE, "big")


def make_proof(key: EllipticCurvePrivateKey, token: int) -> bytes:
    """Return the first message of a watcher, in the session that has this token."""
    return key.sign(_to_be_signed(token))


class MonitorChannel:
    """Lets whoever has its private key watch the server that runs a context.

    Make it before the server. It listens from `start` until `stop`, which a `with` block calls.
    `mpgameserver genkey` makes a key for it, and `mpgameserver monitor` watches.

    Parameters:
        context: the context of the server to watch.
        key: the monitor's private key, its PEM text or the path of a PEM file.
        addr: a pair (host, port) to listen on.

    Raises:
        ValueError: `key` is the server's own, with which a watcher could pose as the server; or it
            is not a P-256 private key, or `addr` has a port out of range.
        TypeError: an argument has another type.
        OSError: the key's file cannot be read.
    """

    def __init__(
        self,
        context: ServerContext,
        key: EllipticCurvePrivateKey | str | bytes | os.PathLike[str],
        addr: tuple[str, int] = DEFAULT_ADDRESS,
    ) -> None:
        key = load_private_key(key)
        if key.getPublicKey() == context.root_key.getPublicKey():
            raise ValueError("the monitor needs a key of its own, not the server's")
        addr = host_and_port(addr, least_port=0)  # before the context is changed
        self._server = ThreadedServer(_channel_context(FiguresAsker(context), key), addr)

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that it listens on; before it has started, the given one."""
        return self._server.address

    def start(self) -> None:
        """Start to listen. If it raises, nothing has changed and you can try again.

        Raises:
            OSError: the address, which the message names, cannot be listened on, or the process has
                no file descriptor left.
            RuntimeError: it is already running, or the system has no thread left.
        """
        self._server.start()

    def stop(self) -> None:
        """Disconnect the watchers, which takes up to 1 second."""
        self._server.stop()

    def __enter__(self) -> MonitorChannel:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _channel_context(asker: FiguresAsker, key: EllipticCurvePrivateKey) -> ServerContext:
    limits = Limits(
        clients=MAX_CHANNEL_CLIENTS,
        clients_per_host=MAX_CHANNEL_CLIENTS_PER_HOST,
        reassembly_bytes=MAX_CHANNEL_REASSEMBLY,
        send_queue_bytes=MAX_CHANNEL_QUEUE,
        handshake_rate=CHANNEL_HANDSHAKE_RATE,
    )
    context = ServerContext(Watchers(asker, key.getPublicKey()), key, limits)
    context.setInterval(_INTERVAL)
    return context


class Watchers(EventHandler):
    """The channel's handler: admits clients that have the key, and sends them statistics."""

    def __init__(self, asker: FiguresAsker, key: EllipticCurvePublicKey) -> None:
        self._asker = asker
        self._key = key
        self._now = self._next_question = 0.0
        self._deadlines: dict[ServerClient, float] = {}
        self._watchers: set[ServerClient] = set()
        self._refusal_log = LimitedLog(_LOG)

    def connect(self, client: ServerClient) -> None:
        """Wait for the proof."""
        self._deadlines[client] = self._now + PROOF_TIMEOUT

    def disconnect(self, client: ServerClient) -> None:
        """Forget a client that has left."""
        self._deadlines.pop(client, None)
        if client in self._watchers:
            self._watchers.remove(client)
            _LOG.info("%s has stopped watching", format_address(client.addr))

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """Accept a proof, once; no other message is valid."""
        if self._deadlines.pop(client, None) is None:
            self._refuse(client, "it sent more than a proof")
        elif len(self._watchers) >= MAX_WATCHERS:
            self._refuse(client, "too many are watching already")
        elif not self._is_proof(client, msg):
            self._refuse(client, "it does not have the key")
        else:
            self._watchers.add(client)
            self._next_question = self._now
            _LOG.info("%s is watching", format_address(client.addr))

    def update(self, delta_t: float) -> None:
        """Send statistics, request new ones, and end sessions without a proof."""
        self._now += delta_t
        for client in [c for c, deadline in self._deadlines.items() if self._now >= deadline]:
            del self._deadlines[client]
            self._refuse(client, "it sent no proof of the key")
        figures = self._asker.take()
        if figures is not None:
            message = figures.to_bytes()
            for client in self._watchers:
                self._tell(client, message)
        if self._watchers and self._now >= self._next_question:
            self._next_question = self._now + _QUESTION_INTERVAL
            self._asker.ask()

    def _is_proof(self, client: ServerClient, message: bytes) -> bool:
        try:
            self._key.verify(message, _to_be_signed(client.token))
        except InvalidSignature:
            return False
        return True

    def _tell(self, client: ServerClient, message: bytes) -> None:
        try:
            client.send(message, RetryMode.BEST_EFFORT)
        except (ConnectionError, BufferError):  # it leaves, or is too slow: the next one follows
            return

    def _refuse(self, client: ServerClient, reason: str) -> None:
        self._refusal_log.warning(
            self._now, "%s may not watch: %s", format_address(client.addr), reason
        )
        client.disconnect()
