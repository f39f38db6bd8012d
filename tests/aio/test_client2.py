"""The asyncio client in a session of protocol 2, with the second peer on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.patience import PATIENCE
from support.peerworld import PeerServer, table
from support.wire2.peer import LATEST, ORDERED, Peer2

from mpgameserver import aio
from mpgameserver.channels import Channel
from mpgameserver.enums import CloseReason, ConnectFailure
from mpgameserver.errors import ConnectFailedError, ConnectionEndedError

CHANNELS = [Channel("chat"), Channel("position", "latest")]


class Refusing(PeerServer):
    """A server that refuses every credential."""

    def take(self, session: Peer2, datagram: bytes) -> None:
        if session.closed is None:
            session.close(3, "You are banned.")
        session.receive(datagram)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, PATIENCE))


@asynccontextmanager
async def serving(server: PeerServer) -> AsyncIterator[tuple[str, int]]:
    """Have a server in memory answer on a socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        task = asyncio.create_task(_serve(server, sock))
        try:
            yield sock.getsockname()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _serve(server: PeerServer, sock: socket.socket) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            while True:
                datagram, (_, port) = sock.recvfrom(2048)
                for reply in server.receive(datagram, port, time.perf_counter()):
                    sock.sendto(reply, ("127.0.0.1", port))
        for port, datagram in server.datagrams(time.perf_counter()):
            sock.sendto(datagram, ("127.0.0.1", port))
        await asyncio.sleep(0.002)


@asynccontextmanager
async def joined(server: PeerServer, **options: Any) -> AsyncIterator[aio.AsyncClient]:
    async with (
        serving(server) as address,
        aio.connect(address, server.public_key, **options) as client,
    ):
        yield client


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


@pytest.fixture
def server() -> PeerServer:
    return PeerServer(table(chat=ORDERED, position=LATEST))


def test_messages_of_a_channel_are_awaited(server: PeerServer) -> None:
    async def main() -> None:
        async with joined(server, channels=CHANNELS, credential=b"a ticket") as client:
            assert client.protocol == 2
            chat = client.channel("chat")
            outcomes: list[bool] = []
            chat.send(b"hello", outcomes.append)
            await until(lambda: outcomes)
            for message in (b"one", b"two", b"three"):
                server.session.say(1, message)
            server.session.say(0, b"without a channel")
            received = [await anext(chat) for _ in range(3)]
            assert received == [b"one", b"two", b"three"]
            assert await anext(client) == (1, b"without a channel")
            assert (chat.name, chat.pending) == ("chat", 0)
            assert repr(chat) == "<AsyncChannel 'chat', ordered>"

    run(main())
    assert server.session.credential == b"a ticket"
    assert server.session.delivered == [(1, 1, b"hello")]
    assert server.session.closed == (0, "")


def test_the_progress_of_a_long_message_is_told_on_both_sides(server: PeerServer) -> None:
    async def main() -> None:
        async with joined(server, channels=CHANNELS) as client:
            told: list[tuple[int, int]] = []
            chat = client.channel("chat")
            chat.send(bytes(20_000), on_progress=lambda *report: told.append(report))
            await until(lambda: told and told[-1] == (20_000, 20_000))
            told.clear()
            await client.send_guaranteed(bytes(300), on_progress=lambda *it: told.append(it))
            assert told == [(300, 300)]
            server.session.say(1, bytes(1_000_000))
            await until(lambda: chat.arriving)
            [(received, total)] = chat.arriving
            assert 0 < received < total == 1_000_000
            assert client.arriving == []
            assert await anext(chat) == bytes(1_000_000)
            assert chat.arriving == []

    run(main())


def test_each_waiting_iteration_gets_its_own(server: PeerServer) -> None:
    async def read(source: Any, into: list[Any]) -> None:
        async for each in source:
            into.append(each)

    async def main() -> None:
        async with joined(server, channels=CHANNELS) as client:
            read_by: dict[str, list[Any]] = {"": [], "chat": [], "position": []}
            readers = [
                asyncio.create_task(read(client.channel(name) if name else client, into))
                for name, into in read_by.items()
            ]
            await asyncio.sleep(0)
            for channel in range(3):
                server.session.say(channel, b"%d" % channel)
            await until(lambda: all(read_by.values()))
            assert read_by == {"": [(1, b"0")], "chat": [b"1"], "position": [b"2"]}
            server.session.close(6, "until tomorrow")
            await asyncio.gather(*readers)
            assert client.reason == CloseReason(6, "until tomorrow")

    run(main())


def test_the_reason_of_an_end_is_sent(server: PeerServer) -> None:
    async def main() -> None:
        async with joined(server, channels=CHANNELS) as client:
            with pytest.raises(ValueError, match="must be 0 or 256"):
                await client.disconnect(7)
            await client.disconnect(1000, "to the menu")
            assert client.reason == (1000, "to the menu")
            with pytest.raises(StopAsyncIteration):
                await anext(client.channel("chat"))

    run(main())
    assert server.session.closed == (1000, "to the menu")


def test_a_refusal_is_raised_with_its_text() -> None:
    async def main() -> None:
        with pytest.raises(
            ConnectFailedError, match=r"let this player in\. You are banned\."
        ) as no:
            async with joined(Refusing(), credential=b"a ticket"):
                raise AssertionError("it is connected")
        assert no.value.failure is ConnectFailure.REJECTED
        assert no.value.reason == CloseReason(3, "You are banned.")

    run(main())


def test_a_channel_that_was_not_declared(server: PeerServer) -> None:
    async def main() -> None:
        async with joined(server, channels=CHANNELS) as client:
            with pytest.raises(ValueError, match="'caht'"):
                client.channel("caht")

    run(main())


def test_a_connection_that_is_lost_while_a_channel_is_awaited(server: PeerServer) -> None:
    async def main() -> None:
        async with joined(server, channels=CHANNELS) as client:
            client._client._timing.idle_timeout = 0.3
            client._client._retime()
            server.sessions.clear()
            with pytest.raises(ConnectionEndedError):
                await anext(client.channel("chat"))

    run(main())


def test_the_keys_of_a_session_are_logged_where_it_is_asked_for(
    server: PeerServer, tmp_path: Path
) -> None:
    async def main() -> None:
        async with joined(server, channels=CHANNELS, key_log=tmp_path / "keys"):
            pass

    run(main())
    labels = [line.split()[0] for line in (tmp_path / "keys").read_text().splitlines()]
    assert labels == ["MPG2_CLIENT_TRAFFIC_SECRET_0", "MPG2_SERVER_TRAFFIC_SECRET_0"]
