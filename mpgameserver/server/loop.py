"""A server on its socket, turn by turn: receive, advance, send, one step of handshakes.

The owner decides when a turn is due: `UdpServer.run` waits for it, `UdpServer.update` is called by
the program, and `aio.server` by an asyncio loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum, auto

from mpgameserver import forks
from mpgameserver._core.pump import ServerPump
from mpgameserver.server.context import ServerContext, Serving
from mpgameserver.server.engine import ServerEngine
from mpgameserver.server.handler import EventHandler
from mpgameserver.transport.address import format_address
from mpgameserver.transport.listening import ListeningSocket

__all__ = ["MAX_READS", "ServerLoop", "State", "describe"]

MAX_READS = 256
"""Datagrams read per turn, before the tick and sending: some 2 ms."""

_LOG = logging.getLogger("mpgameserver.server")


class State(Enum):
    """The state of a loop; `_ENDS` maps each to the state in which its socket is closed."""

    LISTENING = auto()
    """It does not serve yet."""
    RUNNING = auto()
    """`run` serves."""
    DRIVEN = auto()
    """Calls of `update` serve."""
    RAN = auto()
    """`run` has served."""
    STOPPED = auto()
    """Calls of `update` have served."""
    CLOSED = auto()
    """It was closed before it served."""
    INHERITED = auto()
    """It was made in the parent process, and did not serve before the fork."""


_ENDS = {
    State.LISTENING: State.CLOSED,
    State.RUNNING: State.RAN,
    State.DRIVEN: State.STOPPED,
}


class ServerLoop:
    """A listening socket, the engine that serves its datagrams, and the state of both.

    The engine calls `events`. `on_queued` is called when something was queued for a client between
    two calls of `update`; by default the next turn is due at once. `on_closed` is called when the
    socket was closed.

    Raises what `ListeningSocket` does.
    """

    def __init__(
        self,
        context: ServerContext,
        addr: tuple[str, int],
        events: EventHandler,
        on_queued: Callable[[], object] | None = None,
        on_closed: Callable[[], object] = lambda: None,
    ) -> None:
        self.engine: ServerEngine = ServerEngine(context, events, lambda: self.socket.address)
        self.engine.dispatcher.calls.clock = time.perf_counter
        self.socket: ListeningSocket = ListeningSocket(addr)
        self.engine.send_errors = self.socket.errors.counts
        self._pump = ServerPump(self.engine.dispatcher, self.socket.datagrams, time.perf_counter)
        self._context = context
        self._on_queued = on_queued or self.want_turn
        self._on_closed = on_closed
        self._lock = threading.RLock()  # of the state; a signal handler may run while it is held
        self._state = State.LISTENING
        self._is_in_turn = self._is_wanted = False
        forks.end_in_child(self)

    # -- the state --------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of the loop."""
        return self._state

    @property
    def is_over(self) -> bool:
        """True once it has stopped for good, and the socket is closed."""
        return self._state not in _ENDS

    def describe(self, server: object) -> str:
        """Return the `repr` of a server with this loop: its state, address and client count."""
        is_new = self._state is State.LISTENING
        state = "stopped" if self.is_over else "listening" if is_new else "serving"
        return describe(server, state, self.socket.address, len(self.engine.clients))

    def claim(self, server: Serving, state: State) -> bool:
        """Attach the context to `server` and enter a serving state; False if it was closed before.

        Raises RuntimeError if it has served before, if another server runs the context, or if the
        process was forked since it was made, and ValueError for contradictory timings.
        """
        with self._lock:
            if self._state is State.INHERITED:
                raise RuntimeError("this server is the parent process's; make a new one")
            if self._state is State.CLOSED:
                return False
            if self._state is not State.LISTENING:
                raise RuntimeError("this server has already run; make a new one")
            self._context.settings.timing.check()
            self._context.attach(server)
            if self.is_over:  # a signal handler stopped it meanwhile
                self._context.detach()
                return False
            self._state = state
            return True

    def stop(self) -> None:
        """Request a stop, or keep it from ever serving; from any thread."""
        with self._lock:
            if self._state is State.LISTENING:
                self._close()
            elif not self.is_over:
                self._context.shutdown()

    def release(self) -> None:
        """Close without an event, because the server has not started or has stopped."""
        with self._lock:
            if not self.is_over:
                self._close()

    def _close(self) -> None:
        """Enter the final state, then close: a signal handler may call `stop` in between."""
        was, self._state = self._state, _ENDS[self._state]
        if was is not State.LISTENING:
            self._context.detach()
            _LOG.info("the server on %s has stopped", format_address(self.socket.address))
        self.socket.close()
        self._on_closed()

    def end_in_child(self) -> None:
        """Stop without a datagram or an event: the sessions are the parent process's."""
        self._lock = threading.RLock()
        self.engine.end_in_child()
        if not self.is_over:
            is_new = self._state is State.LISTENING
            self._state = State.INHERITED if is_new else _ENDS[self._state]
        self.socket.close()  # the parent may have only entered its final state
        self._on_closed()

    # -- one turn after the other -----------------------------------------------------------

    def start(self) -> None:
        """Begin to serve. Raises what the event `starting` raises."""
        _LOG.info("listening on %s", format_address(self.socket.address))
        self.engine.start(time.perf_counter())

    def turn(self) -> None:
        """Receive, advance, send, one step of handshakes."""
        now = time.perf_counter()
        self._pump.receive(MAX_READS, now, time.time())
        self.engine.advance(now)
        self.engine.slow_events.end_turn(now)
        self._pump.send()
        if not self.wants_write and self.engine.step_handshakes(time.perf_counter()):
            self._pump.send()
        if self.socket.datagrams.unreported_error:
            self.socket.errors.report(now)

    def next_timer(self) -> float:
        """Return when a turn is due if nothing arrives before; infinity once it is over."""
        if self.is_over:
            return float("inf")
        if self._is_wanted or self._state is State.LISTENING:
            return 0.0
        return self.engine.next_timer()

    def want_turn(self) -> None:
        """Make a turn due at once."""
        self._is_wanted = True

    @property
    def wants_write(self) -> bool:
        """True while the socket is not writable; a turn is also due when it becomes writable."""
        return self._pump.is_blocked

    def filenos(self) -> tuple[int, ...]:
        """Return the socket's file descriptor; empty once it is over."""
        return () if self.is_over else (self.socket.fileno(),)

    def abort(self) -> None:
        """Disconnect every client at once, and call the handler's events."""
        self.engine.abort()
        self._pump.send()

    # -- turns that somebody else calls -----------------------------------------------------

    def begin(self, server: Serving) -> None:
        """Begin to serve by `update`, unless it was closed before."""
        if self.claim(server, State.DRIVEN):
            self.engine.on_queued = self._note_queued
            try:
                self.start()
            except BaseException:
                self.release()
                raise

    def update(self, server: Serving) -> bool:
        """Run a turn; return False once it is over. The first call begins to serve.

        Raises RuntimeError in an event of the handler and if `run` was called, and OSError if
        something else has closed the socket; then it is over.
        """
        self._refuse_in_event("update")
        if self._state in (State.RUNNING, State.RAN):
            raise RuntimeError("this server has already run; make a new one")
        try:
            self._in_turn(lambda: self._drive(server))
        except OSError:
            self.close()
            raise
        if self.engine.is_stopped:
            self.close()
        return not self.is_over

    def _drive(self, server: Serving) -> None:
        if self._state in (State.LISTENING, State.INHERITED):
            self.begin(server)
        if not self.is_over:
            self._is_wanted = False
            self.turn()

    def close(self) -> None:
        """Stop at once: each client is told by one datagram. Idempotent.

        Raises RuntimeError in an event of the handler, and if `run` was called.
        """
        if self._state in (State.RUNNING, State.RAN):
            raise RuntimeError("run() serves: use stop()")
        self._refuse_in_event("close")
        try:
            if self._state is State.DRIVEN and not self.engine.is_stopped:
                self._in_turn(self.abort)
        finally:
            self.release()

    def _in_turn(self, work: Callable[[], None]) -> None:
        try:
            self._is_in_turn = True
            work()
        finally:
            self._is_in_turn = False

    def _refuse_in_event(self, name: str) -> None:
        if self._is_in_turn:
            raise RuntimeError(f"{name}() was called from an event of the handler")

    def _note_queued(self) -> None:
        if not self._is_in_turn:  # otherwise it is sent in this turn
            self._on_queued()


def describe(server: object, state: str, addr: tuple[str, int], clients: int) -> str:
    """Return the `repr` of a server: its state, address and number of clients."""
    counted = "1 client" if clients == 1 else f"{clients} clients"
    return f"<{type(server).__name__} {state} on {format_address(addr)}, {counted}>"
