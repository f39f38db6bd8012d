"""A server without a socket: sessions, events, and what the network cannot do to them."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from support.serverworld import DEAD, FRAME, PERFECT, ROOT_KEY, Player, Recorder, World

from mpgameserver._core.connection import DISCONNECT_TIMEOUT
from mpgameserver.client.handshake import HELLO_INTERVAL
from mpgameserver.connection import Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import ConnectionStatus, DisconnectReason, PacketType, RetryMode
from mpgameserver.errors import SendQueueFullError
from mpgameserver.netsim import LinkConditions
from mpgameserver.server import handover
from mpgameserver.server.admission import WORK_PER_TURN
from mpgameserver.server.client import ServerClient
from mpgameserver.server.eventlog import MAX_ARRIVALS_LOGGED
from mpgameserver.server.limits import Limits
from mpgameserver.server.stats import ServerStats

LATE = LinkConditions(latency=0.05)
ADDRESS = ("192.0.2.1", 5000)


def kind_of(datagram: bytes) -> int:
    return datagram[12]


def sent_to(world: World, address: tuple[Any, ...]) -> list[bytes]:
    return [datagram for datagram, to in world.sent if to == address]


class TestConnecting:
    def test_a_client_connects_and_its_messages_come_once_each(self) -> None:
        world = World()
        player = world.join()
        for i in range(10):
            player.send(b"%d" % i)
        world.run(0.5)
        [(client,)] = world.handler.named("connect")
        assert sorted(world.handler.messages) == [b"%d" % i for i in range(10)]
        assert client.token == player.token
        assert client.addr == player.address
        assert client.status == ConnectionStatus.CONNECTED
        assert client.reason is None

    def test_starting_comes_before_everything_else(self) -> None:
        world = World()
        world.join()
        assert world.handler.events[0] == ("starting",)

    def test_the_proof_is_answered_in_the_same_turn_with_what_connect_sends(self) -> None:
        world = World(Recorder(connect=lambda client: client.send(b"welcome")))
        player = world.player(conditions=LATE)
        while not world.handler.clients:
            world.frame()
        assert kind_of(world.sent[-1][0]) == PacketType.APP
        world.run(0.06)
        assert player.messages == [b"welcome"]

    def test_connect_comes_before_the_messages_and_disconnect_after_them(self) -> None:
        world = World()
        player = world.join(conditions=LATE)
        player.send(b"last words")
        player.connection.disconnect(world.now)
        world.run(0.2)
        names = [event[0] for event in world.handler.events]
        assert names == ["starting", "connect", "handle_message", "disconnect"]

    def test_thirty_of_thirty_clients_connect_at_twenty_per_cent_loss(self, seed: int) -> None:
        world = World(conditions=LinkConditions(loss=0.2, latency=0.03), seed=seed)
        players = [world.player() for _ in range(30)]
        world.run(5)
        assert all(player.connection is not None for player in players)
        tokens = [client.token for client in world.engine.clients]
        assert tokens == sorted({player.token for player in players}, key=tokens.index)
        assert world.engine.half_open == 0

    def test_hundreds_play_at_once(self) -> None:
        handler = Recorder(handle_message=lambda client, message: client.send(message, -1))
        world = World(handler)
        players = [world.player() for _ in range(300)]
        world.run(0.6)
        for player in players:
            player.send(b"hello")
        world.run(0.2)
        assert [player.messages for player in players] == [[b"hello"]] * 300

    def test_over_ipv6_a_datagram_fits_every_path(self) -> None:
        world = World()
        for address in (("2001:db8::1", 5000, 0, 0), ("::ffff:192.0.2.1", 5000, 0, 0), ADDRESS):
            world.join(*address)
        for client in world.engine.clients:
            client.send(bytes(5000))
        world.flush()
        assert max(map(len, sent_to(world, ("2001:db8::1", 5000, 0, 0)))) <= 1232
        hosts = [client.addr for client in world.engine.clients]
        assert hosts == [("2001:db8::1", 5000), ADDRESS, ADDRESS]

    def test_the_wall_clock_is_read_when_the_handshake_opens_and_never_again(self) -> None:
        world = World()
        player = world.join(conditions=LATE)
        start = int.from_bytes(sent_to(world, player.address)[0][4:8], "big")
        world.engine.dispatcher.receive(b"", ADDRESS, world.now, 1e9)
        world.run(2)
        written = int.from_bytes(sent_to(world, player.address)[-1][4:8], "big")
        assert written - start in (2, 3)


class TestTakeover:
    def test_a_restarted_client_replaces_its_old_session(self) -> None:
        world = World()
        old = world.join(*ADDRESS)
        late: list[bool] = []
        old.send(b"from the old one")
        world.run(0.1)
        world.players.clear()
        new = world.join(*ADDRESS)
        first, second = world.handler.clients
        assert world.handler.events[-2:] == [("disconnect", first), ("connect", second)]
        assert first.reason is DisconnectReason.REPLACED
        assert (first.status, second.status) == (
            ConnectionStatus.DISCONNECTED,
            ConnectionStatus.CONNECTED,
        )
        assert second.token == new.token != old.token
        first.send(b"too late", -1, late.append)
        assert late == []
        world.run(0.1)
        assert late == [False]
        assert new.messages == []

    def test_what_the_old_one_sent_is_handled_before_it_goes(self) -> None:
        handler = Recorder(handle_message=lambda client, message: client.send(message))
        world = World(handler)
        old = world.join(*ADDRESS)
        world.players.clear()
        new = world.player(*ADDRESS, conditions=LATE)
        while world.engine.half_open == 0:
            world.frame()
        world.run(0.06)
        [proof] = new.links.up.receive(world.now + 1)
        old.send(b"still here")
        old.connection.advance(world.now)
        last = old.connection.next_datagram(world.now)
        world.serve([(last, ADDRESS), (proof, ADDRESS)])
        assert [event[0] for event in handler.events[-3:]] == [
            "handle_message",
            "disconnect",
            "connect",
        ]

    def test_its_outstanding_callbacks_get_false(self) -> None:
        world, outcomes = World(), []
        world.join(*ADDRESS).relink(DEAD)
        world.handler.clients[0].send(b"x", -1, outcomes.append)
        world.run(0.1)
        world.players.clear()
        world.join(*ADDRESS)
        assert outcomes == [False]

    def test_a_forged_or_replayed_hello_does_not_touch_the_live_session(self) -> None:
        world = World()
        earlier = world.join(*ADDRESS)
        hello = earlier.sent[0]
        earlier.connection.disconnect(world.now)
        world.run(0.2)
        world.players.clear()
        live = world.join(*ADDRESS)
        outsider = World().player()
        outsider.frame()
        for datagram in (hello, outsider.sent[0]):
            world.serve([(datagram, ADDRESS)])
        assert world.engine.half_open == 2
        before = world.handler.clients[-1].stats
        live.send(b"unharmed")
        world.run(world.context.settings.handshake_timeout + 1)
        assert world.handler.messages == [b"unharmed"]
        assert world.engine.half_open == 0
        assert before.dropped == 0
        assert world.handler.clients[-1].status == ConnectionStatus.CONNECTED

    def test_a_late_copy_of_the_hello_of_the_live_session_is_ignored(self) -> None:
        world = World()
        player = world.join(*ADDRESS)
        sent = len(world.sent)
        for address in (ADDRESS, ("192.0.2.99", 1)):
            world.serve([(player.sent[0], address)])
        assert world.engine.half_open == 0
        assert len(world.sent) == sent
        assert world.engine.drops["stale hello"] == 2

    def test_one_attempt_over_two_ports_becomes_one_session(self) -> None:
        world = World()
        player = world.player(*ADDRESS, conditions=LATE)
        player.handshake.add_path("fresh port", world.now, 1434, 1472)
        other = ("192.0.2.1", 5001)
        proofs = []
        for _ in range(60):
            world.now += FRAME
            for path, datagram in player.handshake.datagrams(world.now):
                address = ADDRESS if path == "path" else other
                proofs.append((datagram, address))
                world.serve([(datagram, address)] if kind_of(datagram) == 1 else ())
                for answer, to in world.sent:
                    player.handshake.receive(
                        "path" if to == ADDRESS else "fresh port", answer, world.now
                    )
        world.serve(proofs)
        assert len(world.handler.named("connect")) == 1


class TestReplay:
    def recorded(self) -> tuple[World, list[bytes]]:
        """A world whose session at ADDRESS has ended, and all that its client sent."""
        world = World()
        player = world.join(*ADDRESS)
        for i in range(5):
            player.send(b"pay %d" % i)
        world.run(0.3)
        player.connection.disconnect(world.now)
        world.run(0.3)
        world.players.clear()
        return world, player.sent

    def test_what_was_recorded_opens_nothing_after_the_session(self) -> None:
        world, recorded = self.recorded()
        events = len(world.handler.events)
        for _ in range(2):
            world.serve([(datagram, ADDRESS) for datagram in recorded])
            world.run(0.5)
        assert len(world.handler.events) == events

    def test_nor_during_the_next_one_from_the_same_address(self) -> None:
        world, recorded = self.recorded()
        world.join(*ADDRESS)
        events = len(world.handler.events)
        world.serve([(datagram, ADDRESS) for datagram in recorded])
        world.run(0.5)
        assert len(world.handler.events) == events
        assert world.handler.clients[-1].status == ConnectionStatus.CONNECTED

    def test_nor_during_its_own(self) -> None:
        world = World()
        player = world.join(*ADDRESS)
        for i in range(5):
            player.send(b"pay %d" % i)
            world.run(0.1)
        world.serve([(datagram, ADDRESS) for datagram in player.sent])
        world.run(0.2)
        assert sorted(world.handler.messages) == [b"pay %d" % i for i in range(5)]
        assert len(world.handler.clients) == 1

    def test_a_proof_counts_only_from_the_address_of_its_hello(self) -> None:
        world = World()
        player = world.player(*ADDRESS, conditions=LATE)
        while world.engine.half_open == 0:
            world.frame()
        world.run(0.07)
        proof = player.sent[-1]
        assert kind_of(proof) == PacketType.CHALLENGE_RESP
        world.serve([(proof, ("192.0.2.66", 5000))])
        assert world.handler.clients == []
        world.serve([(proof, ADDRESS)])
        assert len(world.handler.clients) == 1


class TestHostility:
    def test_any_bytes_leave_everybody_unharmed(self, seed: int) -> None:
        chance = random.Random(seed)
        world = World()
        player = world.join(*ADDRESS)
        clean = world.handler.clients[0].stats.received
        for _ in range(2000):
            base = chance.choice([*player.sent, chance.randbytes(chance.randrange(1600))])
            datagram = bytearray(base[: chance.randrange(len(base) + 1)])
            if datagram:
                datagram[chance.randrange(len(datagram))] ^= 1 << chance.randrange(8)
            source = ADDRESS if chance.random() < 0.5 else ("203.0.113.9", 7)
            world.serve([(bytes(datagram), source)])
        assert world.handler.clients[0].stats.received == clean
        player.send(b"still here")
        world.run(0.2)
        assert world.handler.messages == [b"still here"]
        assert len(world.handler.clients) == 1

    def test_what_is_dropped_is_counted_and_logged_once_a_second(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = World()
        player = world.join(*ADDRESS)
        forged = bytearray(player.sent[-1])
        forged[8:10] = (60_000).to_bytes(2, "big")
        forged[8:10] = (int.from_bytes(player.sent[-1][8:10], "big") + 9).to_bytes(2, "big")
        for _ in range(100):
            world.serve([(bytes(forged), ADDRESS)])
        assert world.engine.drops["authentication failed"] == 100
        assert len(caplog.records) == 1

    def test_a_forged_disconnect_ends_nothing(self) -> None:
        world = World()
        player = world.join(*ADDRESS)
        forged = bytearray(player.sent[-1])
        forged[12] = PacketType.DISCONNECT
        player.send(b"before")
        player.frame()
        world.serve([(player.sent[-1], ADDRESS), (bytes(forged), ADDRESS)])
        assert world.handler.messages == [b"before"]
        assert world.handler.clients[0].status == ConnectionStatus.CONNECTED

    def test_no_answer_is_longer_than_what_it_answers(self) -> None:
        world = World()
        player = world.player(*ADDRESS)
        player.frame()
        for size in range(0, len(player.sent[0]) + 1, 7):
            world.serve([(player.sent[0][:size], ADDRESS)])
        assert world.sent == []
        world.serve([(player.sent[0], ADDRESS)])
        [(answer, _)] = world.sent
        assert len(answer) <= len(player.sent[0])

    def test_a_hello_from_port_0_is_not_answered(self) -> None:
        world = World()
        world.player("192.0.2.1", 0)
        world.run(1)
        assert world.sent == []
        assert world.engine.drops["no port"] == 4

    def test_answers_that_the_socket_does_not_take_are_bounded(self) -> None:
        world = World(limits=Limits(unsent_answers=3))
        player = world.player(*ADDRESS)
        player.frame()
        world.serve([(player.sent[0], ADDRESS)])
        world.is_blocked = True
        for _ in range(5):
            world.serve([(player.sent[0], ADDRESS)])
        assert world.engine.drops["unsent"] == 2
        world.is_blocked = False
        assert len(world.flush()) == 3

    def test_nothing_is_answered_while_the_socket_takes_no_more(self) -> None:
        world = World()
        world.is_blocked = True
        player = world.player(*ADDRESS)
        player.frame()
        world.serve([(player.sent[0], ADDRESS)])
        assert world.engine.stats.hellos_answered == 0
        assert world.engine.next_timer() > world.now
        world.is_blocked = False
        world.serve()
        assert world.engine.stats.hellos_answered == 1


class TestRoom:
    def test_a_full_server_refuses_and_says_so_but_lets_its_own_come_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = World(limits=Limits(clients=2))
        world.join(*ADDRESS)
        world.join()
        refused = world.player()
        world.run(1)
        assert refused.connection is None
        assert world.engine.drops["full"] > 0
        assert "the server is full: 2 clients" in caplog.text
        assert world.handler.named("full") == [(refused.address,)]
        world.players.clear()
        world.join(*ADDRESS)
        assert world.handler.reasons == ["replaced"]

    def test_one_host_has_its_share_and_others_still_get_in(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = World(limits=Limits(clients_per_host=2))
        host, network = "192.0.2.1", "2001:db8:0:1::"
        inside = [world.join(host, port) for port in (1, 2)]
        inside += [world.join(network + end, 1, 0, 0) for end in ("1", "2")]
        refused = [world.player(host, 3), world.player(network + "3", 1, 0, 0)]
        guests = [world.join("192.0.2.2", 1), world.join("2001:db8:0:2::1", 1, 0, 0)]
        world.run(1)
        assert [player.connection for player in refused] == [None] * 2
        assert all(player.connection is not None for player in guests)
        assert world.engine.drops["host full"] > 0
        assert "its host already has 2 clients" in caplog.text
        assert len(world.handler.named("full")) > 0
        inside[0].connection.disconnect(world.now)
        world.run(1)
        assert refused[0].connection is not None

    def test_a_mapped_address_counts_as_its_ipv4_host(self) -> None:
        world = World(limits=Limits(clients_per_host=1))
        world.join("::ffff:192.0.2.1", 1, 0, 0)
        refused = world.player("192.0.2.1", 2)
        world.run(1)
        assert refused.connection is None

    def test_the_handler_hears_of_it_at_most_once_a_second(self) -> None:
        world = World(limits=Limits(clients=1))
        world.join()
        for _ in range(20):
            world.player()
        world.run(4)
        assert world.engine.drops["full"] > 100
        assert len(world.handler.named("full")) in (4, 5)

    def test_the_room_is_checked_again_when_the_proof_comes(self) -> None:
        world = World(limits=Limits(clients=1))
        players = [world.player(), world.player()]
        world.run(1)
        assert len(world.handler.clients) == 1
        [inside] = [player for player in players if player.connection is not None]
        inside.connection.disconnect(world.now)
        world.run(1)
        assert len(world.handler.clients) == 2

    def test_the_caps_may_be_changed_while_serving_and_throw_nobody_out(self) -> None:
        world = World()
        players = [world.join() for _ in range(3)]
        world.context.limits = replace(world.context.limits, clients=2)
        refused = world.player()
        world.run(1)
        assert refused.connection is None
        assert len(world.engine.clients) == 3
        for player in players[:2]:
            player.connection.disconnect(world.now)
        world.run(1)
        assert refused.connection is not None

    def test_what_may_wait_for_one_client_is_a_setting(self) -> None:
        world = World()
        first = world.join()
        world.context.limits = replace(world.context.limits, send_queue_bytes=10_000)
        world.serve()
        for client in (world.client_of(first), world.client_of(world.join())):
            client.send(bytes(9000))
            with pytest.raises(SendQueueFullError, match="limit of 10000"):
                client.send(bytes(9000))
        world.run(0.1)
        assert first.messages == [bytes(9000)]

    def test_what_unfinished_messages_may_hold_is_shared_and_given_back(self) -> None:
        world = World()
        first, other = world.join(), world.join()
        world.context.limits = replace(world.context.limits, reassembly_bytes=10_000)
        world.serve()
        other.send(bytes(50_000))
        world.run(1)
        first.send(b"no piece")
        world.run(0.1)
        assert world.handler.messages == [b"no piece"]
        assert 0 < world.engine.budgets.reassembly <= 10_000
        world.client_of(other).disconnect()
        world.run(1)
        assert world.engine.budgets.reassembly == 0

    def test_no_host_is_remembered_when_its_clients_are_gone(self) -> None:
        world = World()
        for port in range(1, 6):
            world.join("192.0.2.1", port).connection.disconnect(world.now)
        world.run(0.5)
        assert not world.engine.sessions._per_host


class Flood:
    """Hellos of outsiders, made before the flood begins; each address is used once."""

    RATE = 5000

    def __init__(self) -> None:
        outsiders = World()
        for _ in range(64):
            outsiders.player().frame()
        self.hellos = [player.sent[0] for player in outsiders.players]
        self.count = 0

    def due(self, seconds: float) -> list[tuple[bytes, tuple[str, int]]]:
        """Return the datagrams of that time, from thousands of hosts."""
        first, self.count = self.count, self.count + round(self.RATE * seconds)
        return [
            (self.hellos[i % 64], (f"198.{18 + i // 250 % 2}.{i // 500 % 8}.{i % 250}", 1024 + i))
            for i in range(first, self.count)
        ]


class Work:
    """Counts public-key operations, which the flood is after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.signatures = self.exchanges = 0
        sign, exchange = EllipticCurvePrivateKey.sign, EllipticCurvePrivateKey.exchange

        def counted_sign(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
            self.signatures += 1
            return sign(key, data)

        def counted_exchange(key: EllipticCurvePrivateKey, peer: Any) -> bytes:
            self.exchanges += 1
            return exchange(key, peer)

        monkeypatch.setattr(EllipticCurvePrivateKey, "sign", counted_sign)
        monkeypatch.setattr(EllipticCurvePrivateKey, "exchange", counted_exchange)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


class TestFlood:
    """5,000 hellos a second, in virtual time: the work is counted, not timed."""

    def run(self, world: World, flood: Flood, seconds: float) -> None:
        for _ in range(round(seconds / FRAME)):
            world.serve(flood.due(FRAME))
            world.frame()

    def test_public_key_work_has_a_rate(self, work: Work) -> None:
        world, flood = World(), Flood()
        before = work.signatures
        self.run(world, flood, 2)
        assert flood.count >= 2 * Flood.RATE * 0.99
        assert 950 <= work.signatures - before <= 1000 + 30
        assert work.exchanges == 0
        stats = world.engine.stats
        assert stats.hellos_answered == work.signatures - before
        assert stats.drops["busy"] > 7000
        assert stats.half_open <= Limits().half_open
        assert stats.waiting_hellos <= Limits().waiting_hellos
        assert 0 < stats.hellos_put_off <= Limits().hellos_put_off

    def test_it_is_a_step_of_its_own_and_no_other_does_any(self, work: Work) -> None:
        world = World()
        player, engine = world.player(*ADDRESS), world.engine

        def work_of(step: Callable[[], object]) -> int:
            before = work.signatures + work.exchanges
            step()
            return work.signatures + work.exchanges - before

        for _ in ("hello", "challenge response"):
            player.frame()
            arrival = player.sent[-1], ADDRESS, world.now, world.wall_now
            assert work_of(partial(engine.dispatcher.receive, *arrival)) == 0
            assert work_of(lambda: engine.advance(world.now)) == 0
            assert work_of(world.flush) == 0
            assert engine.next_timer() > world.now  # a turn is not at its handshakes before
            assert work_of(lambda: engine.step_handshakes(world.now)) == 1
            assert work_of(lambda: engine.step_handshakes(world.now)) == 0
            world.flush()
        engine.advance(world.now)
        assert [client.addr for client in engine.clients] == [ADDRESS]

    def test_in_one_turn_there_is_a_bounded_part_of_it_and_sessions_come_first(
        self, work: Work
    ) -> None:
        world, flood = World(), Flood()
        player = world.join(*ADDRESS)
        player.send(b"in the middle of it")
        player.frame()
        work.signatures = 0
        signatures: list[int] = []
        world.handler.on["handle_message"] = lambda *_: signatures.append(work.signatures)
        arrivals = flood.due(0.02)
        for datagram, address in [*arrivals, (player.sent[-1], ADDRESS), *flood.due(0.02)]:
            world.engine.dispatcher.receive(datagram, address, world.now, world.wall_now)
        turns = []
        while world.engine.next_timer() <= world.now:
            before = work.signatures
            world.turn()
            turns.append(work.signatures - before)
        assert signatures == [0]
        assert max(turns) == WORK_PER_TURN
        assert sum(turns) == 25

    def test_a_newcomer_gets_in_at_its_second_hello(self, work: Work) -> None:
        world, flood = World(), Flood()
        self.run(world, flood, 1)
        newcomer = world.player(*ADDRESS)
        self.run(world, flood, HELLO_INTERVAL + 0.1)
        assert newcomer.connection is not None
        assert newcomer.handshake._paths["path"].hellos_sent == 2

    def test_those_who_say_hello_only_once_have_a_chance(self, seed: int) -> None:
        chance = random.Random(seed)
        world, flood, addresses = World(), Flood(), set()
        for number in range(120):
            arrivals = flood.due(FRAME)
            addresses.add(address := (f"192.0.2.{number}", 5000))
            arrivals.insert(chance.randrange(len(arrivals)), (flood.hellos[0], address))
            world.serve(arrivals)
            world.frame()
        self.run(world, flood, 0.5)
        answered = {to for _, to in world.sent} & addresses
        assert len(answered) > 4

    def test_players_hear_from_the_server_all_the_while(self) -> None:
        world, flood = World(Recorder(handle_message=lambda c, m: c.send(m))), Flood()
        players = [world.join() for _ in range(10)]
        for number in range(60):
            for player in players:
                player.send(b"%d" % number, RetryMode.NONE)
            self.run(world, flood, 2 * FRAME)
        world.run(0.1)
        assert [player.messages for player in players] == [[b"%d" % n for n in range(60)]] * 10

    def test_one_host_that_floods_delays_no_newcomer(self, work: Work) -> None:
        world, flood = World(), Flood()
        for _ in range(60):
            world.serve((hello, ("198.51.100.1", port)) for hello, (_, port) in flood.due(FRAME))
            world.frame()
        newcomer = world.player(*ADDRESS)
        while newcomer.connection is None:
            world.serve((hello, ("198.51.100.1", port)) for hello, (_, port) in flood.due(FRAME))
            world.frame()
        assert newcomer.handshake._paths["path"].hellos_sent == 1

    def test_nor_do_thousands_that_repeat_theirs_once_keep_it_out(self) -> None:
        world = World()
        repeated = Flood().due(0.25)
        newcomer = None
        for frame in range(round(5 / FRAME)):
            part = len(repeated) * FRAME / 0.25
            first = round(frame * part) % len(repeated)
            arrivals = repeated[first : first + round(part)]
            world.serve(
                (hello, (host, port + frame // 60 * 1250)) for hello, (host, port) in arrivals
            )
            world.frame()
            if frame == 60:
                newcomer = world.player(*ADDRESS)
        assert newcomer is not None
        assert newcomer.connection is not None

    def test_false_proofs_cost_one_exchange_for_each_hello_that_was_answered(
        self, work: Work
    ) -> None:
        world, flood = World(), Flood()
        answered = flood.due(0.02)
        world.serve(answered)
        world.run(0.2)
        proof = world.join(*ADDRESS).sent[1]
        exchanges = work.exchanges
        for _ in range(5):
            world.serve((proof, address) for _, address in answered)
            world.run(0.1)
        assert work.exchanges - exchanges == len(answered)
        assert world.engine.drops["invalid response"] == len(answered)
        assert len(world.engine.clients) == 1

    def test_a_rush_of_honest_clients_all_get_in(self, work: Work) -> None:
        world = World(limits=Limits(handshake_rate=100, waiting_hellos=25))
        players = [world.player() for _ in range(200)]
        world.run(3)
        assert all(player.connection is not None for player in players)
        assert work.signatures == 200

    def test_no_more_bytes_leave_than_came_whoever_asks(self, seed: int) -> None:
        chance = random.Random(seed)
        world, flood = World(), Flood()
        came: Counter[Any] = Counter()
        for _ in range(300):
            arrivals = flood.due(0.002)
            arrivals += chance.sample(arrivals, 2) * 20  # those that repeat
            arrivals += [(hello[: chance.randrange(1438)], to) for hello, to in arrivals[:3]]
            for datagram, address in arrivals:
                came[address] += len(datagram)
            world.serve(arrivals)
            world.frame()
        left: Counter[Any] = Counter()
        for datagram, address in world.sent:
            left[address] += len(datagram)
        assert len(left) > 500
        assert all(left[address] <= came[address] for address in left)
        assert sum(left.values()) < sum(came.values()) / 4

    def test_it_fills_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        world, flood = World(), Flood()
        self.run(world, flood, 2)
        assert len(caplog.records) in (2, 3)
        assert "busy" in caplog.text


class TestFigures:
    def test_those_of_the_server_are_read_from_the_context(self) -> None:
        world = World()
        world.player()
        world.run(0.3)
        world.join().frame()
        world.serve([(b"nonsense", ADDRESS), (world.players[0].sent[0], ADDRESS)])
        assert world.context.stats == ServerStats(
            clients=2,
            protocols={"1": 2, "2": 0},
            hellos_answered=2,
            key_exchanges=2,
            handshakes_proved=2,
            drops={"no session": 1, "stale hello": 1},
        )

    def test_each_is_counted(self) -> None:
        world = World(limits=Limits(half_open_per_address=1))
        hellos = Flood().hellos
        world.serve([(hellos[0], ADDRESS)])
        world.serve([(hellos[0], ADDRESS)])
        world.serve([(hellos[1], ADDRESS)])
        assert world.context.stats == ServerStats(
            half_open=1, hellos_answered=2, answers_repeated=1, handshakes_evicted=1
        )

    def test_a_snapshot_does_not_change(self) -> None:
        world = World()
        before = world.context.stats
        world.serve([(b"nonsense", ADDRESS)])
        assert before.drops == {}


class TestChurn:
    def test_every_arrival_has_one_end_whatever_the_link_and_the_players_do(
        self, seed: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        chance = random.Random(seed)
        bad = LinkConditions(
            loss=0.1, duplicate=0.25, latency=0.05, jitter=0.05, corrupt=0.05, replay=0.1
        )
        handler = Recorder(handle_message=lambda client, message: client.send(message, -1))
        world = World(handler, bad, seed)
        numbers = itertools.count()
        for _ in range(1500):
            if len(world.players) < 12 and chance.random() < 0.1:
                world.player(f"192.0.2.{chance.randrange(6)}", 5000 + chance.randrange(4))
            for player in [p for p in world.players if p.connection is not None]:
                if player.connection.status == ConnectionStatus.CONNECTED:
                    player.send(b"%d %d" % (player.token, next(numbers)))
                if chance.random() < 0.005:
                    player.connection.disconnect(world.now)
                if chance.random() < 0.005 or not player.connection.is_live:
                    world.players.remove(player)
            if handler.clients and chance.random() < 0.002:
                chance.choice(handler.clients).disconnect()
            world.frame()
        world.players.clear()
        world.run(6)
        arrivals = [client for (client,) in handler.named("connect")]
        ends = [client for (client,) in handler.named("disconnect")]
        assert len(arrivals) > 20
        assert sorted(map(id, arrivals)) == sorted(map(id, ends))
        assert len(set(handler.messages)) == len(handler.messages)
        for client, message in handler.named("handle_message"):
            assert message.startswith(b"%d " % client.token)
        assert world.engine.clients == ()
        assert "raised" not in caplog.text


class TestBlockList:
    def test_blocked_hosts_get_no_answer(self) -> None:
        world = World()
        world.context.setBlockList(["192.0.2.0/24", "2001:db8::/32"])
        world.serve()
        for address in (ADDRESS, ("2001:db8::1", 1, 0, 0), ("::ffff:192.0.2.7", 1, 0, 0)):
            world.player(*address)
        world.run(1)
        assert world.sent == []
        assert world.engine.drops["blocked"] >= 3
        world.context.setBlockList(())
        world.run(1)
        assert len(world.engine.clients) == 3

    def test_who_is_thrown_out_is_told_once_and_sent_nothing_more(self) -> None:
        world, outcomes = World(), []
        player = world.join(*ADDRESS)
        client = world.client_of(player)
        client.send(bytes(100_000), -1, outcomes.append)
        world.context.setBlockList(["192.0.2.1"])
        sent = len(world.sent)
        world.serve()
        assert world.handler.reasons == ["kicked"]
        assert outcomes == [False]
        assert [kind_of(datagram) for datagram, _ in world.sent[sent:]] == [PacketType.DISCONNECT]
        world.run(2)
        assert len(world.sent) == sent + 1
        assert player.connection.status == ConnectionStatus.DISCONNECTED

    def test_no_further_message_of_one_that_an_event_blocks_is_handled(self) -> None:
        world = World()
        cheats = [world.join("192.0.2.1", port) for port in (1, 2)]
        world.handler.on["handle_message"] = lambda client, message: world.context.setBlockList(
            [client.addr[0]]
        )
        for cheat in cheats:
            for i in range(5):
                cheat.send(b"%d" % i)
        world.run(0.2)
        assert len(world.handler.messages) == 1
        assert world.handler.reasons == ["kicked"] * 2

    def test_it_wakes_a_server_that_sleeps(self) -> None:
        world = World()
        world.context.setBlockList(["192.0.2.1"])
        assert world.wakes == 1

    def test_a_hello_that_waits_is_not_answered_when_its_host_is_blocked(self) -> None:
        world = World()
        player = world.player(*ADDRESS)
        player.frame()
        world.engine.dispatcher.receive(player.sent[0], ADDRESS, world.now, world.wall_now)
        world.context.setBlockList(["192.0.2.1"])
        world.serve()
        assert world.sent == []
        assert world.engine.drops["blocked"] == 1

    def test_it_throws_out_who_is_connected_or_half_open(self) -> None:
        world = World()
        player = world.join(*ADDRESS)
        late = world.player("192.0.2.2", 1, conditions=LATE)
        while world.engine.half_open == 0:
            world.frame()
        world.join()
        world.context.setBlockList(["192.0.2.0/24"])
        world.run(1)
        assert player.connection.status == ConnectionStatus.DISCONNECTED
        assert world.handler.reasons == ["kicked"]
        assert late.connection is None
        assert len(world.engine.clients) == 1


class TestTheEnd:
    def test_a_disconnect_is_replied_to_at_once(self) -> None:
        world = World()
        player = world.join()
        player.connection.disconnect(world.now)
        world.run(3 * FRAME)
        assert world.handler.reasons == ["closed by client"]
        assert player.connection.status == ConnectionStatus.DISCONNECTED
        assert world.engine.clients == ()

    def test_what_arrives_with_the_disconnect_can_still_be_replied_to(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        handler = Recorder(handle_message=lambda client, message: client.send(message))
        world = World(handler)
        player = world.join(conditions=LATE)
        player.send(b"my last words")
        player.connection.disconnect(world.now)
        world.run(0.2)
        assert handler.messages == [b"my last words"]
        assert caplog.records == []

    def test_what_the_disconnect_has_overtaken_is_neither_handled_nor_acked(self) -> None:
        world = World()
        player = world.join(*ADDRESS)
        outcomes: list[bool] = []
        player.connection.send(b"overtaken", RetryMode.NONE, outcomes.append)
        message = player.connection.next_datagram(world.now)
        player.connection.disconnect(world.now)
        disconnect = player.connection.next_datagram(world.now)
        world.serve([(disconnect, ADDRESS), (message, ADDRESS)])
        world.run(0.1)
        assert world.handler.messages == []
        assert [acked for _, acked in player.connection.take_completed()] == [False]

    def test_the_idle_timeout_drops_a_client(self) -> None:
        world, outcomes = World(), []
        world.join().relink(DEAD)
        client = world.handler.clients[0]
        client.send(b"x", -1, outcomes.append)
        world.run(4.9)
        assert world.handler.reasons == []
        world.run(0.2)
        assert world.handler.reasons == ["timeout"]
        assert client.status == ConnectionStatus.DROPPED
        assert outcomes == [False]

    def test_a_reliable_message_that_the_path_drops_for_its_size_ends_a_session(self) -> None:
        world, outcomes = World(), []
        player = world.join()
        player.relink(LinkConditions(max_datagram=1300 - 28))
        client = world.handler.clients[0]
        client.send(bytes(1434), -1, outcomes.append)
        world.run(9.0)
        assert client.reason is None
        world.run(6.0)
        assert world.handler.reasons == ["path MTU"]
        assert client.status == ConnectionStatus.DROPPED
        assert outcomes == [False]
        assert player.connection.status == ConnectionStatus.DISCONNECTED

    def test_a_kicked_client_first_gets_what_was_queued_for_it(self) -> None:
        world, outcomes, late = World(), [], []
        player = world.join(conditions=LATE)
        client = world.handler.clients[0]
        client.send(b"x" * 20_000, -1, outcomes.append)
        client.send(b"you are out", RetryMode.NONE)
        client.disconnect()
        assert client.reason is None
        assert world.engine.clients == ()
        client.send(b"too late", -1, late.append)
        world.run(0.3)
        assert late == [False]
        assert sorted(player.messages, key=len) == [b"you are out", b"x" * 20_000]
        assert player.connection.status == ConnectionStatus.DISCONNECTED
        assert world.handler.reasons == ["kicked"]
        assert outcomes == [True]

    def test_no_message_of_a_kicked_client_is_handled(self) -> None:
        handler = Recorder(handle_message=lambda client, message: client.disconnect())
        world = World(handler)
        player = world.join(conditions=LATE)
        for i in range(5):
            player.send(b"%d" % i)
        world.run(0.3)
        assert len(handler.messages) == 1

    def test_a_kicked_client_that_does_not_answer_is_gone_after_a_second(self) -> None:
        world, outcomes = World(), []
        world.join().relink(DEAD)
        client = world.handler.clients[0]
        client.send(b"x", -1, outcomes.append)
        client.disconnect()
        client.disconnect()
        world.run(DISCONNECT_TIMEOUT - 2 * FRAME)
        assert world.handler.reasons == []
        world.run(4 * FRAME)
        assert world.handler.reasons == ["kicked"]
        assert outcomes == [False]

    def test_the_same_player_may_come_back(self) -> None:
        world = World()
        for _ in range(3):
            player = world.join(*ADDRESS)
            player.connection.disconnect(world.now)
            world.run(0.1)
            world.players.clear()
        assert world.handler.reasons == ["closed by client"] * 3

    def test_nothing_is_remembered_of_those_who_left(self) -> None:
        world = World()
        for _ in range(20):
            world.join().connection.disconnect(world.now)
        world.run(6)
        assert len(world.handler.reasons) == 20
        engine = world.engine
        assert (len(engine.sessions), len(engine.dispatcher.timers), engine.half_open) == (0, 0, 0)
        assert not engine.sessions._tokens
        assert not engine.sessions._client_points


class TestStopping:
    def test_every_client_is_told_after_what_was_queued(self) -> None:
        world, outcomes = World(), []
        players = [world.join(conditions=LATE) for _ in range(3)]
        for client in world.engine.clients:
            client.send(b"see you", -1, outcomes.append)
        world.context.shutdown()
        assert world.wakes == 1
        world.run(0.3)
        assert [player.messages for player in players] == [[b"see you"]] * 3
        assert {p.connection.status for p in players} == {ConnectionStatus.DISCONNECTED}
        assert world.handler.reasons == ["shutdown"] * 3
        assert world.handler.events[-1] == ("shutdown",)
        assert outcomes == [True] * 3
        assert world.engine.is_stopped

    def test_it_takes_a_second_at_most(self) -> None:
        world, outcomes = World(), []
        world.join().relink(DEAD)
        world.handler.clients[0].send(b"x" * 100_000, -1, outcomes.append)
        world.context.shutdown()
        world.run(DISCONNECT_TIMEOUT + 3 * FRAME)
        assert world.engine.is_stopped
        assert outcomes == [False]
        assert world.handler.reasons == ["shutdown"]

    def test_an_empty_server_stops_at_once(self) -> None:
        world = World()
        world.context.shutdown()
        world.frame()
        assert world.engine.is_stopped
        assert world.handler.events == [("starting",), ("shutdown",)]

    def test_nobody_new_is_let_in_and_no_update_comes(self) -> None:
        world = World()
        world.join().relink(DEAD)
        world.context.shutdown()
        world.frame()
        updates = len(world.handler.updates)
        late = world.player()
        world.context.setInterval(0.01)
        world.run(0.8)
        assert late.connection is None
        assert len(world.handler.updates) == updates
        assert len(world.handler.clients) == 1

    def test_one_that_was_kicked_before_stays_kicked(self) -> None:
        world = World()
        world.join().relink(DEAD)
        world.handler.clients[0].disconnect()
        world.context.shutdown()
        world.run(1.1)
        assert world.handler.reasons == ["kicked"]

    def test_abort_tells_everybody_in_one_datagram(self) -> None:
        world, outcomes = World(), []
        player = world.join()
        world.handler.clients[0].send(b"x" * 100_000, -1, outcomes.append)
        world.engine.abort()
        world.flush()
        world.frame()
        assert world.engine.is_stopped
        assert outcomes == [False]
        assert world.handler.events[-2:] == [
            ("disconnect", world.handler.clients[0]),
            ("shutdown",),
        ]
        assert player.connection.status == ConnectionStatus.DISCONNECTED


class TestCallbacks:
    def test_each_is_called_once_with_what_became_of_its_message(self, seed: int) -> None:
        world = World(conditions=LinkConditions(loss=0.2, duplicate=0.2, latency=0.02), seed=seed)
        outcomes: dict[int, list[bool]] = {i: [] for i in range(300)}
        players = [world.join() for _ in range(3)]
        for i in outcomes:
            client = world.engine.clients[i % 3]
            client.send(b"%d" % i, i // 3 % 3 - 1, outcomes[i].append)
            world.frame()
        world.run(1)
        players[0].relink(DEAD)
        world.run(6)
        assert all(len(calls) == 1 for calls in outcomes.values())
        delivered = {int(message) for player in players for message in player.messages}
        assert {i for i, calls in outcomes.items() if calls == [True]} <= delivered

    def test_one_that_raises_is_logged_and_the_next_is_called(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world, outcomes = World(), []
        world.join()
        [client] = world.engine.clients

        def fail(acked: bool) -> None:
            raise RuntimeError("broken callback")

        client.send(b"a", -1, fail)
        client.send(b"b", -1, outcomes.append)
        world.run(0.2)
        assert outcomes == [True]
        assert "broken callback" in caplog.text

    def test_one_may_send_and_disconnect(self) -> None:
        world, outcomes = World(), []
        player = world.join()
        [client] = world.engine.clients

        def answer(acked: bool) -> None:
            client.send(b"second", -1, outcomes.append)
            client.disconnect()

        client.send(b"first", -1, answer)
        world.run(0.3)
        assert player.messages == [b"first", b"second"]
        assert outcomes == [True]


class TestSendingToNobody:
    def test_a_loop_over_players_goes_on_when_one_has_just_left(self) -> None:
        world, players = World(), {}

        def tell_all(gone: ServerClient) -> None:
            for client in players:  # the one that is gone among them
                client.send_guaranteed(b"somebody has left")

        world.handler.on.update(
            connect=lambda client: players.update({client: True}), disconnect=tell_all
        )
        leaving, staying = world.join(), world.join()
        leaving.connection.disconnect(world.now)
        world.run(0.3)
        assert world.handler.reasons == ["closed by client"]
        assert staying.messages == [b"somebody has left"]
        assert not leaving.messages

    def test_the_callback_is_called_once_with_false_and_not_in_the_call(self) -> None:
        world, outcomes = World(), []
        player = world.join()
        [client] = world.handler.clients
        player.connection.disconnect(world.now)
        world.run(0.3)
        assert client.status == ConnectionStatus.DISCONNECTED
        for retry in RetryMode:
            assert client.send(b"too late", retry, outcomes.append) is None
        client.send_guaranteed(b"too late", outcomes.append)
        assert outcomes == []
        world.run(0.1)
        assert outcomes == [False] * 4
        world.run(1.0)
        assert outcomes == [False] * 4

    def test_the_arguments_are_still_checked(self) -> None:
        world = World()
        player = world.join()
        [client] = world.handler.clients
        player.connection.disconnect(world.now)
        world.run(0.3)
        bad: Any
        for bad in ({"payload": "text"}, {"retry": 1.0}, {"callback": 3}):
            with pytest.raises(TypeError):
                client.send(**{"payload": b"", **bad})
        for bad in ({"retry": 7}, {"payload": bytes(9 << 20)}):
            with pytest.raises(ValueError, match=r"retry|at most"):
                client.send(**{"payload": b"", **bad})

    def test_a_callback_that_sends_again_for_ever_does_not_spin(self) -> None:
        world, attempts = World(), []
        player = world.join()
        [client] = world.handler.clients
        player.connection.disconnect(world.now)
        world.run(0.3)

        def again(acked: bool) -> None:
            attempts.append(acked)
            client.send(b"again", -1, again)

        client.send(b"again", -1, again)
        world.run(1.0)
        assert 10 <= len(attempts) <= 101

    def test_a_callback_of_the_shutdown_event_is_called_too(self) -> None:
        outcomes: list[bool] = []
        world = World()
        world.join()
        [client] = world.handler.clients
        world.handler.on["shutdown"] = lambda: client.send(b"bye", -1, outcomes.append)
        world.context.shutdown()
        world.run(1.5)
        assert world.engine.is_stopped
        assert outcomes == [False]
        client.send(b"much later", -1, outcomes.append)  # nobody is left who could call it
        assert outcomes == [False, False]


class TestHandingOver:
    """Calls of another thread for a client, which `off` makes one at a time."""

    @staticmethod
    def off(*calls: Callable[[], object]) -> None:
        """Make calls on another thread."""

        def make() -> None:
            for call in calls:
                call()

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()

    def test_it_is_done_by_the_servers_thread_in_order(self) -> None:
        world, outcomes = World(), []
        player = world.join()
        [client] = world.handler.clients
        wakes = world.wakes
        self.off(
            lambda: client.send(b"first", RetryMode.NONE),
            lambda: client.send_guaranteed(b"second", outcomes.append),
            client.disconnect,
            lambda: client.send(b"behind the end", -1, outcomes.append),
        )
        assert world.wakes == wakes + 1
        assert client.status == ConnectionStatus.CONNECTED
        assert player.messages == []
        assert world.engine.next_timer() <= world.now
        world.run(0.3)
        assert player.messages == [b"first", b"second"]
        assert sorted(outcomes) == [False, True]
        assert world.handler.reasons == ["kicked"]

    def test_mistakes_are_raised_at_once(self) -> None:
        world = World()
        world.join()
        [client] = world.handler.clients
        raised: list[type] = []

        def mistake(*arguments: Any) -> Callable[[], None]:
            def make() -> None:
                try:
                    client.send(*arguments)
                except (TypeError, ValueError) as error:
                    raised.append(type(error))

            return make

        self.off(mistake("text"), mistake(b"", 7), mistake(b"", 0, 3), mistake(bytes(9 << 20)))
        assert raised == [TypeError, ValueError, TypeError, ValueError]
        assert not world.engine.handover

    def test_what_it_is_given_is_copied_at_once(self) -> None:
        world = World()
        player = world.join()
        [client] = world.handler.clients
        buffer = bytearray(b"as it was")
        self.off(lambda: client.send(buffer))
        buffer[:] = b"otherwise"
        world.run(0.1)
        assert player.messages == [b"as it was"]

    def test_what_finds_no_room_is_counted_and_its_callback_called(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(handover, "MAX_BYTES", 3 * handover.MESSAGE_COST)
        world, outcomes = World(), []
        player = world.join()
        [client] = world.handler.clients
        self.off(*[lambda: client.send(b"", -1, outcomes.append)] * 5, client.disconnect)
        assert outcomes == [False] * 2
        assert world.stats.messages_refused == 2
        world.run(0.3)
        assert len(player.messages) == 3
        assert sorted(outcomes) == [False] * 2 + [True] * 3
        assert world.handler.reasons == ["kicked"]

    def test_what_finds_no_room_in_the_send_queue_is_counted_too(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world, outcomes = World(limits=Limits(send_queue_bytes=10_000)), []
        world.join()
        [client] = world.handler.clients
        self.off(*[lambda: client.send(bytes(4_000), -1, outcomes.append)] * 4)
        world.run(0.5)
        assert sorted(outcomes) == [False, False, True, True]
        assert world.stats.messages_refused == 2
        assert "misses a message from another thread" in caplog.text

    def test_a_turn_makes_only_so_many_calls(self) -> None:
        world = World()
        world.join()
        [client] = world.handler.clients
        self.off(lambda: [client.send(b"") for _ in range(handover.MAX_CALLS_PER_TURN + 1)])
        world.turn()
        assert len(world.engine.handover) == 1
        assert world.engine.next_timer() <= world.now

    def test_nothing_is_lost_when_the_server_stops(self) -> None:
        world, outcomes = World(), []
        world.join()
        [client] = world.handler.clients
        world.handler.on["shutdown"] = lambda: self.off(
            lambda: client.send(b"bye", -1, outcomes.append)
        )
        world.context.shutdown()
        world.run(1.5)
        assert outcomes == [False]
        self.off(lambda: client.send(b"much later", -1, outcomes.append))
        assert outcomes == [False, False]


class TestArrivalsInTheLog:
    def test_who_comes_and_goes_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "mpgameserver.server")
        world = World()
        player = world.join("192.0.2.1", 5000)
        player.connection.disconnect(world.now)
        world.run(0.5)
        lines = [record.message for record in caplog.records]
        assert lines[0] == "192.0.2.1:5000 has connected: 1 clients"
        assert lines[1].startswith("192.0.2.1:5000 has left: closed by client after 0.")
        assert {record.levelname for record in caplog.records} == {"INFO"}

    def test_a_crowd_fills_no_disk_and_is_counted(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "mpgameserver.server")
        world = World()
        for _ in range(MAX_ARRIVALS_LOGGED + 5):
            world.player()
        world.run(0.5)
        assert len(world.clients) == MAX_ARRIVALS_LOGGED + 5
        assert len(caplog.records) == MAX_ARRIVALS_LOGGED
        caplog.clear()
        world.context.shutdown()
        world.run(1.5)
        lines = [record.message for record in caplog.records]
        assert lines.count("5 more like the last line") == 2  # of those who came, and who went
        assert len(lines) == MAX_ARRIVALS_LOGGED + 2


class TestHandler:
    def test_starting_that_raises_is_raised(self) -> None:
        def fail() -> None:
            raise RuntimeError("broken handler")

        with pytest.raises(RuntimeError, match="broken handler"):
            World(Recorder(starting=fail))

    def test_an_object_with_some_events_will_do(self) -> None:
        class Echo:
            def handle_message(self, client: ServerClient, seqnum: int, msg: bytes) -> None:
                client.send(msg)

        handler: Any = Echo()
        world = World(handler)
        player = world.join()
        player.send(b"hello")
        world.run(0.2)
        player.connection.disconnect(world.now)
        world.run(0.3)
        world.context.shutdown()
        world.run(0.3)
        assert world.engine.is_stopped
        assert player.messages == [b"hello"]
        assert world.context.handler is handler

    @pytest.mark.parametrize(
        "event", ["connect", "disconnect", "update", "handle_message", "shutdown"]
    )
    def test_one_that_raises_harms_nobody(
        self, event: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*arguments: object) -> None:
            raise RuntimeError("broken handler")

        world = World(Recorder(**{event: fail}))
        players = [world.join() for _ in range(2)]
        for player in players:
            player.send(b"a")
            player.send(b"b")
        world.run(0.5)
        world.context.broadcast(b"to all")
        world.run(0.1)
        players[0].connection.disconnect(world.now)
        world.run(0.5)
        assert sorted(world.handler.messages) == [b"a", b"a", b"b", b"b"]
        assert [player.messages for player in players] == [[b"to all"]] * 2
        assert world.handler.reasons == ["closed by client"]
        world.context.shutdown()
        world.run(0.5)
        assert world.engine.is_stopped
        assert f"{event} raised" in caplog.text
        assert "broken handler" in caplog.text

    def test_a_flood_of_errors_fills_no_disk(self, caplog: pytest.LogCaptureFixture) -> None:
        def fail(delta_t: float) -> None:
            raise RuntimeError("every tick")

        world = World(Recorder(update=fail))
        world.run(3)
        assert len(world.handler.updates) > 150
        assert len(caplog.records) in (3, 4)
        assert "more like it" in caplog.text

    def test_update_comes_every_interval_and_says_how_long_it_was(self) -> None:
        world = World()
        world.context.setInterval(1 / 30)
        world.run(2)
        assert len(world.handler.updates) == pytest.approx(60, abs=2)
        assert sum(world.handler.updates) == pytest.approx(2, abs=0.1)

    def test_updates_that_were_missed_are_not_made_up_for(self) -> None:
        world = World()
        world.now += 3
        world.serve()
        world.serve()
        assert world.handler.updates == [3]
        assert world.engine.next_timer() == pytest.approx(world.now + 1 / 60)

    def test_what_it_queues_leaves_in_the_same_turn(self) -> None:
        echo = Recorder(handle_message=lambda client, message: client.send(message))
        world = World(echo)
        player = world.join()
        player.send(b"ping")
        before = len(world.sent)
        world.frame()
        assert echo.messages == [b"ping"]
        assert any(kind_of(datagram) == PacketType.APP for datagram, _ in world.sent[before:])

    def test_it_can_send_to_others(self) -> None:
        world = World()
        sender, other = world.join(), world.join()
        target = world.client_of(other)
        world.handler.on["handle_message"] = lambda client, message: target.send(message, -1)
        sender.send(b"pass it on")
        world.run(0.2)
        assert (sender.messages, other.messages) == ([], [b"pass it on"])


class TestContext:
    def test_broadcast_reaches_all_but_those_excluded(self) -> None:
        world = World()
        players = [world.join() for _ in range(4)]
        world.context.broadcast(bytearray(b"news"), exclude=[world.client_of(players[2])])
        world.run(0.1)
        assert [len(player.messages) for player in players] == [1, 1, 0, 1]

    def test_a_reliable_broadcast_survives_loss(self, seed: int) -> None:
        world = World(conditions=LinkConditions(loss=0.3), seed=seed)
        players = [world.join() for _ in range(4)]
        world.context.broadcast(b"news", RetryMode.RETRY_ON_TIMEOUT)
        world.run(4)
        assert [player.messages for player in players] == [[b"news"]] * 4

    def test_one_client_that_does_not_keep_up_is_left_out_of_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = World()
        slow, quick = world.join(), world.join()
        world.client_of(slow)._session.connection.endpoint.send_queue.max_pending = 0
        for _ in range(100):
            world.context.broadcast(b"news")
        world.run(0.1)
        assert len(quick.messages) == 100
        assert slow.messages == []
        assert len(caplog.records) == 1

    def test_broadcast_in_the_disconnect_event_passes_over_the_one_that_left(self) -> None:
        world = World()
        world.handler.on["disconnect"] = lambda client: world.context.broadcast(b"one left")
        players = [world.join() for _ in range(3)]
        for player in players[:2]:
            player.connection.disconnect(world.now)
        world.run(0.1)
        assert players[2].messages == [b"one left"] * 2

    def test_calls_from_other_threads_run_in_their_order(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world, calls = World(), []

        def fail() -> None:
            raise RuntimeError("broken call")

        world.context.call_soon_threadsafe(calls.append, 1)
        world.context.call_soon_threadsafe(fail)
        world.context.call_soon_threadsafe(world.context.call_soon_threadsafe, calls.append, 3)
        world.context.call_soon_threadsafe(calls.append, 2)
        assert (calls, world.wakes) == ([], 4)
        world.serve()
        assert calls == [1, 2]
        world.serve()
        assert calls == [1, 2, 3]
        assert "broken call" in caplog.text

    def test_settings_hold_at_once_for_those_who_are_connected(self) -> None:
        world = World()
        world.join().relink(DEAD)
        world.run(1)
        world.context.setConnectionTimeout(1.5)
        world.context.setKeepAliveInterval(0.25)
        world.run(2 * FRAME)
        sent = len(world.sent)
        world.run(0.4)
        assert len(world.sent) - sent in (1, 2)
        assert world.handler.reasons == []
        world.run(0.2)
        assert world.handler.reasons == ["timeout"]

    def test_settings_that_contradict_each_other_are_warned_of_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = World()
        world.context.setKeepAliveInterval(6)
        world.serve()
        assert "keep-alive interval (6 s)" in caplog.text
        caplog.clear()
        world.context.setInterval(0.5)
        world.serve()
        assert caplog.text == ""
        world.context.setConnectionTimeout(60)
        world.serve()
        assert "the idle timeout of clients (5 s)" in caplog.text
        caplog.clear()
        world.context.setKeepAliveInterval(4)
        world.serve()
        assert caplog.text == ""

    def test_a_handshake_may_take_as_long_as_the_setting_says(self) -> None:
        slow = LinkConditions(latency=0.6)
        world = World(conditions=slow)
        world.context.setTempConnectionTimeout(0.5)
        world.player()
        world.run(3)
        assert world.handler.clients == []
        world.context.setTempConnectionTimeout(2.0)
        world.run(3)
        assert len(world.handler.clients) == 1

    def test_the_access_log_tells_who_came_and_went(self, tmp_path: Any) -> None:
        path = tmp_path / "access.log"
        world = World()
        world.context.enableAccessLogs(path)
        player = world.join(*ADDRESS)
        world.run(1)
        player.connection.disconnect(world.now)
        world.run(0.1)
        world.context.enableAccessLogs(None)
        world.join()
        first, second = path.read_text().splitlines()
        assert first.endswith("192.0.2.1:5000 connect")
        assert " 192.0.2.1:5000 disconnect closed by client after 1.0" in second
        assert str(player.token) not in path.read_text()

    def test_an_access_log_that_cannot_be_written_stops_nobody(
        self, tmp_path: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = tmp_path / "logs"
        folder.mkdir()
        world = World()
        world.context.enableAccessLogs(folder / "access.log")
        (folder / "access.log").unlink()
        folder.rmdir()
        world.join()
        assert "the access log raised" in caplog.text


class TestWork:
    """Counted in calls, for time depends on the machine."""

    def crowd(self, size: int) -> World:
        world = World()
        world.context.setKeepAliveInterval(1000)
        world.context.setConnectionTimeout(1000)
        timing = Timing(keep_alive=1000, idle_timeout=1000)
        for _ in range(size):
            world.player(timing=timing)
        world.run(1)
        assert len(world.engine.clients) == size
        world.players.clear()
        return world

    def test_a_tick_costs_nothing_for_clients_that_are_idle(self) -> None:
        world = self.crowd(100)
        before = world.engine.dispatcher.turns
        for _ in range(100):
            world.now += 1 / 60
            world.serve()
        assert world.engine.dispatcher.turns == before

    def test_a_message_costs_the_same_in_a_crowd(self) -> None:
        counts = []
        for size in (2, 100):
            world = self.crowd(size)
            before = world.engine.dispatcher.turns
            world.engine.clients[1].send(b"to one")
            world.serve()
            counts.append(world.engine.dispatcher.turns - before)
        assert 0 < counts[0] == counts[1]

    def test_the_timers_of_a_busy_client_do_not_pile_up(self) -> None:
        world = World(Recorder(handle_message=lambda client, message: client.send(message, -1)))
        player = world.join(conditions=LATE)
        for _ in range(500):
            player.send(b"x", RetryMode.NONE)
            world.frame()
        assert world.engine.dispatcher.timers.entries <= 8

    def test_a_timer_that_finds_nothing_to_do_does_not_spin(self) -> None:
        world = World()
        world.join()
        world.players.clear()
        turns = 0
        end = world.now + 1
        while world.now < end:
            world.now = max(world.now, world.engine.next_timer())
            world.serve()
            turns += 1
        assert turns < 100


class TestAcks:
    def test_sixteen_datagrams_are_acked_in_the_middle_of_a_batch(self) -> None:
        world = World()
        player = world.join()
        world.run(0.2)
        batch = []
        for i in range(32):
            player.send(b"%d" % i, RetryMode.NONE)
            player.connection.advance(world.now)
            batch.append((player.connection.next_datagram(world.now), ADDRESS))
        leaving = {}
        for place, (datagram, _) in enumerate(batch):
            if world.engine.dispatcher.receive(datagram, player.address, world.now, world.wall_now):
                leaving[place] = len(world.flush())
        assert {place: count for place, count in leaving.items() if count} == {15: 1, 31: 1}

    def test_a_repeated_proof_is_acked_again(self) -> None:
        world = World()
        player = world.player(*ADDRESS, conditions=LATE)
        while not world.handler.clients:
            world.frame()
        player.relink(LATE)  # the answer to the proof is lost
        world.run(1)
        assert player.connection is not None
        assert len(world.handler.clients) == 1


class TestBlockedSocket:
    def test_nothing_is_lost_or_made_in_vain_while_it_takes_no_more(self) -> None:
        world = World()
        player = world.join()
        client: ServerClient = world.engine.clients[0]
        world.is_blocked = True
        assembled = client.stats.assembled
        for i in range(50):
            client.send(b"%d" % i, RetryMode.NONE)
            world.frame()
        assert client.stats.assembled == assembled
        world.is_blocked = False
        world.run(0.2)
        assert player.messages == [b"%d" % i for i in range(50)]

    def test_a_message_that_is_queued_after_the_turns_last_send_is_due_at_once(self) -> None:
        """As a log handler does for the line about an error of sending, or a finalizer."""
        world = World()
        player = world.join()
        world.serve()
        assert world.engine.next_timer() > world.now
        world.handler.clients[0].send(b"late", RetryMode.NONE)
        assert world.engine.next_timer() <= world.now
        world.turn()
        assert world.engine.next_timer() > world.now
        world.run(0.1)
        assert player.messages == [b"late"]

    def test_it_makes_no_turn_due_before_the_socket_is_writable(self) -> None:
        world = World()
        world.join()
        world.is_blocked = True
        world.handler.clients[0].send(b"late", RetryMode.NONE)
        world.turn()
        assert world.engine.next_timer() > world.now


class TestSecrets:
    def test_no_log_line_and_no_repr_has_a_key_or_a_token(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        world = World()
        player: Player = world.join(*ADDRESS)
        client = world.engine.clients[0]
        client.log.info("says hello")
        world.serve([(b"FSOS" + bytes(40), ADDRESS), (player.sent[0][:-1], ADDRESS)])
        text = caplog.text + repr(client) + repr(world.context.root_key)
        for half_open in world.engine.admission.handshakes.half_open.all():
            text += repr(half_open)
        assert "192.0.2.1:5000 says hello" in text
        assert str(client.token) not in text
        assert ROOT_KEY.getPrivateKeyPEM().splitlines()[1] not in text

    def test_log_is_an_adapter_over_one_logger(self) -> None:
        world = World(conditions=PERFECT)
        world.join()
        world.join()
        first, second = world.engine.clients
        assert isinstance(first.log, logging.LoggerAdapter)
        assert first.log.logger is second.log.logger


class TestWhatIsNoException:
    def test_in_a_callback_it_costs_no_other_callback_and_not_the_end_of_a_session(self) -> None:
        world, calls = World(), []
        player = world.join()
        client = world.client_of(player)

        def interrupt(acked: bool) -> None:
            calls.append("interrupt")
            raise KeyboardInterrupt

        client.send(b"a", -1, interrupt)
        for name in "bc":
            client.send(b"x", -1, lambda acked, name=name: calls.append(name))
        player.frame = lambda: None  # type: ignore[method-assign]
        client._session.connection.abort(world.now)
        world.engine.dispatcher.mark_dirty(client._session)
        with pytest.raises(KeyboardInterrupt):
            world.serve()
        world.serve()
        assert calls == ["interrupt", "b", "c"]
        assert world.handler.named("disconnect") == [(client,)]


class TestAttemptsThatAreGivenUp:
    """A client that leaves while it connects tells the server, which may have a session by then."""

    @staticmethod
    def give_up(world: World, player: Player) -> None:
        """Disconnect as the client does, and send nothing more."""
        for _, datagram in player.handshake.abort(world.now):
            player.links.up.send(datagram, world.now)
        player.frame = lambda: None  # type: ignore[method-assign]

    @pytest.mark.parametrize(("loss", "ghosts"), [(0.0, 0), (0.3, 5)])
    def test_they_leave_no_player_behind(self, loss: float, ghosts: int, seed: int) -> None:
        chance = random.Random(seed)
        world = World(conditions=LinkConditions(latency=0.02, loss=loss), seed=seed)
        left_at = {}
        for _ in range(150):
            left_at[world.player()] = world.now + chance.uniform(0.05, 0.4)
        while left_at:
            world.frame()
            for player in [p for p, at in left_at.items() if world.now >= at]:
                del left_at[player]
                if player.connection is None:
                    self.give_up(world, player)
        world.run(0.5)
        playing = {player.token for player in world.players if player.connection is not None}
        assert len(world.handler.named("disconnect")) >= 10
        assert len({client.token for client in world.engine.clients} - playing) <= ghosts

    def test_a_disconnect_that_arrives_with_the_proof_ends_the_session(self) -> None:
        world = World()
        player = world.player(*ADDRESS)
        player.frame()
        world.serve([(datagram, ADDRESS) for datagram in player.links.up.receive(world.now)])
        player.frame()
        arriving = player.links.up.receive(world.now)
        arriving += [datagram for _, datagram in player.handshake.abort(world.now)]
        world.serve([(datagram, ADDRESS) for datagram in arriving])
        assert [event[0] for event in world.handler.events] == ["starting", "connect", "disconnect"]
        assert world.handler.reasons == ["closed by client"]
        assert world.engine.admission.handshakes._disconnects == {}

    def test_one_that_follows_no_proof_is_dropped(self) -> None:
        world = World()
        player = world.player(*ADDRESS)
        player.frame()
        world.serve([(datagram, ADDRESS) for datagram in player.links.up.receive(world.now)])
        player.frame()
        disconnects = [datagram for _, datagram in player.handshake.abort(world.now)]
        world.serve([(datagram, ADDRESS) for datagram in disconnects])
        assert world.engine.drops == {"no session": len(disconnects)}
        assert world.engine.admission.handshakes._disconnects == {}

    def test_what_claims_to_be_one_cannot_end_a_session(self) -> None:
        world = World()
        player = world.player(*ADDRESS)
        player.frame()
        world.serve([(datagram, ADDRESS) for datagram in player.links.up.receive(world.now)])
        player.frame()
        proof = player.links.up.receive(world.now)
        forged = bytes([*proof[0][:12], PacketType.DISCONNECT, *proof[0][13:]])
        world.serve([(proof[0], ADDRESS), (forged, ADDRESS)])
        assert [event[0] for event in world.handler.events] == ["starting", "connect"]
        assert world.engine.drops["authentication failed"] + world.engine.drops["repeated"] == 1
