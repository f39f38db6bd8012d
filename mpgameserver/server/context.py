"""The context: a handler, the settings of its server, and access to the clients."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mpgameserver import forks
from mpgameserver.channels import Channel, ChannelTable
from mpgameserver.connection import Timing, check_interval
from mpgameserver.crypto import EllipticCurvePrivateKey, load_private_key
from mpgameserver.reprs import even_unmade
from mpgameserver.server.accesslog import AccessLog
from mpgameserver.server.blocklist import BlockEntry, BlockList
from mpgameserver.server.client import ServerClient
from mpgameserver.server.groups import Broadcaster, Group, Groups
from mpgameserver.server.handler import (
    EventHandler,
    all_events,
    asks_for_channel,
    check_channels,
    check_handler,
    has_own,
)
from mpgameserver.server.limits import Limits
from mpgameserver.server.meter import ServerMeter
from mpgameserver.server.stats import ServerStats
from mpgameserver.transport.keylog import KeyLog, open_key_log
from mpgameserver.transport.trace import PacketTrace, open_trace
from mpgameserver.wire.protocol2.hello import checked_audience

__all__ = ["ServerContext", "ServerSettings", "require_context"]

Call = tuple[Callable[..., object], tuple[object, ...]]


def _checked_protocol(protocol: object) -> int:
    if isinstance(protocol, bool) or not isinstance(protocol, int):
        raise TypeError(f"minimum_protocol must be an int, not {type(protocol).__name__}")
    if protocol not in (1, 2):
        raise ValueError(f"minimum_protocol must be 1 or 2, not {protocol}")
    return protocol


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
        """A snapshot of the server's statistics."""

    @property
    def now(self) -> float:
        """The monotonic time, in seconds."""

    def wake(self) -> None:
        """Look at the context soon; from any thread."""


class ServerContext:
    """A handler, the settings of the server that runs it, and access to its clients.

    The setters, `call_soon_threadsafe` and `shutdown` may be called from any thread; everything
    else before the server runs, or on the handler's thread. A setting takes effect when the running
    event has returned, also for clients that are already connected. One server at a time can run a
    context.

    Parameters:
        handler: an `EventHandler`, or any object with at least one of its events; events that it
            lacks do nothing. A warning is given for a method whose name resembles an event's.
        root_key: the server's private key, its PEM text or the path of a PEM file. Clients are
            given `root_key.getPublicKey()`. Without one a new key is generated, which clients
            cannot know beforehand.
        limits: the most that clients and unknown addresses can make the server hold and do.
        channels: the channels that clients have beside the one without a name; they must declare
            the same. `handle_message` must have a parameter `channel` then.
        minimum_protocol: 2 to drop the hellos of clients that speak only protocol 1, which has no
            channels, no credential and no cookie; 1 by default.
        audience: the name of this service, at most 40 bytes of UTF-8, which clients must give as
            well; empty by default.

    Raises:
        TypeError: `handler` is a class, has no event, or has one that cannot be called with its
            arguments; `root_key` is not a private key; `limits` is not a `Limits`; `channels` are
            not Channels, or there are some and `handle_message` has no parameter `channel`.
        ValueError: the text or file does not contain a P-256 private key; the channels do not go
            together; `minimum_protocol` is neither 1 nor 2; `audience` is too long.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        handler: object,
        root_key: EllipticCurvePrivateKey | str | bytes | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        *,
        channels: Iterable[Channel] = (),
        minimum_protocol: int = 1,
        audience: str = "",
    ) -> None:
        check_handler(handler)
        self.channels: ChannelTable = ChannelTable(channels)
        check_channels(handler, len(self.channels))
        self.minimum_protocol: int = _checked_protocol(minimum_protocol)
        self.audience: str = checked_audience(audience)
        self.handler: Any = handler
        self.events: EventHandler = all_events(handler)
        """The events of the handler, with those that it does not have."""
        self.authenticates: bool = has_own(handler, "authenticate")
        """The handler decides who gets a `connect` event."""
        self.names: dict[int, str] | None = (
            self.channels.names if asks_for_channel(handler) else None
        )
        """The names of channels by number, if the handler asks for them."""
        self.root_key: EllipticCurvePrivateKey = (
            EllipticCurvePrivateKey.new() if root_key is None else load_private_key(root_key)
        )
        self.settings: ServerSettings = ServerSettings(
            limits=_checked_limits(Limits() if limits is None else limits)
        )
        self.access_log: AccessLog | None = None
        self.trace: PacketTrace | None = open_trace(None, of_server=True)
        self.key_log: KeyLog | None = open_key_log(None, "server")
        self.meter: ServerMeter | None = None
        self._settings_lock = threading.RLock()  # a finalizer or a signal may come within a setter
        self._calls: deque[Call] = deque()
        self._is_shutting_down = False
        self._server: Serving | None = None
        self._broadcaster = Broadcaster(self.channels)
        self._groups = Groups(self._broadcaster)
        forks.end_in_child(self)

    @even_unmade
    def __repr__(self) -> str:
        clients = "not running" if self._server is None else f"{len(self.clients)} clients"
        return f"<ServerContext of {type(self.handler).__name__}, {clients}>"

    # -- the game's side --------------------------------------------------------------------

    @property
    def clients(self) -> tuple[ServerClient, ...]:
        """The clients that are connected now, in the order in which they connected."""
        return () if self._server is None else self._server.clients

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the server's statistics; zeros while no server runs this context."""
        return ServerStats() if self._server is None else self._server.stats

    def broadcast(
        self,
        payload: bytes | bytearray | memoryview,
        retry: int | None = None,
        exclude: Iterable[ServerClient] = (),
        channel: str = "",
    ) -> None:
        """Queue a message for every connected client, except those in `exclude`.

        A client whose send queue is full is skipped, which is logged: a client that is too slow
        must not keep the message from the others. So is one of protocol 1 if there is a channel.

        Parameters:
            payload: any bytes-like object; see `ServerClient.send`.
            retry: a `RetryMode` or its number; NONE by default. Only for a channel on which each
                message chooses one.
            exclude: clients that do not get the message.
            channel: the name of a channel; by default the message has none.

        Raises:
            TypeError: an argument has another type.
            ValueError: the message is too long, `retry` is not a retry mode or not this channel's
                to choose, or no such channel is declared.
        """
        self._broadcaster.send(self.clients, payload, retry, exclude, channel)

    def group(self, name: str) -> Group:
        """Return the group of clients with a name, which is empty until you add some.

        It is the same object as long as it has clients or you keep it. A client leaves its groups
        when its `disconnect` event has returned; where `mpgameserver.aio` serves, before it runs.

        Raises:
            TypeError: `name` is not a str.
        """
        return self._groups.get(name)

    def server_time(self) -> float:
        """Return the server's time, in seconds, which clients know as `UdpClient.server_time`.

        It is monotonic, and moves on with each turn of the server. 0.0 while no server runs this
        context.
        """
        return self._now()

    def call_soon_threadsafe(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` on the handler's thread: soon, or once a server runs this context.

        Calls are made in the order in which they were requested. An exception in one is logged.

        Raises:
            TypeError: `fn` is not callable.
        """
        if not callable(fn):
            raise TypeError(f"fn must be callable, not {fn!r}")
        self._calls.append((fn, args))
        self.wake()

    def shutdown(self) -> None:
        """Ask the server to stop, and return at once. Idempotent.

        The server disconnects every client, which takes up to 1 second. If no server runs this
        context, the next one stops as soon as it has started.
        """
        self._is_shutting_down = True
        self.wake()

    def _now(self) -> float:
        return 0.0 if self._server is None else self._server.now

    # -- settings ---------------------------------------------------------------------------

    def setInterval(self, interval: float) -> None:
        """Set the time between two `update` events.

        Parameters:
            interval: seconds, above 0; 1/60 by default.

        Raises:
            TypeError: `interval` is not a number.
            ValueError: `interval` is not above 0, or not finite.
        """
        self._set(interval=check_interval("interval", interval))

    def setKeepAliveInterval(self, interval: float) -> None:
        """Set the time without sending after which a keep-alive is sent.

        BEST_EFFORT messages are resent at this interval, too.

        Parameters:
            interval: seconds, above 0; 0.1 by default. A server does not start with an interval
                that is not below its own idle timeout (`setConnectionTimeout`) and its clients' of
                5 s.

        Raises:
            TypeError: `interval` is not a number.
            ValueError: `interval` is not above 0, or not finite.
        """
        self._set_timing(keep_alive=check_interval("interval", interval))

    def setConnectionTimeout(self, timeout: float) -> None:
        """Set the idle timeout: the time without a packet after which a client is dropped.

        Parameters:
            timeout: seconds, above 0; 5 by default.

        Raises:
            TypeError: `timeout` is not a number.
            ValueError: `timeout` is not above 0, or not finite.
        """
        self._set_timing(idle_timeout=check_interval("timeout", timeout))

    def setTempConnectionTimeout(self, timeout: float) -> None:
        """Set the time that a handshake may take from the server's first reply on.

        A handshake takes a round trip from then.

        Parameters:
            timeout: seconds, above 0; 5 by default, as long as a client's attempt.

        Raises:
            TypeError: `timeout` is not a number.
            ValueError: `timeout` is not above 0, or not finite.
        """
        self._set(handshake_timeout=check_interval("timeout", timeout))

    def setMessageTimeout(self, timeout: float) -> None:
        """Set the time without an ack after which a message has timed out.

        Parameters:
            timeout: seconds, above 0; 1 by default.

        Raises:
            TypeError: `timeout` is not a number.
            ValueError: `timeout` is not above 0, or not finite.
        """
        self._set_timing(message=check_interval("timeout", timeout))

    def setBlockList(self, blocklist: Iterable[BlockEntry]) -> None:
        """Replace the list of blocked hosts, which get no reply.

        Connected clients that it blocks are disconnected at once, with the reason KICKED: each gets
        a DISCONNECT, but nothing that was queued for it, and none of its messages is handled.
        Handshakes in progress are aborted. If it raises, nothing has changed.

        Parameters:
            blocklist: IPv4 and IPv6 addresses, and networks in CIDR form. An IPv4-mapped IPv6
                address counts as its IPv4 address.

        Raises:
            TypeError: an entry has another type.
            ValueError: an entry is neither an address nor a network.
        """
        self._set(blocklist=BlockList(blocklist))

    @property
    def limits(self) -> Limits:
        """Limits on what clients and unknown addresses can make the server hold and do.

        Set it as a whole: `context.limits = replace(context.limits, clients=500)`, with
        `dataclasses.replace`. No client is disconnected because there are more than the new limits
        allow.

        Raises:
            TypeError: the new value is not a `Limits`; nothing has changed.
        """
        return self.settings.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._set(limits=_checked_limits(limits))

    def enableAccessLogs(self, path: str | os.PathLike[str] | None) -> None:
        """Append a line to a file for each client that connects or disconnects.

        Parameters:
            path: the file; None to stop.

        Raises:
            OSError: the file cannot be written; nothing has changed.
        """
        self.access_log = None if path is None else AccessLog(path)

    def setTrace(self, path: str | os.PathLike[str] | None) -> None:
        """Append a line to a file for each datagram.

        It takes effect for servers that are made from now on. Until it is called, the file is the
        one that the environment variable MPGAMESERVER_TRACE names, if it is set.

        Parameters:
            path: the file; None to stop.

        Raises:
            OSError: the file cannot be written; nothing has changed.
        """
        self.trace = None if path is None else PacketTrace(path, of_server=True)

    def setKeyLog(self, path: str | os.PathLike[str] | None) -> None:
        """Append the keys of each session to a file, for Wireshark.

        Whoever reads the file reads the sessions. It takes effect for servers that are made from
        now on. Until it is called, the file is the one that the environment variable
        MPGAMESERVER_KEYLOG names, if it is set.

        Parameters:
            path: the file; None to stop.

        Raises:
            OSError: the file cannot be written; nothing has changed.
        """
        self.key_log = None if path is None else KeyLog(path, "server")

    def enableMeter(self) -> ServerMeter:
        """Measure the servers that are made from now on.

        It costs a few microseconds per datagram. Call `ServerMeter.figures` on the handler's
        thread.

        Returns:
            The context's meter, the same one each time.
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
        """Called by a starting server. Raises RuntimeError while another one runs this context."""
        if self._server is not None:
            raise RuntimeError("another server runs this context")
        self._server = server

    def detach(self) -> None:
        """Called by the server when it has stopped."""
        self._server = None
        self._is_shutting_down = False

    def end_in_child(self) -> None:
        """Become a context that no server runs: its server is the parent process's."""
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


def require_context(ctxt: object) -> ServerContext:
    """`ctxt`, when it is a ServerContext. Raises TypeError that says what was given."""
    if not isinstance(ctxt, ServerContext):
        raise TypeError(f"ctxt must be a ServerContext, not {ctxt!r}")
    return ctxt
