"""The asyncio client and server on loopback, on every event loop that is at hand."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from support.patience import PATIENCE
from support.serverworld import Recorder

from mpgameserver import aio
from mpgameserver.aio.driver import RENEWAL_INTERVAL, Driver
from mpgameserver.aio.server import MAX_WAITING_EVENTS, AsyncEvents
from mpgameserver.connection import Timing
from mpgameserver.enums import ConnectFailure, ConnectionStatus, RetryMode
from mpgameserver.errors import ConnectFailedError, ConnectionEndedError, NotConnectedError
from mpgameserver.server import EventHandler, ServerClient, ServerContext, UdpServer
from mpgameserver.server.meter import ServerMeter

try:
    import uvloop
except ImportError:
    UVLOOP = []
else:
    UVLOOP = [uvloop.new_event_loop]
    uvloop.new_event_loop().close()  # the first makes a pipe that the process keeps


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """Waits for no socket of others, as the proactor loop of Windows."""

    add_reader = remove_reader = asyncio.AbstractEventLoop.add_reader
    add_writer = remove_writer = asyncio.AbstractEventLoop.add_writer


class ForgetfulLoop(asyncio.SelectorEventLoop):
    """Drops a reader with the first event of its socket, as uvloop does when that is an error."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        def forget() -> None:
            self.remove_reader(fd)
            callback(*args)

        super().add_reader(fd, forget)


LOOPS = [asyncio.SelectorEventLoop, *UVLOOP, LoopWithoutReaders]

LOOPBACK = ("127.0.0.1", 0)
Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=LOOPS, ids=lambda loop: f"{loop.__module__}.{loop.__name__}")
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Runs a coroutine to its end in a loop of its own, which must not be told of an error."""

    def run_in_loop(main: Main) -> None:
        errors: list[dict[str, Any]] = []
        loop = request.param()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        try:
            loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
            assert asyncio.all_tasks(loop) == set()
            gc.collect()
            assert errors == []
        finally:
            loop.close()

    return run_in_loop


class Echo(EventHandler):
    """Answers by a coroutine, with the last delay first."""

    async def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        await asyncio.sleep(0)
        client.send(msg, RetryMode.RETRY_ON_TIMEOUT)


async def next_of(client: aio.AsyncClient) -> bytes:
    async for _, message in client:
        return message
    raise AssertionError("there was no message")


def to(context: ServerContext, server: aio.AsyncServer, **settings: Any) -> Any:
    return aio.connect(server.address, context.root_key.getPublicKey(), **settings)


class Interrupted(Coroutine[Any, Any, None]):
    """Runs a coroutine, and cancels it when it waits for the nth time, for each n of `at`."""

    def __init__(self, inner: Coroutine[Any, Any, None], at: tuple[int, ...]) -> None:
        self._inner = inner
        self._at = at
        self._waits = 0

    def send(self, value: Any) -> Any:
        return self._count(self._inner.send(value))

    def throw(self, *error: Any) -> Any:
        return self._count(self._inner.throw(*error))

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        raise NotImplementedError("it is for a task")

    def _count(self, waited_for: Any) -> Any:
        self._waits += 1
        if self._waits in self._at:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
        return waited_for


async def was_cancelled(inner: Coroutine[Any, Any, None], *at: int) -> bool:
    """Cancel a coroutine when it waits for those times; False when it has come to its end."""
    try:
        await asyncio.get_running_loop().create_task(Interrupted(inner, at))
    except asyncio.CancelledError:
        return True
    return False


@pytest.fixture
def short_disconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers for whom a cancelled attempt to connect has left."""
    monkeypatch.setattr("mpgameserver._core.connection.DISCONNECT_TIMEOUT", 0.02)


async def silent() -> AsyncIterator[tuple[str, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(LOOPBACK)
        yield sock.getsockname()


class TestClient:
    def test_messages_go_both_ways(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            context = ServerContext(Echo())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                client.send(b"small", RetryMode.NONE)
                assert await next_of(client) == b"small"
                await client.send_guaranteed(b"x" * 5000)
                assert await next_of(client) == b"x" * 5000
                assert client.connected()
                assert client.latency() > 0.0
                assert client.stats().sent > 0
            assert client.status() == ConnectionStatus.DISCONNECTED

        run(main)

    def test_the_iteration_ends_behind_the_last_message(self, run: Callable[[Main], None]) -> None:
        def kick(client: ServerClient, message: bytes) -> None:
            client.send(message, RetryMode.RETRY_ON_TIMEOUT)
            client.disconnect()

        async def main() -> None:
            context = ServerContext(Recorder(handle_message=kick))
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                client.send(b"last")
                assert [message async for _, message in client] == [b"last"]
                with pytest.raises(NotConnectedError):
                    client.send(b"more")

        run(main)

    def test_a_message_that_is_never_acked_raises_when_the_connection_ends(
        self, run: Callable[[Main], None]
    ) -> None:
        async def main() -> None:
            context = ServerContext(EventHandler())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                waiting = asyncio.ensure_future(client.send_guaranteed(b"x" * 5_000_000))
                await asyncio.sleep(0)
                server.stop()
                await server.wait_stopped()
                with pytest.raises(ConnectionEndedError):
                    await waiting

        run(main)

    def test_waiting_can_be_cancelled_and_the_client_used_further(
        self, run: Callable[[Main], None]
    ) -> None:
        async def main() -> None:
            context = ServerContext(Echo())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(next_of(client), 0.01)
                sending = asyncio.ensure_future(client.send_guaranteed(b"sent anyway"))
                await asyncio.sleep(0)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                assert await next_of(client) == b"sent anyway"

        run(main)

    def test_several_iterators_share_the_messages(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            context = ServerContext(Echo())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                taken: list[bytes] = []

                async def take() -> None:
                    async for _, message in client:
                        taken.append(message)

                takers = [asyncio.ensure_future(take()) for _ in range(3)]
                sent = [b"%d" % number for number in range(30)]
                for message in sent:
                    await client.send_guaranteed(message)
                while len(taken) < len(sent):
                    await asyncio.sleep(0)
                takers.pop().cancel()
                await client.disconnect()
                await asyncio.gather(*takers)
                assert sorted(taken) == sorted(sent)

        run(main)

    @pytest.mark.parametrize("stage", ["connect", "ack", "message", "disconnect"])
    @pytest.mark.usefixtures("short_disconnects")
    def test_it_can_be_cancelled_whatever_it_waits_for(
        self, run: Callable[[Main], None], stage: str
    ) -> None:
        async def talk(context: ServerContext, server: aio.AsyncServer) -> None:
            waiting_for.append("connect")
            async with to(context, server) as client:
                waiting_for.append("ack")
                await client.send_guaranteed(b"hello")
                if stage == "message":
                    waiting_for.append("message")
                    await next_of(client)  # nobody answers
                waiting_for.append("disconnect")

        async def main() -> None:
            context = ServerContext(EventHandler())
            async with aio.serve(context, LOOPBACK) as server:
                talking = asyncio.create_task(talk(context, server))
                while stage not in waiting_for:
                    await asyncio.sleep(0)
                talking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await talking
            assert waiting_for[-1] == stage

        waiting_for: list[str] = []
        run(main)

    def test_an_iteration_that_times_out_loses_no_message(
        self, run: Callable[[Main], None]
    ) -> None:
        async def main() -> None:
            context = ServerContext(Echo())
            taken: list[bytes] = []
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                for number in range(20):
                    client.send(b"%d" % number)
                while len(taken) < 20:
                    with contextlib.suppress(asyncio.TimeoutError):
                        taken.append(await asyncio.wait_for(next_of(client), 0.0001))
            assert sorted(taken) == sorted(b"%d" % number for number in range(20))

        run(main)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with Python 3.11")
    def test_a_timeout_ends_what_is_waited_for(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            context = ServerContext(EventHandler())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await next_of(client)
                await client.send_guaranteed(b"still there")
            async for address in silent():
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01), aio.connect(address):
                        raise AssertionError("it is not connected")

        run(main)

    def test_a_server_that_falls_silent_raises_what_waits(
        self, run: Callable[[Main], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "mpgameserver.client.udpclient.Timing", lambda: Timing(idle_timeout=0.2)
        )

        async def main() -> None:
            context = ServerContext(EventHandler())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                await client.send_guaranteed(b"heard")
                server._driver.close()
                sending = asyncio.ensure_future(client.send_guaranteed(b"unheard"))
                with pytest.raises(ConnectionEndedError, match="was dropped"):
                    await next_of(client)
                with pytest.raises(ConnectionEndedError, match="acked"):
                    await sending
                assert client.status() == ConnectionStatus.DROPPED
                await client.disconnect()
                server._driver = Driver(server._loop, server._turn)
                server._driver.start()
                context.setBlockList(["127.0.0.1"])  # nobody is left to reply to a DISCONNECT

        run(main)

    def test_a_block_that_raises_leaves_at_once(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            handler = Recorder()
            context = ServerContext(handler)
            async with aio.serve(context, LOOPBACK) as server:
                with pytest.raises(LookupError):
                    async with to(context, server) as client:
                        raise LookupError
                assert client.status() == ConnectionStatus.DISCONNECTED

        run(main)

    def test_an_attempt_that_fails_says_why(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            async for address in silent():
                with pytest.raises(ConnectFailedError, match=str(address[1])) as failed:
                    async with aio.connect(address, connection_timeout=0.05):
                        raise AssertionError("it is not connected")
                assert failed.value.failure == ConnectFailure.TIMEOUT
            with pytest.raises(ConnectFailedError) as failed:
                async with aio.connect(("no-such-host.invalid", 1)):
                    raise AssertionError("it is not connected")
            assert failed.value.failure == ConnectFailure.UNRESOLVED

        run(main)

    def test_an_attempt_can_be_cancelled(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            async def enter(address: tuple[str, int]) -> None:
                async with aio.connect(address):
                    raise AssertionError("it is not connected")

            async for address in silent():
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(enter(address), 0.02)

        run(main)

    def test_a_host_name_is_resolved(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            context = ServerContext(Echo())
            async with aio.serve(context, LOOPBACK) as server:
                key = context.root_key.getPublicKey()
                async with aio.connect(("localhost", server.address[1]), key) as client:
                    client.send(b"x")
                    assert await next_of(client) == b"x"

        run(main)


class TestNames:
    @pytest.fixture
    def looked_up(self, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
        """`slow.invalid` is 127.0.0.1, which takes until this is set."""
        released = threading.Event()
        look_up = socket.getaddrinfo

        def slow(host: str, *arguments: Any, **options: Any) -> Any:
            flags = options.get("flags", 0)
            if host == "slow.invalid" and not flags & socket.AI_NUMERICHOST:
                assert released.wait(PATIENCE)
                host = "127.0.0.1"
            return look_up(host, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        return released

    def test_the_loop_goes_on_while_a_client_looks_a_name_up(
        self, run: Callable[[Main], None], looked_up: threading.Event
    ) -> None:
        async def main() -> None:
            context = ServerContext(Echo())
            async with aio.serve(context, LOOPBACK) as server:
                key = context.root_key.getPublicKey()
                asyncio.get_running_loop().call_later(0.01, looked_up.set)
                async with aio.connect(("slow.invalid", server.address[1]), key) as client:
                    assert client.connected()

        run(main)

    def test_the_loop_goes_on_while_a_server_looks_a_name_up(
        self, run: Callable[[Main], None], looked_up: threading.Event
    ) -> None:
        async def main() -> None:
            asyncio.get_running_loop().call_later(0.01, looked_up.set)
            async with aio.serve(ServerContext(EventHandler()), ("slow.invalid", 0)) as server:
                assert server.address[0] == "127.0.0.1"

        run(main)

    def test_a_name_that_is_none_is_an_error_that_names_it(
        self, run: Callable[[Main], None]
    ) -> None:
        async def main() -> None:
            with pytest.raises(OSError, match=r"cannot listen on no-such-host\.invalid:7"):
                async with aio.serve(ServerContext(EventHandler()), ("no-such-host.invalid", 7)):
                    raise AssertionError("it is not served")

        run(main)

    def test_a_failed_attempt_names_an_ipv6_address(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            with pytest.raises(ConnectFailedError, match=r"no connection to \[::1\]:9: "):
                async with aio.connect(("::1", 9), connection_timeout=0.05):
                    raise AssertionError("it is not connected")

        run(main)


class TestServer:
    def test_events_of_one_client_come_in_order_and_one_at_a_time(
        self, run: Callable[[Main], None]
    ) -> None:
        running: list[int] = []
        handled: list[bytes] = []

        class Handler(EventHandler):
            async def connect(self, client: ServerClient) -> None:
                await asyncio.sleep(0.02)
                handled.append(b"connect")

            async def handle_message(
                self, client: ServerClient, seqnum: int, msg: bytes = b""
            ) -> None:
                running.append(1)
                assert len(running) == 1
                await asyncio.sleep(0)
                handled.append(msg)
                running.pop()

            def disconnect(self, client: ServerClient) -> None:
                handled.append(b"disconnect")

        async def main() -> None:
            context = ServerContext(Handler())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                for number in range(20):
                    client.send(b"%d" % number)
                await client.send_guaranteed(b"end")
            assert handled[0] == b"connect"
            assert handled[-1] == b"disconnect"
            assert sorted(handled[1:-1]) == sorted([b"end", *(b"%d" % n for n in range(20))])

        run(main)

    def test_clients_do_not_wait_for_each_other(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            never = asyncio.Event()

            class Handler(Echo):
                async def handle_message(
                    self, client: ServerClient, seqnum: int, msg: bytes = b""
                ) -> None:
                    if msg == b"wait":
                        await never.wait()
                    client.send(msg)

            context = ServerContext(Handler())
            async with (
                aio.serve(context, LOOPBACK) as server,
                to(context, server) as slow,
                to(context, server) as quick,
            ):
                await slow.send_guaranteed(b"wait")
                quick.send(b"now")
                assert await next_of(quick) == b"now"
                never.set()
                assert await next_of(slow) == b"wait"

        run(main)

    def test_what_an_event_raises_is_logged_and_concerns_nobody_else(
        self, run: Callable[[Main], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        class Handler(Echo):
            async def connect(self, client: ServerClient) -> None:
                raise LookupError("no such player")

        async def main() -> None:
            context = ServerContext(Handler())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                client.send(b"x")
                assert await next_of(client) == b"x"

        with caplog.at_level(logging.ERROR, "mpgameserver.server"):
            run(main)
        assert "connect raised" in caplog.text
        assert "no such player" in caplog.text

    def test_every_other_message_is_handled_when_one_raises_or_is_cancelled(
        self, run: Callable[[Main], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        handled: list[bytes] = []

        class Handler(EventHandler):
            async def handle_message(
                self, client: ServerClient, seqnum: int, msg: bytes = b""
            ) -> None:
                await asyncio.sleep(0.01)
                if msg == b"raise":
                    raise LookupError("no such item")
                if msg == b"cancel":
                    raise asyncio.CancelledError
                handled.append(msg)

            async def disconnect(self, client: ServerClient) -> None:
                handled.append(b"disconnect")

        async def main() -> None:
            context = ServerContext(Handler())
            messages = [b"raise", b"1", b"cancel", b"2"]
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                for message in messages:
                    client.send(message)
                await client.send_guaranteed(b"3")
            assert sorted(handled[:-1]) == [b"1", b"2", b"3"]
            assert handled[-1] == b"disconnect"

        with caplog.at_level(logging.ERROR, "mpgameserver.server"):
            run(main)
        assert "handle_message raised" in caplog.text

    @pytest.mark.parametrize("is_coroutine", [True, False])
    def test_starting_that_raises_comes_out_of_serve(
        self, run: Callable[[Main], None], is_coroutine: bool
    ) -> None:
        events: list[str] = []

        async def fail_late() -> None:
            await asyncio.sleep(0)
            raise ValueError("out of order")

        class Handler(EventHandler):
            def starting(self) -> Coroutine[Any, Any, None]:
                if is_coroutine:
                    return fail_late()
                raise ValueError("out of order")

            def shutdown(self) -> None:
                events.append("shutdown")

        async def main() -> None:
            context = ServerContext(Handler())
            with pytest.raises(ValueError, match="out of order"):
                async with aio.serve(context, LOOPBACK):
                    events.append("served")
            assert events == []
            context.handler.starting = lambda: None
            async with aio.serve(context, LOOPBACK):  # the context is free again
                events.append("served")
            assert events == ["served", "shutdown"]

        run(main)

    def test_what_is_sent_to_a_client_that_has_left_gets_false(
        self, run: Callable[[Main], None]
    ) -> None:
        outcomes: list[bool] = []

        async def main() -> None:
            is_gone = asyncio.Event()
            acked = asyncio.get_running_loop().create_future()

            class Handler:
                def disconnect(self, client: ServerClient) -> None:
                    self.client = client
                    is_gone.set()

            context = ServerContext(Handler())
            async with aio.serve(context, LOOPBACK) as server:
                async with to(context, server) as client:
                    await client.send_guaranteed(b"hello")
                await is_gone.wait()
                gone: ServerClient = context.handler.client
                gone.send(b"too late", -1, acked.set_result)
                assert not acked.done()
                outcomes.append(await acked)
                acked = asyncio.get_running_loop().create_future()
                await asyncio.to_thread(gone.send, b"from a thread", -1, acked.set_result)
                outcomes.append(await acked)
            assert outcomes == [False, False]

        run(main)

    def test_no_other_event_comes_before_starting_is_over_or_after_shutdown(
        self, run: Callable[[Main], None]
    ) -> None:
        events: list[str] = []
        starts = asyncio.Event()
        is_open = asyncio.Event()

        class Handler(EventHandler):
            async def starting(self) -> None:
                starts.set()
                context.setMessageTimeout(2.0)  # wakes the server
                await is_open.wait()
                events.append("started")

            def update(self, delta_t: float) -> None:
                events.append("update")

            def connect(self, client: ServerClient) -> None:
                events.append("connect")

            async def handle_message(
                self, client: ServerClient, seqnum: int, msg: bytes = b""
            ) -> None:
                await asyncio.sleep(0.02)
                events.append("handled")

            async def disconnect(self, client: ServerClient) -> None:
                await asyncio.sleep(0.02)
                events.append("disconnected")

            async def shutdown(self) -> None:
                await asyncio.sleep(0)
                events.append("shutdown")

        async def play(address: tuple[str, int]) -> None:
            async with aio.connect(address, context.root_key.getPublicKey()) as client:
                await client.send_guaranteed(b"hello")
                async for _ in client:
                    pass

        async def main() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(LOOPBACK)
                address = probe.getsockname()
            serving = asyncio.ensure_future(serve(address))
            await starts.wait()
            playing = asyncio.ensure_future(play(address))
            await asyncio.sleep(0.05)
            is_open.set()
            await playing
            await serving

        async def serve(address: tuple[str, int]) -> None:
            async with aio.serve(context, address):
                while "connect" not in events:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.01)

        context = ServerContext(Handler())
        context.setInterval(0.005)
        run(main)
        assert [event for event in events if event != "update"] == [
            "started",
            "connect",
            "handled",
            "disconnected",
            "shutdown",
        ]
        assert events[0] == "started"

    def test_an_update_is_told_the_time_of_those_left_out(
        self, run: Callable[[Main], None]
    ) -> None:
        told: list[float] = []

        class Handler(EventHandler):
            async def update(self, delta_t: float) -> None:
                told.append(delta_t)
                await asyncio.sleep(0)

        async def main() -> None:
            events = AsyncEvents(Handler())
            for delta_t in (1.0, 2.0, 4.0):
                events.update(delta_t)
            await events.settle()
            events.update(8.0)
            await events.settle()
            assert told == [1.0, 14.0]

        run(main)

    @pytest.mark.usefixtures("short_disconnects")
    def test_it_can_be_cancelled_whatever_it_waits_for(self, run: Callable[[Main], None]) -> None:
        """For `starting`, in its block, for the disconnects, for events; and again after that."""

        class Handler(EventHandler):
            async def starting(self) -> None:
                await asyncio.sleep(0)

            async def connect(self, client: ServerClient) -> None:
                await asyncio.sleep(0)

            async def handle_message(
                self, client: ServerClient, seqnum: int, msg: bytes = b""
            ) -> None:
                await asyncio.sleep(0.01)

            async def disconnect(self, client: ServerClient) -> None:
                await asyncio.sleep(0)

            async def shutdown(self) -> None:
                await asyncio.sleep(0)
                ended.append("shutdown")

        async def serve(context: ServerContext) -> None:
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                await client.send_guaranteed(b"hello")
            ended.append("serve")

        async def main() -> None:
            context = ServerContext(Handler())
            for wait in range(1, 50):
                ended.clear()
                if not await was_cancelled(serve(context), wait):
                    break
                assert ended == ["shutdown"] or wait > 2  # the first two: `starting`, the block
                for again in range(1, 5):
                    await was_cancelled(serve(context), wait, wait + again)
            assert wait > 4
            assert ended == ["shutdown", "serve"]

        ended: list[str] = []
        run(main)

    def test_events_that_are_cancelled_with_the_server_leave_nothing(
        self, run: Callable[[Main], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        events: list[str] = []

        class Handler(EventHandler):
            async def handle_message(
                self, client: ServerClient, seqnum: int, msg: bytes = b""
            ) -> None:
                handles.set()
                try:
                    await asyncio.sleep(PATIENCE)
                finally:
                    events.append("cancelled")

            async def disconnect(self, client: ServerClient) -> None:
                events.append("disconnect")

            def shutdown(self) -> None:
                events.append("shutdown")

        async def serve() -> None:
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                client.send(b"one")
                client.send(b"two")
                await asyncio.sleep(PATIENCE)

        async def main() -> None:
            serving = asyncio.ensure_future(serve())
            await handles.wait()
            serving.cancel()
            while context.clients:
                await asyncio.sleep(0.01)
            assert not serving.done()  # it waits for the event
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert events == ["cancelled", "shutdown"]

        handles = asyncio.Event()
        context = ServerContext(Handler())
        run(main)
        assert caplog.text == ""

    def test_a_client_that_a_task_disconnects_is_told_at_once(
        self, run: Callable[[Main], None]
    ) -> None:
        async def main() -> None:
            handler = Recorder()
            context = ServerContext(handler)
            context.setInterval(60.0)
            context.setKeepAliveInterval(4.0)
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                await client.send_guaranteed(b"hello")
                handler.clients[0].disconnect()
                assert [message async for message in client] == []

        run(main)

    def test_a_context_is_served_once_at_a_time(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            context = ServerContext(EventHandler())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                with pytest.raises(RuntimeError, match="another server"):
                    async with aio.serve(context, LOOPBACK):
                        raise AssertionError("it is not served")
                await client.send_guaranteed(b"still served")

        run(main)

    def test_a_client_that_is_faster_than_its_handler_is_disconnected(
        self, run: Callable[[Main], None]
    ) -> None:
        async def main() -> None:
            never = asyncio.Event()

            class Handler(EventHandler):
                async def handle_message(
                    self, client: ServerClient, seqnum: int, msg: bytes = b""
                ) -> None:
                    await never.wait()

            context = ServerContext(Handler())
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                for _ in range(MAX_WAITING_EVENTS + 2):
                    client.send(b"")
                assert [message async for message in client] == []
                never.set()

        run(main)

    @pytest.mark.parametrize("is_coroutine", [True, False])
    def test_a_meter_counts_what_the_game_does_and_what_waits_for_it(
        self, run: Callable[[Main], None], is_coroutine: bool
    ) -> None:
        seconds = 0.0
        clock = ServerMeter(lambda: seconds)

        def work() -> None:
            nonlocal seconds
            seconds += 1

        async def main() -> None:
            go_on = asyncio.Event()

            class Handler(EventHandler):
                async def starting(self) -> None:
                    await asyncio.sleep(0)
                    work()

                async def connect(self, client: ServerClient) -> None:
                    await go_on.wait()
                    work()

                def handle_message(
                    self, client: ServerClient, seqnum: int, msg: bytes = b""
                ) -> Coroutine[Any, Any, None] | None:
                    if is_coroutine:
                        return self.handle(msg)
                    work()
                    return None

                async def handle(self, msg: bytes) -> None:
                    work()

            context = ServerContext(Handler())
            context.meter = clock
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                await client.send_guaranteed(b"12345")
                await client.send_guaranteed(b"67")
                figures = clock.figures()
                assert (figures.events_running, figures.events_waiting) == (1, 2)
                assert figures.events_waiting_bytes == 7
                assert figures.handler_seconds == 1
                go_on.set()
                await client.disconnect()
            figures = clock.figures()
            assert (figures.events_running, figures.events_waiting) == (0, 0)
            assert figures.handler_seconds == figures.uptime == 4

        run(main)

    def test_what_another_task_queues_leaves_at_once(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            handler = Recorder()
            context = ServerContext(handler)
            context.setInterval(60.0)
            context.setKeepAliveInterval(4.0)
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                await client.send_guaranteed(b"hello")
                handler.clients[0].send(b"news")
                assert await next_of(client) == b"news"

        run(main)

    def test_the_end_of_the_block_disconnects(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            handler = Recorder()
            context = ServerContext(handler)
            async with aio.serve(context, LOOPBACK) as server:
                connection = to(context, server)
                client = await connection.__aenter__()
            assert handler.reasons == ["shutdown"]
            assert handler.events[-1] == ("shutdown",)
            assert [message async for message in client] == []
            await connection.__aexit__(None, None, None)

        run(main)

    def test_stop_from_another_thread_wakes_it(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            context = ServerContext(EventHandler())
            context.setInterval(60.0)
            async with aio.serve(context, LOOPBACK) as server:
                await asyncio.get_running_loop().run_in_executor(None, server.stop)
                await server.wait_stopped()

        run(main)

    def test_a_coroutine_event_needs_the_server_for_asyncio(self) -> None:
        with pytest.raises(TypeError, match="handle_message"):
            UdpServer(ServerContext(Echo()), LOOPBACK)


class Turns:
    """Counts the calls of a method."""

    def __init__(self, owner: Any, name: str) -> None:
        self.count = 0
        self._call = getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self) -> object:
        self.count += 1
        return self._call()


class TestPolling:
    def test_nothing_is_called_while_nothing_is_due(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            context = ServerContext(EventHandler())
            context.setInterval(60.0)
            context.setKeepAliveInterval(4.0)
            async with (
                aio.serve(context, LOOPBACK) as server,
                to(context, server, keep_alive_interval=4.0) as client,
            ):
                await client.send_guaranteed(b"x")
                await asyncio.sleep(0.1)  # what is owed, such as an ack, leaves meanwhile
                turns = Turns(client._client, "update"), Turns(server._loop, "turn")
                await asyncio.sleep(0.2)
                assert max(turn.count for turn in turns) <= 2

        run(main)

    def test_an_idle_connection_is_woken_by_its_keep_alives_only(
        self, run: Callable[[Main], None]
    ) -> None:
        async def main() -> None:
            context = ServerContext(EventHandler())
            context.setInterval(60.0)
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                await client.send_guaranteed(b"x")
                await asyncio.sleep(0.1)
                turns = Turns(client._client, "update"), Turns(server._loop, "turn")
                before = client.stats()
                await asyncio.sleep(0.5)
                after = client.stats()
                datagrams = after.sent - before.sent + after.received - before.received
                assert 0 < datagrams <= 20
                # A turn for each; and one more where a loop's clock is early for a timer.
                for turn in turns:
                    assert turn.count <= 2 * datagrams + 2

        run(main)


@pytest.mark.skipif(os.name == "nt", reason="a socket of Windows is no descriptor")
class TestDescriptorsClosedBySomebodyElse:
    """On uvloop, too: libuv aborts the process when it registers a descriptor that is closed."""

    def test_whoever_waits_for_a_client_gets_the_error(self, run: Callable[[Main], None]) -> None:
        async def block(context: ServerContext, server: aio.AsyncServer) -> None:
            async with to(context, server) as client:
                waiting = asyncio.ensure_future(next_of(client))
                sending = asyncio.ensure_future(client.send_guaranteed(b"x"))
                os.close(client._client.fileno())
                for future in (waiting, sending, client.disconnect()):
                    with pytest.raises(OSError, match="Bad file descriptor"):
                        await future

        async def main() -> None:
            context = ServerContext(EventHandler())
            async with aio.serve(context, LOOPBACK) as server:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await block(context, server)
                context.setBlockList(["127.0.0.1"])  # nobody is left to reply to a DISCONNECT

        run(main)

    def test_whoever_waits_for_a_server_gets_the_error(self, run: Callable[[Main], None]) -> None:
        async def block(context: ServerContext) -> None:
            async with aio.serve(context, LOOPBACK) as server:
                os.close(server.fileno())
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await server.wait_stopped()

        async def main() -> None:
            handler = Recorder()
            with pytest.raises(OSError, match="Bad file descriptor"):
                await block(ServerContext(handler))
            assert handler.events == [("starting",), ("shutdown",)]

        run(main)

    def test_so_it_is_when_the_sockets_were_registered_again_just_before(
        self, run: Callable[[Main], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def block(context: ServerContext, renewed: asyncio.Event) -> None:
            async with aio.serve(context, LOOPBACK) as server:
                watch = server._driver._watch
                renew = watch.renew

                def renew_and_tell() -> None:
                    renew()
                    renewed.set()

                monkeypatch.setattr(watch, "renew", renew_and_tell)
                await renewed.wait()
                os.close(server.fileno())
                await server.wait_stopped()

        async def main() -> None:
            with pytest.raises(OSError, match="Bad file descriptor"):
                await block(ServerContext(EventHandler()), asyncio.Event())

        run(main)


class Heard:
    """A connected UDP socket as what a driver drives; a timer is due while it `ticks`."""

    wants_write = False

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.ticks = True
        self.had: list[bytes | OSError] = []
        self.new = asyncio.Event()

    def filenos(self) -> tuple[int, ...]:
        return (self._sock.fileno(),)

    def next_timer(self) -> float:
        return time.perf_counter() + 0.01 if self.ticks else float("inf")

    def turn(self) -> None:
        try:
            self.had.append(self._sock.recv(100))
        except BlockingIOError:
            return
        except OSError as error:
            self.had.append(error)
        self.new.set()

    async def next(self) -> bytes | OSError:
        while not self.had:
            self.new.clear()
            await self.new.wait()
        return self.had.pop(0)


class TestRegistrations:
    @pytest.mark.parametrize(
        "new_loop", [*LOOPS, ForgetfulLoop], ids=lambda loop: f"{loop.__module__}.{loop.__name__}"
    )
    def test_a_socket_whose_port_was_unreachable_wakes_the_loop_again(self, new_loop: Any) -> None:
        async def main() -> None:
            peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            peer.bind(LOOPBACK)
            address = peer.getsockname()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect(address)
                heard = Heard(sock)
                driver = Driver(heard, heard.turn)
                driver.start()
                peer.close()
                sock.send(b"anybody there?")
                assert isinstance(await heard.next(), ConnectionError)  # Windows: it was reset
                await asyncio.sleep(3 * RENEWAL_INTERVAL)
                heard.ticks = False
                await asyncio.sleep(0.02)  # the last timer
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
                    again.bind(address)
                    again.sendto(b"here", sock.getsockname())
                    assert await heard.next() == b"here"
                driver.close()

        loop = new_loop()
        try:
            loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
        finally:
            loop.close()
