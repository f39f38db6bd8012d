"""The server on a socket, served in the caller's thread or in one of its own.

Between two turns of the loop it waits for the socket, the engine's next timer, or a byte in the
wake pipe, by which other threads and signals ask for attention.
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
from mpgameserver.transport.poll import EagerWaiter, Waiter

__all__ = ["ThreadedServer", "UdpServer"]

FORCING_INTERRUPTS = 3
"""SIGINTs after which one is a KeyboardInterrupt in whatever event is running."""
STOP_TIMEOUT = 30.0
"""Seconds that `ThreadedServer.stop` waits: the goodbye takes one, and the events that are running,
`shutdown` among them, may have much to save."""
MAX_WAIT = 1.0
"""Seconds that the loop sleeps at most, for systems where a signal does not interrupt it."""

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
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: nobody sleeps
            self._writer.send(b"\0")

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    def close(self) -> None:
        """Close both ends, but not what may have the number of one that was closed already."""
        for end, file in self._files:
            if _file_of(end) == file:
                end.close()
            else:
                end.detach()


def _file_of(sock: socket.socket) -> tuple[int, int] | None:
    """Device and inode of what the descriptor of a socket is; None when closed, or on Windows."""
    try:
        status = os.fstat(sock.fileno())
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _stop_signals() -> list[int]:
    """The signals by which a system asks a program to end."""
    names = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last is of Windows only
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class UdpServer:
    """A server that runs the handler of a context, for the clients that come to `addr`.

    `addr` is a pair (host, port): an IPv4 or IPv6 address or a name, "::" for both versions, and
    port 0 for a free port. It listens from the moment it is made; `run` serves. With
    `install_signals`, and in the main thread, SIGINT and SIGTERM end `run`, and on Windows SIGBREAK
    (Ctrl-Break, and the closing of the console).

    Raises TypeError or ValueError for what is no such pair, TypeError for a handler whose events
    are coroutine functions, and an OSError that names the address where it cannot be had.
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
        """(host, port) that it listens on; also after it has stopped."""
        return self._loop.socket.address

    def run(self) -> None:
        """Serve until `stop`, `ServerContext.shutdown` or a signal.

        Before it returns it has disconnected every client, for up to 1 second. Further signals
        change nothing until it returns; but the third SIGINT (Ctrl-C) raises KeyboardInterrupt,
        wherever the handler is. It can be called once: RuntimeError the second time, and while
        another server runs the context, and in a process forked since the server was made. In one
        that is forked by an event it returns as soon as that does, and the parent's server is
        unharmed. What the event `starting` raises is raised, and the server does not start.

        Raises OSError (EBADF or ENOTSOCK) when something else in the process has closed the
        server's descriptors. No client can be told; the handler has had its last events, and a
        new server is needed.
        """
        if self._claim():
            self._run()

    # -- in somebody else's loop ------------------------------------------------------------

    def fileno(self) -> int:
        """The file descriptor of the socket, for `select` and its kin; -1 once it has stopped."""
        return self._loop.socket.fileno()

    def next_timer(self) -> float:
        """When `update` is due if nothing arrives before, in seconds of `time.perf_counter`.

        0.0 before the first `update`, and when a message was queued or something was asked of the
        context since the last one; infinity when the server has stopped.
        """
        return self._loop.next_timer()

    @property
    def wants_write(self) -> bool:
        """True while the socket takes no more: `update` is due when it can be written, too."""
        return self._loop.is_blocked

    def update(self) -> bool:
        """Serve what has arrived and what the time asks for, without waiting: `run` in pieces.

        To be called when the socket can be read and when `next_timer` has come, until it returns
        False: the server has stopped. The first call begins to serve. What other threads ask for
        waits for the next call, one interval at the most. A call reads 256 datagrams at the most.

        RuntimeError in an event of the handler, when `run` was called, and while another server
        runs the context. OSError as `run`: the server has stopped, and is closed. The first call
        raises what the event `starting` raises, as `run` does.
        """
        return self._loop.update(self)

    def close(self) -> None:
        """Stop at once, where `update` serves: each client is told by one datagram.

        Of no effect the second time; RuntimeError in an event of the handler, and when `run`
        serves: both end by `stop`.
        """
        self._loop.close()

    def stop(self) -> None:
        """Ask `run` or the `update` calls to end, or see to it that none begins. Returns at once.

        From any thread, any number of times.
        """
        self._loop.stop()

    # -- what the context asks --------------------------------------------------------------

    @property
    def clients(self) -> tuple[ServerClient, ...]:
        """The clients that are connected, in the order of arrival."""
        return self._loop.engine.clients

    @property
    def stats(self) -> ServerStats:
        """The figures of the server as a whole."""
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
        """Make the context this server's own; False when it was stopped before."""
        return self._loop.claim(self, State.RUNNING)

    def _run(self, on_started: Callable[[], object] = lambda: None) -> None:
        with self._signals():  # until the end: a second signal must harm nothing
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
            waiter = EagerWaiter(loop.socket.datagrams.spin, loop.socket, self._pipe)
            loop.turn()
            while not loop.engine.is_stopped:
                self._wait(waiter)
                loop.turn()
        finally:
            if not loop.engine.is_stopped:
                loop.abort()

    def _wait(self, waiter: Waiter) -> None:
        waiter.want_write(self._loop.socket, self._loop.is_blocked)
        seconds = min(max(self._loop.next_timer() - time.perf_counter(), 0.0), MAX_WAIT)
        if self._pipe.fileno() in waiter.wait(seconds):
            self._pipe.drain()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let signals stop the server, if that was asked for and is possible."""
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
            if handler is not None:  # None: not set from Python, and not to be set again
                signal.signal(number, handler)

    def end_in_child(self) -> None:
        """Leave the signals to the program: the server is the parent process's."""
        self._restore_signals()

    def _on_signal(self, number: int, frame: object) -> None:
        """Stop; however often, but Ctrl-C also gets a programmer out of an event that hangs."""
        self.stop()
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts >= FORCING_INTERRUPTS:
                raise KeyboardInterrupt


class ThreadedServer:
    """A `UdpServer` in a thread of its own.

    It can be a context manager, which starts and stops it. After `stop` it can be started again.
    `name` and `daemon` are those of its thread, as `threading.Thread` has them; they are set before
    `start`.

    Raises TypeError or ValueError for what is no context and no address.
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
        """(host, port) that it listens on; what it was given, before it has started."""
        return self._addr if self._server is None else self._server.address

    @property
    def daemon(self) -> bool:
        """True, the default, if the program may end while the server runs.

        Raises RuntimeError when it is set while it runs.
        """
        return self._daemon

    @daemon.setter
    def daemon(self, daemonic: bool) -> None:
        if self.is_alive():
            raise RuntimeError("cannot set daemon status of a running server")
        self._daemon = bool(daemonic)

    def start(self) -> None:
        """Listen, and serve in a new thread; returns when the event `starting` has.

        Raises what `UdpServer` does, an OSError that names the address among it, what `starting`
        raises, and RuntimeError when it runs already.
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
        """Disconnect every client and return when the thread has ended; up to 1 second.

        Of no effect unless it is running. On the handler's own thread it only asks for the stop.
        Raises what has ended the loop, if anything has. An event that does not return holds it
        up: after `timeout` seconds that is a TimeoutError that names the event. The thread goes
        on then, `stop` can be called again, and a program that ends does not wait for it.
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
        """True from `start` until the server has stopped, whoever has stopped it."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the server has stopped, or for so many seconds: `is_alive` tells which.

        Raises RuntimeError before it is started, and on the handler's own thread.
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
        """Be as one that was never started: the thread is the parent process's."""
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
