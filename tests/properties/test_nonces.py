"""No two packets ever share a key and a nonce, whatever clocks, peers and restarts do."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.answering import answer
from support.echo import EchoServer
from support.patience import PATIENCE
from support.recordingaead import RING, Seals, recorded_sessions
from support.serverworld import DEAD, Player, Recorder, World

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.client import UdpClient, candidates, handshake, network
from mpgameserver.client.handshake import ClientHandshake
from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import ConnectionStatus, PacketType, RetryMode
from mpgameserver.netsim import LinkConditions

KEY = bytes(16)
WALL_START = 1_700_000_000.0
ADDRESS = ("192.0.2.1", 5000)
PER_SECOND = 32_767
"""Packets under one written second: half a ring."""
WITHOUT_PAUSE = 1e-9
"""A keep-alive interval at which every call makes a packet."""
ROOT_KEY = EllipticCurvePrivateKey.new()


@pytest.fixture
def seals() -> Iterator[Seals]:
    with recorded_sessions() as seals:
        yield seals


def talkative(seals: Seals, is_server: bool = False, now: float = 0.0) -> Endpoint1:
    """An endpoint that has a packet for every call with a later time."""
    endpoint = Endpoint1(seals.aead(KEY), is_server, now, WALL_START)
    endpoint.established = True
    endpoint.keep_alive_interval = WITHOUT_PAUSE
    return endpoint


class TestClock:
    """The monotonic clock of a session, as a machine that sleeps or a virtual one may have it."""

    def test_of_any_steps_backwards_and_forwards_through_laps_of_the_counter(self, seed):
        rng, seals = random.Random(seed), Seals()
        endpoints = [talkative(seals, is_server) for is_server in (False, True)]
        latest = 0.0
        while seals.sealed < 6 * RING:
            now = latest + rng.choice((-3600.0, -1.0, -0.01, 0.0, 1e-4, 0.5, 1.0, 61.7))
            for endpoint in endpoints:
                for _ in range(rng.choice((1, 10, 3000))):
                    now += 1e-7
                    endpoint.next_datagram(now)
            latest = max(latest, now)

    def test_that_stands_still_lets_half_a_ring_leave_and_the_rest_waits(self):
        seals = Seals()
        client = talkative(seals)
        now = 0.25
        for _ in range(40_000):
            now += 1e-9
            client.next_datagram(now)
        assert seals.sealed == PER_SECOND
        for earlier in (0.5, 0.999, -1e6):
            assert client.next_datagram(earlier) is None
        assert client.next_timer() == pytest.approx(1.0, abs=1e-5)
        assert client.next_datagram(client.next_timer()) is not None

    def test_without_a_nonce_left_there_is_no_disconnect_and_nothing_raises(self):
        seals = Seals()
        client = Connection(talkative(seals), 1, Timing(keep_alive=WITHOUT_PAUSE))
        now = 0.25
        while seals.sealed < PER_SECOND:
            now += 1e-9
            client.next_datagram(now)
        assert client.abort(now) is None
        assert client.status == ConnectionStatus.DISCONNECTED


class TestBursts:
    def test_what_a_second_does_not_carry_leaves_in_the_next_one(self):
        """Packets of one message, each acked at once, on a link that carries them in no time."""
        seals, packets = Seals(), 40_000
        client, server = (
            Endpoint1(seals.aead(KEY), is_server, 0.0, WALL_START, max_datagram=50)
            for is_server in (False, True)
        )
        client.established = server.established = True
        now, arrived, waits = 0.0, 0, 0
        for _ in range(packets):
            client.send_queue.add(bytes(12), RetryMode.NONE)
            now += 1e-6
            client.advance(now)
            while (datagram := client.next_datagram(now)) is None:
                later = client.next_timer()
                now, waits = later, waits + (later == pytest.approx(1.0, abs=1e-5))
            assert server.receive(datagram, now) == 0
            arrived += len(server.take_messages())
            while (answer := server.next_datagram(now)) is not None:
                assert client.receive(answer, now) == 0
        while client.send_queue.pending:
            now = client.next_timer()
            assert server.receive(client.next_datagram(now), now) == 0
            arrived += len(server.take_messages())
        assert (waits, arrived) == (1, packets)
        assert 1.0 <= now < 2.0


def play(player: Player, world: World) -> None:
    """Talk a while, both ways."""
    for i in range(5):
        player.send(b"up %d" % i)
        world.context.broadcast(b"down %d" % i)
        world.run(0.1)


class TestSessions:
    """Every session has a key of its own, so its numbers and times may be those of another."""

    def test_of_a_client_that_comes_back_again_and_again(self, seals):
        world = World()
        for attempt in range(20):
            player = world.join(*ADDRESS)
            play(player, world)
            if attempt % 3 == 0:
                player.connection.disconnect(world.now)
                world.run(0.3)
            elif attempt % 3 == 1:
                player.relink(DEAD)
                world.run(6.0)
            world.players.clear()
        assert seals.keys == len(world.handler.clients) == 20

    def test_of_many_clients_at_one_moment(self, seals):
        world = World(conditions=LinkConditions(loss=0.2, duplicate=0.2, latency=0.03))
        for _ in range(30):
            world.player()
        world.run(3.0)
        assert len(world.engine.clients) == 30
        assert len({client.token for client in world.engine.clients}) == 30
        assert seals.keys >= 30

    @pytest.mark.parametrize("step", [0.0, -3600.0, 3600.0, -1.0])
    def test_with_a_server_that_was_restarted_at_another_time_of_its_wall_clock(self, seals, step):
        class Restarted(World):
            @property
            def wall_now(self) -> float:
                return super().wall_now + step

        keys = 0
        for kind in (World, Restarted, World):
            world = kind()
            play(world.join(*ADDRESS), world)
            assert seals.keys == keys + 1
            keys = seals.keys
        assert seals.sealed >= 3 * 2 * 5

    def test_of_a_half_open_handshake_that_is_answered_again_and_again(self, seals):
        lossy = LinkConditions(loss=0.6, duplicate=0.3, latency=0.05)
        world = World(conditions=lossy)
        for _ in range(10):
            world.player(timing=Timing(idle_timeout=60.0))
        world.run(8.0)
        assert len(world.handler.clients) >= 5


class TestWallClock:
    """It is read once for each session: a step, of whatever size, is not seen by one that runs."""

    def test_of_a_server_may_step_at_every_datagram(self, seals, seed):
        rng = random.Random(seed)

        class Unsteady(World):
            @property
            def wall_now(self) -> float:
                return super().wall_now + rng.uniform(-1e6, 1e6)

        echo = Recorder(handle_message=lambda client, message: client.send(message, -1))
        world = Unsteady(echo)
        players = [world.join() for _ in range(3)]
        for number in range(100):
            for player in players:
                player.send(b"%d" % number)
            world.run(0.05)
        world.run(0.5)
        for player in players:
            assert sorted(player.messages) == sorted(b"%d" % number for number in range(100))

    def test_of_a_client_is_read_once_for_each_attempt(self, monkeypatch):
        readings = []

        class Clock:
            """The time module, as the client sees it."""

            perf_counter = staticmethod(time.perf_counter)

            @staticmethod
            def time() -> float:
                readings.append(1e6)
                return 1e6

        monkeypatch.setattr(network, "time", Clock)
        with EchoServer() as server, UdpClient(server.public_key) as client:
            for attempt in (1, 2):
                client.connect(server.address)
                received, end = 0, time.monotonic() + PATIENCE
                while received < 20 and time.monotonic() < end:
                    if client.connected() and client.pending == 0:
                        client.send(b"hello")
                    client.update()
                    received += len(client.getMessages())
                    time.sleep(0.001)
                assert received >= 20
                assert len(readings) == attempt


class TestAnswersThatComeAgain:
    """One answer gives one key, also to a second candidate of it, made by an attacker who moves
    or repeats datagrams. All that a client seals has numbers of one sequence."""

    @pytest.fixture
    def sealed(self, monkeypatch) -> set[tuple[bytes, bytes]]:
        sealed: set[tuple[bytes, bytes]] = set()

        class Remembering:
            def __init__(self, key: bytes) -> None:
                self._key, self._aead = key, AESGCM(key)
                self.decrypt = self._aead.decrypt

            def encrypt(self, nonce: bytes, data: bytes, header: bytes, /) -> bytes:
                assert (self._key, nonce) not in sealed, "one nonce for two packets"
                sealed.add((self._key, nonce))
                return self._aead.encrypt(nonce, data, header)

        monkeypatch.setattr(handshake, "session_cipher", Remembering)
        return sealed

    @staticmethod
    def attempt() -> ClientHandshake:
        attempt = ClientHandshake(ROOT_KEY.getPublicKey(), 0.0, WALL_START)
        for path in ("one", "two"):
            attempt.add_path(path, 0.0, 1434, 1472)
        return attempt

    @staticmethod
    def finish(attempt: ClientHandshake, server, path: str, now: float) -> Endpoint1:
        """Let the server's first sealed packet arrive; the session sends in the same second."""
        server.endpoint.established = True
        proof = server.endpoint.next_datagram(now)
        session = attempt.receive(path, proof, now)
        assert session is not None
        for i in range(20):
            session.endpoint.send_queue.add(b"message %d" % i)
            assert session.endpoint.next_datagram(now + i / 400) is not None
        return session.endpoint

    def test_over_another_path(self, sealed):
        attempt = self.attempt()
        [(_, hello), _] = attempt.datagrams(0.0)
        server = answer(hello, ROOT_KEY)
        for path in ("one", "two"):
            attempt.receive(path, server.datagram, 0.01)
        for now in (0.02, 0.3, 0.6, 0.9):
            leaving = [d for _, d in attempt.datagrams(now) if d[12] == PacketType.CHALLENGE_RESP]
            assert len(leaving) == 2
        self.finish(attempt, server, "two", 0.95)
        assert len({key for key, _ in sealed}) == 1

    def test_after_others_have_evicted_it(self, sealed, monkeypatch):
        monkeypatch.setattr(candidates, "MAX_CANDIDATES", 16)
        attempt = self.attempt()
        [(_, hello), _] = attempt.datagrams(0.0)
        server = answer(hello, ROOT_KEY)
        for _ in range(2):
            attempt.receive("one", server.datagram, 0.01)
            attempt.datagrams(0.02)
            for _ in range(6 * candidates.MAX_CANDIDATES):
                attempt.receive("one", answer(hello, ROOT_KEY).datagram, 0.02)
                attempt.datagrams(0.02)
        attempt.receive("one", server.datagram, 0.03)
        attempt.datagrams(0.04)
        self.finish(attempt, server, "one", 0.5)
        assert len({key for key, _ in sealed}) == 1 + 12 * candidates.MAX_CANDIDATES
