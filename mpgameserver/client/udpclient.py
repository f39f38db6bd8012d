"""The client: a socket, a clock and a connection, driven by one call per frame.

`update` reads all that has arrived, does what the time asks for, calls the callbacks of the
messages that are over, and sends. It never blocks, and what the network does is never raised.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import TracebackType

from mpgameserver import forks
from mpgameserver._core.callbacks import Callbacks, Exclusive, ThreadGuard
from mpgameserver._core.pump import ClientPump
from mpgameserver._core.seqnum import SeqNum
from mpgameserver.client.connect import Attempt, server_address
from mpgameserver.client.handshake import EstablishedSession
from mpgameserver.client.network import SYSTEM, Network
from mpgameserver.connection import Connection, Timing, check_interval
from mpgameserver.crypto import EllipticCurvePublicKey, load_public_key
from mpgameserver.enums import ConnectFailure, ConnectionStatus, RetryMode
from mpgameserver.errors import NotConnectedError
from mpgameserver.reprs import even_unmade
from mpgameserver.stats import ConnectionStats
from mpgameserver.transport.address import format_address, plain_address
from mpgameserver.transport.ratelog import LimitedLog
from mpgameserver.transport.sockets import ConnectedSocket
from mpgameserver.transport.trace import open_trace

__all__ = ["UdpClient"]

CONNECTION_TIMEOUT = 5.0
"""Seconds that an attempt to connect may take."""
MAX_DATAGRAMS_PER_UPDATE = 1024
"""Datagrams read in one `update`: twice what the fastest sender sends in a frame of 1/60 s."""
MAX_CALLBACKS_PER_UPDATE = 4096
"""Callbacks of messages called in one `update`: a server that acks late, and all at once, must not
hold the frame. The others are called in the next."""
CLOSED_BY_OTHERS = frozenset({errno.EBADF, errno.ENOTSOCK})
"""Errors of a socket that something else in the process has closed."""
MIN_WAIT = 0.001
"""Seconds that a blocking call waits at least, while the socket takes no more datagrams."""

_LOG = logging.getLogger("mpgameserver.client")

_ORDINARY_DROPS = frozenset({"repeated", "too late"})
"""Drops that an honest server on an honest network causes, and that need no log line."""


class UdpClient:
    """A connection to a server, over UDP.

    `server_public_key` is the server's public key: an `EllipticCurvePublicKey`, its PEM text or
    the path of a PEM file. Without one, whoever answers first is trusted, and nothing protects
    from somebody in the middle.

    `trace` is a file to which a line is appended for each datagram; without it, that of the
    variable MPGAMESERVER_TRACE, if it is set. Raises OSError where it cannot be written.

    Call `update` once per frame. Use it from one thread at a time: a call that is made while
    another thread is in `update` is a RuntimeError. Delivery is not ordered. In a process that is
    forked the copy is as one that never connected; the parent's is unharmed.
    """

    _network: Network = SYSTEM
    """Its clock and its sockets; `mpgameserver.testing` has others."""

    def __init__(
        self,
        server_public_key: EllipticCurvePublicKey | str | bytes | os.PathLike[str] | None = None,
        *,
        trace: str | os.PathLike[str] | None = None,
    ) -> None:
        self._trace = open_trace(trace)
        self._server_key = None if server_public_key is None else load_public_key(server_public_key)
        self._timing = Timing()
        self._connection_timeout = CONNECTION_TIMEOUT
        self._attempt: Attempt | None = None
        self._connection: Connection | None = None
        self._socket: ConnectedSocket | None = None
        self._pump: ClientPump | None = None
        self._callbacks = Callbacks()
        self._exclusively = Exclusive()
        self._guard = ThreadGuard()
        """The thread that is in a call which must not be entered by another; 0: none."""
        self._failure: ConnectFailure | None = None
        self._drop_log = LimitedLog(_LOG)
        self._send_errors: Callable[[], dict[str, int]] = dict
        forks.end_in_child(self)

    def __enter__(self) -> UdpClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.forceDisconnect()

    @even_unmade
    def __repr__(self) -> str:
        place = "" if self._attempt is None else f" to {format_address(self._attempt.addr)}"
        if self._socket is not None:
            place = f" with {format_address(plain_address(self._socket.address))}"
        return f"<UdpClient {self.status().name}{place}, latency {self.latency() * 1000:.1f} ms>"

    # -- connecting -------------------------------------------------------------------------

    def connect(
        self, addr: tuple[str, int], callback: Callable[[bool], object] | None = None
    ) -> None:
        """Start to connect to the server at `addr`, a pair (host, port).

        The host is a name, an IPv4 or an IPv6 address. `callback` is called once, from `update`:
        with True when connected, with False when the attempt failed (`failure` says why) or was
        ended by another call.

        While the client is already trying that same (host, port), the attempt simply goes on and
        `callback` joins those that are told its outcome, so a frame loop may call this until it is
        connected. Otherwise the client starts anew: a connection that exists is closed with a
        DISCONNECT first, and the callbacks of its messages, and of an attempt to reach another
        address, are called with False by the next `update`.

        Raises TypeError or ValueError for what is no address, and ValueError for a keep-alive
        interval that is not below the idle timeout of 5 s, with nothing changed.
        """
        address = server_address(addr)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable or None, not {type(callback).__name__}")
        self._guard.check()
        self._timing.check()
        self._exclusively(partial(self._try_to_reach, address, callback))

    def _try_to_reach(
        self, address: tuple[str, int], callback: Callable[[bool], object] | None
    ) -> None:
        """Begin an attempt, unless one to that address is in progress."""
        if self._attempt is None or self._attempt.addr != address:
            self._begin_attempt(address)
        if callback is not None:
            self._callbacks.expect(callback)

    def _begin_attempt(self, address: tuple[str, int]) -> None:
        if self._socket is not None and not self._socket.is_ours():
            self._leave()  # now: the attempt's socket may get the number of its descriptor
        attempt = Attempt(  # first: what it raises changes nothing
            address,
            self._server_key,
            self._connection_timeout,
            self._network,
            self._trace,
        )
        self._leave()
        self._connection = None
        self._failure = None
        self._attempt = attempt

    def connected(self) -> bool:
        """True while the client is connected to the server."""
        return self.status() == ConnectionStatus.CONNECTED

    def status(self) -> ConnectionStatus:
        """The ConnectionStatus; DISCONNECTED before the first `connect`."""
        if self._attempt is not None:
            return ConnectionStatus.CONNECTING
        if self._connection is not None:
            return self._connection.status
        return ConnectionStatus.DISCONNECTED

    @property
    def failure(self) -> ConnectFailure | None:
        """Reason why the last attempt to connect failed; None if it succeeded or is in progress."""
        return self._failure

    def token(self) -> int:
        """The number that names this session on the server; 0 while not connected.

        It is no credential: do not let it stand for who the player is.
        """
        if self._connection is not None and self._connection.is_live:
            return self._connection.token
        return 0

    def fileno(self) -> int:
        """The file descriptor of the socket, for `select` and its kin; -1 while there is none.

        It stays the same from when the client is connected until that connection has ended.
        """
        if self._attempt is not None:
            return self._attempt.fileno()
        return -1 if self._socket is None else self._socket.fileno()

    def filenos(self) -> tuple[int, ...]:
        """All the file descriptors to wait for: several while an attempt to connect is under way.

        They may be others after an `update`, `connect` or call that ends the connection.
        """
        if self._attempt is not None:
            return self._attempt.filenos()
        return () if self._socket is None else (self._socket.fileno(),)

    def next_timer(self) -> float:
        """Time at which `update` is due if nothing arrives, in seconds of `time.perf_counter`.

        For programs that wait for `filenos` and have no frames; infinity while nothing is due.
        It may be earlier after any other call.
        """
        if self._callbacks:
            return 0.0
        if self._attempt is not None:
            return self._attempt.next_timer()
        return float("inf") if self._connection is None else self._connection.next_timer()

    @property
    def wants_write(self) -> bool:
        """True while the socket takes no more: `update` is due when it can be written, too."""
        return self._pump is not None and self._pump.is_blocked

    # -- messages ---------------------------------------------------------------------------

    def send(
        self,
        msg: bytes | bytearray | memoryview,
        retry: int = -1,
        callback: Callable[[bool], object] | None = None,
    ) -> None:
        """Queue a message for the server; the next `update` sends it.

        `msg` is any bytes-like object, of 0 bytes to the largest that can be fragmented
        (8,389,011 bytes at the default MTU over IPv4), and is copied at once. `retry` is a
        `RetryMode` or its number, RETRY_ON_TIMEOUT by default. `callback` is called once, from a
        later `update` or a call that ends the connection: with True when the message, with all
        its fragments, was acked; with False when it timed out (not with RETRY_ON_TIMEOUT) or the
        connection ended.

        Raises NotConnectedError unless connected; TypeError or ValueError for another type, retry
        mode or length; SendQueueFullError while too much waits. Nothing is queued by these, and
        the client stays usable.
        """
        self._guard.check()
        if self._connection is None or self._attempt is not None:
            raise NotConnectedError(f"cannot send while {self.status().name}")
        self._connection.send(msg, retry, callback)

    def send_guaranteed(
        self,
        payload: bytes | bytearray | memoryview,
        callback: Callable[[bool], object] | None = None,
    ) -> None:
        """Queue a message that is sent until it is acked: `send` with RETRY_ON_TIMEOUT."""
        self.send(payload, RetryMode.RETRY_ON_TIMEOUT, callback)

    def hasMessages(self) -> bool:
        """True while messages from the server wait to be read."""
        return self._connection is not None and self._connection.endpoint.inbox_size > 0

    def getMessage(self) -> tuple[SeqNum, bytes]:
        """Take one message from the server: (seqnum, msg), in order of arrival.

        Raises IndexError when none waits, connected or not.
        """
        self._guard.check()
        if not self.hasMessages():
            raise IndexError("no message waits")
        assert self._connection is not None
        return self._connection.endpoint.take_message()

    def getMessages(self) -> list[tuple[SeqNum, bytes]]:
        """Take all messages from the server, in order of arrival: a list of (seqnum, msg)."""
        self._guard.check()
        if self._connection is None:
            return []
        return self._connection.endpoint.take_messages()

    @property
    def pending(self) -> int:
        """The bytes of messages that wait to be sent for the first time."""
        return 0 if self._connection is None else self._connection.pending

    def latency(self) -> float:
        """The weighted average time from sending a packet until it is acked, in seconds.

        0.0 before the first ack.
        """
        return 0.0 if self._connection is None else self._connection.latency

    def stats(self) -> ConnectionStats:
        """A snapshot of the figures of the current connection, or of the last one."""
        if self._connection is None:
            return ConnectionStats()
        stats = ConnectionStats.of(self._connection.endpoint, self._network.now())
        return replace(stats, send_errors=self._send_errors())

    # -- settings ---------------------------------------------------------------------------

    def setConnectionTimeout(self, timeout: float) -> None:
        """Set how many seconds an attempt to connect may take; 5 by default.

        It holds from the next `connect` on. TypeError or ValueError unless above 0.
        """
        self._connection_timeout = check_interval("timeout", timeout)

    def setKeepAliveInterval(self, interval: float) -> None:
        """Set after how many seconds of saying nothing a keep-alive is sent; 0.1 by default.

        Messages with BEST_EFFORT are repeated at this interval. It holds at once. TypeError or
        ValueError unless above 0; `connect` refuses one that is not below the idle timeout of 5 s.
        """
        self._timing.keep_alive = check_interval("interval", interval)
        self._retime()

    def setMessageTimeout(self, timeout: float) -> None:
        """Set after how many seconds without an ack a message has timed out; 1 by default.

        It holds at once. TypeError or ValueError unless above 0.
        """
        self._timing.message = check_interval("timeout", timeout)
        self._retime()

    def _retime(self) -> None:
        if self._connection is not None:
            self._connection.retime(self._timing)
            contradiction = self._timing.contradiction()
            if contradiction is not None:
                _LOG.warning("%s", contradiction)

    # -- the frame --------------------------------------------------------------------------

    def update(self) -> None:
        """Receive and send; to be called once per frame.

        All that waits is sent in as many datagrams as it takes, as far as the server's acks
        allow. Callbacks run in here, 4,096 at the most. Never blocks. What the network does is
        never raised, only RuntimeError when it is called from a callback, or while another call
        runs (by a finalizer or a log handler) or another thread uses the client, and OSError
        (EBADF or ENOTSOCK) when something else in the process has closed the socket: the client
        is DISCONNECTED then, and the callbacks of what was outstanding are called with False by
        the next `update`.

        What a signal's handler raises in here comes out of it, and loses no callback: those that
        were not called yet are called by the next `update`.
        """
        self._guard.run(self._update_or_leave)

    def _update_or_leave(self) -> None:
        self._refuse_inside("update")
        try:
            self._update(self._network.now())
        except OSError as error:
            if error.errno in CLOSED_BY_OTHERS:  # else a TimeoutError of a signal's handler, say
                self._exclusively(self._leave)
            raise

    def _update(self, now: float) -> None:
        self._exclusively(partial(self._read, now))
        left = MAX_CALLBACKS_PER_UPDATE - self._run_callbacks(MAX_CALLBACKS_PER_UPDATE)
        self._exclusively(partial(self._write, now))
        if left and self._callbacks:  # the connection was ended meanwhile
            self._run_callbacks(left)

    def _refuse_inside(self, name: str) -> None:
        if self._callbacks.is_running:
            raise RuntimeError(f"{name}() was called from a callback")
        if self._exclusively.is_busy:
            raise RuntimeError(f"{name}() was called while the client is in another call")

    def _read(self, now: float) -> None:
        """Take what has arrived, and do what the time asks for."""
        if self._attempt is not None:
            self._update_attempt(self._attempt, now)
        if self._pump is not None:
            self._pump.receive(MAX_DATAGRAMS_PER_UPDATE, now)
        if self._connection is not None:
            self._connection.advance(now)

    def _update_attempt(self, attempt: Attempt, now: float) -> None:
        established = attempt.update(now)
        if established is not None:
            self._begin(*established)
            self._end_attempt(True)
        elif attempt.failure is not None:
            self._failure = attempt.failure
            self._end_attempt(False)

    def _begin(self, sock: ConnectedSocket, session: EstablishedSession) -> None:
        on_drop = partial(_log_drop, self._drop_log)
        self._socket = sock
        self._send_errors = sock.errors.counts
        self._connection = Connection(session.endpoint, session.token, self._timing)
        self._pump = ClientPump(self._connection, sock.datagrams, on_drop, sock.observer)

    def _end_attempt(self, succeeded: bool) -> None:
        self._callbacks.settle_attempt(succeeded)
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.say_goodbye(self._socket)
            attempt.close(self._socket)

    def _write(self, now: float) -> None:
        """Send what is due, as far as the socket takes it; close it after the last."""
        pump = self._pump
        if pump is None:
            return
        pump.send(now)
        if self._socket is not None and self._socket.datagrams.unreported_error:
            self._socket.errors.report(now)
        if not pump.is_blocked and self._connection is not None and not self._connection.is_live:
            self._close_socket()

    def _run_callbacks(self, most: int = sys.maxsize) -> int:
        """Call the callbacks of all that is over, each once, whatever they raise or call.

        No more than `most` of them; the next call goes on. Returns how many were called.
        """
        if self._connection is not None:
            self._callbacks.collect(self._connection)
        return self._callbacks.run(_log_raised, most)

    # -- the end ----------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Disconnect from the server, once what was queued before has arrived.

        The `update` calls to come, or `waitForDisconnect`, do it, for up to 1 second: what is
        reliable is retransmitted until it is acked, all else leaves once. An attempt to connect
        is given up. Idempotent.
        """
        self._guard.check()
        self._exclusively(self._begin_disconnect)

    def _begin_disconnect(self) -> None:
        if self._attempt is not None:
            self._end_attempt(False)
        elif self._connection is not None:
            self._connection.disconnect(self._network.now())

    def waitForDisconnect(self) -> None:
        """Disconnect, and wait for up to 1 second until the server has answered.

        What is reliable and was queued before is retransmitted first, as by `disconnect`.
        Callbacks run in here. Safe in any state; RuntimeError when it is called from a callback.
        """
        self._guard.check()
        self._refuse_inside("waitForDisconnect")
        self.disconnect()
        connection = self._connection
        self.update()
        while connection is not None and connection is self._connection and connection.is_live:
            self._network.wait(self, max(connection.next_timer() - self._network.now(), MIN_WAIT))
            self.update()
        self._run_callbacks()

    def forceDisconnect(self) -> None:
        """Close the connection, or give up the attempt, at once.

        The server is told by one datagram that it may or may not get. The callbacks of what is
        outstanding are called with False before this returns. Safe in any state: while another
        call runs (in a finalizer or a handler of the log) it takes effect right after that.
        """
        self._guard.check()
        self._exclusively(self._leave)
        if not self._exclusively.is_busy:
            self._run_callbacks()

    def _leave(self) -> None:
        """End whatever is under way; its callbacks become due."""
        self._end_attempt(False)
        if self._connection is None:
            return
        last = self._connection.abandon(self._network.now())
        if last is not None and self._socket is not None:
            with contextlib.suppress(OSError):  # closed by somebody else: nobody is told
                self._socket.send(last)
        self._callbacks.collect(self._connection)
        self._close_socket()

    def end_in_child(self) -> None:
        """Be as one that never connected: the connection is the parent process's."""
        if not self._guard.is_here:  # what a thread was in that the child does not have
            self._guard, self._callbacks, self._exclusively = (
                ThreadGuard(),
                Callbacks(),
                Exclusive(),
            )
        self._end_attempt(False)
        self._callbacks.clear()
        if self._connection is not None:
            self._connection.disown()
        self._connection = None
        self._failure = None
        self._close_socket()

    def _close_socket(self) -> None:
        self._pump = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _log_raised() -> None:
    _LOG.exception("a callback raised")


def _log_drop(log: LimitedLog, reason: str, now: float) -> None:
    """No method, which the client would hold and be held by: its socket would close late."""
    if reason not in _ORDINARY_DROPS:
        log.warning(now, "dropped a datagram: %s", reason)
