"""The context: a handler, the settings of the server that runs it, and the way to its clients."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mpgameserver import forks
from mpgameserver.connection import Timing, check_interval
from mpgameserver.crypto import EllipticCurvePrivateKey, load_private_key
from mpgameserver.enums import RetryMode
from mpgameserver.errors import SendQueueFullError
from mpgameserver.reprs import even_unmade
from mpgameserver.server.accesslog import AccessLog
from mpgameserver.server.blocklist import BlockEntry, BlockList
from mpgameserver.server.client import ServerClient
from mpgameserver.server.handler import EventHandler, all_events, check_handler
from mpgameserver.server.limits import Limits
from mpgameserver.server.meter import ServerMeter
from mpgameserver.server.stats import ServerStats
from mpgameserver.transport.ratelog import LimitedLog
from mpgameserver.transport.trace import PacketTrace, open_trace

__all__ = ["ServerContext", "ServerSettings"]

_LOG = logging.getLogger("mpgameserver.server")

Call = tuple[Callable[..., object], tuple[object, ...]]


def _checked_limits(limits: object) -> Limits:
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a Limits, not {type(limits).__name__}")
    return limits


@dataclass(frozen=True)
class ServerSettings:
    """The settings of a server, which its context replaces as a whole."""

    interval: float = 1 / 60
    """Seconds from one `update` event to the next."""
    timing: Timing = field(default_factory=Timing)
    """The intervals of the sessions."""
    handshake_timeout: float = 5.0
    """Seconds that a handshake may take from the first answer on: as long as a client's attempt,
    for a round trip may take half of that."""
    blocklist: BlockList = field(default_factory=BlockList)
    limits: Limits = field(default_factory=Limits)


class Serving(Protocol):
    """The interface that a context needs of its server."""

    @property
    def clients(self) -> tuple[ServerClient, ...]:
        """The clients that are connected."""

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the server's figures."""

    @property
    def now(self) -> float:
        """The monotonic time, in seconds."""

    def wake(self) -> None:
        """Look at the context soon; from any thread."""


class ServerContext:
    """A handler, the settings of the server that runs it, and the way to its clients.

    `root_key` is the private key that clients know the server by: they are given
    `root_key.getPublicKey()`. It is an `EllipticCurvePrivateKey`, its PEM text or the path of a PEM
    file. Without one a new key is made, which clients cannot know beforehand.

    The setters, `call_soon_threadsafe` and `shutdown` may be called from any thread, all else
    before the server runs or on the handler's thread. What a setter sets holds at once, also for
    the clients that are connected: when the event that is running has returned. One server at a
    time can run a context.

    `handler` is an EventHandler, or any object with at least one of its events; those that it does
    not have do nothing.

    `limits` are what clients and strangers may make the server hold and do; see `Limits`.

    Raises TypeError for an object without an event, for an event that cannot be called with its
    arguments, for a class, and for what is no private key or no `Limits`; ValueError for text or a
    file without a P-256 private key, and OSError where the file cannot be read. Warns of methods
    whose names are nearly those of events.
    """

    def __init__(
        self,
        handler: object,
        root_key: EllipticCurvePrivateKey | str | bytes | os.PathLike[str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        check_handler(handler)
        self.handler: Any = handler
        self.events: EventHandler = all_events(handler)
        """The events of the handler, with those that it does not have."""
        self.root_key: EllipticCurvePrivateKey = (
            EllipticCurvePrivateKey.new() if root_key is None else load_private_key(root_key)
        )
        self.settings: ServerSettings = ServerSettings(
            limits=_checked_limits(Limits() if limits is None else limits)
        )
        self.access_log: AccessLog | None = None
        self.trace = open_trace(None)
        self.meter: ServerMeter | None = None
        self._settings_lock = threading.RLock()  # a finalizer or a signal may come within a setter
        self._calls: deque[Call] = deque()
        self._is_shutting_down = False
        self._server: Serving | None = None
        self._slow_log = LimitedLog(_LOG)
        forks.end_in_child(self)

    @even_unmade
    def __repr__(self) -> str:
        clients = "not running" if self._server is None else f"{len(self.clients)} clients"
        return f"<ServerContext of {type(self.handler).__name__}, {clients}>"

    # -- the game's side --------------------------------------------------------------------

    @property
    def clients(self) -> tuple[ServerClient, ...]:
        """The clients that are connected now, in the order in which they came."""
        return () if self._server is None else self._server.clients

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the server's figures; zeros while none runs this context."""
        return ServerStats() if self._server is None else self._server.stats

    def broadcast(
        self,
        payload: bytes | bytearray | memoryview,
        retry: int = RetryMode.NONE,
        exclude: Iterable[ServerClient] = (),
    ) -> None:
        """Queue a message for every client that is connected, but for those in `exclude`.

        A client for which too much waits already is left out, which is logged: one that is too
        slow must not keep the message from the others.

        Raises TypeError or ValueError as `ServerClient.send` does.
        """
        data = bytes(memoryview(payload))
        mode = RetryMode(retry)
        excluded, server = set(exclude), self._server
        if server is None:
            return
        for client in server.clients:
            if client in excluded:
                continue
            try:
                client.send(data, mode)
            except SendQueueFullError as error:
                self._slow_log.warning(server.now, "%r misses a broadcast: %s", client, error)

    def call_soon_threadsafe(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` on the handler's thread, soon, or once a server runs this context.

        Calls are made in the order of their asking. What one raises is logged. TypeError for
        what cannot be called.
        """
        if not callable(fn):
            raise TypeError(f"fn must be callable, not {fn!r}")
        self._calls.append((fn, args))
        self.wake()

    def shutdown(self) -> None:
        """Ask the server to stop: it says goodbye to every client, which takes up to 1 second.

        Returns at once. When no server runs, the next one stops as soon as it has started.
        """
        self._is_shutting_down = True
        self.wake()

    # -- settings ---------------------------------------------------------------------------

    def setInterval(self, interval: float) -> None:
        """Set how many seconds are between two `update` events; 1/60 by default.

        TypeError or ValueError unless above 0, here and below.
        """
        self._set(interval=check_interval("interval", interval))

    def setKeepAliveInterval(self, interval: float) -> None:
        """Set after how many seconds of saying nothing a keep-alive is sent; 0.1 by default.

        Messages with BEST_EFFORT are repeated at this interval. A server does not start with one
        that is not below `setConnectionTimeout`; that of a client is 5.
        """
        self._set_timing(keep_alive=check_interval("interval", interval))

    def setConnectionTimeout(self, timeout: float) -> None:
        """Set after how many seconds of silence a client is dropped; 5 by default."""
        self._set_timing(silence=check_interval("timeout", timeout))

    def setTempConnectionTimeout(self, timeout: float) -> None:
        """Set how many seconds a handshake may take; 5 by default, as for a client's attempt.

        It takes a round trip from the server's first answer on.
        """
        self._set(handshake_timeout=check_interval("timeout", timeout))

    def setMessageTimeout(self, timeout: float) -> None:
        """Set after how many seconds without an ack a message has timed out; 1 by default."""
        self._set_timing(message=check_interval("timeout", timeout))

    def setBlockList(self, blocklist: Iterable[BlockEntry]) -> None:
        """Set which hosts get no answer: addresses and networks in CIDR form, IPv4 and IPv6.

        An IPv4-mapped one counts as the IPv4 one that it holds. It replaces the one before.
        Clients that are connected from one of them are thrown out at once, with the reason
        KICKED: one datagram tells them, nothing that was queued for them is sent any more, and no
        message of theirs is handled. Handshakes with them are given up.

        Raises TypeError or ValueError for what is no address and no network, and nothing changes.
        """
        self._set(blocklist=BlockList(blocklist))

    @property
    def limits(self) -> Limits:
        """Limits on what clients and unknown addresses can make the server hold and do.

        Set it as a whole: `context.limits = replace(context.limits, clients=500)`, with the
        `replace` of the module `dataclasses`. Nobody is disconnected because there are more clients
        than the new limits allow. Raises TypeError for what is no `Limits`, and nothing changes.
        """
        return self.settings.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._set(limits=_checked_limits(limits))

    def enableAccessLogs(self, path: str | os.PathLike[str] | None) -> None:
        """Append a line to a file for each client that connects or disconnects; None: no more.

        Raises OSError where the file cannot be written, and nothing changes.
        """
        self.access_log = None if path is None else AccessLog(path)

    def setTrace(self, path: str | os.PathLike[str] | None) -> None:
        """Append a line to a file for each datagram; None: no more.

        Until it is called, the file is that of the variable MPGAMESERVER_TRACE, if it is set.
        It holds for the servers that are made from now on. Raises OSError where the file cannot
        be written, and nothing changes.
        """
        self.trace = None if path is None else PacketTrace(path)

    def enableMeter(self) -> ServerMeter:
        """Measure the servers that are made from now on, for whoever watches them.

        It costs a few microseconds per datagram. `ServerMeter.figures` are to be asked for on the
        handler's thread. The same meter each time.
        """
        if self.meter is None:
            self.meter = ServerMeter()
        return self.meter

    def _set(self, **changes: Any) -> None:
        self._change(lambda settings: replace(settings, **changes))

    def _set_timing(self, **changes: float) -> None:
        self._change(lambda now: replace(now, timing=replace(now.timing, **changes)))

    def _change(self, change: Callable[[ServerSettings], ServerSettings]) -> None:
        """Change the settings as a whole; from any thread, and from a signal's handler."""
        with self._settings_lock:
            while True:
                before = self.settings
                after = change(before)
                if self.settings is before:  # else a finalizer, or a signal, was in between
                    break
            self.settings = after
        self.wake()

    # -- the server's side ------------------------------------------------------------------

    def attach(self, server: Serving) -> None:
        """Called by a server that starts. RuntimeError while another one runs this context."""
        if self._server is not None:
            raise RuntimeError("another server runs this context")
        self._server = server

    def detach(self) -> None:
        """Called by the server when it has stopped."""
        self._server = None
        self._is_shutting_down = False

    def end_in_child(self) -> None:
        """Be as one that no server runs: that is the parent process's."""
        self._settings_lock = threading.RLock()
        self._calls.clear()
        self.detach()

    @property
    def is_shutting_down(self) -> bool:
        """True from `shutdown` until the server has stopped."""
        return self._is_shutting_down

    def take_calls(self) -> list[Call]:
        """Take what `call_soon_threadsafe` was given."""
        if not self._calls:
            return []
        return [self._calls.popleft() for _ in range(len(self._calls))]

    def wake(self) -> None:
        """End the wait of the server that runs this context."""
        server = self._server
        if server is not None:
            server.wake()
