"""The client: a socket, a clock and a connection, driven by one call per frame.

`update` reads what has arrived, handles timeouts, calls the callbacks of completed messages, and
sends. It never blocks, and network errors are never raised.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import cast

from mpgameserver import forks
from mpgameserver._core.callbacks import Callbacks, Exclusive, ThreadGuard
from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver._core.progress import Progress
from mpgameserver._core.pump import ClientPump
from mpgameserver._core.seqnum import SeqNum
from mpgameserver.channels import Channel
from mpgameserver.client.channel import ClientChannel
from mpgameserver.client.connect import NO_REASON, Attempt, server_address
from mpgameserver.client.network import SYSTEM, Network
from mpgameserver.client.options import Credential, SessionOptions
from mpgameserver.client.silence import Silence
from mpgameserver.connection import (
    CloseReason,
    Connection,
    Timing,
    check_close,
    check_interval,
)
from mpgameserver.crypto import EllipticCurvePublicKey, load_public_key
from mpgameserver.enums import ConnectFailure, ConnectionStatus, RetryMode
from mpgameserver.errors import NotConnectedError
from mpgameserver.reprs import even_unmade
from mpgameserver.stats import ConnectionStats
from mpgameserver.transport.address import format_address, host_of, largest_datagram, plain_address
from mpgameserver.transport.keylog import open_key_log
from mpgameserver.transport.ratelog import LimitedLog
from mpgameserver.transport.sockets import ConnectedSocket
from mpgameserver.transport.trace import open_trace
from mpgameserver.wire.protocol2.hello import VERSION

__all__ = ["UdpClient"]

CONNECTION_TIMEOUT = 5.0
"""Seconds that an attempt to connect may take."""
MAX_DATAGRAMS_PER_UPDATE = 1024
"""Datagrams read in one `update`: twice what the fastest sender sends in a frame of 1/60 s."""
MAX_CALLBACKS_PER_UPDATE = 4096
"""Callbacks of messages called in one `update`, so that a server that acks late and all at once
does not delay the frame. The rest is called in the next one."""
CLOSED_BY_OTHERS = frozenset({errno.EBADF, errno.ENOTSOCK})
"""Errors of a socket that something else in the process has closed."""
MIN_WAIT = 0.001
"""Minimum seconds that a blocking call waits while the socket is not writable."""

_LOG = logging.getLogger("mpgameserver.client")

_ORDINARY_DROPS = frozenset({"repeated", "too old"})
"""Drops that an honest server on an honest network causes; they are not logged."""


class UdpClient:
    """A connection to a server, over UDP.

    Call `update` once per frame. Messages are not delivered in order. Use a client from one thread
    at a time: calling it while another thread is in one of its calls raises RuntimeError. In a
    forked child process the client looks as if it had never connected; the parent's is unaffected.

    As a context manager it calls `forceDisconnect` at the end of the block.

    Parameters:
        server_public_key: the server's public key, its PEM text or the path of a PEM file. Without
            one the client trusts whoever replies first, and has no protection from a man in the
            middle.
        trace: a file to which a line is appended for each datagram; by default, the one that the
            environment variable MPGAMESERVER_TRACE names, if it is set.
        key_log: a file to which the keys of each session are appended, for Wireshark: whoever reads
            it reads the sessions. By default, the one that the environment variable
            MPGAMESERVER_KEYLOG names, if it is set.
        minimum_protocol: 2 refuses servers that speak protocol 1 only. What only protocol 2 has
            (the parameters below) makes it 2.
        channels: the channels of the game, the same as the server's.
        credential: what shows the server who the player is, at most 1,024 bytes; or a function that
            returns it, called for each session that is tried, from `update`. Its argument is 32
            bytes that this session alone has, which the server knows as `ServerClient.binding`: a
            credential that is bound to them, by a signature, say, is good in this session only.
            Without `server_public_key` you do not know who reads it.
        audience: the name of the service, at most 40 bytes of UTF-8; only a server with the same
            replies.
        require_hybrid: refuse a session whose keys do not also come from ML-KEM-768, which protects
            recorded traffic from quantum computers. By default, both are used where both sides
            have them.

    Raises:
        TypeError: an argument has another type.
        ValueError: `server_public_key` is PEM text or a file, but not of a P-256 public key; or
            another argument is not allowed.
        OSError: the key cannot be read, or the trace or the key log cannot be written.
    """

    _network: Network = SYSTEM
    """The clock and sockets, which `mpgameserver.testing` replaces."""

    def __init__(
        self,
        server_public_key: EllipticCurvePublicKey | str | bytes | os.PathLike[str] | None = None,
        *,
        trace: str | os.PathLike[str] | None = None,
        key_log: str | os.PathLike[str] | None = None,
        minimum_protocol: int = 1,
        channels: Iterable[Channel] = (),
        credential: Credential = b"",
        audience: str = "",
        require_hybrid: bool = False,
    ) -> None:
        self._options = SessionOptions.checked(
            minimum_protocol, channels, credential, audience, require_hybrid
        )
        self._trace = open_trace(trace)
        self._server_key = None if server_public_key is None else load_public_key(server_public_key)
        self._key_log = open_key_log(key_log, "client")  # after all that may raise: it warns
        self._timing = Timing()
        self._connection_timeout = CONNECTION_TIMEOUT
        self._attempt: Attempt | None = None
        self._connection: Connection | None = None
        self._socket: ConnectedSocket | None = None
        self._pump: ClientPump | None = None
        self._callbacks = Callbacks()
        self._exclusively = Exclusive()
        self._guard = ThreadGuard()
        """The thread in a call that no other may enter; 0: none."""
        self._failure: ConnectFailure | None = None
        self._rejection: CloseReason | None = None
        """The reason of a server that has ended the last attempt."""
        self._silence = Silence()
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
        """Start to connect to a server.

        While the client is already trying the same (host, port), the attempt continues, so a frame
        loop may call this until the client is connected. Otherwise the client starts anew. It
        first closes an existing connection with a DISCONNECT; the next `update` calls the callbacks
        of that connection's messages, and of an attempt to reach another address, with False. If it
        raises, nothing has changed.

        Parameters:
            addr: a pair (host, port). The host is a name, an IPv4 or an IPv6 address.
            callback: called once, from `update`: with True when connected, with False when the
                attempt has failed (`failure` says why) or another call has ended it.

        Raises:
            TypeError: `addr` is not a pair of a str and an int, or `callback` is not callable.
            ValueError: `addr` is not an address of a server, or the keep-alive interval is not
                below the idle timeout of 5 s.
            RuntimeError: another thread is using the client.
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
            self._options,
            self._timing,
            self._trace,
            self._key_log,
        )
        self._leave()
        self._connection = None
        self._failure = self._rejection = None
        self._attempt = attempt

    def connected(self) -> bool:
        """Return True while the client is connected to the server."""
        return self.status() == ConnectionStatus.CONNECTED

    def status(self) -> ConnectionStatus:
        """Return the state of the connection; DISCONNECTED before the first `connect`."""
        if self._attempt is not None:
            return ConnectionStatus.CONNECTING
        if self._connection is not None:
            return self._connection.status
        return ConnectionStatus.DISCONNECTED

    @property
    def failure(self) -> ConnectFailure | None:
        """Reason why the last attempt to connect failed; None if it succeeded or is in progress."""
        return self._failure

    @property
    def reason(self) -> CloseReason | None:
        """The code and the text with which the session, or the attempt to connect, was ended.

        None while neither side has ended it, and after a loss of the connection. It is the server's
        where the server has ended it. In protocol 1 there are none: it is 0 and empty.
        """
        if self._attempt is not None:
            return None
        if self._connection is None:
            return self._rejection
        reason = self._connection.close_reason
        return None if reason is None else CloseReason(*reason)

    @property
    def protocol(self) -> int | None:
        """The protocol of the current session or of the last one, 1 or 2; None without one."""
        return None if self._connection is None else self._connection.endpoint.protocol

    def token(self) -> int:
        """Return the number that identifies this session on the server; 0 while not connected.

        It is not a credential: do not use it to decide who a player is.
        """
        if self._connection is not None and self._connection.is_live:
            return self._connection.token
        return 0

    def fileno(self) -> int:
        """Return the socket's file descriptor, for `select` and the like; -1 if there is none.

        It stays the same from the moment the client is connected until the connection has ended.
        """
        if self._attempt is not None:
            return self._attempt.fileno()
        return -1 if self._socket is None else self._socket.fileno()

    def filenos(self) -> tuple[int, ...]:
        """Return all file descriptors to wait for: several while an attempt is in progress.

        They may change with an `update`, a `connect`, or a call that ends the connection.
        """
        if self._attempt is not None:
            return self._attempt.filenos()
        return () if self._socket is None else (self._socket.fileno(),)

    def next_timer(self) -> float:
        """Time at which `update` is due if nothing arrives, in seconds of `time.perf_counter`.

        For programs that wait for `filenos` instead of running frames. Infinity while nothing is
        due. Any other call may make it earlier.
        """
        if self._callbacks:
            return 0.0
        if self._attempt is not None:
            return self._attempt.next_timer()
        return float("inf") if self._connection is None else self._connection.next_timer()

    @property
    def wants_write(self) -> bool:
        """True while the socket is not writable; `update` is also due when it becomes writable."""
        return self._pump is not None and self._pump.is_blocked

    # -- messages ---------------------------------------------------------------------------

    def send(
        self,
        msg: bytes | bytearray | memoryview,
        retry: int = -1,
        callback: Callable[[bool], object] | None = None,
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Queue a message for the server; the next `update` sends it.

        If it raises, nothing was queued and the client stays usable.

        Parameters:
            msg: any bytes-like object, of 0 bytes to the largest that can be fragmented (8,389,011
                bytes at the default MTU over IPv4). It is copied at once.
            retry: a `RetryMode` or its number; RETRY_ON_TIMEOUT by default.
            callback: called once, from a later `update` or from a call that ends the connection:
                with True when the message, with all of its fragments, was acked; with False when it
                timed out (never with RETRY_ON_TIMEOUT) or the connection has ended.
            on_progress: called from `update` with the bytes acked so far and the bytes in all, at
                most once in each that has got acks of this message. If all of it is acked, the last
                call says so, before that of `callback`.

        Raises:
            NotConnectedError: the client is not connected.
            SendQueueFullError: too much is queued; send again when some of it has left.
            TypeError: an argument has another type.
            ValueError: the message is too long, or `retry` is not a retry mode.
            RuntimeError: another thread is using the client.
        """
        if on_progress is not None:
            callback = Progress(on_progress, callback)
        self._sending_connection().send(msg, retry, callback)

    def _sending_connection(self) -> Connection:
        """Return the connection to send on. Raises NotConnectedError, or as `ThreadGuard.check`."""
        self._guard.check()
        if self._connection is None or self._attempt is not None:
            raise NotConnectedError(f"cannot send while {self.status().name}")
        return self._connection

    def send_guaranteed(
        self,
        payload: bytes | bytearray | memoryview,
        callback: Callable[[bool], object] | None = None,
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Queue a message that is retransmitted until it is acked: `send` with RETRY_ON_TIMEOUT."""
        self.send(payload, RetryMode.RETRY_ON_TIMEOUT, callback, on_progress=on_progress)

    def hasMessages(self) -> bool:
        """Return True while there are messages from the server to read."""
        return self._connection is not None and self._connection.endpoint.inbox_size > 0

    def getMessage(self) -> tuple[SeqNum, bytes]:
        """Take one message from the server: (seqnum, msg), in order of arrival.

        Raises:
            IndexError: there is none, whether connected or not.
        """
        self._guard.check()
        if not self.hasMessages():
            raise IndexError("there is no message")
        assert self._connection is not None
        return self._connection.endpoint.take_message()

    def getMessages(self) -> list[tuple[SeqNum, bytes]]:
        """Take all messages from the server: a list of (seqnum, msg) in order of arrival."""
        self._guard.check()
        if self._connection is None:
            return []
        return self._connection.endpoint.take_messages()

    def channel(self, name: str) -> ClientChannel:
        """Return one of the declared channels, to send and receive on it.

        It may be kept, and used in each session of this client.

        Raises:
            ValueError: no channel with that name was declared.
        """
        number = self._options.channels.number_of(name)
        return ClientChannel(self, number, dict(self._options.channels)[number])

    def _send_on(
        self,
        channel: int,
        msg: bytes | bytearray | memoryview,
        retry: int,
        callback: Callable[[bool], object] | None,
    ) -> None:
        self._sending_connection().send_on(channel, msg, retry, callback)

    def _take_from(self, channel: int) -> Iterator[bytes]:
        while self._waiting_on(channel):
            self._guard.check()
            assert self._connection is not None
            yield self._connection.take_channel_message(channel)[1]

    def _waiting_on(self, channel: int) -> int:
        """Return how many messages of a channel have arrived and were not read."""
        return 0 if self._connection is None else self._connection.channel_inbox_size(channel)

    def _pending_on(self, channel: int) -> int:
        return 0 if self._connection is None else self._connection.channel_pending(channel)

    def _arriving_on(self, channel: int) -> list[tuple[int, int]]:
        return [] if self._connection is None else self._connection.channel_arriving(channel)

    @property
    def pending(self) -> int:
        """Bytes of queued messages that have not been sent yet."""
        return 0 if self._connection is None else self._connection.pending

    @property
    def arriving(self) -> list[tuple[int, int]]:
        """Of each long message that has arrived in part, the bytes so far and the bytes in all.

        The oldest is first. Those of channels are not among them; see `ClientChannel.arriving`. In
        protocol 1, which does not tell how long a message is, the bytes in all are an estimate.
        """
        return self._arriving_on(0)

    def latency(self) -> float:
        """Return the smoothed round-trip time, in seconds; 0.0 before the first ack."""
        return 0.0 if self._connection is None else self._connection.latency

    def server_time(self) -> float | None:
        """Return the server's time now, in seconds: what `ServerContext.server_time` says there.

        It is the server's monotonic clock, so only differences of two times mean anything. It is
        compared with the server's once a second or so, and is wrong by at most half of the round
        trip, by far less if both directions take about as long. None while it is not known: before
        the first comparison, and in protocol 1.
        """
        if self._connection is None:
            return None
        return self._connection.peer_time(self._network.now())

    def stats(self) -> ConnectionStats:
        """Return a snapshot of the statistics of the current connection, or of the last one."""
        if self._connection is None:
            return ConnectionStats()
        stats = ConnectionStats.of(self._connection.endpoint, self._network.now())
        return replace(stats, send_errors=self._send_errors())

    # -- settings ---------------------------------------------------------------------------

    def setConnectionTimeout(self, timeout: float) -> None:
        """Set the time that an attempt to connect may take. It takes effect at the next `connect`.

        Parameters:
            timeout: seconds, above 0; 5 by default.

        Raises:
            TypeError: `timeout` is not a number.
            ValueError: `timeout` is not above 0, or not finite.
        """
        self._connection_timeout = check_interval("timeout", timeout)

    def setKeepAliveInterval(self, interval: float) -> None:
        """Set the time without sending after which a keep-alive is sent. It takes effect at once.

        BEST_EFFORT messages are resent at this interval, too.

        Parameters:
            interval: seconds, above 0; 0.1 by default. `connect` refuses an interval that is not
                below the idle timeout of 5 s.

        Raises:
            TypeError: `interval` is not a number.
            ValueError: `interval` is not above 0, or not finite.
        """
        self._timing.keep_alive = check_interval("interval", interval)
        self._retime()

    def setMessageTimeout(self, timeout: float) -> None:
        """Set the time without an ack after which a message has timed out. It takes effect at once.

        Parameters:
            timeout: seconds, above 0; 1 by default.

        Raises:
            TypeError: `timeout` is not a number.
            ValueError: `timeout` is not above 0, or not finite.
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
        """Receive and send; call it once per frame.

        It sends everything that is queued and that the server's acks allow, in as many datagrams as
        it takes, and never blocks. Callbacks are called from here, at most 4,096 per call. Whatever
        the network or the server does, nothing is raised.

        An exception of a signal handler that runs in here propagates. No callback is lost: the next
        `update` calls the rest.

        Raises:
            RuntimeError: it was called from a callback, while another call runs (from a finalizer
                or a log handler), or while another thread uses the client.
            OSError: something else in the process has closed the socket (EBADF or ENOTSOCK). The
                client is DISCONNECTED then and can connect again; the next `update` calls the
                outstanding callbacks with False.
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
            if self._may_move and self._silence.is_long(
                now - self._connection.endpoint.last_received
            ):
                self._change_socket(self._connection)

    @property
    def _may_move(self) -> bool:
        """True while another socket could go on with the session."""
        return self.protocol == VERSION and self.connected()

    def _change_socket(self, connection: Connection) -> None:
        """Go on with the session from another socket, whose local address is that of now."""
        assert self._socket is not None
        try:
            new_socket = self._network.new_socket(self._socket.family)
            sock = ConnectedSocket(new_socket, self._socket.address, self._trace)
        except OSError as error:
            _LOG.info("no other socket for the session: %s", error)
            return
        _LOG.info("the session goes on from another socket")
        self._close_socket()
        cast(Endpoint2, connection.endpoint).on_path_changed(
            largest_datagram(host_of(sock.address))
        )
        self._use_socket(sock, connection)

    def _update_attempt(self, attempt: Attempt, now: float) -> None:
        established = attempt.update(now)
        if established is not None:
            self._begin(*established)
            self._end_attempt(True)
        elif attempt.failure is not None:
            self._failure, self._rejection = attempt.failure, attempt.reason
            self._end_attempt(False)

    def _begin(self, sock: ConnectedSocket, connection: Connection) -> None:
        self._connection, self._silence = connection, Silence()
        self._use_socket(sock, connection)

    def _use_socket(self, sock: ConnectedSocket, connection: Connection) -> None:
        on_drop = partial(_log_drop, self._drop_log)
        self._socket = sock
        self._send_errors = sock.errors.counts
        self._pump = ClientPump(connection, sock.datagrams, on_drop, sock.observer)

    def _end_attempt(self, succeeded: bool, reason: CloseReason = NO_REASON) -> None:
        self._callbacks.complete_attempt(succeeded)
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.send_disconnects(self._socket, reason)
            attempt.close(self._socket)

    def _write(self, now: float) -> None:
        """Send what is due, as far as the socket takes it; close it after the last."""
        pump = self._pump
        if pump is None:
            return
        pump.send(now)
        if self._socket is not None and self._socket.datagrams.unreported_error:
            error = self._socket.errors.report(now)
            if self._may_move and self._silence.is_cut_off(error, now):
                self._change_socket(cast(Connection, self._connection))
                self._write(now)  # at most once more: the next error comes too soon
                return
        if not pump.is_blocked and self._connection is not None and not self._connection.is_live:
            self._close_socket()

    def _run_callbacks(self, most: int = sys.maxsize) -> int:
        """Call the callbacks of completed messages, each once, whatever they raise or call.

        No more than `most` of them; the next call goes on. Returns how many were called.
        """
        if self._connection is not None:
            self._callbacks.collect(self._connection)
        return self._callbacks.run(_log_raised, most)

    # -- the end ----------------------------------------------------------------------------

    def disconnect(self, code: int = 0, text: str = "") -> None:
        """Disconnect from the server after everything queued before has been delivered.

        The following `update` calls, or `waitForDisconnect`, do the work, for up to 1 second:
        reliable messages are retransmitted until they are acked, all others are sent once. An
        attempt to connect is aborted. Idempotent.

        Parameters:
            code: 0, or a number of the game's own from 256 on, which the server gets as the reason;
                in protocol 1 neither is sent.
            text: the same in words, at most 256 bytes of UTF-8.

        Raises:
            TypeError: an argument has another type.
            ValueError: an argument is not allowed.
            RuntimeError: another thread is using the client.
        """
        reason = check_close(code, text)
        self._guard.check()
        self._exclusively(partial(self._begin_disconnect, reason))

    def _begin_disconnect(self, reason: CloseReason) -> None:
        if self._attempt is not None:
            self._end_attempt(False, reason)
        elif self._connection is not None:
            self._connection.disconnect(self._network.now(), *reason)

    def waitForDisconnect(self) -> None:
        """Disconnect, and block for up to 1 second until the server has replied.

        Reliable messages queued before are retransmitted first, as with `disconnect`. Callbacks are
        called from here. Idempotent.

        Raises:
            RuntimeError: it was called from a callback, while another call runs, or while another
                thread uses the client.
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
        """Close the connection, or abort the attempt to connect, at once.

        The server is notified by one datagram, which may get lost. Outstanding callbacks are called
        with False before this returns. Idempotent. If another call is running (it was called from a
        finalizer or a log handler), it takes effect right after that call.
        """
        self._guard.check()
        self._exclusively(self._leave)
        if not self._exclusively.is_busy:
            self._run_callbacks()

    def _leave(self) -> None:
        """End the attempt or the connection; its callbacks become due."""
        self._end_attempt(False)
        if self._connection is None:
            return
        last = self._connection.abort(self._network.now())
        if last is not None and self._socket is not None:
            with contextlib.suppress(OSError):  # closed by something else
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
        self._failure = self._rejection = None
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
