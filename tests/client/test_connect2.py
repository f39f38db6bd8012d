"""Attempts to connect where protocol 2 is offered: what a hostile network makes of them.

The server is the second peer, behind the second codec, in virtual time.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable

import pytest
from support import wire
from support.answering import answer as answer_in_version_1
from support.handshaking2 import ML_KEM, ROOT_KEY, SecondServer, Server
from support.peerworld import ADDRESS, PeerServer, PeerWorld, table
from support.wire2 import handshake
from support.wire2.frames import Accept, Connect
from support.wire2.handshake import Hello
from support.wire2.peer import CHANNELS, ORDERED, PROTOCOL, Peer2
from support.wire2.tables import LATEST

from mpgameserver.channels import Channel
from mpgameserver.client.handshake import HELLO_INTERVAL
from mpgameserver.client.handshake2 import ANSWER_PATIENCE
from mpgameserver.enums import CloseCode, CloseReason, ConnectFailure, ConnectionStatus
from mpgameserver.netsim import LinkConditions
from mpgameserver.server import EventHandler
from mpgameserver.testing import World

FRAME = 1 / 120
LATENCY = 0.02
TIMEOUT = 5.0
REFUSED, FULL = 3, 5
BAD = LinkConditions(
    loss=0.3, duplicate=0.2, latency=0.03, jitter=0.02, reorder=0.3, reorder_delay=0.1
)


def form_of(datagram: bytes) -> int:
    return 1 if datagram[:1] == b"F" else 2


class Silent(PeerServer):
    """A server that answers hellos, and nothing else."""

    def take(self, session: Peer2, datagram: bytes) -> None:
        pass


class Closing(PeerServer):
    """A server that closes every session with its first packet."""

    code, text = REFUSED, "The password is wrong."

    def take(self, session: Peer2, datagram: bytes) -> None:
        if session.closed is None:
            session.close(self.code, self.text)
        session.receive(datagram)


class Pausing(PeerServer):
    """A server that acks CONNECT, and accepts nobody until it is told to."""

    may_accept = False

    def open(self, datagram: bytes, **fields: object) -> bytes:
        reply = super().open(datagram, **fields)
        session = list(self.sessions.values())[-1]
        accept = session._read_connect
        session._read_connect = lambda whole: self.waiting.append((session, accept, whole)) or []
        return reply

    waiting: list[tuple[Peer2, Callable[[bytes], object], bytes]]

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.waiting = []

    def accept(self) -> None:
        """Accept those who wait."""
        for _, read, whole in self.waiting:
            read(whole)


class OfVersion1(PeerServer):
    """A server that speaks version 1 only."""

    def __init__(self, salt: bytes | None = None) -> None:
        super().__init__()
        self.salt = salt

    @property
    def public_key(self):
        return ROOT_KEY.getPublicKey()

    def reply(self, datagram: bytes, hello: Hello, now: float) -> list[bytes]:
        if form_of(datagram) == 2:
            return []
        if self.salt is None:
            return [answer_in_version_1(datagram, ROOT_KEY).datagram]
        return [Server().answer_in_version_1(self.salt)]


class TestSession:
    def test_it_takes_two_round_trips(self) -> None:
        world = PeerWorld()
        client = world.connect()
        assert client.protocol == 2
        assert client.connected()
        assert world.outcomes == [True]
        assert world.now == pytest.approx(4 * LATENCY, abs=5 * FRAME)
        assert len(world.server.hellos) == 1
        assert client.token() == int.from_bytes(next(iter(world.server.sessions)), "big")

    def test_there_is_no_protocol_before_the_first(self) -> None:
        world = PeerWorld()
        assert world.client.protocol is None
        world.client.connect(ADDRESS)
        assert world.client.protocol is None
        world.run(1)
        world.client.forceDisconnect()
        assert world.client.protocol == 2, "of the last session"

    def test_the_credential_and_the_channels_arrive(self) -> None:
        server = PeerServer(table(chat=ORDERED, position=LATEST))
        channels = [Channel("chat"), Channel("position", "latest")]
        PeerWorld(server, channels=channels, credential=b"a ticket").connect()
        assert server.session.credential == b"a ticket"

    def test_a_credential_may_be_made_for_the_session(self) -> None:
        exports = []

        def credential(export: bytes) -> bytes:
            exports.append(export)
            return b"signed " + export

        world = PeerWorld(credential=credential)
        world.connect()
        assert world.server.session.credential == b"signed " + exports[0]
        assert len(exports) == 1
        world.client.forceDisconnect()
        world.connect()
        assert len(set(exports)) == 2

    def test_the_longest_connect_data_arrives_in_pieces(self) -> None:
        channels = [Channel(f"{number:03} " + "x" * 20, "latest") for number in range(255)]
        server = PeerServer(table(**{each.name: LATEST for each in channels}))
        world = PeerWorld(server, channels=channels, credential=bytes(1024))
        world.connect()
        assert server.session.credential == bytes(1024)

    @pytest.mark.parametrize("number", range(5))
    def test_on_a_bad_link(self, number: int, seed: int) -> None:
        world = PeerWorld(conditions=BAD, seed=f"{seed} {number}", credential=b"a ticket")
        world.client.setConnectionTimeout(20)
        world.connect()
        world.client.send(b"hello")
        world.run(3)
        [session] = [each for each in world.server.sessions.values() if each.is_open]
        assert session.delivered == [(0, 1, b"hello")]

    def test_a_round_trip_of_2_4_s_is_not_too_long(self) -> None:
        world = PeerWorld(conditions=LinkConditions(latency=1.2))
        world.connect()
        assert world.now == pytest.approx(4.8, abs=6 * FRAME)
        assert [session.closed for session in world.server.sessions.values()] == [None] * 2

    def test_a_path_without_large_datagrams_is_used_from_the_second_try_on(self) -> None:
        world = PeerWorld(conditions=LinkConditions(latency=LATENCY, max_datagram=1300))
        client = world.connect()
        assert client.protocol == 2
        assert world.now == pytest.approx(HELLO_INTERVAL + 4 * LATENCY, abs=6 * FRAME)


class TestNoAnswer:
    def test_from_a_server_of_another_audience(self) -> None:
        client = PeerWorld(PeerServer(audience="go"), audience="chess").attempt()
        assert client.failure is ConnectFailure.TIMEOUT
        assert PeerWorld(PeerServer(audience="chess"), audience="chess").connect()

    def test_with_another_key(self) -> None:
        world = PeerWorld(server_public_key=SecondServer().public_key)
        assert world.attempt().failure is ConnectFailure.WRONG_KEY
        assert world.server.ports == {}, "no CONNECT was sent"
        assert world.now == pytest.approx(TIMEOUT, abs=3 * FRAME)

    def test_forged_ones_beside_the_servers(self) -> None:
        """Of another key, of the right name and another key, and of another attempt."""
        recorded: list[bytes] = []

        class Forged(PeerServer):
            def reply(self, datagram: bytes, hello: Hello, now: float) -> list[bytes]:
                other = SecondServer()
                forged = [
                    other.answer(datagram)[0],
                    other.answer(datagram, root_key=self.point)[0],
                    *recorded,
                    *(each[:3] + hello.name + each[12:] for each in recorded),
                    os.urandom(200),
                    b"\4",
                    b"\x08",
                ]
                honest = super().reply(datagram, hello, now)
                recorded.extend(honest)
                return forged + honest

        server = Forged()
        for _ in range(3):
            world = PeerWorld(server)
            world.connect()
            world.client.send(b"hello")
            world.run(0.5)
            session = server.sessions[world.client.token().to_bytes(8, "big")]
            assert session.delivered == [(0, 1, b"hello")]


class TestRetry:
    def test_the_hello_comes_again_with_the_cookie(self) -> None:
        class Loaded(PeerServer):
            def reply(self, datagram: bytes, hello: Hello, now: float) -> list[bytes]:
                if hello.cookie != b"cookie":
                    return [self.retry(datagram)]
                return super().reply(datagram, hello, now)

        world = PeerWorld(Loaded())
        world.connect()
        assert world.now == pytest.approx(6 * LATENCY, abs=6 * FRAME)
        assert len(world.server.hellos) == 2

    @pytest.mark.parametrize("number", range(3))
    def test_a_flood_of_forged_ones_causes_few_hellos_and_ends_nothing(
        self, number: int, seed: int
    ) -> None:
        rng = random.Random(f"{seed} {number}")

        class Flooded(PeerServer):
            def reply(self, datagram: bytes, hello: Hello, now: float) -> list[bytes]:
                forged = [
                    self.retry(datagram, rng.randbytes(8), rng.choice([0, 9, 82, 255]))
                    for _ in range(40)
                ]
                honest = [] if now < 2 else super().reply(datagram, hello, now)
                return forged + honest

        world = PeerWorld(Flooded())
        world.client.setConnectionTimeout(20)
        world.client.connect(ADDRESS)
        world.run(1.9)
        assert len(world.server.hellos) < 2 * 3 * (1.9 / HELLO_INTERVAL + 1), "of two ports"
        world.run_until(world.client.connected, 18)


class TestSetup:
    def test_a_server_that_never_replies_to_connect_is_tried_again_after_a_second(self) -> None:
        world = PeerWorld(Silent())
        world.client.connect(ADDRESS)
        world.run(ANSWER_PATIENCE)
        assert len(world.server.hellos) == 1
        world.run(1)
        assert len(world.server.hellos) > 1

    def test_another_answer_is_taken_then_and_the_first_session_is_closed_last(self) -> None:
        class HalfSilent(PeerServer):
            def take(self, session: Peer2, datagram: bytes) -> None:
                if session is not next(iter(self.sessions.values())) or session.is_late:
                    session.receive(datagram)

            def open(self, datagram: bytes, **fields: object) -> bytes:
                reply = super().open(datagram, **fields)
                list(self.sessions.values())[-1].is_late = False
                return reply

        world = PeerWorld(HalfSilent(), credential=lambda export: export)
        world.client.connect(ADDRESS)
        world.run(ANSWER_PATIENCE)
        first = world.server.session
        first.is_late = True
        first.receive = lambda datagram: received.append(datagram)
        received: list[bytes] = []
        world.run_until(world.client.connected)
        assert received == [], "the first packet would have the server forget the others"
        world.run(0.1)
        assert len(received) >= 1
        others = [each for each in world.server.sessions.values() if each is not first]
        assert [each.is_open for each in others].count(True) == 1
        assert first.credential is None

    def test_the_first_session_may_be_accepted_late(self) -> None:
        kept: list[bytes] = []

        class Late(PeerServer):
            def take(self, session: Peer2, datagram: bytes) -> None:
                if session is next(iter(self.sessions.values())):
                    kept.append(datagram)

        world = PeerWorld(Late())
        world.client.connect(ADDRESS)
        world.run_until(lambda: len(world.server.sessions) > 1)
        world.run(0.5)
        first = next(iter(world.server.sessions.values()))
        first.receive(kept[0])
        world.server.take = PeerServer.take.__get__(world.server)
        world.run_until(world.client.connected)
        token = next(iter(world.server.sessions))
        assert world.client.token() == int.from_bytes(token, "big")

    @pytest.mark.parametrize("number", [*range(10), 18, 27])
    def test_at_a_third_of_loss_the_package_s_server_is_reached_in_time(self, number: int) -> None:
        """Within the 5 s that an attempt has: the seeds include those that need two answers."""
        conditions = LinkConditions(loss=0.33, latency=0.08, jitter=0.06)
        assert World(EventHandler(), conditions, number).connect().protocol == 2

    def test_of_two_servers_that_answer_one_gets_the_credential(self) -> None:
        class Two(PeerServer):
            def reply(self, datagram: bytes, hello: Hello, now: float) -> list[bytes]:
                return [self.open(datagram), self.open(datagram)]

        world = PeerWorld(Two(), credential=b"a ticket")
        world.connect()
        world.run(2)
        credentials = [session.credential for session in world.server.sessions.values()]
        assert credentials == [b"a ticket", None]
        assert world.client.connected()

    def test_an_attempt_waits_for_a_server_that_takes_its_time(self) -> None:
        world = PeerWorld(Pausing())
        world.client.connect(ADDRESS, world.outcomes.append)
        world.run(TIMEOUT - 0.5)
        assert world.client.status() is ConnectionStatus.CONNECTING
        assert len(world.server.hellos) == 1, "it has replied"
        world.server.accept()
        world.run_until(world.client.connected)

    def test_one_that_never_accepts(self) -> None:
        world = PeerWorld(Pausing())
        client = world.attempt()
        assert client.failure is ConnectFailure.TIMEOUT
        assert client.reason is None
        world.run(0.1)
        assert world.server.session.closed == (0, ""), "the session is closed"

    def test_an_aborted_attempt_closes_its_session(self) -> None:
        world = PeerWorld(Pausing())
        world.client.connect(ADDRESS, world.outcomes.append)
        world.run(0.5)
        world.client.disconnect()
        world.run(0.1)
        assert world.outcomes == [False]
        assert world.server.session.closed == (0, "")
        assert world.client.failure is None

    def test_the_game_may_say_why_it_aborts_it(self) -> None:
        world = PeerWorld(Pausing())
        world.client.connect(ADDRESS, world.outcomes.append)
        world.run(0.5)
        world.client.disconnect(4001, "back to the menu")
        world.run(0.1)
        assert world.server.session.closed == (4001, "back to the menu")

    def test_one_that_vanishes_after_its_first_packet_is_tried_again(self) -> None:
        """After the idle timeout, by a hello: a server that was replaced has no session."""
        world = PeerWorld(Pausing())
        world.client.setConnectionTimeout(20)
        world.client.connect(ADDRESS)
        world.run(0.5)
        world.server.sessions.clear()
        world.server._answers.clear()
        world.server.open = PeerServer.open.__get__(world.server)
        world.run_until(world.client.connected, 8)
        assert world.now > 5

    def test_what_it_sends_before_accept_is_complete_is_delivered_after(self) -> None:
        class Hasty(PeerServer):
            def datagrams(self, now: float) -> list[tuple[int, bytes]]:
                for session in self.sessions.values():
                    if session.is_open and not session._numbers:
                        for number in range(5):
                            session.say(0, b"%d" % number)
                leaving = super().datagrams(now)
                return leaving[::-1]

        world = PeerWorld(Hasty())
        client = world.connect()
        world.run(1)
        assert sorted(message for _, message in client.getMessages()) == [
            b"%d" % number for number in range(5)
        ]


class TestRejected:
    def test_by_a_close_before_accept_with_its_text(self) -> None:
        world = PeerWorld(Closing(), credential=b"a ticket")
        client = world.attempt()
        assert client.failure is ConnectFailure.REJECTED
        assert client.reason == CloseReason(CloseCode.REFUSED, "The password is wrong.")
        assert world.outcomes == [False]
        assert world.now == pytest.approx(4 * LATENCY, abs=5 * FRAME), "at once"

    def test_the_next_attempt_forgets_the_reason(self) -> None:
        world = PeerWorld(Closing())
        client = world.attempt()
        client.connect(ADDRESS)
        assert client.reason is None
        assert client.failure is None

    def test_by_a_text_that_is_not_utf_8(self) -> None:
        class Garbled(Closing):
            def take(self, session: Peer2, datagram: bytes) -> None:
                super().take(session, datagram)
                for each in session._outgoing:
                    each.frame = each.frame._replace(text=b"\xffno")

        client = PeerWorld(Garbled()).attempt()
        assert client.reason == CloseReason(3, "\ufffdno")

    def test_by_a_server_with_other_channels(self) -> None:
        server = PeerServer(table(chat=LATEST))
        client = PeerWorld(server, channels=[Channel("chat")]).attempt()
        assert client.failure is ConnectFailure.REJECTED
        assert client.reason == CloseReason(CHANNELS, "channel 1")

    def test_by_accept_data_that_does_not_parse(self) -> None:
        class Wrong(PeerServer):
            def take(self, session: Peer2, datagram: bytes) -> None:
                session.receive(datagram)
                for each in session._outgoing:
                    if isinstance(each.frame, Accept):
                        each.frame = Accept(17, 0, bytes(17))

        world = PeerWorld(Wrong())
        client = world.attempt()
        assert client.failure is ConnectFailure.REJECTED
        assert client.reason is not None
        assert client.reason.code == PROTOCOL
        world.run(0.1)
        assert world.server.session.closed[0] == PROTOCOL

    def test_by_a_server_that_breaks_a_rule_before_accept(self) -> None:
        class Wrong(PeerServer):
            def take(self, session: Peer2, datagram: bytes) -> None:
                session.receive(datagram)
                for each in session._outgoing:
                    each.frame = Connect(1, 0, b"x")

        world = PeerWorld(Wrong())
        client = world.attempt()
        assert client.failure is ConnectFailure.REJECTED
        assert client.reason is not None
        assert client.reason.code == PROTOCOL

    def test_a_credential_that_cannot_be_made(self, caplog: pytest.LogCaptureFixture) -> None:
        def credential(export: bytes) -> bytes:
            raise LookupError("no ticket")

        caplog.set_level(logging.ERROR)
        world = PeerWorld(credential=credential)
        client = world.attempt()
        assert client.failure is ConnectFailure.NO_CREDENTIAL
        assert "no ticket" in caplog.text
        assert world.server.ports == {}, "no CONNECT was sent"


class TestVersion1:
    def test_a_server_that_has_no_other_is_too_old_for_what_needs_2(self) -> None:
        world = PeerWorld(OfVersion1(), minimum_protocol=2)
        assert world.attempt().failure is ConnectFailure.TOO_OLD
        assert world.now == pytest.approx(TIMEOUT, abs=3 * FRAME), "others may answer yet"

    def test_a_marked_answer_that_lasts_is_a_downgrade(self) -> None:
        world = PeerWorld(OfVersion1(handshake.downgraded_salt(bytes(8))))
        assert world.attempt().failure is ConnectFailure.DOWNGRADED

    def test_a_replayed_one_changes_nothing(self) -> None:
        """Anybody can fetch one, with a hello that has no offer."""

        class Replaying(PeerServer):
            def reply(self, datagram: bytes, hello: Hello, now: float) -> list[bytes]:
                return [fetched, *super().reply(datagram, hello, now), fetched]

        server = Replaying()
        header = wire.Header(wire.TO_CLIENT, 1_700_000_000, 1, 0, wire.SERVER_HELLO, 0, 0, 0)
        salt = handshake.downgraded_salt(bytes(8))
        key = wire.key_der(SecondServer().root.public_key())
        hello = wire.pack_server_hello(server.root, key, salt, 1 << 30)
        fetched = wire.pack_clear(header, wire.Message(1, wire.SERVER_HELLO, hello))
        client = PeerWorld(server).connect()
        assert client.protocol == 2


class TestHybrid:
    pytestmark = pytest.mark.skipif(ML_KEM is None, reason="this cryptography has no ML-KEM")

    def test_a_server_with_ml_kem(self) -> None:
        client = PeerWorld(PeerServer(has_kem=True), require_hybrid=True).connect()
        assert client.protocol == 2

    def test_a_path_on_which_no_hello_has_room_for_the_key(self, seed: int) -> None:
        narrow = LinkConditions(latency=0.02, loss=0.1, max_datagram=1200)
        world = PeerWorld(PeerServer(has_kem=True), narrow, seed, require_hybrid=True)
        assert world.connect().protocol == 2
        assert 1 in {session.phase for session in world.server.sessions.values()}

    def test_a_server_without(self) -> None:
        client = PeerWorld(require_hybrid=True).attempt()
        assert client.failure is ConnectFailure.NOT_HYBRID


class TestStrangers:
    @pytest.mark.parametrize("number", range(3))
    def test_their_datagrams_change_nothing(self, number: int, seed: int) -> None:
        """Not by the kernel's filter, as if they had the server's address."""
        rng = random.Random(f"{seed} {number}")
        recorded: list[bytes] = []

        class Noisy(PeerServer):
            def datagrams(self, now: float) -> list[tuple[int, bytes]]:
                leaving = super().datagrams(now)
                recorded.extend(datagram for _, datagram in leaving)
                port = next(iter(self.ports.values()), 49152)
                noise = [bytes([rng.choice([4, 8, 12, 70, 99])]) + rng.randbytes(40)]
                if recorded:
                    flipped = bytearray(rng.choice(recorded))
                    flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
                    noise += [bytes(flipped), rng.choice(recorded)]
                return [*((port, each) for each in noise), *leaving]

        world = PeerWorld(Noisy(), seed=f"{seed} {number}")
        client = world.connect()
        client.send(b"hello")
        world.server.session.say(0, b"welcome")
        world.run(1)
        assert world.server.session.delivered == [(0, 1, b"hello")]
        assert [message for _, message in client.getMessages()] == [b"welcome"]
        assert client.connected()
