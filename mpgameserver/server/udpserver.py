"""The server on a socket, served in the caller's thread or in one of its own.

Between two turns of the loop it waits for the socket, the engine's next timer, or a byte in the
wake pipe, which other threads and signal handlers write.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from mpgameserver import forks
from mpgameserver.reprs import even_unmade
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext, require_context
from mpgameserver.server.handler import EVENTS, refuse_coroutines
from mpgameserver.server.loop import ServerLoop, State, describe
from mpgameserver.server.stats import ServerStats
from mpgameserver.server.stuck import where_stuck
from mpgameserver.transport.address import host_and_port
from mpgameserver.transport.poll import BusyPoller, Waiter

__all__ = ["ThreadedServer", "UdpServer"]

FORCING_INTERRUPTS = 3
"""The SIGINT of this number raises KeyboardInterrupt in whatever event is running."""
STOP_TIMEOUT = 30.0
"""Seconds that `ThreadedServer.stop` waits: disconnecting takes one, and the events that are
running, `shutdown` among them, may have much to save."""
MAX_WAIT = 1.0
"""Seconds that the loop sleeps at most, for systems on which signals do not interrupt it."""

_LOG = logging.getLogger("mpgameserver.server")


class _WakePipe:
    """Ends the wait of the loop, from any thread and from signal handlers."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._files = [(end, _file_of(end)) for end in (self._reader, self._writer)]
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes up anyway; closed: it is over
            self._writer.send(b"\0")

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    def close(self) -> None:
        """Close both ends, unless something else has closed them and reused their numbers."""
        for end, file in self._files:
            if _file_of(end) == file:
                end.close()
            else:
                end.detach()


def _file_of(sock: socket.socket) -> tuple[int, int] | None:
    """Return device and inode of a socket's descriptor; None if it is closed, or on Windows."""
    try:
        status = os.fstat(sock.fileno())
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _stop_signals() -> list[int]:
    """Return the signals by which a system asks a program to end."""
    names = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last one exists only on Windows
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class UdpServer:
    """A server that runs a context's handler for the clients that connect to an address.

    It listens from the moment it is made; `run` serves.

    Parameters:
        ctxt: the context.
        addr: a pair (host, port): an IPv4 or IPv6 address or a name; "::" for both IPv4 and IPv6;
            port 0 for a free port.
        install_signals: in the main thread, let SIGINT and SIGTERM end `run`, and on Windows
            SIGBREAK (Ctrl-Break, or closing the console).

    Raises:
        TypeError: `ctxt` is not a ServerContext, `addr` is not such a pair, or an event of the
            handler is a coroutine function.
        ValueError: the port is out of range.
        OSError: the address, which the message names, cannot be listened on.
    """

    def __init__(
        self, ctxt: ServerContext, addr: tuple[str, int], install_signals: bool = True
    ) -> None:
        self._context = require_context(ctxt)
        refuse_coroutines(ctxt.events, ctxt.handler)
        self._install_signals = install_signals
        self._previous_signals: dict[int, Any] = {}
        self._interrupts = 0
        self._pipe = _WakePipe()
        try:
            self._loop = ServerLoop(ctxt, addr, ctxt.events, on_closed=self._pipe.close)
        except BaseException:
            self._pipe.close()
            raise
        forks.end_in_child(self)

    @even_unmade
    def __repr__(self) -> str:
        return self._loop.describe(self)

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that it listens on; also after it has stopped."""
        return self._loop.socket.address

    def run(self) -> None:
        """Serve until `stop`, `ServerContext.shutdown` or a signal. A server can run once.

        Before it returns, it disconnects every client, which takes up to 1 second. Further signals
        have no effect until it returns, except that the third SIGINT (Ctrl-C) raises
        KeyboardInterrupt wherever the handler is. In a child process that an event has forked, it
        returns as soon as the event does; the parent's server is unaffected.

        Raises:
            RuntimeError: it has already run, another server runs the context, or the process was
                forked since the server was made.
            ValueError: the keep-alive interval is not below the idle timeouts.
            OSError: something else in the process has closed the server's descriptors (EBADF or
                ENOTSOCK). Clients are not notified; the handler has had its last events. Make a new
                server.
            Exception: whatever the event `starting` raises; the server does not start.
        """
        if self._claim():
            self._run()

    # -- in another event loop ---------------------------------------------------------------

    def fileno(self) -> int:
        """Return the socket's file descriptor, for `select` and the like; -1 when stopped."""
        return self._loop.socket.fileno()

    def next_timer(self) -> float:
        """Time at which `update` is due if nothing arrives, in seconds of `time.perf_counter`.

        It is 0.0 before the first `update`, and when a message was queued or the context was called
        since the last one; infinity when the server has stopped.
        """
        return self._loop.next_timer()

    @property
    def wants_write(self) -> bool:
        """True while the socket is not writable; `update` is also due when it becomes writable."""
        return self._loop.wants_write

    def update(self) -> bool:
        """Serve what has arrived and what is due, without blocking, in an event loop of yours.

        Call it when the socket is readable and when `next_timer` has come, until it returns False.
        The first call starts to serve. Calls from other threads wait for the next `update`, at most
        one interval. One call reads at most 256 datagrams.

        Returns:
            False when the server has stopped.

        Raises:
            RuntimeError: it was called from an event of the handler, `run` was called before, or
                another server runs the context.
            OSError: as for `run`; the server has stopped and is closed.
            Exception: on the first call, whatever the event `starting` raises.
        """
        return self._loop.update(self)

    def close(self) -> None:
        """Stop a server that `update` serves, at once: each client gets one DISCONNECT. Idempotent.

        Raises:
            RuntimeError: it was called from an event of the handler, or `run` serves; use `stop`.
        """
        self._loop.close()

    def stop(self) -> None:
        """Ask `run` or the `update` calls to end, or keep them from starting. Idempotent.

        It returns at once and may be called from any thread.
        """
        self._loop.stop()

    # -- what the context asks --------------------------------------------------------------

    @property
    def clients(self) -> tuple[ServerClient, ...]:
        """The clients that are connected, in the order in which they connected."""
        return self._loop.engine.clients

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the server's statistics."""
        return self._loop.engine.stats

    @property
    def now(self) -> float:
        """The monotonic time of the loop, in seconds."""
        return self._loop.engine.now

    def wake(self) -> None:
        """End the loop's wait."""
        if self._loop.state is State.DRIVEN:
            self._loop.want_turn()
        else:
            self._pipe.wake()

    # -- serving until the end --------------------------------------------------------------

    def _claim(self) -> bool:
        """Attach the context to this server; return False if it was stopped before."""
        return self._loop.claim(self, State.RUNNING)

    def _run(self, on_started: Callable[[], object] = lambda: None) -> None:
        with self._signals():  # kept until the end, so that a second signal does no harm
            try:
                self._serve(on_started)
            finally:
                self._loop.release()

    def _serve(self, on_started: Callable[[], object]) -> None:
        loop = self._loop
        loop.start()
        on_started()
        if loop.is_over:  # in a process that `starting` has forked
            return
        try:
            waiter = BusyPoller(loop.socket.datagrams.spin, loop.socket, self._pipe)
            loop.turn()
            while not loop.engine.is_stopped:
                self._wait(waiter)
                loop.turn()
        finally:
            if not loop.engine.is_stopped:
                loop.abort()

    def _wait(self, waiter: Waiter) -> None:
        waiter.want_write(self._loop.socket, self._loop.wants_write)
        seconds = min(max(self._loop.next_timer() - time.perf_counter(), 0.0), MAX_WAIT)
        if self._pipe.fileno() in waiter.wait(seconds):
            self._pipe.drain()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let signals stop the server, if requested and possible."""
        wanted = self._install_signals and threading.current_thread() is threading.main_thread()
        self._previous_signals = {
            number: signal.signal(number, self._on_signal)
            for number in (_stop_signals() if wanted else ())
        }
        try:
            yield
        finally:
            self._restore_signals()

    def _restore_signals(self) -> None:
        previous, self._previous_signals = self._previous_signals, {}
        for number, handler in previous.items():
            if handler is not None:  # None: not set from Python, and cannot be restored
                signal.signal(number, handler)

    def end_in_child(self) -> None:
        """Leave the signals to the program: the server is the parent process's."""
        self._restore_signals()

    def _on_signal(self, number: int, frame: object) -> None:
        """Stop; the third Ctrl-C also interrupts an event that hangs."""
        self.stop()
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts >= FORCING_INTERRUPTS:
                raise KeyboardInterrupt


class ThreadedServer:
    """A `UdpServer` in a thread of its own.

    As a context manager it starts and stops the server. After `stop` it can be started again.
    `name` and `daemon` are those of its thread, as in `threading.Thread`; set them before `start`.

    Parameters:
        ctxt: the context.
        addr: a pair (host, port), as for `UdpServer`.

    Raises:
        TypeError: `ctxt` is not a ServerContext, or `addr` is not such a pair.
        ValueError: the port is out of range.
    """

    def __init__(self, ctxt: ServerContext, addr: tuple[str, int]) -> None:
        self._context = require_context(ctxt)
        self._addr = host_and_port(addr, least_port=0)
        self.name: str = "mpgameserver-server"
        self._daemon = True
        self._server: UdpServer | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        forks.end_in_child(self)

    @even_unmade
    def __repr__(self) -> str:
        state = "serving" if self.is_alive() else "not running"
        clients = 0 if self._server is None else len(self._server.clients)
        return describe(self, state, self.address, clients)

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that it listens on; before it has started, the given one."""
        return self._addr if self._server is None else self._server.address

    @property
    def daemon(self) -> bool:
        """True, the default, if the program may end while the server runs.

        Raises:
            RuntimeError: it was set while the server runs.
        """
        return self._daemon

    @daemon.setter
    def daemon(self, daemonic: bool) -> None:
        if self.is_alive():
            raise RuntimeError("cannot set daemon status of a running server")
        self._daemon = bool(daemonic)

    def start(self) -> None:
        """Listen, and serve in a new thread; return when the event `starting` has returned.

        If it raises, the server has not started, and you can start it again.

        Raises:
            RuntimeError: it is already running, another server runs the context, or the system has
                no thread left.
            TypeError: an event of the handler is a coroutine function.
            ValueError: the keep-alive interval is not below the idle timeouts.
            OSError: the address, which the message names, cannot be listened on.
            Exception: whatever the event `starting` raises.
        """
        if self.is_alive():
            raise RuntimeError("this server is running")
        server = UdpServer(self._context, self._addr, install_signals=False)
        try:
            server._claim()
        except BaseException:
            server.stop()
            raise
        has_begun: Future[None] = Future()
        thread = threading.Thread(
            target=self._run, args=(server, has_begun), name=self.name, daemon=self._daemon
        )
        self._server, self._error = server, None
        try:
            thread.start()
        except BaseException:  # no thread is left
            self._server = None
            server._loop.release()
            raise
        self._thread = thread
        try:
            has_begun.result()
        except BaseException:
            if has_begun.done():
                self._thread.join()
            raise

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Disconnect every client, up to 1 s, and return when the thread has ended. Idempotent.

        On the handler's own thread it only requests the stop.

        Parameters:
            timeout: the longest time to wait for an event that does not return, in seconds.

        Raises:
            TimeoutError: an event, which the message names, has not returned. The thread goes on,
                `stop` can be called again, and the program can end without waiting for it.
            Exception: whatever has ended the loop, if anything has.
        """
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        server.stop()
        if thread is threading.current_thread():
            return
        thread.join(timeout)
        if thread.is_alive():
            where = where_stuck(thread, self._context.handler, EVENTS)
            raise TimeoutError(f"the server has not stopped within {timeout:g} s: {where}")
        error, self._error = self._error, None
        if error is not None:
            raise error

    def is_alive(self) -> bool:
        """Return True from `start` until the server has stopped, for whatever reason."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the server has stopped; `is_alive` tells if it has.

        Parameters:
            timeout: the longest time to wait, in seconds; None for no limit.

        Raises:
            RuntimeError: it was not started, or this is the handler's own thread.
        """
        if self._thread is None:
            raise RuntimeError("cannot join a server before it is started")
        self._thread.join(timeout)

    def _run(self, server: UdpServer, has_begun: Future[None]) -> None:
        try:
            server._run(lambda: has_begun.set_result(None))
        except BaseException as error:
            if self._server is not server:  # in a process forked by an event, which leaves it
                raise
            if has_begun.done():
                _LOG.exception("the server has failed")
                self._error = error
            else:
                has_begun.set_exception(error)

    def end_in_child(self) -> None:
        """Become a server that was never started: the thread is the parent process's."""
        self._server = self._thread = self._error = None

    def __enter__(self) -> ThreadedServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
