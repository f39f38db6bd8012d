"""UdpClient in a session of protocol 2: messages, channels, the end. In virtual time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from support.peerworld import ADDRESS, NEAR, PeerServer, PeerWorld, table
from support.wire2.peer import LATEST, ORDERED, SEQUENCED, UNORDERED

from mpgameserver.channels import Channel
from mpgameserver.client import UdpClient
from mpgameserver.client.channel import ClientChannel
from mpgameserver.enums import CloseCode, CloseReason, ConnectionStatus, RetryMode
from mpgameserver.errors import NotConnectedError
from mpgameserver.netsim import LinkConditions
from mpgameserver.server import EventHandler
from mpgameserver.testing import World

LOSSY = LinkConditions(loss=0.2, latency=0.02, jitter=0.01, reorder=0.1, reorder_delay=0.05)
DEAD = LinkConditions(loss=1.0)
KINDS = {"chat": ORDERED, "events": UNORDERED, "aim": SEQUENCED, "position": LATEST}
CHANNELS = [
    Channel("chat"),
    Channel("events", "unordered"),
    Channel("aim", "sequenced"),
    Channel("position", "latest"),
]


def joined(conditions: LinkConditions = NEAR, seed: int = 0) -> PeerWorld:
    """A world whose client is connected, with a channel of each kind."""
    world = PeerWorld(PeerServer(table(**KINDS)), conditions, seed, channels=CHANNELS)
    world.client.setConnectionTimeout(20)
    world.connect()
    return world


@pytest.fixture
def world() -> PeerWorld:
    return joined()


@pytest.fixture
def client(world: PeerWorld) -> UdpClient:
    return world.client


def on(world: PeerWorld, channel: int) -> list[bytes]:
    """The messages that the server has had on a channel."""
    return [message for number, _, message in world.server.session.delivered if number == channel]


class TestUnnamed:
    """Messages without a channel: all that client.md says, whatever the protocol."""

    def test_they_arrive_with_their_numbers(self, world: PeerWorld, client: UdpClient) -> None:
        for message in (b"one", b"two"):
            world.server.session.say(0, message)
        world.run(0.2)
        assert client.hasMessages()
        assert client.getMessage() == (1, b"one")
        assert client.getMessages() == [(2, b"two")]
        assert not client.hasMessages()
        with pytest.raises(IndexError):
            client.getMessage()

    def test_callbacks_tell_what_was_acked(self, world: PeerWorld, client: UdpClient) -> None:
        outcomes: list[bool] = []
        client.send(b"reliable", callback=outcomes.append)
        client.send(b"once", RetryMode.NONE, outcomes.append)
        client.send(b"often", RetryMode.BEST_EFFORT, outcomes.append)
        assert outcomes == []
        world.run(0.3)
        assert outcomes == [True] * 3
        assert sorted(on(world, 0)) == [b"often", b"once", b"reliable"]

    def test_what_is_not_acked_times_out(self, world: PeerWorld, client: UdpClient) -> None:
        outcomes: list[tuple[str, bool]] = []
        client.setMessageTimeout(0.5)
        relink(world, DEAD)
        client.send(b"once", RetryMode.NONE, lambda acked: outcomes.append(("once", acked)))
        client.send(b"often", 1, lambda acked: outcomes.append(("often", acked)))
        client.send(b"reliable", -1, lambda acked: outcomes.append(("reliable", acked)))
        world.run(1)
        assert sorted(outcomes) == [("often", False), ("once", False)]
        relink(world, NEAR)
        world.run(1)
        assert outcomes[2:] == [("reliable", True)]

    @pytest.mark.parametrize("size", [0, 1, 1200, 1500, 200_000])
    def test_any_size(self, world: PeerWorld, client: UdpClient, size: int) -> None:
        message = bytes(index % 251 for index in range(size))
        client.send(message)
        world.server.session.say(0, message)
        world.run_until(lambda: on(world, 0) and client.hasMessages(), 5)
        assert on(world, 0) == [message]
        assert client.getMessage()[1] == message

    def test_on_a_lossy_link_each_arrives_once(self, seed: int) -> None:
        world = joined(LOSSY, seed)
        sent = [b"%d" % number for number in range(200)]
        for message in sent:
            world.client.send(message)
            world.server.session.say(0, message)
            world.frame()
        world.run_until(lambda: len(on(world, 0)) == len(sent) and world.server.session.is_done)
        world.run(0.5)
        assert sorted(on(world, 0)) == sorted(sent)
        assert sorted(message for _, message in world.client.getMessages()) == sorted(sent)

    def test_latency_pending_and_statistics(self, world: PeerWorld, client: UdpClient) -> None:
        client.send(b"x" * 100)
        assert client.pending == 100
        world.run(1)
        assert client.pending == 0
        assert 0.04 <= client.latency() <= 0.08
        stats = client.stats()
        assert stats.sent > 5
        assert stats.received > 2
        assert stats.acked > 5

    def test_keep_alives_come_at_their_interval(self, world: PeerWorld, client: UdpClient) -> None:
        world.run(2)
        client.setKeepAliveInterval(0.5)
        world.run(1)
        before = client.stats().sent
        world.run(5)
        assert 8 <= client.stats().sent - before <= 20

    def test_a_server_that_falls_silent(self, world: PeerWorld, client: UdpClient) -> None:
        outcomes: list[bool] = []
        relink(world, DEAD)
        client.send(b"", callback=outcomes.append)
        world.run(4.5)
        assert client.connected()
        world.run(1)
        assert client.status() is ConnectionStatus.DROPPED
        assert client.reason is None
        assert outcomes == [False]

    def test_a_client_can_connect_again(self, world: PeerWorld, client: UdpClient) -> None:
        client.connect(ADDRESS)
        world.run_until(client.connected)
        assert len(world.server.sessions) == 2
        assert next(iter(world.server.sessions.values())).closed == (0, "")


class TestChannels:
    @pytest.mark.parametrize("name", KINDS)
    def test_both_ways(self, world: PeerWorld, client: UdpClient, name: str) -> None:
        number = list(KINDS).index(name) + 1
        channel = client.channel(name)
        outcomes: list[bool] = []
        channel.send(b"to the server", outcomes.append)
        world.server.session.say(number, b"to the client")
        world.run(0.3)
        assert on(world, number) == [b"to the server"]
        assert list(channel.messages()) == [b"to the client"]
        assert outcomes == [True]
        assert client.getMessages() == []
        assert channel.name == name

    def test_ordered_messages_come_in_order_on_a_lossy_link(self, seed: int) -> None:
        world = joined(LOSSY, seed)
        chat = world.client.channel("chat")
        sent = [b"%d" % number for number in range(200)]
        received: list[bytes] = []
        for message in sent:
            chat.send(message)
            world.server.session.say(1, message)
            world.frame()
            received += chat.messages()
        end = world.now + 10
        while (len(received) < 200 or len(on(world, 1)) < 200) and world.now < end:
            world.frame()
            received += chat.messages()
        assert received == sent
        assert on(world, 1) == sent

    def test_a_game_that_reads_late_gets_all(self, world: PeerWorld, client: UdpClient) -> None:
        """More than the window allows at once: it grows as the game reads."""
        big = bytes(300_000)
        for number in range(8):
            world.server.session.say(1, b"%d" % number + big)
        world.run(3)
        received: list[bytes] = []
        end = world.now + 20
        while len(received) < 8 and world.now < end:
            received += client.channel("chat").messages()
            world.frame()
        assert [message[:1] for message in received] == [b"%d" % number for number in range(8)]

    def test_messages_that_are_not_taken_stay(self, world: PeerWorld, client: UdpClient) -> None:
        for message in (b"one", b"two", b"three"):
            world.server.session.say(1, message)
        world.run(0.3)
        messages = client.channel("chat").messages()
        assert isinstance(messages, Iterator)
        assert next(messages) == b"one"
        client.forceDisconnect()
        assert list(client.channel("chat").messages()) == [b"two", b"three"], "after the end, too"

    def test_each_has_its_own_backlog(self, world: PeerWorld, client: UdpClient) -> None:
        client.channel("chat").send(bytes(70))
        client.channel("events").send(bytes(30))
        assert client.channel("chat").pending == 70
        assert client.channel("events").pending == 30
        assert client.pending == 100

    def test_the_newest_replaces_what_waits(self, world: PeerWorld, client: UdpClient) -> None:
        outcomes: list[tuple[int, bool]] = []
        for number in range(3):
            client.channel("position").send(
                b"%d" % number, lambda acked, number=number: outcomes.append((number, acked))
            )
        world.run(0.3)
        assert on(world, 4) == [b"2"]
        assert outcomes == [(0, False), (1, False), (2, True)]

    def test_retry_modes_are_those_of_an_unordered_one(
        self, world: PeerWorld, client: UdpClient
    ) -> None:
        client.channel("events").send(b"once", retry=RetryMode.NONE)
        with pytest.raises(ValueError, match="'chat' is ordered"):
            client.channel("chat").send(b"", retry=RetryMode.NONE)
        with pytest.raises(ValueError, match="retry"):
            client.channel("events").send(b"", retry=7)
        world.run(0.2)
        assert on(world, 2) == [b"once"]

    def test_one_that_was_not_declared(self, client: UdpClient) -> None:
        with pytest.raises(ValueError, match="no channel 'caht' is declared; declared: 'chat'"):
            client.channel("caht")
        with pytest.raises(ValueError, match="declared: none"):
            UdpClient().channel("chat")

    def test_what_cannot_be_sent(self, world: PeerWorld, client: UdpClient) -> None:
        chat = client.channel("chat")
        with pytest.raises(TypeError):
            chat.send("text")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="1048576"):
            chat.send(bytes((1 << 20) + 1))
        client.forceDisconnect()
        with pytest.raises(NotConnectedError, match="DISCONNECTED"):
            chat.send(b"late")

    def test_before_the_session(self) -> None:
        world = PeerWorld(PeerServer(table(chat=ORDERED)), channels=[Channel("chat")])
        chat = world.client.channel("chat")
        for _ in range(2):
            with pytest.raises(NotConnectedError):
                chat.send(b"early")
            assert list(chat.messages()) == []
            assert chat.pending == 0
            world.client.connect(ADDRESS)
        world.run_until(world.client.connected)
        chat.send(b"hello")
        world.run(0.2)
        assert on(world, 1) == [b"hello"]

    def test_it_lives_on_in_the_next_session(self, world: PeerWorld, client: UdpClient) -> None:
        chat = client.channel("chat")
        client.connect(ADDRESS)
        world.run_until(client.connected)
        chat.send(b"again")
        world.run(0.2)
        delivered = [each.delivered for each in world.server.sessions.values()]
        assert delivered == [[], [(1, 1, b"again")]]

    def test_its_text(self, client: UdpClient) -> None:
        assert repr(client.channel("chat")) == "<ClientChannel 'chat', ordered>"
        assert repr(ClientChannel.__new__(ClientChannel))

    def test_a_client_that_is_dropped_is_gone_at_once(self) -> None:
        gc.disable()
        try:
            client = UdpClient(channels=[Channel("chat")])
            client.channel("chat")
            gone = weakref.ref(client)
            del client
            assert gone() is None
        finally:
            gc.enable()


class TestServerTime:
    """With the package's own server, whose clock is the world's."""

    @pytest.mark.parametrize("number", range(3))
    def test_its_error_with_symmetric_jitter(self, number: int, seed: int) -> None:
        """At most 5 ms, at a round trip of 100 ms that varies by 30 ms each way."""
        conditions = LinkConditions(latency=0.05, jitter=0.015)
        world = World(EventHandler(), conditions, f"{seed} {number}")
        client = world.connect()
        world.run(2)
        errors = []
        for _ in range(10):
            world.run(1)
            time = client.server_time()
            assert time is not None
            errors.append(abs(time - world.now))
        assert max(errors) <= 0.005

    def test_it_is_unknown_before_the_first_comparison(self) -> None:
        world = PeerWorld()
        assert world.client.server_time() is None
        world.client.connect(ADDRESS)
        assert world.client.server_time() is None


class TestTheEnd:
    def test_the_server_gets_the_code_and_the_text(
        self, world: PeerWorld, client: UdpClient
    ) -> None:
        client.send(b"last words")
        client.disconnect(1000, "to the menu")
        assert client.status() is ConnectionStatus.DISCONNECTING
        world.run(0.5)
        assert client.status() is ConnectionStatus.DISCONNECTED
        assert client.reason == CloseReason(1000, "to the menu")
        assert world.server.session.closed == (1000, "to the menu")
        assert on(world, 0) == [b"last words"]

    def test_without_arguments_it_is_as_ever(self, world: PeerWorld, client: UdpClient) -> None:
        client.waitForDisconnect()
        assert client.reason == (CloseCode.CLOSED, "")
        assert world.server.session.closed == (0, "")

    def test_at_once(self, world: PeerWorld, client: UdpClient) -> None:
        client.forceDisconnect()
        assert client.status() is ConnectionStatus.DISCONNECTED
        world.run(0.1)
        assert world.server.session.closed == (0, "")

    def test_by_the_server(self, world: PeerWorld, client: UdpClient) -> None:
        outcomes: list[bool] = []
        world.server.session.say(0, b"last words")
        world.run(0.1)
        assert client.reason is None
        world.server.session.close(6, "until tomorrow")
        client.send(b"", callback=outcomes.append)
        world.run(0.3)
        assert client.status() is ConnectionStatus.DISCONNECTED
        assert client.reason == CloseReason(CloseCode.SHUTDOWN, "until tomorrow")
        assert outcomes == [False]
        assert client.getMessages() == [(1, b"last words")]
        assert client.failure is None

    def test_the_next_attempt_forgets_the_reason(self, world: PeerWorld, client: UdpClient) -> None:
        client.disconnect()
        world.run(0.3)
        client.connect(ADDRESS)
        assert client.reason is None
        world.run_until(client.connected)
        assert client.reason is None

    @pytest.mark.parametrize("arguments", [(3,), (0, "x" * 257)])
    def test_a_reason_that_is_not_the_games_to_give(
        self, client: UdpClient, arguments: tuple[object, ...]
    ) -> None:
        with pytest.raises(ValueError, match="must"):
            client.disconnect(*arguments)
        assert client.connected()


def client_port(world: PeerWorld) -> int:
    """The port of the client's only socket."""
    [port] = [port for port, sock in world.network.sockets.items() if not sock.is_closed]
    return port


def relink(world: PeerWorld, conditions: LinkConditions) -> None:
    """Change what the client's link does; what is in flight is lost."""
    world.network.conditions = conditions
    world.network.sockets[client_port(world)].relink()
