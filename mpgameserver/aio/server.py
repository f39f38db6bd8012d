"""The server for asyncio, and handlers whose events are coroutines.

The engine calls an `AsyncEvents` as its handler. If an event of the game's handler returns a
coroutine, that becomes a task, and further events of the same client wait in its line, so that they
run in order and one at a time. Clients do not wait for each other. Nothing is served before
`starting` has finished, and `shutdown` is called when all other events have.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import socket
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from functools import partial

from mpgameserver.aio.driver import Driver
from mpgameserver.aio.lingering import LingeringClients
from mpgameserver.enums import ConnectionStatus
from mpgameserver.errors import RefusedError
from mpgameserver.reprs import even_unmade
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext, require_context
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.loop import ServerLoop
from mpgameserver.server.meter import Phase, ServerMeter
from mpgameserver.server.stats import ServerStats
from mpgameserver.transport.address import host_groups, host_of
from mpgameserver.transport.listening import numeric_address
from mpgameserver.transport.ratelog import LimitedLog

__all__ = ["AsyncServer", "serve"]

MAX_WAITING_EVENTS = 1024
"""Messages of one client waiting for its handler: a few seconds of a game's."""
MAX_WAITING_BYTES = 16 << 20
"""Their bytes: as many as may be queued for sending to one client."""
MAX_ALL_WAITING_BYTES = 256 << 20
"""Waiting bytes of all clients, with `EVENT_COST` for each event. Beyond it, the client with the
most, of the host with the most, is disconnected."""
MAX_HOST_WAITING_BYTES = 64 << 20
"""The same for the clients of one host, which cannot take the room of all others."""
MAX_KEPT_BYTES = 64 << 10
"""The same for a client that has left, whose first messages are kept: a player's last words are
handled, and a client that reconnects repeatedly leaves no more than this behind."""
EVENT_COST = 512
"""Overhead in bytes counted for a waiting event, so that empty messages are bounded, too."""
MAX_EVENTS_AT_ONCE = 64
"""Waiting events of one client that are called before the loop runs again."""
MAX_DECIDING = 8192
"""`authenticate` events in progress: one for each session that a server has by default. Those that
end when they are cancelled, as their clients leave, never come to so many."""
SETTLE_TIMEOUT = 30.0
"""Seconds that a stopping server waits for running events before it cancels them."""
CANCEL_TIMEOUT = 5.0
"""Seconds that it then waits for cancelled events."""

_LOG = logging.getLogger("mpgameserver.server")
_Event = tuple[str, Callable[[], object], int]
_Group = tuple[bytes, int]


class _Line:
    """The events of one client that wait for the running one; of the server if `client` is None."""

    def __init__(self, client: ServerClient | None = None) -> None:
        self.events: deque[_Event] = deque()
        self.size = 0
        self.running: asyncio.Future[object] | None = None
        self.client = client
        self.groups = () if client is None else host_groups(host_of(client.addr))
        self.is_given_up = False
        self.name = ""
        """The name of the running event."""

    def is_full(self, size: int) -> bool:
        if not self.events:
            return False
        return len(self.events) >= MAX_WAITING_EVENTS or self.size + size > MAX_WAITING_BYTES

    @property
    def charge(self) -> int:
        """Waiting bytes, as counted against the limits per host and of all clients."""
        return self.size + EVENT_COST * len(self.events)

    def put(self, event: _Event) -> None:
        self.events.append(event)
        self.size += event[2]

    def take(self) -> _Event:
        event = self.events.popleft()
        self.size -= event[2]
        return event

    def drop_messages(self, room: int) -> int:
        """Discard the messages that do not fit into that many bytes; return their number."""
        before, self.events, self.size = self.events, deque(), 0
        for event in before:
            is_message = event[0] == "handle_message"
            if is_message and self.charge + event[2] + EVENT_COST > room:
                room = 0
            else:
                self.put(event)
        return len(before) - len(self.events)


class AsyncEvents(EventHandler):
    """Calls the events of a handler, in which any may be a coroutine."""

    def __init__(self, handler: EventHandler, meter: ServerMeter | None = None) -> None:
        self._game = handler
        self._meter = meter
        self._loop = asyncio.get_running_loop()
        self._lines: dict[Hashable, _Line] = {}
        self._waiting_of_groups: Counter[_Group] = Counter()
        self._waiting_of_all = 0
        self.dropped: int = 0
        self._lingering, self._given_up = LingeringClients(), LingeringClients()
        self._logs: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))
        self._deciding: set[asyncio.Future[object]] = set()
        self._start: object = None
        self._left_out = 0.0
        self._waits_to_shut_down = False
        self._is_cancelled = False

    def starting(self) -> None:
        """Start the event; `started` waits for it."""
        self._start = self._game.starting()

    async def started(self) -> None:
        """Wait until `starting` has finished. Raises what it raises."""
        if inspect.isawaitable(self._start):
            await self._timed(self._start)

    def shutdown(self) -> None:
        """Start the event when no other one runs or waits; `settle` waits for it."""
        self._waits_to_shut_down = True
        self._shut_down_when_idle()

    def _shut_down_when_idle(self) -> None:
        if self._waits_to_shut_down and not self._lines:
            self._waits_to_shut_down = False
            line = _Line()
            line.put(("shutdown", self._game.shutdown, 0))
            self._go_on("shutdown", line)

    def update(self, delta_t: float) -> None:
        """Skip the event while the previous one runs, and add its time to the next one."""
        self._left_out += delta_t
        if "update" not in self._lines:
            delta_t, self._left_out = self._left_out, 0.0
            self._enter("update", "update", lambda: self._game.update(delta_t))

    def full(self, addr: tuple[str, int]) -> None:
        """Skip the event while the previous one runs."""
        if "full" not in self._lines:
            self._enter("full", "full", lambda: self._game.full(addr))

    def authenticate(self, client: ServerClient, credential: bytes) -> object:
        """Return what the event returns; of a coroutine, a future of it.

        The engine cancels one whose client has gone or whose time is over.
        """
        result = self._game.authenticate(client, credential)
        if not inspect.isawaitable(result):
            return result
        if len(self._deciding) >= MAX_DECIDING:
            if isinstance(result, Coroutine):
                result.close()  # it never ran
            raise RefusedError("too many clients are being authenticated")
        deciding = asyncio.ensure_future(self._timed(result))
        self._deciding.add(deciding)
        deciding.add_done_callback(self._deciding.discard)
        return deciding

    def connect(self, client: ServerClient) -> None:
        """Start the first event of a client."""
        self._enter(client, "connect", lambda: self._game.connect(client))

    def disconnect(self, client: ServerClient) -> None:
        """Queue the last event of a client; of its waiting messages only the first are handled."""
        if client in self._lines:
            self._drop_messages(self._lines[client], MAX_KEPT_BYTES)
        self._enter(client, "disconnect", lambda: self._game.disconnect(client))
        if client in self._lines:
            self._let_linger(client, self._lingering)

    def handle_message(
        self, client: ServerClient, seqnum: int, msg: bytes = b"", **channel: str
    ) -> None:
        """Handle a message now or in its turn; disconnect a client whose line is full.

        `channel` is there if the game's event asks for it.
        """
        line = self._lines.get(client)
        handle = partial(self._game.handle_message, client, seqnum, msg, **channel)
        if line is None:
            self._enter(client, "handle_message", handle)
        elif line.is_full(len(msg)):
            self._give_up(line)
        else:
            self._put(line, ("handle_message", partial(self._handle, client, handle), len(msg)))
            self._make_room(line)

    def _handle(self, client: ServerClient, handle: Callable[[], object]) -> object:
        if client.status == ConnectionStatus.DISCONNECTING:  # by the server: nothing is handled
            return None
        return handle()

    def _enter(self, key: Hashable, name: str, event: Callable[[], object]) -> None:
        line = self._lines.get(key)
        if line is not None:
            self._put(line, (name, event, 0))
            return
        self._begin(key, name, event())

    # -- limits on waiting events -----------------------------------------------------------

    def _put(self, line: _Line, event: _Event) -> None:
        before = line.charge
        line.put(event)
        self._charge(line, line.charge - before)

    def _take(self, line: _Line) -> _Event:
        before = line.charge
        event = line.take()
        self._charge(line, line.charge - before)
        return event

    def _drop_messages(self, line: _Line, room: int = 0) -> None:
        before = line.charge
        self.dropped += line.drop_messages(room)
        self._charge(line, line.charge - before)

    def _charge(self, line: _Line, size: int) -> None:
        if line.client is None:
            return
        self._waiting_of_all += size
        for group in line.groups:
            self._waiting_of_groups[group] += size
            if not self._waiting_of_groups[group]:
                del self._waiting_of_groups[group]

    def _make_room(self, line: _Line) -> None:
        """Disconnect the clients with the most waiting bytes, while there are too many."""
        waiting = self._waiting_of_groups
        for group in line.groups:
            most = MAX_HOST_WAITING_BYTES * group[1]
            while waiting[group] > most and self._give_up_largest(group):
                pass
        while self._waiting_of_all > MAX_ALL_WAITING_BYTES:
            if not self._give_up_largest(max(waiting, key=lambda each: waiting[each] / each[1])):
                break

    def _give_up_largest(self, group: _Group) -> bool:
        """Disconnect the client of a group with the most; return False if that makes no room."""
        before = self._waiting_of_all
        lines = [line for line in self._lines.values() if group in line.groups]
        self._give_up(max(lines, key=lambda line: line.charge))
        return self._waiting_of_all < before

    def _give_up(self, line: _Line) -> None:
        assert line.client is not None
        self._logs["full line"].warning(
            self._loop.time(), "%r is faster than its handler: disconnected", line.client
        )
        line.client.disconnect()
        self._drop_messages(line)

    def _let_linger(self, client: ServerClient, others: LingeringClients) -> None:
        """Let an event of a client that has left finish, unless too many others are unfinished."""
        stuck = others.add(client)
        if stuck is None:
            return
        self._logs["stuck"].warning(
            self._loop.time(), "%r has left and its event does not end: cancelled", stuck
        )
        others.discard(stuck)
        line = self._lines[stuck]
        line.is_given_up = True
        self._drop_messages(line)
        if line.running is not None:
            line.running.cancel()

    def _begin(self, key: Hashable, name: str, result: object) -> bool:
        """Run what an event has returned as a task; return False if there is nothing to run."""
        if not inspect.isawaitable(result):
            return False
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(key if isinstance(key, ServerClient) else None)
        line.name = name
        line.running = asyncio.ensure_future(self._timed(result))
        line.running.add_done_callback(partial(self._ended, key, line, name))
        if line.is_given_up and line.client is not None:  # its `disconnect` event
            self._let_linger(line.client, self._given_up)
        return True

    def _called(self, event: Callable[[], object]) -> object:
        """Call an event that the engine does not call and measure itself; return its result."""
        return event() if self._meter is None else self._meter.timed(Phase.HANDLER, event)()

    def _timed(self, awaitable: Awaitable[object]) -> Awaitable[object]:
        """Return an awaitable whose steps count as the handler's time, if that is measured."""
        if self._meter is None or not isinstance(awaitable, Coroutine):
            return awaitable
        return self._meter.timed_steps(Phase.HANDLER, awaitable)

    @property
    def running(self) -> int:
        """Events in progress."""
        return len(self._lines)

    @property
    def waiting(self) -> int:
        """Events waiting for those in progress."""
        return sum(len(line.events) for line in self._lines.values())

    @property
    def waiting_bytes(self) -> int:
        """The bytes of their messages."""
        return sum(line.size for line in self._lines.values())

    def _ended(self, key: Hashable, line: _Line, name: str, ended: asyncio.Future[object]) -> None:
        self._log_outcome(line, name, ended)
        self._go_on(key, line)

    def _go_on(self, key: Hashable, line: _Line) -> None:
        """Call the waiting events of a line, up to the next coroutine."""
        for _ in range(MAX_EVENTS_AT_ONCE):
            if not line.events:
                break
            name, event, _size = self._take(line)
            try:
                result = self._called(event)
            except Exception:
                self._log_raised(name)
            else:
                if self._begin(key, name, result):
                    return
        if line.events:
            self._loop.call_soon(self._go_on, key, line)
            return
        self._lines.pop(key, None)
        if line.client is not None:
            self._lingering.discard(line.client)
            self._given_up.discard(line.client)
        self._shut_down_when_idle()

    def _log_outcome(self, line: _Line, name: str, ended: asyncio.Future[object]) -> None:
        try:
            ended.result()
        except asyncio.CancelledError:
            if not (self._is_cancelled or line.is_given_up):
                self._log_raised(name)
        except Exception:
            self._log_raised(name)
        except BaseException:  # raised by the loop itself
            pass

    def _log_raised(self, name: str) -> None:
        self._logs[name].exception(self._loop.time(), "%s raised", name)

    async def settle(self, seconds: float = SETTLE_TIMEOUT) -> None:
        """Wait until no event runs or waits, for at most that long; log those that still do."""
        until = self._loop.time() + seconds
        while (running := self._running()) and self._loop.time() < until:
            await asyncio.wait(running, timeout=until - self._loop.time())
        for key, line in list(self._lines.items()):  # a log handler may do anything
            _LOG.error("the event %s of %s has not ended within %g s", line.name, key, seconds)

    async def cancel(self) -> None:
        """Cancel running events; waiting ones are not started.

        One that continues nevertheless is abandoned after `CANCEL_TIMEOUT`.
        """
        self._is_cancelled = True
        for line in list(self._lines.values()):  # discarded objects may have finalizers
            line.events.clear()
        until = self._loop.time() + CANCEL_TIMEOUT
        while (running := self._running()) and self._loop.time() < until:
            for future in running:
                future.cancel()
            await asyncio.wait(running, timeout=until - self._loop.time())

    def _running(self) -> list[asyncio.Future[object]]:
        of_lines = [line.running for line in self._lines.values() if line.running is not None]
        return [*of_lines, *self._deciding]


class AsyncServer:
    """A server in an asyncio event loop, made by `serve`. Use it only in its loop.

    `stop`, like everything of the context that is thread-safe, may be called from any thread.
    """

    def __init__(self, ctxt: ServerContext, addr: tuple[str, int]) -> None:
        self._asyncio = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._error: OSError | None = None
        self._events = AsyncEvents(require_context(ctxt).events, ctxt.meter)
        self._loop = ServerLoop(ctxt, addr, self._events, lambda: self._driver.soon())
        if ctxt.meter is not None:
            ctxt.meter.watch(self._events)
        self._driver = Driver(self._loop, self._turn)

    @even_unmade
    def __repr__(self) -> str:
        return self._loop.describe(self)

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that it listens on; also after it has stopped."""
        return self._loop.socket.address

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
        """The monotonic time of the server, in seconds."""
        return self._loop.engine.now

    def fileno(self) -> int:
        """Return the socket's file descriptor; -1 once it has stopped."""
        return self._loop.socket.fileno()

    def wake(self) -> None:
        """Make a turn due soon; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._asyncio.call_soon_threadsafe(self._driver.soon)

    def stop(self) -> None:
        """Ask the server to stop, and return at once. Idempotent; may be called from any thread."""
        self._loop.stop()

    async def wait_stopped(self) -> None:
        """Wait until the server has stopped, by `stop` or `ServerContext.shutdown`.

        Raises:
            OSError: something else in the process has closed the socket, which has stopped the
                server.
        """
        await self._stopped.wait()
        if self._error is not None:
            raise self._error

    def _begin(self) -> None:
        """Call the event `starting`; `_start` waits for it to finish."""
        self._loop.begin(self)

    async def _start(self) -> None:
        """Serve, once `starting` has finished. Raises what it raises; nothing is served then."""
        try:
            await self._events.started()
        except Exception:
            self._loop.release()
            raise
        finally:
            try:
                self._driver.start()
            except BaseException:
                self._stopped.set()  # no further turn will do it
                raise

    async def _finish(self) -> None:
        """Disconnect every client, up to 1 second, and wait for running events."""
        self.stop()
        try:
            await self.wait_stopped()
        finally:
            await self._events.settle()

    async def _abandon(self) -> None:
        self._driver.close()
        self._loop.close()
        self._stopped.set()
        await self._events.cancel()

    def _turn(self) -> None:
        try:
            serves = self._loop.update(self)
        except OSError as error:
            self._error = error
            self._driver.close()
            self._stopped.set()
            return
        except BaseException:
            self._stopped.set()
            raise
        if not serves:
            self._stopped.set()


async def _looked_up(addr: tuple[str, int]) -> tuple[str, int]:
    """Return `addr` with its host resolved; a name is looked up on a thread."""
    try:
        return numeric_address(addr, socket.AI_NUMERICHOST)
    except OSError:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, numeric_address, addr)


@asynccontextmanager
async def serve(ctxt: ServerContext, addr: tuple[str, int]) -> AsyncIterator[AsyncServer]:
    """Serve clients for the duration of an `async with` block, which gets an `AsyncServer`.

    Any event of the handler may be a coroutine function. `starting` finishes before any other event
    begins, and all others finish before `shutdown` begins. The events of one client run in order,
    one at a time; `update` and `full` are skipped while the previous one is running. An exception
    in an event is logged. A client with too many messages waiting for its handler is disconnected.
    When a client has left, only the first 64 KiB of its waiting messages are handled.

    At the end of the block, even if it raises or is cancelled, every client is disconnected, which
    takes up to 1 second, and running events may finish within 30 seconds. After that, or if the
    block is cancelled a second time, they are cancelled.

    Parameters:
        ctxt: the context.
        addr: a pair (host, port), as for `UdpServer`.

    Raises:
        TypeError: `ctxt` is not a ServerContext, or `addr` is not such a pair.
        ValueError: the port is out of range, or the keep-alive interval is not below the idle
            timeouts.
        RuntimeError: another server runs the context.
        OSError: the address, which the message names, cannot be listened on; or, at the end of the
            block, something else in the process has closed the socket.
        Exception: whatever the event `starting` raises; the server does not start.
    """
    server = AsyncServer(ctxt, await _looked_up(addr))
    try:
        server._begin()
        try:
            await server._start()
            yield server
        finally:
            await server._finish()
    finally:
        await server._abandon()
