"""Hostile networks and peers, which can do nothing to an endpoint but move a counter.

The first half is bytes from anyone. The second is a peer that holds the key and lies: its packets
are made by the second codec.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from support import models, wire
from support.damage import mutated, prefixes, single_bit_flips
from support.endpoints import (
    WALL_START,
    EndpointPair,
    Outcomes,
    Peer,
    flush,
    messages_of,
    new_endpoint,
)
from support.examples import examples
from support.visible import state

from mpgameserver._core.budget import ITEM_COST
from mpgameserver._core.endpoint import DROP_REASONS
from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.fragmenter import MAX_REASSEMBLIES, MAX_REASSEMBLY_BYTES
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import LinkConditions
from mpgameserver.stats import ConnectionStats

OTHER_KEY = bytes(range(16, 32))
ALL_BITS = 0xFFFFFFFF


def all_of(endpoint: Endpoint1) -> tuple[object, ...]:
    """All that can be seen of an endpoint but the counters of what was dropped."""
    return (*state(endpoint), endpoint.rate_bins.lists(1.0))


def assert_refused(endpoint: Endpoint1, datagram: bytes, reason: str | None = None) -> None:
    """The datagram is dropped and counted once under its reason; nothing else has changed."""
    before, drops, dropped = all_of(endpoint), endpoint.drops, endpoint.dropped
    verdict = endpoint.receive(datagram, 1.0)
    assert verdict > 0
    assert reason in (None, DROP_REASONS[verdict - 1])
    drops[DROP_REASONS[verdict - 1]] += 1
    assert (endpoint.drops, endpoint.dropped) == (drops, dropped + 1)
    assert all_of(endpoint) == before
    assert endpoint.take_completed() == []


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def client(peer) -> Endpoint1:
    """An endpoint in the middle of things: something received, in flight, waiting, unfinished."""
    return busy_client(peer)


def busy_client(peer: Peer) -> Endpoint1:
    client = new_endpoint()
    for size in (10, 5000):
        client.send_queue.add(bytes(size))
    sent = flush(client, 0.9)
    peer.read_all(sent[:2])
    client.receive(peer.make(peer.message(b"one"), peer.message(b"two")), 0.95)
    piece = wire.split(1, bytes(3000), 1500)[0]
    client.receive(peer.make(peer.message(piece, wire.APP_FRAGMENT)), 0.96)
    client.send_queue.add(bytes(100))
    client.advance(1.0)
    return client


class TestAnyBytes:
    @given(
        st.binary(max_size=100)
        | st.binary(max_size=1500).map(lambda data: b"FSOC" + data)
        | st.binary(min_size=40, max_size=1500)
    )
    @settings(max_examples=examples(200))
    def test_noise_is_refused(self, data):
        assert_refused(busy_client(Peer()), data)

    @pytest.mark.parametrize("size", [0, 1, 19, 20, 35, 36, 37, 1472, 65507])
    @pytest.mark.parametrize("byte", [0, 255])
    def test_every_size_of_nothing_is_refused(self, client, size, byte):
        assert_refused(client, bytes([byte]) * size)

    def golden(self, peer: Peer) -> list[bytes]:
        return [
            peer.make(),
            peer.make(peer.message(b"alone")),
            peer.make(*(peer.message(b"%d" % n) for n in range(20))),
            peer.make(peer.message(wire.split(2, bytes(3000), 1500)[0][:50], wire.APP_FRAGMENT)),
            peer.make(peer.message(kind=wire.DISCONNECT)),
        ]

    def test_every_prefix_of_a_packet_is_refused(self, client, peer):
        for datagram in self.golden(peer):
            for wrong in [*prefixes(datagram), datagram + b"\0"]:
                assert_refused(client, wrong)

    def test_every_flipped_bit_of_a_packet_is_refused(self, client, peer):
        for datagram in self.golden(peer):
            for wrong in single_bit_flips(datagram):
                assert_refused(client, wrong)
        assert client.receive(datagram, 1.0) == 0

    @given(st.integers(0, 4), st.randoms(use_true_random=False))
    @settings(max_examples=examples(200))
    def test_a_mutated_packet_is_refused(self, index, rng):
        peer = Peer()
        client = busy_client(peer)
        datagram = self.golden(peer)[index]
        wrong = mutated(rng, datagram)
        if wrong != datagram:
            assert_refused(client, wrong)

    def test_a_packet_of_another_session_is_refused(self, client):
        outsider = Peer(key=OTHER_KEY)
        outsider.seq = 10
        assert_refused(client, outsider.make(outsider.message(b"hello")), "authentication failed")

    def test_a_packet_sent_back_to_its_sender_is_refused(self, client):
        client.established = True
        for datagram in flush(client, 1.0):
            assert_refused(client, datagram, "misdirected")

    @pytest.mark.parametrize("seq", [1, 3, 4, 1000, 16386, 16387, 32767, 32768, 65535])
    @pytest.mark.parametrize("seconds", [-1, 0, 1, 2**31])
    def test_forged_numbers_move_no_window(self, client, peer, seq, seconds):
        forger = Peer(key=OTHER_KEY)
        time = WALL_START + seconds & ALL_BITS
        datagram = forger.raw(b"\0\1hello", seq=seq, time=time, ack=3, ack_bits=ALL_BITS)
        for _ in range(3):
            assert_refused(client, datagram)
        assert client.receive(peer.make(peer.message(b"honest")), 1.0) == 0
        assert b"honest" in messages_of(client)

    def test_forged_acks_settle_nothing(self, client):
        outcomes = Outcomes()
        client.send_queue.add(b"message", RetryMode.NONE, outcomes.expect("one"))
        flush(client, 1.0)
        forger = Peer(key=OTHER_KEY)
        forger.seq = 100
        for ack in range(1, 20):
            assert_refused(client, forger.make(acks=(ack, ALL_BITS)), "authentication failed")
        assert outcomes.collect(client) == {}

    def test_packets_in_the_clear_are_refused(self, client):
        for kind in (wire.CLIENT_HELLO, wire.SERVER_HELLO, wire.APP, wire.DISCONNECT):
            header = wire.Header(wire.TO_CLIENT, WALL_START, 10, 0, kind, 0, 1, 0)
            assert_refused(client, wire.pack_clear(header, wire.Message(9, kind, b"smuggled")))

    def test_a_flood_of_noise_does_not_touch_an_honest_conversation(self, seed):
        rng, pair = random.Random(seed), EndpointPair()
        arrived = []
        for number in range(200):
            pair.client.send_queue.add(b"%d" % number)
            for _ in range(20):
                pair.server.receive(b"FSOS" + rng.randbytes(rng.randrange(100)), pair.now)
                pair.client.receive(b"FSOC" + rng.randbytes(rng.randrange(100)), pair.now)
            pair.tick()
            arrived += messages_of(pair.server)
        pair.run(0.1)
        assert arrived + messages_of(pair.server) == [b"%d" % n for n in range(200)]
        assert (pair.server.dropped, pair.client.dropped) == (4000, 4000)
        assert pair.client.send_queue.retransmitted == 0


class TestReplays:
    def test_at_once(self, client, peer):
        datagram = peer.make(peer.message(b"once"))
        assert client.receive(datagram, 1.0) == 0
        for _ in range(3):
            assert_refused(client, datagram, "repeated")

    def test_the_check_costs_no_decryption(self):
        class Counting:
            opened = 0

            def __init__(self):
                self.aead = AESGCM(Peer().key)
                self.encrypt = self.aead.encrypt

            def decrypt(self, *args):
                self.opened += 1
                return self.aead.decrypt(*args)

        aead, peer = Counting(), Peer()
        client = Endpoint1(aead, False, 0.0, WALL_START)
        datagrams = [peer.make(peer.message()) for _ in range(2000)]
        for datagram in datagrams[::2]:
            client.receive(datagram, 0.0)
        assert aead.opened == 1000
        for datagram in datagrams[::2]:
            assert client.receive(datagram, 0.0) > 0
        assert client.receive(datagrams[1], 0.0) > 0
        assert aead.opened == 1000

    def test_a_packet_1024_late_is_honest_and_1025_is_not(self, peer):
        client = new_endpoint()
        datagrams = [peer.make(peer.message(b"%d" % n)) for n in range(1026)]
        client.receive(datagrams[-1], 0.0)
        assert client.receive(datagrams[1], 0.0) == 0
        assert_refused(client, datagrams[0], "too old")

    @pytest.mark.parametrize("after", [1, 2, 1023, 1024, 1025, 32766, 32767, 32768, 65534, 65535])
    def test_after_so_many_packets_and_their_loss(self, peer, after):
        """A recorded packet is refused even if the packet with its number in this lap was lost."""
        client = new_endpoint()
        recorded = [peer.make(peer.message(b"recorded")) for _ in range(20)]
        for datagram in recorded:
            assert client.receive(datagram, 0.0) == 0
        for number in range(1, after + 1):
            if number % 32767 == 0:
                peer.time += 1
            last = number == after
            if number % 10_000 == 0 or last:
                assert client.receive(peer.make(peer.message(b"later")), 0.0) == 0
            else:
                peer.seq = wire.add(peer.seq, 1)
        client.take_messages()
        for datagram in recorded:
            assert client.receive(datagram, 0.0) > 0
        assert messages_of(client) == []

    def test_all_that_was_ever_sent_through_three_laps(self, seed):
        rng, peer, client = random.Random(seed), Peer(), new_endpoint()
        recorded, delivered = [], 0
        for number in range(3 * models.RING):
            peer.time = WALL_START + number // 32767
            if number % 37 and number % 10_000:
                peer.seq = wire.add(peer.seq, 1)
                continue
            datagram = peer.make(peer.message(b""))
            recorded.append(datagram)
            assert client.receive(datagram, 0.0) == 0
            delivered += 1
            for old in rng.choices(recorded, k=4):
                assert client.receive(old, 0.0) > 0
        assert sum(client.receive(old, 0.0) == 0 for old in recorded) == 0
        assert client.inbox_size == delivered

    def test_by_a_network_that_replays_everything(self, seed):
        pair = EndpointPair(LinkConditions(replay=1.0, duplicate=0.5, jitter=0.05), seed)
        arrived = []
        for number in range(1000):
            pair.client.send_queue.add(b"%d" % number, RetryMode.NONE)
            pair.tick()
            arrived += messages_of(pair.server)
        pair.run(1.0)
        arrived += messages_of(pair.server)
        assert sorted(arrived) == sorted(b"%d" % number for number in range(1000))

    def test_of_another_session_with_the_same_numbers(self):
        old, peer = Peer(key=OTHER_KEY), Peer()
        client = new_endpoint()
        recorded = [old.make(old.message(b"%d" % n)) for n in range(100)]
        client.receive(peer.make(peer.message(b"now")), 1.0)
        for datagram in recorded[1:]:
            assert_refused(client, datagram, "authentication failed")


class TestWrongPackets:
    """Sealed with the key, and wrong inside: the whole packet is dropped, unacked."""

    TWO = wire.pack_payload([wire.Message(100, 6, b"first"), wire.Message(101, 6, b"second")])

    @pytest.mark.parametrize("count", [0, 1, 3, 254, 255])
    def test_a_count_that_is_not_that_of_the_messages(self, client, peer, count):
        if count != 1:  # one message may hold any bytes
            assert_refused(client, peer.raw(self.TWO, count=count), "malformed")
        assert client.receive(peer.raw(self.TWO, count=2), 1.0) == 0

    @pytest.mark.parametrize("payload", [b"", b"\1"])
    def test_a_message_without_its_number(self, client, peer, payload):
        assert_refused(client, peer.raw(payload), "malformed")

    @pytest.mark.parametrize("seqs", [(0, 100), (100, 0), (0, 0)])
    def test_a_message_number_0(self, client, peer, seqs):
        payload = wire.pack_payload([wire.Message(seq, 6, b"x") for seq in seqs])
        assert_refused(client, peer.raw(payload, count=2), "malformed")
        assert_refused(client, peer.raw(b"\0\0x"), "malformed")

    def test_a_packet_number_0(self, client, peer):
        assert_refused(client, peer.raw(b"\0\1x", seq=0), "malformed")

    def test_every_prefix_of_a_payload(self, client, peer):
        for payload in prefixes(self.TWO):
            assert_refused(client, peer.raw(payload, count=2), "malformed")
        assert messages_of(client) == [b"one", b"two"]

    def test_payload_left_over(self, client, peer):
        assert_refused(client, peer.raw(self.TWO + b"\0", count=2), "malformed")

    @pytest.mark.parametrize("length", [0, 1, 5, 8, 65535])
    def test_a_length_that_is_not_that_of_the_payload(self, client, peer, length):
        assert_refused(client, peer.raw(b"\0\1hello", length=length), "malformed")

    @pytest.mark.parametrize("kind", [0, 1, 2, 8, 127, 128, 255])
    def test_a_type_that_is_never_sealed(self, client, peer, kind):
        assert_refused(client, peer.raw(b"\0\1hello", type=kind), "malformed")
        payload = wire.pack_payload([wire.Message(100, 6, b"good"), wire.Message(101, kind, b"")])
        assert_refused(client, peer.raw(payload, count=2), "malformed")

    @pytest.mark.parametrize("size", range(6))
    def test_a_piece_without_its_header(self, client, peer, size):
        piece = wire.Message(100, wire.APP_FRAGMENT, bytes(size))
        assert_refused(client, peer.make(piece), "malformed")
        assert_refused(client, peer.make(wire.Message(101, 6, b"good"), piece), "malformed")

    @given(st.binary(max_size=80), st.integers(0, 255), st.integers(0, 255))
    @settings(max_examples=examples(300))
    def test_any_payload_is_what_the_second_codec_says(self, payload, count, kind):
        peer = Peer()
        client = new_endpoint()
        datagram = peer.raw(payload, count=count, type=kind)
        try:
            _, messages = wire.unseal(datagram, peer.key)
        except wire.WireError:
            assert_refused(client, datagram, "malformed")
            return
        if any(m.type == wire.APP_FRAGMENT and len(m.payload) < 6 for m in messages):
            assert_refused(client, datagram, "malformed")
            return
        assert client.receive(datagram, 1.0) == 0
        once = {m.seq: m for m in reversed(messages) if m.type != wire.KEEP_ALIVE}
        expected = Counter(m.payload for m in once.values() if m.type == wire.APP)
        pieces = Counter(m.payload[6:] for m in once.values() if m.type == wire.APP_FRAGMENT)
        delivered = Counter(messages_of(client))
        assert expected <= delivered <= expected + pieces
        assert client.disconnect_received == any(m.type == wire.DISCONNECT for m in once.values())

    def test_a_wrong_packet_does_not_ack(self, client, peer):
        outcomes = Outcomes()
        client.send_queue.add(b"message", RetryMode.NONE, outcomes.expect("one"))
        newest = client.sent_packets.newest + len(flush(client, 1.0))
        assert_refused(client, peer.raw(self.TWO, count=3, ack=newest, ack_bits=ALL_BITS))
        assert outcomes.collect(client) == {}
        assert client.receive(peer.raw(self.TWO, count=2, ack=newest, ack_bits=ALL_BITS), 1.0) == 0
        assert outcomes.collect(client) == {("one", True): 1}


class TestLyingAcks:
    def test_acks_of_what_was_never_sent_settle_nothing(self, peer):
        client = new_endpoint()
        client.receive(peer.make(acks=(1, ALL_BITS)), 0.0)
        client.send_queue.add(b"message")
        flush(client, 0.0)
        for ack in (2, 3, 33, 1000, 32767, 32768):
            assert client.receive(peer.make(acks=(ack, ALL_BITS)), 0.0) == 0
            assert (client.acked, client.sent_packets.newest_acked) == (0, 0)
        assert client.receive(peer.make(acks=(1, ALL_BITS)), 0.0) == 0
        assert client.acked == 1

    def test_any_acks_at_any_time(self, seed):
        rng, peer, client, outcomes = random.Random(seed), Peer(), new_endpoint(), Outcomes()
        for number in range(500):
            client.send_queue.add(bytes(rng.choice((1, 500, 3000))), rng.choice((-1, 0, 1)),
                         outcomes.expect(number))  # fmt: skip
            flush(client, number / 64)
            for _ in range(3):
                acks = rng.choice((rng.randrange(65536), client.sent_packets.newest % 65536))
                assert client.receive(peer.make(acks=(acks, rng.getrandbits(32))), number / 64) == 0
            outcomes.collect(client)
        client.close()
        called = outcomes.collect(client)
        assert sorted(name for name, _ in called) == list(range(500))
        assert set(called.values()) == {1}

    def test_an_ack_of_all_ends_all_and_no_more(self, peer):
        client = new_endpoint()
        client.send_queue.add(b"message")
        flush(client, 0.0)
        for _ in range(100):
            client.receive(peer.make(acks=(1, ALL_BITS)), 0.0)
        assert client.acked == 1


class TestFragmentFloods:
    def send(self, client: Endpoint1, peer: Peer, *pieces: tuple[int, int, int, bytes]) -> int:
        """Send pieces (number, index, count, bytes) in one packet; return the verdict."""
        packed = [wire.struct.pack(">HHH", *head) + data for *head, data in pieces]
        messages = [peer.message(piece, wire.APP_FRAGMENT) for piece in packed]
        return client.receive(peer.make(*messages), 1.0)

    def test_impossible_pieces_are_dropped_and_counted(self, peer):
        client = new_endpoint()
        for head in ((1, 0, 5), (1, 6, 5), (1, 1, 0), (1, 1, 8193), (0, 1, 1), (1, 65535, 65535)):
            assert self.send(client, peer, (*head, b"data")) == 0
        assert (client.inbox_size, len(client.reassembler)) == (0, 0)
        assert client.reassembler.discarded == 6

    def test_a_count_that_changes_midway_drops_the_message(self, peer):
        client = new_endpoint()
        self.send(client, peer, (1, 1, 3, b"a"))
        self.send(client, peer, (1, 2, 2, b"b"))
        assert (len(client.reassembler), client.reassembler.discarded) == (0, 1)
        self.send(client, peer, (2, 1, 1, b"honest"))
        assert messages_of(client) == [b"honest"]

    def test_half_sent_messages_are_bounded_and_refused_unacked(self, peer):
        client = new_endpoint()
        verdicts = [self.send(client, peer, (n, 1, 2, b"half")) for n in range(1, 6001)]
        assert verdicts.count(0) == MAX_REASSEMBLIES == len(client.reassembler)
        assert client.drops["reassembly full"] == 6000 - MAX_REASSEMBLIES
        assert client.received_packets.newest == models.expand(MAX_REASSEMBLIES, 0)

    def test_what_was_refused_may_come_again_once_there_is_room(self, peer):
        client = new_endpoint()
        for number in range(1, MAX_REASSEMBLIES + 1):
            self.send(client, peer, (number, 1, 2, b"half"))
        late = peer.message(b"\xff\xff\0\1\0\1whole", wire.APP_FRAGMENT)
        datagram = peer.make(late)
        assert_refused(client, datagram, "reassembly full")
        self.send(client, peer, (1, 2, 2, b"half"))
        assert client.receive(datagram, 1.0) == 0
        assert messages_of(client) == [b"halfhalf", b"whole"]

    def test_the_bytes_of_half_sent_messages_are_bounded(self, peer):
        client, size = new_endpoint(), 60_000
        for index in range(1, 1000):
            self.send(client, peer, (1 + index % 60, index, 8192, bytes(size)))
        assert MAX_REASSEMBLY_BYTES - 61_000 < client.reassembler.held_bytes <= MAX_REASSEMBLY_BYTES
        assert client.drops["reassembly full"] == 999 - MAX_REASSEMBLY_BYTES // (size + ITEM_COST)

    def test_messages_that_are_not_fragmented_pass_a_full_reassembly(self, peer):
        client = new_endpoint()
        for number in range(1, MAX_REASSEMBLIES + 100):
            self.send(client, peer, (number, 1, 2, b"half"))
        assert client.receive(peer.make(peer.message(b"position")), 1.0) == 0
        assert messages_of(client) == [b"position"]

    def test_half_sent_messages_expire(self, peer):
        client = new_endpoint()
        for number in range(1, MAX_REASSEMBLIES + 100):
            self.send(client, peer, (number, 1, 2, b"half"))
        for second in range(2, 70):
            client.receive(peer.make(), float(second))
        client.advance(70.0)
        assert (len(client.reassembler), client.reassembler.held_bytes) == (0, 0)
        assert client.reassembler.discarded == MAX_REASSEMBLIES
        assert self.send(client, peer, (9, 1, 1, b"whole")) == 0
        assert messages_of(client) == [b"whole"]


class TestInboxFloods:
    LIMIT = 64 * 1024 * 1024

    def test_what_waits_to_be_read_is_bounded_and_refused_unacked(self, peer):
        client, message = new_endpoint(), bytes(60_000)
        refused = 0
        while not refused:
            refused = client.receive(peer.make(peer.message(message)), 1.0)
        assert DROP_REASONS[refused - 1] == "inbox full"
        assert client.inbox_size == -(-self.LIMIT // (60_000 + 128))
        newest = client.received_packets.newest
        assert_refused(client, peer.make(peer.message(b"small")), "inbox full")
        assert client.received_packets.newest == newest

    def test_reading_makes_room(self, peer):
        client, message = new_endpoint(), bytes(60_000)
        while client.receive(peer.make(peer.message(message)), 1.0) == 0:
            pass
        refused = peer.make(peer.message(b"small"))
        assert client.receive(refused, 1.0) > 0
        client.take_message()
        assert client.receive(refused, 1.0) == 0
        client.take_messages()
        assert client.receive(peer.make(peer.message(b"next")), 1.0) == 0

    def test_empty_messages_are_bounded_too_and_reading_makes_room_for_as_many(self, peer):
        client = new_endpoint()
        for one_by_one in (False, True, False):
            while client.receive(peer.make(*(peer.message() for _ in range(255))), 1.0) == 0:
                pass
            assert self.LIMIT // 128 <= client.inbox_size < self.LIMIT // 128 + 255
            if not one_by_one:
                client.take_messages()
            while client.inbox_size:
                client.take_message()

    def test_a_sender_whose_messages_are_refused_sends_them_again(self):
        pair, outcomes = EndpointPair(), Outcomes()
        for name in range(10):
            pair.client.send_queue.add(bytes([name]) * 8_000_000, -1, outcomes.expect(name))
            pair.run_until(lambda: pair.client.send_queue.pending == 0 or pair.server.dropped > 0)
        pair.run_until(lambda: pair.server.drops["inbox full"] > 0)
        arrived = []
        while len(arrived) < 10:
            arrived += [message[:1] for message in messages_of(pair.server)]
            pair.tick()
        pair.run(0.5)
        assert arrived == [bytes([name]) for name in range(10)]
        assert outcomes.collect(pair.client) == {(name, True): 1 for name in range(10)}


class TestManyMessages:
    def test_a_packet_of_255_messages_of_each_kind(self, peer):
        client = new_endpoint()
        for kind in range(3, 8):
            payload = b"\0\1\0\1\0\2" if kind == wire.APP_FRAGMENT else b""
            messages = [peer.message(payload, kind) for _ in range(255)]
            assert client.receive(peer.make(*messages), 1.0) == 0
        assert client.inbox_size == 255

    def test_message_numbers_that_leap_cost_no_memory_and_no_time(self, peer):
        client = new_endpoint()
        for _ in range(2000):
            peer.message_seq = wire.add(peer.message_seq, 32766)
            assert client.receive(peer.make(peer.message(b"leap")), 1.0) == 0
        assert client.inbox_size == 2000

    def test_the_same_message_number_in_one_packet_is_delivered_once(self, peer):
        client = new_endpoint()
        client.receive(peer.make(*[wire.Message(7, wire.APP, b"x")] * 255), 1.0)
        assert (messages_of(client), client.repeated_messages) == ([b"x"], 254)


def test_messages_that_were_given_up_are_counted_in_the_figures(peer):
    client = new_endpoint()
    client.receive(peer.make(peer.message(b"\0\1\0\1\0\3half", wire.APP_FRAGMENT)), 1.0)
    client.receive(peer.make(peer.message(b"\0\1\0\2\0\4half", wire.APP_FRAGMENT)), 1.0)
    assert ConnectionStats.of(client, 1.0).discarded_messages == 1
