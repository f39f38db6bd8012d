"""A hostile network, or a peer with the keys, and one side of a session of protocol 2.

`tests/core/test_hostile.py` has the same cases for protocol 1. Frames that break a rule are in
`test_endpoint2.py` and `tests/properties/test_any_packet2.py`.
"""

from __future__ import annotations

import random

import pytest
from support.endpoints2 import (
    CHAT,
    CONNECTION_ID,
    LOOT,
    POSITION,
    SCORE,
    SECRETS,
    Hand,
    SessionPair,
    Side,
    accepted,
)
from support.recordingaead2 import recorded_sessions2
from support.wire2 import keys
from support.wire2.frames import Ack, Fragment, Frame, Message, Ping, ack_of, pack_all
from support.wire2.packets import seal

from mpgameserver._core.budget import GUARANTEED, ITEM_COST, Budget
from mpgameserver._core.grid_reassembly import INCOMPLETE_TIMEOUT, MAX_INCOMPLETE_MESSAGES
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import LinkConditions

REMEMBERED = 8192
"""Packet numbers below the newest that a receiver tells apart."""
SIDES = pytest.mark.parametrize("is_server", [False, True], ids=["client", "server"])


def seen(side: Side) -> tuple[object, ...]:
    """Return what a datagram that is refused must not change."""
    endpoint = side.endpoint
    return (
        endpoint.received,
        endpoint.last_number,
        endpoint.key_phase,
        endpoint.acked,
        endpoint.messages_received,
        endpoint.inbox_size,
        len(side.delivered),
        len(endpoint.reassembler),
        side.connection.status,
    )


def answers(side: Side, hand: Hand, now: float) -> set[int]:
    """Return the packet numbers that the side's last ACK reports."""
    acks = [f for f in hand.take(side.datagrams(now)) if isinstance(f, Ack)]
    return {n for first, last in acks[-1].ranges for n in range(first, last + 1)} if acks else set()


class TestForeignPackets:
    @SIDES
    def test_noise_changes_nothing(self, is_server, seed):
        side, hand = accepted(is_server)
        before, rng = seen(side), random.Random(seed)
        head = CONNECTION_ID if is_server else b""
        for _ in range(2000):
            side.receive(bytes([rng.randrange(256)]) + head + rng.randbytes(rng.randrange(60)), 1.0)
        assert seen(side) == before
        assert side.receive(hand.make(Ping()), 1.0) is None
        assert side.endpoint.received == before[0] + 1

    @SIDES
    def test_a_packet_of_another_session_is_refused(self, is_server):
        side, _ = accepted(is_server)
        before = seen(side)
        name = "client" if is_server else "server"
        foreign = keys.packet_keys(0, bytes(32))
        for mask in (keys.mask_key(SECRETS[name]), keys.mask_key(bytes(32))):
            datagram = seal(
                foreign, mask, CONNECTION_ID if is_server else b"", 9, pack_all([Ping()])
            )
            side.receive(datagram, 1.0)
        assert seen(side) == before
        assert len(side.drops) == 2

    @SIDES
    def test_a_packet_sent_back_to_its_sender_is_refused(self, is_server):
        side, _ = accepted(is_server)
        side.say(0, b"hello")
        sent = side.datagrams(1.0)
        before = seen(side)
        for datagram in sent:
            side.receive(datagram, 1.0)
            side.receive(datagram[:1] + CONNECTION_ID + datagram[1:], 1.0)
        assert seen(side) == before

    def test_a_flood_of_them_does_not_touch_an_honest_conversation(self, seed):
        pair, rng = SessionPair(LinkConditions(latency=0.02, loss=0.1), seed).open(), None
        rng = random.Random(seed)
        for number in range(60):
            for side in (pair.client, pair.server):
                side.say(CHAT, b"%d" % number)
                for _ in range(20):
                    recorded = bytearray(rng.choice(pair.datagrams))
                    recorded[rng.randrange(len(recorded))] ^= 1 << rng.randrange(8)
                    side.receive(bytes(recorded), pair.now)
            pair.tick()
        pair.run_until(lambda: pair.is_done)
        for side in (pair.client, pair.server):
            said = [message for channel, _, message in side.delivered if channel == CHAT]
            assert said == [b"%d" % number for number in range(60)]


class TestReplays:
    @SIDES
    def test_at_once_they_cost_no_decryption(self, is_server):
        with recorded_sessions2(may_reopen=0) as seals:
            side, hand = accepted(is_server)
            packets = [hand.make(Message(0, number, b"once")) for number in range(1, 40)]
            for datagram in packets:
                side.receive(datagram, 1.0)
            before = seals.opened, seals.refused, seen(side)
            for datagram in packets * 3:
                side.receive(datagram, 1.0)
            assert (seals.opened, seals.refused, seen(side)) == before
        assert len(side.delivered) == 39

    def test_a_packet_so_late_that_it_cannot_be_told_is_dropped(self):
        side, hand = accepted(is_server=True)
        side.receive(hand.make(Ping(), number=20_000), 1.0)
        side.receive(hand.make(Message(0, 1, b"late"), number=20_001 - REMEMBERED), 1.0)
        side.receive(hand.make(Message(0, 2, b"too late"), number=20_000 - 2 * REMEMBERED), 1.0)
        assert [message for _, _, message in side.delivered] == [b"late"]
        assert side.drops == ["too old"]

    def test_those_of_former_keys_open_nothing(self):
        side, hand = accepted(is_server=True)
        old: list[bytes] = []
        for phase in range(4):
            datagram = hand.make(Message(0, phase + 1, b"once"))
            old.append(datagram)
            side.receive(datagram, 1.0 + phase)
            hand.take(side.datagrams(1.0 + phase))
            side.receive(hand.make(hand.ack()), 1.1 + phase)
            hand.update_key()
        before = seen(side)
        for datagram in old:
            side.receive(datagram, 9.0)
        assert seen(side) == before
        assert len(side.delivered) == 4

    def test_a_network_that_replays_everything_repeats_nothing(self, seed):
        conditions = LinkConditions(latency=0.02, jitter=0.02, duplicate=0.3, replay=1.0, loss=0.1)
        pair = SessionPair(conditions, seed).open()
        for number in range(80):
            for side in (pair.client, pair.server):
                side.say((CHAT, LOOT, POSITION, SCORE)[number % 4], b"%d" % number)
            if number % 20 == 10:
                pair.client.endpoint.request_key_update()
            pair.tick()
        pair.run_until(lambda: pair.is_done)
        pair.run(1.0)
        for side in (pair.client, pair.server):
            messages = [message for _, _, message in side.delivered]
            assert len(messages) == len(set(messages))


class TestLyingAcks:
    def test_an_ack_of_all_ends_all_and_no_more(self):
        side, hand = accepted(is_server=True)
        results: list[bool] = []
        for _ in range(20):
            side.connection.send(bytes(900), callback=results.append)
        hand.take(side.datagrams(1.0))
        side.receive(hand.make(hand.ack()), 1.1)
        for callback, acked in side.connection.take_completed():
            callback(acked)
        count = len(results)
        assert 0 < count <= 20
        assert all(results)
        side.receive(hand.make(hand.ack()), 1.2)
        assert side.connection.take_completed() == []

    @pytest.mark.parametrize("delay", [0, 25_000, (1 << 62) - 1])
    def test_acks_at_any_time_settle_what_they_name_once(self, delay, seed):
        side, hand = accepted(is_server=True)
        rng, results = random.Random(seed), {}
        now = 1.0
        for number in range(200):
            seen_results = results[number] = []
            mode = rng.choice(list(RetryMode))
            side.connection.send(bytes(rng.randrange(2000)), mode, seen_results.append)
            hand.take(side.datagrams(now))
            known = sorted(hand.read)
            chosen = {n for n in known if rng.random() < 0.3} or {known[-1]}
            runs = list(ack_of(chosen, 0).ranges)[:32]
            side.receive(hand.make(Ack(delay, tuple(runs))), now)
            for callback, acked in side.connection.take_completed():
                callback(acked)
            now += 0.05
        assert side.closed is None
        assert all(len(each) <= 1 for each in results.values())
        side.connection.abort(now)
        for callback, acked in side.connection.take_completed():
            callback(acked)
        assert all(len(each) == 1 for each in results.values())


def first_fragment(number: int, channel: int = 0, total: int = 3000) -> Frame:
    return Fragment(channel, number, total, 0, bytes(64))


class TestFragmentFloods:
    def flooded(self) -> tuple[Side, Hand, set[int]]:
        """A side with as many incomplete messages as there may be, and what it has acked."""
        side, hand = accepted(is_server=True)
        for number in range(1, MAX_INCOMPLETE_MESSAGES + 20):
            side.receive(hand.make(first_fragment(number, LOOT)), 1.0)
        return side, hand, answers(side, hand, 1.1)

    def test_incomplete_messages_are_bounded_and_refused_unacked(self):
        side, hand, acked = self.flooded()
        assert len(side.endpoint.reassembler) == MAX_INCOMPLETE_MESSAGES
        assert side.drops == ["reassembly full"] * 19
        assert hand.number - 18 not in acked
        assert hand.number - 19 in acked

    def test_whole_messages_pass_beside_them(self):
        side, hand, _ = self.flooded()
        side.receive(hand.make(Message(0, 1, b"whole"), Message(CHAT, 1, b"in order")), 1.1)
        assert [m for _, _, m in side.delivered] == [b"whole", b"in order"]

    def test_the_rest_of_one_makes_room_for_another(self):
        side, hand, _ = self.flooded()
        rest = [Fragment(LOOT, 1, 3000, unit, bytes(64 * 15)) for unit in (1, 16)]
        rest.append(Fragment(LOOT, 1, 3000, 31, bytes(3000 - 31 * 64)))
        for fragment in rest:
            side.receive(hand.make(fragment), 1.1)
        assert [len(m) for _, _, m in side.delivered] == [3000]
        side.receive(hand.make(first_fragment(900, LOOT)), 1.2)
        assert side.drops == ["reassembly full"] * 19

    def test_they_expire(self):
        side, hand, _ = self.flooded()
        now = 1.0
        while now < 3 * INCOMPLETE_TIMEOUT:
            now += 0.5
            side.receive(hand.make(Ping()), now)
            side.datagrams(now)
        assert len(side.endpoint.reassembler) == 0
        assert side.endpoint.reassembler.share.held == 0


class TestInboxFloods:
    """Of a game that does not read, on a server that has no more room than each session's own."""

    def unread(self) -> tuple[Side, Hand]:
        """A side whose inbox is full: the last message was refused."""
        side, hand = accepted(is_server=True)
        side.endpoint.inbox_share.join(Budget(1))
        side._read = lambda: None
        while not side.drops:
            side.receive(hand.make(Message(0, side.endpoint.inbox_size + 1, b"")), 1.0)
            hand.take(side.datagrams(1.0))
        return side, hand

    def test_what_waits_to_be_read_is_bounded_and_refused_unacked(self):
        side, hand = self.unread()
        assert side.drops == ["inbox full"]
        assert GUARANTEED // ITEM_COST <= side.endpoint.inbox_size <= GUARANTEED // ITEM_COST + 1
        side.receive(hand.make(Ping()), 1.1)
        acked = answers(side, hand, 1.2)
        assert hand.number in acked
        assert hand.number - 1 not in acked

    def test_reading_makes_room(self):
        side, hand = self.unread()
        number = side.endpoint.inbox_size + 1
        side.endpoint.take_messages()
        side.receive(hand.make(Message(0, number, b"again")), 1.1)
        assert [message for _, message, *_ in side.endpoint.take_messages()] == [b"again"]

    def test_what_a_client_has_not_read_of_a_channel_stays_charged(self):
        side, hand = accepted()
        side._read = lambda: None
        side.receive(hand.make(Message(0, 1, b"ab"), Message(CHAT, 1, b"cde")), 1.0)
        assert side.endpoint.inbox_share.held == 2 * ITEM_COST + 5
        assert len(side.endpoint.take_messages()) == 1
        assert side.endpoint.inbox_share.held == ITEM_COST + 3
        side.endpoint.take_channel_message(CHAT)
        assert side.endpoint.inbox_share.held == 0

    def test_acks_beside_what_is_refused_are_used(self):
        side, hand = self.unread()
        results: list[bool] = []
        side.connection.send(b"hello", callback=results.append)
        hand.take(side.datagrams(1.1))
        side.receive(hand.make(Message(0, side.endpoint.inbox_size + 1, b""), hand.ack()), 1.2)
        assert side.drops == ["inbox full"] * 2
        for callback, acked in side.connection.take_completed():
            callback(acked)
        assert results == [True]

    def test_a_sender_whose_messages_are_refused_sends_them_again(self):
        pair = SessionPair(LinkConditions(latency=0.01)).open()
        pair.server.endpoint.inbox_share.join(Budget(1))
        read, pair.server._read = pair.server._read, lambda: None
        for _ in range(500):
            pair.client.say(LOOT, b"loot")
        pair.run(1.0)
        assert pair.server.endpoint.inbox_size < 300
        pair.server._read = read
        pair.run_until(lambda: pair.is_done)
        pair.server._read()
        assert len(pair.server.delivered) == 500
