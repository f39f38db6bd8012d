"""A game over protocol 2: the client and the server, in virtual time and over bad links."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mpgameserver import (
    Channel,
    ConnectFailedError,
    EventHandler,
    RefusedError,
    ServerContext,
    aio,
)
from mpgameserver.enums import CloseCode, ConnectFailure, ConnectionStatus
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.client import ServerClient
from mpgameserver.testing import World
from mpgameserver.wire.protocol2.ml_kem import find_ml_kem

CHANNELS = [Channel("chat"), Channel("position", "latest", priority=1)]
BAD = LinkConditions(loss=0.1, latency=0.03, jitter=0.01)


class Game(EventHandler):
    """Knows its players by their credential, and passes on what they say."""

    def __init__(self) -> None:
        self.context = ServerContext(self, channels=CHANNELS, audience="arena")
        self.positions: list[int] = []
        self.left: list[tuple[Any, Any]] = []

    def authenticate(self, client: ServerClient, credential: bytes) -> object:
        if not credential.startswith(b"ticket of "):
            raise RefusedError("You need a ticket.")
        return credential.removeprefix(b"ticket of ").decode()

    def connect(self, client: ServerClient) -> None:
        self.context.group("all").add(client)
        client.channel("chat").send(f"welcome, {client.identity}".encode())

    def disconnect(self, client: ServerClient) -> None:
        self.left.append((client.identity, client.close_reason))

    def handle_message(
        self, client: ServerClient, seqnum: int, msg: bytes = b"", channel: str = ""
    ) -> None:
        if channel == "chat":
            line = f"{client.identity}: ".encode() + msg
            self.context.group("all").send(line, channel="chat")
        elif channel == "position":
            self.positions.append(int(msg))
        else:
            client.send_guaranteed(msg)


@pytest.mark.skipif(find_ml_kem() is None, reason="this cryptography has no ML-KEM")
@pytest.mark.parametrize("seed", range(3))
def test_keys_come_from_ml_kem_where_no_hello_has_room_for_one_as_well(seed: int) -> None:
    narrow = LinkConditions(loss=0.2, latency=0.03, max_datagram=1200)
    world = World(Game().context, narrow, seed)
    client = world.client(
        channels=CHANNELS, audience="arena", credential=b"ticket of ada", require_hybrid=True
    )
    client.connect(world.address)
    world.run_until(lambda: client.connected() and client.channel("chat").messages())
    assert client._connection is not None
    assert client._connection.endpoint.key_phase[0] == 1


@pytest.mark.parametrize("seed", range(3))
def test_players_talk_in_order_and_move_and_are_known(seed: int) -> None:
    game = Game()
    world = World(game.context, BAD, seed)
    ann, bob = (world.connect(credential=b"ticket of " + name) for name in (b"ann", b"bob"))
    assert ann.protocol == bob.protocol == 2
    assert world.server_client(ann).identity == "ann"
    for number in range(100):
        ann.channel("position").send(b"%d" % number)
        if number % 10 == 0:
            ann.channel("chat").send(b"line %d" % number)
            ann.send_guaranteed(b"plain %d" % number)
        world.run(0.05)
    world.run(5)
    lines = [b"ann: line %d" % number for number in range(0, 100, 10)]
    assert list(ann.channel("chat").messages()) == [b"welcome, ann", *lines]
    assert list(bob.channel("chat").messages()) == [b"welcome, bob", *lines]
    plain = sorted(message for _, message in ann.getMessages())
    assert plain == sorted(b"plain %d" % number for number in range(0, 100, 10))
    assert game.positions == sorted(set(game.positions))
    assert game.positions[-1] == 99


def test_a_refused_player_is_shown_why() -> None:
    world = World(Game().context)
    client = world.client(credential=b"nothing")
    client.connect(world.address)
    world.run_until(lambda: client.status() != ConnectionStatus.CONNECTING)
    assert client.failure is ConnectFailure.REJECTED
    assert client.reason == (CloseCode.REFUSED, "You need a ticket.")


def test_so_is_one_with_other_channels() -> None:
    world = World(Game().context)
    client = world.client(credential=b"ticket of ann", channels=[Channel("chat")])
    client.connect(world.address)
    world.run_until(lambda: client.status() != ConnectionStatus.CONNECTING)
    assert client.failure is ConnectFailure.REJECTED
    assert client.reason is not None
    assert client.reason.code == CloseCode.CHANNELS
    assert "channel 2 is latest 'position' here" in client.reason.text


def test_both_sides_can_say_why_they_leave() -> None:
    game = Game()
    world = World(game.context)
    ann, bob = (world.connect(credential=b"ticket of " + name) for name in (b"ann", b"bob"))
    ann.disconnect(300, "dinner")
    world.server_client(bob).disconnect(400, "for cheating")
    world.run(2)
    assert sorted(game.left) == [("ann", (300, "dinner")), ("bob", (400, "for cheating"))]
    assert bob.reason == (400, "for cheating")
    assert bob.status() == ConnectionStatus.DISCONNECTED


def test_a_game_that_changes_nothing_gets_protocol_2() -> None:
    class Echo(EventHandler):
        def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
            client.send_guaranteed(msg)

    world = World(Echo(), BAD, 5)
    client = world.connect()
    assert client.protocol == 2
    for number in range(20):
        client.send_guaranteed(b"%d" % number)
    world.run(5)
    assert sorted(int(message) for _, message in client.getMessages()) == list(range(20))


class SlowGame(Game):
    """The same with coroutines."""

    async def authenticate(self, client: ServerClient, credential: bytes) -> object:
        await asyncio.sleep(0)
        return super().authenticate(client, credential)

    async def handle_message(
        self, client: ServerClient, seqnum: int, msg: bytes = b"", channel: str = ""
    ) -> None:
        await asyncio.sleep(0)
        super().handle_message(client, seqnum, msg, channel)


def test_coroutines_get_the_channel_and_the_credential() -> None:
    async def main() -> None:
        game = SlowGame()
        key = game.context.root_key.getPublicKey()
        options: Any = {"channels": CHANNELS, "audience": "arena"}
        async with aio.serve(game.context, ("127.0.0.1", 0)) as server:
            with pytest.raises(ConnectFailedError) as refused:
                async with aio.connect(server.address, key, **options):
                    pass
            assert refused.value.failure is ConnectFailure.REJECTED
            ticket = b"ticket of ann"
            async with aio.connect(server.address, key, credential=ticket, **options) as ann:
                chat = ann.channel("chat")
                chat.send(b"hello")
                lines = [await anext(aiter(chat)) for _ in range(2)]
                assert lines == [b"welcome, ann", b"ann: hello"]
        assert game.left == [("ann", (0, ""))]

    asyncio.run(asyncio.wait_for(main(), 30))
