"""`authenticate` as a coroutine function, on real sockets: accepted, refused, cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mpgameserver import (
    CloseCode,
    ConnectFailedError,
    ConnectFailure,
    EventHandler,
    RefusedError,
    aio,
)
from mpgameserver.aio.server import AsyncEvents
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext

ADDRESS = ("127.0.0.1", 0)
PATIENCE = 30.0


class Doorkeeper(EventHandler):
    """Lets somebody in when `verdict` is set; `log` has what has happened."""

    def __init__(self) -> None:
        self.verdict: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.asked = asyncio.Event()
        self.log: list[object] = []

    async def authenticate(self, client: ServerClient, credential: bytes) -> object:
        self.log.append(credential)
        self.asked.set()
        try:
            return await self.verdict
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise

    def connect(self, client: ServerClient) -> None:
        self.log.append(client.identity)
        client.send_guaranteed(b"welcome")


def to(context: ServerContext, server: aio.AsyncServer, **options: Any) -> Any:
    return aio.connect(server.address, context.root_key.getPublicKey(), **options)


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_client_is_in_when_the_coroutine_says_who_it_is() -> None:
    async def main() -> None:
        handler = Doorkeeper()
        context = ServerContext(handler)
        async with aio.serve(context, ADDRESS) as server:

            async def decide() -> None:
                await handler.asked.wait()
                assert (server.stats.joining, server.clients) == (1, ())
                handler.verdict.set_result("somebody")

            deciding = asyncio.create_task(decide())
            async with to(context, server, credential=b"a ticket") as client:
                assert deciding.done()
                async for _, message in client:
                    assert message == b"welcome"
                    break
        assert handler.log == [b"a ticket", "somebody"]

    run(main)


@pytest.mark.parametrize(
    ("outcome", "text"),
    [(None, ""), (RefusedError("You are banned."), "You are banned."), (KeyError("a mistake"), "")],
)
def test_a_refused_one_is_told_and_had_no_event(outcome: Any, text: str) -> None:
    async def main() -> None:
        handler = Doorkeeper()
        context = ServerContext(handler)
        if outcome is None:
            handler.verdict.set_result(None)
        else:
            handler.verdict.set_exception(outcome)
        async with aio.serve(context, ADDRESS) as server:
            with pytest.raises(ConnectFailedError) as refused:
                async with to(context, server):
                    raise AssertionError("it is in")
        assert refused.value.failure is ConnectFailure.REJECTED
        assert refused.value.reason is not None
        assert refused.value.reason.code == CloseCode.REFUSED
        assert text in refused.value.reason.text
        assert handler.log == [b""]

    run(main)


def test_it_is_cancelled_when_its_client_leaves() -> None:
    async def main() -> None:
        handler = Doorkeeper()
        context = ServerContext(handler)
        async with aio.serve(context, ADDRESS) as server:
            connecting = asyncio.create_task(to(context, server).__aenter__())
            await handler.asked.wait()
            connecting.cancel()
            while len(handler.log) < 2:
                await asyncio.sleep(0)
            assert handler.log == [b"", "cancelled"]

    run(main)


def test_it_is_cancelled_when_the_server_stops() -> None:
    async def main() -> None:
        handler = Doorkeeper()
        context = ServerContext(handler)
        async with aio.serve(context, ADDRESS) as server:
            connecting = asyncio.create_task(to(context, server).__aenter__())
            await handler.asked.wait()
        assert handler.log == [b"", "cancelled"]
        with pytest.raises(ConnectFailedError) as stopped:
            await connecting
        assert stopped.value.reason is not None
        assert stopped.value.reason.code == CloseCode.SHUTDOWN

    run(main)


def test_those_that_do_not_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpgameserver.aio.server.MAX_DECIDING", 2)

    async def main() -> None:
        handler = Doorkeeper()
        events = AsyncEvents(handler)
        client: Any = None
        running = [events.authenticate(client, b"") for _ in range(2)]
        with pytest.raises(RefusedError, match="too many"):
            events.authenticate(client, b"")
        handler.verdict.set_result(True)
        assert await asyncio.gather(*running) == [True, True]
        await asyncio.sleep(0)
        assert await events.authenticate(client, b"") is True  # type: ignore[misc]

    run(main)
