"""The asyncio client and server on loopback, on every event loop that is at hand."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from support.serverworld import Recorder

from mpgameserver import aio
from mpgameserver.aioserver import MAX_WAITING_EVENTS
from mpgameserver.enums import ConnectFailure, ConnectionStatus, RetryMode
from mpgameserver.errors import ConnectFailedError, ConnectionEndedError, NotConnectedError
from mpgameserver.server import EventHandler, ServerClient, ServerContext, UdpServer

try:
    import uvloop
except ImportError:
    LOOPS = [asyncio.SelectorEventLoop]
else:
    LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]
    uvloop.new_event_loop().close()  # the first makes a pipe that the process keeps

LOOPBACK = ("127.0.0.1", 0)
PATIENCE = 10.0
Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=LOOPS, ids=lambda loop: loop.__module__)
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

    def test_what_another_task_queues_leaves_at_once(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            handler = Recorder()
            context = ServerContext(handler)
            context.setInterval(60.0)
            context.setKeepAliveInterval(60.0)
            async with aio.serve(context, LOOPBACK) as server, to(context, server) as client:
                await client.send_guaranteed(b"hello")
                handler.clients[0].send(b"news")
                assert await next_of(client) == b"news"

        run(main)

    def test_the_end_of_the_block_says_goodbye(self, run: Callable[[Main], None]) -> None:
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


class TestPolling:
    def test_nothing_is_called_while_nothing_is_due(self, run: Callable[[Main], None]) -> None:
        async def main() -> None:
            context = ServerContext(EventHandler())
            context.setInterval(60.0)
            context.setKeepAliveInterval(60.0)
            async with (
                aio.serve(context, LOOPBACK) as server,
                to(context, server, keep_alive_interval=60.0) as client,
            ):
                await client.send_guaranteed(b"x")
                await asyncio.sleep(0.1)  # what is owed, such as an ack, leaves meanwhile
                turns = 0
                update = client._client.update

                def counted() -> None:
                    nonlocal turns
                    turns += 1
                    update()

                client._client.update = counted  # type: ignore[method-assign]
                await asyncio.sleep(0.2)
                assert turns <= 2

        run(main)


class WithoutReaders(asyncio.SelectorEventLoop):
    """What the proactor loop, which is the usual one on Windows, does without."""

    def add_reader(self, *_: Any) -> None:
        raise NotImplementedError


class TestLoopsThatCannotWaitForOurSockets:
    @pytest.mark.parametrize("run", [WithoutReaders], indirect=True)
    def test_neither_side_begins_and_it_is_said_which_loop_can(
        self, run: Callable[[Main], None]
    ) -> None:
        async def main() -> None:
            context = ServerContext(EventHandler())
            with pytest.raises(NotImplementedError, match=r"asyncio\.SelectorEventLoop"):
                async with aio.serve(context, LOOPBACK):
                    pass
            with pytest.raises(NotImplementedError, match=r"asyncio\.SelectorEventLoop"):
                async with aio.connect(("127.0.0.1", 9), context.root_key.getPublicKey()):
                    pass

        run(main)
