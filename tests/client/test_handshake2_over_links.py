"""Protocol 2's handshake over bad links: both sides of the package, and the second codec's."""

from __future__ import annotations

import random

import pytest
from support.handshaking2 import (
    ADDRESS,
    ML_KEM,
    OTHER_KEY,
    ROOT_KEY,
    WALL_START,
    SecondClient,
    SecondServer,
    Server,
    addresses,
    sealed,
)
from support.wire import WireError, sizes
from support.wire2 import handshake

from mpgameserver.client.handshake2 import ClientHandshake2, VerifiedAnswer
from mpgameserver.netsim import Link, LinkConditions
from mpgameserver.server.limits import Limits
from mpgameserver.wire.protocol2.hello import HelloForm

PAYLOAD, DATAGRAM = sizes(1500).payload, 1472
PINNED = ROOT_KEY.getPublicKey()
TICK = 0.01
RESENT_AFTER = 0.1
GOOD = LinkConditions(latency=0.03)
BAD = LinkConditions(
    loss=0.3,
    duplicate=0.2,
    latency=0.03,
    jitter=0.02,
    reorder=0.3,
    reorder_delay=0.1,
    corrupt=0.05,
    truncate=0.05,
    replay=0.3,
)
SEEDS = pytest.mark.parametrize("number", range(5))
NEEDS_ML_KEM = pytest.mark.skipif(ML_KEM is None, reason="this cryptography has no ML-KEM")


class PackageClient:
    """The package's client, and the part of its owner: CONNECT, until a packet opens."""

    def __init__(self, trusted=PINNED, **options) -> None:
        options.setdefault("rng", random.Random(0))
        self.handshake = ClientHandshake2(trusted, 0.0, WALL_START, **options)
        self.handshake.add_path("path", 0.0, PAYLOAD, DATAGRAM)
        self.found: VerifiedAnswer | None = None
        self.is_open = False
        self._connects_at = 0.0

    def receive(self, datagram: bytes, now: float) -> None:
        found = self.found
        if found and datagram == sealed(found.secrets.server.secret, found.connection_id):
            self.is_open = True
        elif not self.is_open:
            self.found = self.handshake.receive("path", datagram, now) or self.found

    def datagrams(self, now: float) -> list[bytes]:
        leaving = [] if self.is_open else [each for _, each in self.handshake.datagrams(now)]
        if self.found and not self.is_open and now >= self._connects_at:
            self._connects_at = now + RESENT_AFTER
            leaving.append(sealed(self.found.secrets.client.secret, self.found.connection_id))
        return leaving


class CodecClient(SecondClient):
    """The same over the second codec, which sends both forms from the first."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.is_open = False
        self.connect = self.reply = None
        self.cookies = {1: b"", 2: b""}
        self.next_sending = 0.0

    def receive(self, datagram: bytes, now: float) -> None:
        if datagram == self.reply:
            self.is_open = True
        if self.connect:
            return
        try:
            found = handshake.at_client(datagram, list(self.hellos.values()))
        except (WireError, IndexError):
            return
        if isinstance(found, handshake.ServerHello):
            connection_id = found.parts.connection_id
            self.connect, self.reply = (
                sealed(secret, connection_id) for secret in self.secrets(found)
            )
        elif isinstance(found, tuple):
            self.cookies[found[0].form] = found[0].cookie

    def datagrams(self, now: float) -> list[bytes]:
        if self.is_open or now < self.next_sending:
            return []
        self.next_sending = now + 0.25
        if self.connect:
            return [self.connect]
        return [self.datagram(form, self.cookies[form]) for form in (1, 2)]


class CodecServer(SecondServer):
    """A server over the second codec that asks each client for a cookie, and answers once."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.answers: dict[bytes, tuple[bytes, tuple[bytes, bytes]]] = {}
        self.opened: set[bytes] = set()

    def receive(self, datagram: bytes, now: float) -> bytes | None:
        if datagram[:1] == b"\x08":
            return self._open(datagram)
        try:
            hello = self.hello(datagram)
        except (WireError, IndexError):
            return None
        if hello.cookie != b"good cookie":
            return self.retry(datagram, b"good cookie")
        if hello.transcript not in self.answers:
            self.answers[hello.transcript] = self.answer(datagram)
        return self.answers[hello.transcript][0]

    def _open(self, datagram: bytes) -> bytes | None:
        for _, (client_secret, server_secret) in self.answers.values():
            if datagram == sealed(client_secret, datagram[1:9]):
                self.opened.add(datagram[1:9])
                return sealed(server_secret, datagram[1:9])
        return None

    def work(self, now: float) -> list[tuple[object, bytes]]:
        return []


class World:
    """A client and a server in virtual time, and who stands between them."""

    def __init__(self, client, server, conditions=GOOD, seed=0, between=None) -> None:
        self.client, self.server = client, server
        self.up, self.down = (Link(conditions, seed=f"{seed} {way}") for way in ("up", "down"))
        self.between = between or (lambda datagram, now: [])
        self.now = 0.0
        self.replies: list[bytes] = []
        """The handshake packets of the server."""

    def run(self, seconds: float) -> bool:
        """Run until the client's session is open; False if it is not in that time."""
        until = self.now + seconds
        while not self.client.is_open and self.now < until:
            self.now += TICK
            self._deliver()
            for datagram in self.client.datagrams(self.now):
                self.up.send(datagram, self.now)
                for forged in self.between(datagram, self.now):
                    self.down.send(forged, self.now)
        return self.client.is_open

    def _deliver(self) -> None:
        for datagram in self.up.receive(self.now):
            reply = self.server.receive(datagram, self.now)
            if reply is not None:
                self._send_down(reply)
        for _, answer in self.server.work(self.now):
            self._send_down(answer)
        for datagram in self.down.receive(self.now):
            self.client.receive(datagram, self.now)

    def _send_down(self, datagram: bytes) -> None:
        if datagram[:1] == b"\4":
            self.replies.append(datagram)
        self.down.send(datagram, self.now)


class LoadedServer(Server):
    """A server on which spoofed hellos fall, three between two turns of its own."""

    def __init__(self, **options) -> None:
        super().__init__(Limits(handshake_rate=100.0), **options)
        self._spoofed = addresses()
        self._hello = SecondClient().datagram()

    def work(self, now: float) -> list[tuple[object, bytes]]:
        for _ in range(3):
            random = next(self._spoofed)[1].to_bytes(8, "big")
            spoofed = self._hello[:71] + random + self._hello[79:]
            super().receive(spoofed, now, next(self._spoofed))
        return [each for each in super().work(now) if each[0] == ADDRESS]


def read(datagram: bytes) -> handshake.Hello:
    if datagram[:1] == b"\4":
        return handshake.unpack_hello2(datagram)
    hello = handshake.unpack_hello1(datagram, 1500)
    assert hello is not None
    return hello


def assert_one_session(server: Server, client: PackageClient) -> None:
    [session] = server.open.sessions
    assert session.secrets == client.found.secrets
    assert session.connection_id == client.found.connection_id
    mine = [o for o in server.handshakes.half_open.all() if o.client_point == session.client_point]
    assert mine == []


class TestBothSides:
    @SEEDS
    @pytest.mark.parametrize("server_class", [Server, LoadedServer], ids=["idle", "load"])
    def test_a_bad_link(self, number, seed, server_class):
        server, client = server_class(), PackageClient()
        world = World(client, server, BAD, f"{seed} {number}")
        assert world.run(20.0), server.dropped
        assert_one_session(server, client)

    @NEEDS_ML_KEM
    @pytest.mark.parametrize("server_has", [True, False])
    @pytest.mark.parametrize("client_has", [True, False])
    def test_ml_kem_on_either_side(self, client_has, server_has):
        server = Server(ml_kem=ML_KEM if server_has else None)
        client = PackageClient(ml_kem=ML_KEM if client_has else None)
        assert World(client, server).run(1.0)
        assert_one_session(server, client)
        assert client.found.form is HelloForm.VERSION_1
        [session] = server.open.sessions
        assert session.awaits_key == (server_has and not client_has)
        assert client.found.key_to_send is None

    @NEEDS_ML_KEM
    def test_a_path_that_carries_1200_bytes_only(self):
        server, client = Server(ml_kem=ML_KEM), PackageClient(ml_kem=ML_KEM)
        assert World(client, server, LinkConditions(latency=0.03, max_datagram=1200)).run(1.0)
        assert_one_session(server, client)
        assert client.found.form is HelloForm.VERSION_2
        assert server.open.sessions[0].awaits_key
        assert client.found.key_to_send is not None

    def test_without_load_it_takes_two_round_trips(self):
        client, server = PackageClient(), Server()
        world = World(client, server)
        assert world.run(1.0)
        assert world.now == pytest.approx(2 * 0.06, abs=5 * TICK)
        assert server.handshakes.public_key_work == 1

    def test_a_cookie_costs_one_more(self):
        client, server = PackageClient(), LoadedServer()
        for each in range(20):
            server.work(each * TICK / 20)
        before = server.handshakes.public_key_work
        world = World(client, server)
        assert world.run(1.0)
        assert world.now == pytest.approx(3 * 0.06, abs=6 * TICK)
        assert server.handshakes.public_key_work == before + 1

    def test_the_wrong_key(self):
        client, server = PackageClient(OTHER_KEY.getPublicKey()), Server()
        assert not World(client, server).run(2.0)
        assert client.found is None
        assert client.handshake.saw_wrong_key
        assert server.open.sessions == []

    @pytest.mark.parametrize(("mine", "theirs"), [("chess", "go"), ("chess", ""), ("", "chess")])
    def test_another_audience(self, mine, theirs):
        client, server = PackageClient(audience=mine), Server(audience=theirs)
        assert not World(client, server).run(2.0)
        assert client.found is None
        assert set(server.dropped) == {"other audience"}
        assert server.handshakes.public_key_work == 0


class TestWithTheSecondCodec:
    @SEEDS
    def test_its_server(self, number, seed):
        server = CodecServer(has_kem=ML_KEM is not None)
        client = PackageClient(server.public_key, ml_kem=ML_KEM)
        assert World(client, server, BAD, f"{seed} {number}").run(20.0)
        assert client.found.connection_id in server.opened

    @SEEDS
    @pytest.mark.parametrize("server_class", [Server, LoadedServer], ids=["idle", "load"])
    def test_its_client(self, number, seed, server_class):
        server = server_class(ml_kem=ML_KEM)
        client = CodecClient(kem_seed=bytes(range(64)) if ML_KEM else None)
        assert World(client, server, BAD, f"{seed} {number}").run(20.0)
        [session] = server.open.sessions
        assert client.connect == sealed(session.secrets.client.secret, session.connection_id)


class TestSomebodyBetween:
    """An observer who sees every hello, and whose replies come before the server's."""

    @SEEDS
    def test_forged_and_replayed_replies(self, number, seed):
        rng = random.Random(f"{seed} {number}")
        recorded: list[bytes] = []

        def between(datagram: bytes, now: float) -> list[bytes]:
            if datagram[:1] == b"\x08":
                return []
            hello = read(datagram)
            routing = rng.choice([0, 9, 82, 255])
            retry = handshake.Retry(hello.form, hello.offer[:8], routing, b"forged")
            replayed = rng.sample(recorded, min(5, len(recorded)))
            forged = [each[:3] + hello.name + each[12:] for each in replayed]
            forged += [handshake.pack_retry(retry), *replayed]
            rng.shuffle(forged)
            return forged

        for _ in range(3):
            client, server = PackageClient(rng=rng), LoadedServer()
            world = World(client, server, GOOD, f"{seed} {number}", between)
            assert world.run(20.0), client.handshake.drop_reason
            assert_one_session(server, client)
            recorded += world.replies
        assert any(each[2] == handshake.RETRY for each in recorded)

    def test_a_replayed_downgrade(self):
        fetched = Server().answer_in_version_1()
        client, server = PackageClient(), Server()
        world = World(client, server, between=lambda datagram, now: [fetched])
        assert world.run(2.0)
        assert_one_session(server, client)
        assert client.handshake.was_downgraded, "which only a failed attempt reports"

    def test_a_downgrade_that_lasts(self):
        """Somebody strips the offer from every hello."""

        class Stripped(Server):
            def receive(self, datagram: bytes, now: float, address=ADDRESS) -> bytes | None:
                return self.answer_in_version_1() if datagram[:1] == b"F" else None

        client, server = PackageClient(), Stripped()
        assert not World(client, server).run(2.0)
        assert client.found is None
        assert client.handshake.was_downgraded
