"""`authenticate` as a coroutine function, on real sockets: accepted, refused, cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mpgameserver import EventHandler, RefusedError, aio
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


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_client_is_in_when_the_coroutine_says_who_it_is() -> None:
    async def main() -> None:
        handler = Doorkeeper()
        context = ServerContext(handler)
        async with (
            aio.serve(context, ADDRESS) as server,
            aio.connect(server.address, context.root_key.getPublicKey()) as client,
        ):
            await handler.asked.wait()
            assert (server.stats.joining, server.clients) == (1, ())
            handler.verdict.set_result("somebody")
            async for _, message in client:
                assert message == b"welcome"
                break
        assert handler.log == [b"", "somebody"]

    run(main)


@pytest.mark.parametrize("outcome", [None, RefusedError("banned"), KeyError("a mistake")])
def test_a_refused_one_is_disconnected_and_had_no_event(outcome: Any) -> None:
    async def main() -> None:
        handler = Doorkeeper()
        context = ServerContext(handler)
        async with (
            aio.serve(context, ADDRESS) as server,
            aio.connect(server.address, context.root_key.getPublicKey()) as client,
        ):
            await handler.asked.wait()
            if outcome is None:
                handler.verdict.set_result(None)
            else:
                handler.verdict.set_exception(outcome)
            assert [message async for message in client] == []
        assert handler.log == [b""]

    run(main)


def test_it_is_cancelled_when_its_client_leaves() -> None:
    async def main() -> None:
        handler = Doorkeeper()
        context = ServerContext(handler)
        async with aio.serve(context, ADDRESS) as server:
            async with aio.connect(server.address, context.root_key.getPublicKey()):
                await handler.asked.wait()
            while server.stats.clients:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert handler.log == [b"", "cancelled"]

    run(main)


def test_it_is_cancelled_when_the_server_stops() -> None:
    async def main() -> None:
        handler = Doorkeeper()
        context = ServerContext(handler)
        async with aio.serve(context, ADDRESS) as server:
            client = aio.connect(server.address, context.root_key.getPublicKey())
            entered = await client.__aenter__()
            await handler.asked.wait()
        assert handler.log == [b"", "cancelled"]
        assert [message async for message in entered] == []
        await client.__aexit__(None, None, None)

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
