"""One endpoint against a peer made by hand: what leaves, when, and what becomes of it."""

from __future__ import annotations

import gc
import itertools
import math
import tracemalloc
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from support import models, wire
from support.endpoints import (
    KEY,
    WALL_START,
    GuardedAead,
    Outcomes,
    Peer,
    flush,
    messages_of,
    new_endpoint,
    paced,
)
from support.examples import examples

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.enums import RetryMode
from mpgameserver.errors import SendQueueFullError

RELIABLE, NONE, BEST_EFFORT = RetryMode.RETRY_ON_TIMEOUT, RetryMode.NONE, RetryMode.BEST_EFFORT
modes = pytest.mark.parametrize("mode", list(RetryMode), ids=lambda mode: mode.name)
KEEP_ALIVE_INTERVAL = 0.1
ACK_DELAY = 0.025
FIRST_PROBE_DELAY = 0.25
TIMEOUT = 1.0
FULL = 1434


@pytest.fixture
def client() -> Endpoint1:
    return new_endpoint()


@pytest.fixture
def peer() -> Peer:
    return Peer()


def payloads(messages: list[wire.Message]) -> list[bytes]:
    return [message.payload for message in messages]


def fill(endpoint: Endpoint1, message: Callable[[int], bytes]) -> int:
    """Queue messages until there is no room; return how many were taken."""
    for count in itertools.count():
        try:
            endpoint.send_queue.add(message(count))
        except SendQueueFullError:
            return count
    raise AssertionError


class TestHeaders:
    def test_a_message_leaves_as_the_second_codec_writes_it(self, client):
        client.send_queue.add(b"hello")
        expected = wire.seal(
            wire.TO_SERVER, WALL_START, 1, 0, 0, [wire.Message(1, wire.APP, b"hello")], KEY
        )
        assert flush(client, 0.0) == [expected]

    def test_the_server_writes_to_the_client(self):
        server = new_endpoint(is_server=True)
        server.send_queue.add(b"hello")
        assert flush(server, 0.0)[0][:4] == wire.TO_CLIENT

    def test_the_numbers_go_on_after_those_of_the_handshake(self, peer):
        client = new_endpoint(packets_before=1, messages_before=1)
        client.send_queue.add(b"hello")
        header, messages = peer.read(flush(client, 0.0)[0])
        assert (header.seq, messages[0].seq) == (2, 2)

    def test_the_numbers_wrap(self, peer):
        client = new_endpoint(packets_before=65534, messages_before=65534)
        seen = []
        for _ in range(3):
            client.send_queue.add(b"hello")
            header, messages = peer.read(flush(client, 0.0)[0])
            seen.append((header.seq, messages[0].seq))
        assert seen == [(65535, 65535), (1, 1), (2, 2)]

    def test_the_ack_fields_report_what_was_accepted(self, client, peer):
        datagrams = [peer.make(peer.message()) for _ in range(40)]
        for i in (0, 3, 5, 36, 38, 39):
            client.receive(datagrams[i], 0.0)
        header, _ = peer.read(flush(client, 0.5)[0])
        assert header.ack == 40
        assert header.ack_bits == sum(1 << (32 - (39 - i)) for i in (38, 36))
        assert (client.received_packets.ack(), client.received_packets.ack_bits()) == (
            header.ack,
            header.ack_bits,
        )

    @pytest.mark.parametrize(
        ("seconds", "written"), [(0.0, 0), (0.4, 0), (0.5, 1), (1.499, 1), (1.5, 2), (100.0, 100)]
    )
    def test_the_time_written_is_the_wall_clock_of_the_start_plus_the_time_since(
        self, peer, seconds, written
    ):
        client = Endpoint1(GuardedAead(), False, 50.0, WALL_START + 0.5)
        client.send_queue.add(b"now")
        header, _ = peer.read(flush(client, 50.0 + seconds)[0])
        assert header.time == WALL_START + written

    def test_a_time_before_an_earlier_one_counts_as_the_earlier_one(self, client, peer):
        times = []
        for now in (10.0, 3.0, 12.0, -5.0):
            client.send_queue.add(b"now")
            times.append(peer.read(flush(client, now)[0])[0].time - WALL_START)
        assert times == [10, 10, 12, 12]


class TestCoalescing:
    """Messages that fit in one datagram are sent in one."""

    def test_messages_that_wait_share_a_datagram(self, client, peer):
        for i in range(10):
            client.send_queue.add(b"%d" % i, i % 3 - 1)
        (datagram,) = flush(client, 0.0)
        header, messages = peer.read(datagram)
        assert (header.count, header.type) == (10, wire.APP)
        assert messages == [wire.Message(1 + i, wire.APP, b"%d" % i) for i in range(10)]

    @pytest.mark.parametrize("second", [0, 1, 700])
    def test_two_messages_share_a_datagram_to_its_last_byte(self, client, second):
        client.send_queue.add(bytes(1472 - 36 - 2 * 5 - second))
        client.send_queue.add(bytes(second))
        assert [len(datagram) for datagram in flush(client, 0.0)] == [1472]
        client.send_queue.add(bytes(1472 - 36 - 2 * 5 - second + 1), NONE)
        client.send_queue.add(bytes(second), NONE)
        sizes = [len(datagram) for datagram in flush(client, 0.0)]
        assert sizes == [1472 - 7 - second, 38 + second]

    def test_a_message_of_the_largest_size_fills_a_datagram(self, client, peer):
        client.send_queue.add(bytes(FULL))
        client.send_queue.add(b"next")
        first, second = flush(client, 0.0)
        assert len(first) == 1472
        assert payloads(peer.read(first)[1] + peer.read(second)[1]) == [bytes(FULL), b"next"]

    def test_a_datagram_holds_at_most_255_messages(self, client, peer):
        for _ in range(600):
            client.send_queue.add(b"")
        counts = [peer.read(datagram)[0].count for datagram in flush(client, 0.0)]
        assert counts == [255, 1]

    def test_unreliable_messages_are_not_held_back_by_the_span(self, client, peer):
        for _ in range(600):
            client.send_queue.add(b"", NONE)
        counts = [peer.read(datagram)[0].count for datagram in flush(client, 0.0)]
        assert counts == [255, 255, 90]

    @given(st.lists(st.integers(0, FULL), max_size=60))
    @settings(max_examples=examples(50))
    def test_datagrams_are_as_full_as_their_messages_in_order_allow(self, sizes):
        client, peer, expected, room = new_endpoint(), Peer(), [], 0
        for size in sizes:
            client.send_queue.add(bytes(size), NONE)
            room -= size + 5
            if room < 0:
                room = 1436 - size - 5
                expected.append([])
            expected[-1].append(size)
        left = paced(client, 0.0)
        read = [[len(message.payload) for message in peer.read(one)[1]] for one in left]
        assert read == expected[:32]

    def test_pieces_leave_room_for_small_messages(self, client, peer):
        client.send_queue.add(bytes(10_000))
        client.send_queue.add(b"position", NONE)
        kinds = [[message.type for message in peer.read(one)[1]] for one in flush(client, 0.0)]
        assert kinds[0] == [wire.APP, wire.APP_FRAGMENT]
        assert len(kinds) == 10

    def test_a_flood_of_messages_does_not_starve_a_fragmented_one(self, client, peer):
        client.send_queue.add(bytes(3000))
        for _ in range(100):
            client.send_queue.add(bytes(900), NONE)
        kinds = [message.type for message in peer.read_all(flush(client, 0.0))]
        assert kinds.count(wire.APP_FRAGMENT) == 3

    def test_the_packet_has_the_type_of_its_first_message(self, client, peer):
        client.send_queue.add(bytes(2000))
        header, messages = peer.read(flush(client, 0.0)[0])
        assert header.type == messages[0].type == wire.APP_FRAGMENT

    @pytest.mark.parametrize("max_datagram", [45, 100, 548, 1098, 1472, 8972, 65507])
    def test_no_datagram_is_larger_than_allowed(self, max_datagram):
        client = new_endpoint(max_datagram=max_datagram)
        largest = max_datagram - 38
        for size in (0, 1, largest - 1, largest, largest + 1, 3 * largest, 5):
            client.send_queue.add(bytes(size), NONE)
        sizes = [len(datagram) for datagram in flush(client, 0.0)]
        assert max(sizes) == max_datagram

    @pytest.mark.parametrize("max_datagram", [-1, 0, 44, 65572, 2**40])
    def test_a_datagram_without_room_or_beyond_its_length_field_is_a_value_error(
        self, max_datagram
    ):
        with pytest.raises(ValueError, match=str(max_datagram)):
            new_endpoint(max_datagram=max_datagram)


class TestQueue:
    def test_pending_is_what_never_left(self, client, peer):
        client.send_queue.add(b"12345")
        client.send_queue.add(bytes(100_000))
        assert client.send_queue.pending == 100_005
        peer.read_all(paced(client, 0.0))
        assert client.send_queue.pending == 100_000 - 32 * 1024
        client.receive(peer.make(), 0.1)
        paced(client, 0.1)
        assert client.send_queue.pending == 100_000 - 64 * 1024

    def test_more_than_may_wait_is_an_error_that_harms_nothing_queued(self, client, peer):
        client.send_queue.max_pending = 10_000
        accepted = fill(client, lambda count: b"%04d" % count)
        with pytest.raises(SendQueueFullError, match="10000"):
            client.send_queue.add(b"more")
        assert client.send_queue.pending == 4 * accepted <= 10_000
        received = []
        while len(received) < accepted:
            received += payloads(peer.read_all(flush(client, 0.0)))
            client.receive(peer.make(), 0.0)
        assert received == [b"%04d" % i for i in range(accepted)]
        assert client.send_queue.pending == 0
        client.send_queue.add(b"again")

    def test_empty_messages_are_bounded_too(self, client):
        client.send_queue.max_pending = 100_000
        assert 500 < fill(client, lambda count: b"") < 1000

    @pytest.mark.parametrize("size", [100, 5000])
    def test_what_left_makes_room(self, client, peer, size):
        client.send_queue.max_pending = 200 + size
        for _ in range(100):
            client.send_queue.add(bytes(size))
            with pytest.raises(SendQueueFullError):
                client.send_queue.add(bytes(size))
            while client.send_queue.pending:
                peer.read_all(flush(client, 0.0))
                client.receive(peer.make(), 0.0)


class TestAcks:
    def test_a_message_is_acked_after_the_ack_delay(self, client, peer):
        client.receive(peer.make(peer.message(b"hello")), 1.0)
        flush(client, 1.0)
        flush(client, 1.1)
        client.receive(peer.make(peer.message(b"hello")), 1.15)
        assert flush(client, 1.15) == flush(client, 1.15 + ACK_DELAY - 0.001) == []
        (datagram,) = flush(client, 1.15 + ACK_DELAY)
        header, messages = peer.read(datagram)
        assert (header.ack, header.type, messages) == (2, wire.KEEP_ALIVE, [])

    def test_the_delay_begins_with_the_first_that_owes_an_ack(self, client, peer):
        for now in (0.0, 0.01, 0.02):
            client.receive(peer.make(peer.message()), now)
            assert flush(client, now) == []
        assert client.next_timer() == ACK_DELAY
        assert len(flush(client, ACK_DELAY)) == 1
        assert flush(client, 0.05) == []

    def test_a_message_that_leaves_carries_the_ack(self, client, peer):
        client.receive(peer.make(peer.message()), 0.0)
        client.send_queue.add(b"reply")
        assert peer.read(flush(client, 0.0)[0])[0].ack == 1
        assert flush(client, 0.05) == []

    def test_16_packets_are_acked_at_once(self, client, peer):
        for count in range(1, 17):
            assert not client.ack_is_due()
            client.receive(peer.make(peer.message()), 0.0)
            assert client.ack_is_due() is (count == 16)
        (datagram,) = flush(client, 0.0)
        header, _ = peer.read(datagram)
        assert (header.ack, header.ack_bits) == (16, 0xFFFE << 16)
        assert not client.ack_is_due()

    def test_a_flood_is_acked_every_16_packets(self, client, peer):
        acks = []
        for _ in range(160):
            client.receive(peer.make(peer.message()), 0.0)
            if client.ack_is_due():
                acks += flush(client, 0.0)
        assert [peer.read(datagram)[0].ack for datagram in acks] == list(range(16, 161, 16))

    def test_packets_without_messages_owe_no_ack(self, client, peer):
        for _ in range(100):
            client.receive(peer.make(), 0.0)
        assert not client.ack_is_due()
        assert flush(client, 0.099) == []

    def test_a_keep_alive_message_is_acked_at_once_and_is_for_nobody(self, client, peer):
        client.receive(peer.make(peer.message(kind=wire.KEEP_ALIVE)), 0.0)
        (ack,) = flush(client, 0.0)
        assert peer.read(ack)[0].ack == 1
        assert messages_of(client) == []

    @pytest.mark.parametrize("kind", [wire.APP, wire.APP_FRAGMENT, wire.DISCONNECT])
    def test_these_messages_owe_an_ack(self, client, peer, kind):
        payload = wire.split(1, bytes(3000), 1500)[0] if kind == wire.APP_FRAGMENT else b""
        client.receive(peer.make(peer.message(payload, kind)), 0.0)
        assert len(flush(client, 0.05)) == 1

    def test_a_challenge_response_is_answered_at_once(self):
        server, peer = new_endpoint(is_server=True), Peer(is_server=False)
        server.established = False
        response = wire.pack_challenge_response(0x4000_0001)
        assert server.receive(peer.make(peer.message(response, wire.CHALLENGE_RESP)), 0.0) == 0
        assert server.challenge == response
        assert len(flush(server, 0.0)) == 1

    def test_a_repeated_message_is_acked_again_and_not_delivered_again(self, client, peer):
        message = peer.message(b"once")
        client.receive(peer.make(message), 0.0)
        flush(client, 0.05)
        client.receive(peer.make(message), 0.06)
        assert peer.read(flush(client, 0.09)[0])[0].ack == 2
        assert messages_of(client) == [b"once"]
        assert client.repeated_messages == 1


class TestKeepAlive:
    def test_a_side_with_nothing_to_say_says_so_every_interval(self, client, peer):
        client.keep_alive_interval = 0.125
        left = {step / 64: flush(client, step / 64) for step in range(80)}
        times = [now for now, datagrams in left.items() if datagrams]
        assert times == [step / 64 for step in range(8, 80, 8)]
        assert all(len(datagrams) <= 1 for datagrams in left.values())
        for datagrams in filter(None, left.values()):
            header, messages = peer.read(datagrams[0])
            assert header.type == wire.KEEP_ALIVE
            assert all(message.type == wire.KEEP_ALIVE for message in messages)

    def test_what_was_said_puts_it_off(self, client):
        client.send_queue.add(b"")
        assert len(flush(client, 0.05)) == 1
        assert flush(client, 0.14) == []
        assert len(flush(client, 0.16)) == 1

    def test_the_interval_is_settable(self, client):
        client.keep_alive_interval = 2.0
        assert flush(client, 1.99) == []
        assert len(flush(client, 2.0)) == 1

    def test_before_the_session_is_established_there_are_none(self, client):
        client.established = False
        assert flush(client, 100.0) == []

    def test_keep_alives_are_no_reason_for_keep_alives(self, client, peer):
        for step in range(1, 10):
            client.receive(peer.make(), step / 100)
            assert flush(client, step / 100) == []


class TestSpan:
    """Packets in flight stay within the range that one ack can report."""

    def test_32_packets_behind_the_oldest_undecided_leave_without_an_ack(self, client):
        for _ in range(100):
            client.send_queue.add(bytes(FULL))
        assert len(paced(client, 0.0)) == 32
        assert (client.sent_packets.newest, client.sent_packets.oldest_undecided) == (32, 1)
        assert flush(client, 0.1) == []

    def test_an_ack_of_the_oldest_lets_one_more_leave(self, client, peer):
        for _ in range(100):
            client.send_queue.add(bytes(FULL))
        left = paced(client, 0.0)
        peer.read(left[0])
        client.receive(peer.make(), 0.1)
        assert len(flush(client, 0.1)) == 1

    def test_an_ack_of_a_newer_one_does_not(self, client, peer):
        for _ in range(100):
            client.send_queue.add(bytes(FULL))
        left = paced(client, 0.0)
        peer.read(left[1])
        client.receive(peer.make(), 0.1)
        assert flush(client, 0.1) == []

    def test_an_ack_of_all_lets_as_many_more_leave(self, client, peer):
        for _ in range(100):
            client.send_queue.add(bytes(FULL))
        for now, expected in enumerate((32, 32, 32, 4)):
            left = paced(client, now / 10)
            assert len(left) == expected
            peer.read_all(left)
            client.receive(peer.make(), (now + 1) / 10)

    def test_what_was_found_lost_makes_room(self, client):
        for _ in range(100):
            client.send_queue.add(bytes(FULL), NONE)
        assert len(paced(client, 0.0)) == 32
        assert len(paced(client, FIRST_PROBE_DELAY + 0.1)) == 32

    def test_acks_and_keep_alives_leave_without_room(self, client, peer):
        for _ in range(40):
            client.send_queue.add(bytes(FULL))
        assert len(paced(client, 0.0)) == 32
        client.receive(peer.make(peer.message()), 0.1)
        (datagram,) = flush(client, 0.1 + ACK_DELAY)
        assert peer.read(datagram)[0].count == 0
        assert len(flush(client, 0.1 + ACK_DELAY + KEEP_ALIVE_INTERVAL)) == 1

    def test_reliable_messages_stay_within_256_of_the_oldest_unacked(self, client, peer):
        client.send_queue.add(b"lost")
        flush(client, 0.0)
        for number in range(1000):
            client.send_queue.add(b"%d" % number)
        received = peer.read_all(flush(client, 0.0))
        assert received[-1].seq == 256
        client.receive(peer.make(), 0.0)
        assert flush(client, 0.0) == []
        again = peer.read_all(flush(client, FIRST_PROBE_DELAY))
        assert (again[0].seq, again[0].payload) == (1, b"lost")
        client.receive(peer.make(), FIRST_PROBE_DELAY)
        burst = 32 * 8  # spread over so many packets to find out how the receiver acks
        assert peer.read_all(flush(client, FIRST_PROBE_DELAY))[-1].seq == 256 + burst


class TestReliable:
    @modes
    def test_an_acked_message_calls_back_once_with_true(self, client, peer, mode):
        outcomes = Outcomes()
        client.send_queue.add(b"message", mode, outcomes.expect("one"))
        peer.read_all(flush(client, 0.0))
        for now in (0.9, 0.91):
            client.receive(peer.make(), now)
            assert outcomes.collect(client) == {("one", True): 1}
        flush(client, 5.0)
        client.close()
        assert outcomes.collect(client) == {("one", True): 1}

    def test_no_callback_runs_before_it_is_taken(self, client, peer):
        outcomes = Outcomes()
        client.send_queue.add(b"message", RELIABLE, outcomes.expect("one"))
        peer.read_all(flush(client, 0.0))
        client.receive(peer.make(), 0.05)
        assert outcomes.calls == {}
        assert outcomes.collect(client) == {("one", True): 1}
        assert client.take_completed() == []

    def test_three_later_acks_send_it_again(self, client, peer):
        datagrams = []
        for number in range(4):
            client.send_queue.add(b"%d" % number)
            datagrams += flush(client, 0.0)
        for later in (1, 2):
            peer.read(datagrams[later])
            client.receive(peer.make(), 0.001 * later)
            assert flush(client, 0.001 * later) == []
        peer.read(datagrams[3])
        client.receive(peer.make(), 0.003)
        (datagram,) = flush(client, 0.003)
        header, messages = peer.read(datagram)
        assert header.seq == 5
        assert messages == [wire.Message(1, wire.APP, b"0")]
        assert client.send_queue.retransmitted == 1

    def test_one_later_ack_and_the_loss_delay_send_it_again(self, client, peer):
        client.send_queue.add(b"first")
        flush(client, 0.0)
        client.send_queue.add(b"second")
        peer.read_all(flush(client, 0.0))
        client.receive(peer.make(), 0.080)
        assert client.next_timer() == pytest.approx(0.090)
        assert flush(client, 0.0899) == []
        (message,) = peer.read_all(flush(client, 0.0901))
        assert message == wire.Message(1, wire.APP, b"first")

    def test_without_acks_the_probe_timeout_sends_it_again(self, client, peer):
        client.established = False
        client.send_queue.add(b"message")
        peer.read_all(flush(client, 0.0))
        assert client.next_timer() == FIRST_PROBE_DELAY
        assert flush(client, 0.249) == []
        (message,) = peer.read_all(flush(client, 0.25))
        assert message == wire.Message(1, wire.APP, b"message")

    def test_probes_that_are_not_answered_back_off_to_a_second(self, client, peer):
        client.send_queue.add(b"measure")
        peer.read_all(flush(client, 0.0))
        client.receive(peer.make(), 0.064)
        client.established = False
        delay = client.rtt.pto()
        client.send_queue.add(b"probe")
        flush(client, 1.0)
        waits, sent_at = [], 1.0
        for _ in range(6):
            sent_at, before = client.next_timer(), sent_at
            waits.append(sent_at - before)
            assert flush(client, sent_at - 1e-6) == []
            assert len(flush(client, sent_at + 1e-6)) == 1
            sent_at += 1e-6
        assert waits == pytest.approx(
            [min(delay * 2**i, 1.0) for i in (0, 1, 2, 3, 4, 5)], abs=1e-5
        )

    def test_an_ack_ends_the_back_off(self, client, peer):
        client.send_queue.add(b"measure")
        peer.read_all(flush(client, 0.0))
        client.receive(peer.make(), 0.064)
        client.send_queue.add(b"probe")
        now = 1.0
        for _ in range(5):
            datagrams = flush(client, now)
            now += 0.75
        peer.read_all(datagrams)
        client.receive(peer.make(), now)
        client.send_queue.add(b"next")
        client.established = False
        assert len(flush(client, now)) == 1
        assert client.next_timer() == pytest.approx(now + client.rtt.pto())

    def test_it_is_sent_again_for_as_long_as_it_takes(self, client, peer):
        outcomes = Outcomes()
        client.send_queue.add(b"message", RELIABLE, outcomes.expect("one"))
        for step in range(600):
            datagrams = flush(client, step / 10)
        assert outcomes.collect(client) == {}
        assert client.send_queue.retransmitted >= 50
        peer.read_all(datagrams)
        while not outcomes.calls:
            step += 1
            peer.read_all(flush(client, step / 10))
            client.receive(peer.make(), step / 10)
            outcomes.collect(client)
        assert outcomes.calls == {("one", True): 1}

    def test_it_keeps_its_message_number_in_a_new_packet(self, client, peer):
        client.send_queue.add(b"message")
        seen = [peer.read(flush(client, now)[0]) for now in (0.0, 0.25, 0.5, 0.75)]
        assert [header.seq for header, _ in seen] == [1, 2, 3, 4]
        assert {message for _, messages in seen for message in messages} == {
            wire.Message(1, wire.APP, b"message")
        }

    def test_a_late_ack_settles_it_measures_the_path_and_ends_the_retrying(self, client, peer):
        outcomes = Outcomes()
        client.send_queue.add(b"message", RELIABLE, outcomes.expect("one"))
        (first,) = flush(client, 0.0)
        client.established = False
        assert len(flush(client, 0.25)) == 1
        client.advance(0.5)  # lost again: it waits to be sent a third time
        peer.read(first)
        client.receive(peer.make(), 0.55)
        assert outcomes.collect(client) == {("one", True): 1}
        assert client.rtt.srtt == pytest.approx(0.55)
        assert flush(client, 0.55) == []
        assert flush(client, 10.0) == []
        assert client.acked == 1

    def test_an_ack_of_both_copies_calls_back_once(self, client, peer):
        outcomes = Outcomes()
        client.send_queue.add(b"message", RELIABLE, outcomes.expect("one"))
        peer.read_all(flush(client, 0.0) + flush(client, 0.25))
        client.receive(peer.make(), 0.3)
        assert outcomes.collect(client) == {("one", True): 1}
        assert client.acked == 2

    def test_only_what_was_lost_is_sent_again(self, client, peer):
        for number in range(10):
            client.send_queue.add(bytes([number]) * 500)
        datagrams = flush(client, 0.0)
        for datagram in datagrams[1:]:
            peer.read(datagram)
        client.receive(peer.make(), 0.05)
        assert payloads(peer.read_all(flush(client, 0.05))) == [bytes([n]) * 500 for n in (0, 1)]

    def test_nothing_is_kept_of_small_messages_that_were_acked(self, peer):
        client = Endpoint1(AESGCM(KEY), False, 0.0, WALL_START)

        def exchange(count: int) -> None:
            for _ in range(count):
                client.send_queue.add(b"small")
                peer.read_all(flush(client, 0.0))
                client.receive(peer.make(), 0.0)

        exchange(300)
        tracemalloc.start()
        try:
            exchange(3000)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert client.acked == 3300
        assert kept < 100_000


class TestUnreliable:
    def test_it_is_sent_once(self, client):
        client.established = False
        client.send_queue.add(b"message", NONE)
        assert len(flush(client, 0.0)) == 1
        assert [flush(client, step / 10) for step in range(1, 50)] == [[]] * 49
        assert client.send_queue.retransmitted == 0

    @pytest.mark.parametrize("mode", [NONE, BEST_EFFORT])
    def test_without_an_ack_it_calls_back_once_with_false_at_the_timeout(self, client, peer, mode):
        outcomes = Outcomes()
        client.send_queue.add(b"message", mode, outcomes.expect("one"))
        left = flush(client, 2.0)
        flush(client, 2.0 + TIMEOUT - 0.001)
        assert outcomes.collect(client) == {}
        flush(client, 2.0 + TIMEOUT)
        assert outcomes.collect(client) == {("one", False): 1}
        peer.read_all(left)
        client.receive(peer.make(), 3.5)
        client.close()
        assert outcomes.collect(client) == {("one", False): 1}

    @pytest.mark.parametrize("mode", [NONE, BEST_EFFORT])
    def test_the_timeout_counts_from_when_it_first_left(self, client, mode):
        outcomes = Outcomes()
        for _ in range(40):
            client.send_queue.add(bytes(FULL), NONE)
        paced(client, 0.0)
        client.send_queue.add(b"waits", mode, outcomes.expect("one"))
        for step in range(1, 40):
            client.advance(step / 10)
        assert outcomes.collect(client) == {}
        left = 4.0
        assert flush(client, left)
        client.advance(left + TIMEOUT - 0.001)
        assert outcomes.collect(client) == {}
        client.advance(left + TIMEOUT)
        assert outcomes.collect(client) == {("one", False): 1}

    def test_the_timeout_is_settable(self, client):
        outcomes = Outcomes()
        client.message_timeout = 0.3
        client.send_queue.add(b"message", NONE, outcomes.expect("one"))
        flush(client, 0.0)
        client.advance(0.29)
        assert outcomes.collect(client) == {}
        client.advance(0.3)
        assert outcomes.collect(client) == {("one", False): 1}

    def test_best_effort_repeats_every_keep_alive_interval_until_the_timeout(self, client, peer):
        client.send_queue.add(b"message", BEST_EFFORT)
        times = []
        for step in range(200):
            now = step / 64
            if b"message" in payloads(peer.read_all(flush(client, now))):
                times.append(now)
        interval = math.ceil(KEEP_ALIVE_INTERVAL * 64) / 64
        assert times == [i * interval for i in range(10)]
        assert client.send_queue.retransmitted == 9

    def test_best_effort_follows_the_interval_that_was_set(self, client, peer):
        client.keep_alive_interval = 0.25
        client.send_queue.add(b"message", BEST_EFFORT)
        left = {step / 64: peer.read_all(flush(client, step / 64)) for step in range(200)}
        times = [now for now, messages in left.items() if b"message" in payloads(messages)]
        assert times == [0.0, 0.25, 0.5, 0.75]

    def test_best_effort_ends_with_its_ack(self, client, peer):
        client.send_queue.add(b"message", BEST_EFFORT)
        peer.read_all(flush(client, 0.0))
        assert payloads(peer.read_all(flush(client, 0.1))) == [b"message"]
        client.receive(peer.make(), 0.15)
        for step in range(2, 30):
            assert b"message" not in payloads(peer.read_all(flush(client, step / 10)))

    @pytest.mark.parametrize("mode", [NONE, BEST_EFFORT])
    def test_losses_do_not_send_it_again(self, client, peer, mode):
        client.keep_alive_interval = 10.0
        client.send_queue.add(b"message", mode)
        flush(client, 0.0)
        for number in range(4):
            client.send_queue.add(b"%d" % number)
            peer.read_all(flush(client, 0.0))
        client.receive(peer.make(), 0.05)
        assert flush(client, 0.5) == []


class TestFragmented:
    @modes
    def test_it_calls_back_with_true_when_all_its_pieces_are_acked(self, client, peer, mode):
        outcomes = Outcomes()
        client.send_queue.add(bytes(5000), mode, outcomes.expect("one"))
        datagrams = flush(client, 0.0)
        assert len(datagrams) == 5
        for datagram in datagrams:
            assert outcomes.collect(client) == {}
            peer.read(datagram)
            client.receive(peer.make(), 0.01)
        assert outcomes.collect(client) == {("one", True): 1}

    @pytest.mark.parametrize("mode", [NONE, BEST_EFFORT])
    def test_it_calls_back_once_with_false_when_a_piece_timed_out(self, client, peer, mode):
        outcomes = Outcomes()
        client.send_queue.add(bytes(5000), mode, outcomes.expect("one"))
        datagrams = flush(client, 0.0)
        for datagram in datagrams[1:]:
            peer.read(datagram)
        client.receive(peer.make(), 0.01)
        for step in range(1, 100):
            flush(client, step / 64)
            assert outcomes.collect(client) == ({("one", False): 1} if step >= 64 else {})
        peer.read(datagrams[0])
        client.receive(peer.make(), 3.0)
        client.close()
        assert outcomes.collect(client) == {("one", False): 1}

    def test_a_lost_piece_is_sent_again_alone_with_its_header(self, client, peer):
        whole = bytes(range(256)) * 20
        client.send_queue.add(whole)
        datagrams = flush(client, 0.0)
        for datagram in datagrams[:1] + datagrams[2:]:
            peer.read(datagram)
        client.receive(peer.make(), 0.05)
        (message,) = peer.read_all(flush(client, 0.2))
        assert message == wire.Message(2, wire.APP_FRAGMENT, wire.split(1, whole, 1500)[1])

    def test_best_effort_pieces_repeat_alone(self, client, peer):
        client.send_queue.add(bytes(3000), BEST_EFFORT)
        datagrams = flush(client, 0.0)
        for datagram in datagrams[:2]:
            peer.read(datagram)
        client.receive(peer.make(), 0.05)
        (message,) = peer.read_all(flush(client, 0.1))
        assert message.payload[:6] == b"\0\1\0\3\0\3"

    def test_the_number_of_fragmented_messages_is_their_own(self, client, peer):
        client.send_queue.add(b"small")
        for _ in range(3):
            client.send_queue.add(bytes(2000))
        pieces = [m.payload[:6] for m in peer.read_all(flush(client, 0.0)) if m.type == 7]
        assert pieces == [bytes([0, n, 0, i, 0, 2]) for n in (1, 2, 3) for i in (1, 2)]

    @modes
    def test_closing_midway_calls_back_once_with_false(self, client, peer, mode):
        outcomes = Outcomes()
        client.send_queue.add(bytes(100_000), mode, outcomes.expect("one"))
        peer.read_all(flush(client, 0.0))
        client.receive(peer.make(), 0.1)
        flush(client, 0.1)
        client.close()
        assert outcomes.collect(client) == {("one", False): 1}

    def test_it_is_delivered_under_the_number_of_its_first_piece(self, client, peer):
        whole = bytes(range(250)) * 20
        pieces = [peer.message(one, wire.APP_FRAGMENT) for one in wire.split(1, whole, 1500)]
        for piece in reversed(pieces):
            client.receive(peer.make(piece), 0.0)
        assert client.take_messages() == [(1, whole)]


class TestReceiving:
    def test_the_collector_need_not_look_at_message_numbers(self, client, peer):
        client.receive(peer.make(peer.message(b"hello")), 1.0)
        [(number, _)] = client.take_messages()
        assert not gc.is_tracked(number)

    def test_messages_are_read_in_order_of_arrival_with_their_numbers(self, client, peer):
        first, second = peer.message(b"first"), peer.message(b"second")
        client.receive(peer.make(second), 0.0)
        client.receive(peer.make(first), 0.0)
        assert client.inbox_size == 2
        assert client.take_message() == (2, b"second")
        assert client.take_messages() == [(1, b"first")]
        assert client.take_messages() == []
        assert client.inbox_size == 0

    def test_the_number_is_one_of_the_ring(self, client, peer):
        peer.message_seq = 65534
        client.receive(peer.make(peer.message(), peer.message()), 0.0)
        (last, _), (first, _) = client.take_messages()
        assert (last, first) == (65535, 1)
        assert last.newer_than(first) is False
        assert first > last

    def test_an_empty_inbox_is_an_index_error(self, client):
        for _ in range(2):
            with pytest.raises(IndexError):
                client.take_message()

    def test_a_message_is_delivered_once_whatever_packet_it_comes_in(self, client, peer):
        message = peer.message(b"once")
        for others in range(3):
            client.receive(peer.make(message, *[peer.message()] * others), 0.0)
        assert messages_of(client).count(b"once") == 1

    def test_a_message_is_new_when_half_the_ring_of_others_came_since(self, client, peer):
        late = peer.message(b"late")
        for _ in range(128):
            client.receive(peer.make(*(peer.message() for _ in range(255))), 0.0)
        assert peer.message_seq == 128 * 255 + 1 == 32641
        client.take_messages()
        assert client.receive(peer.make(late), 0.0) == 0
        assert client.take_messages() == [(1, b"late")]
        client.receive(peer.make(late), 0.0)
        assert client.take_messages() == []

    def test_the_last_packet_accepted_restarts_the_idle_timeout(self, client, peer):
        assert client.last_received == 0.0
        client.receive(peer.make(), 3.0)
        client.receive(b"noise", 4.0)
        assert client.last_received == 3.0

    def test_a_disconnect_is_one_empty_message(self, client, peer):
        client.receive(peer.raw(b"", type=wire.DISCONNECT, count=0), 0.0)
        assert not client.disconnect_received
        client.receive(peer.make(peer.message(kind=wire.DISCONNECT)), 0.0)
        assert client.disconnect_received

    def test_before_the_session_is_established_the_server_wants_the_challenge_response(self):
        server, peer = new_endpoint(is_server=True), Peer(is_server=False)
        server.established = False
        assert server.receive(peer.make(peer.message(b"early")), 0.0) != 0
        assert server.drops["unexpected"] == 1
        assert (server.inbox_size, server.received_packets.newest) == (0, 0)
        assert flush(server, 1.0) == []

    def test_only_bytes_are_received(self, client):
        for datagram in (None, "text", bytearray(40), memoryview(bytes(40))):
            with pytest.raises(TypeError):
                client.receive(datagram, 0.0)
        assert client.dropped == 0


class TestHandshakeAnswer:
    def test_it_leaves_alone_and_ahead_of_all_else(self, client, peer):
        client.send_queue.add(b"early")
        client.queue_challenge_response(b"response")
        datagrams = flush(client, 0.0)
        headers = [peer.read(datagram) for datagram in datagrams]
        assert [(h.type, h.count, m[0].payload) for h, m in headers] == [
            (wire.CHALLENGE_RESP, 1, b"response"),
            (wire.APP, 1, b"early"),
        ]

    def test_it_is_sent_again_until_acked(self, client, peer):
        client.established = False
        client.queue_challenge_response(b"response")
        times = [step / 64 for step in range(64) if peer.read_all(flush(client, step / 64))]
        assert times == [0.0, 0.25, 0.5, 0.75]
        client.receive(peer.make(), 1.0)
        assert flush(client, 5.0) == []


def drained(endpoint: Endpoint1, peer: Peer, start: float, seconds: float) -> list[wire.Message]:
    """Take what leaves in so many seconds of 1/64 s each, none of it acked: its messages."""
    steps = range(round(start * 64), round((start + seconds) * 64))
    return [m for step in steps for m in peer.read_all(flush(endpoint, step / 64))]


class TestDraining:
    def test_what_was_queued_leaves_before_the_disconnect(self, client, peer):
        client.send_queue.add(b"last words")
        client.send_queue.add(bytes(3000))
        client.send_queue.add(b"unreliable", NONE)
        client.begin_close()
        assert [m.type for m in peer.read_all(flush(client, 0.0))] == [6, 7, 6, 7, 7]
        client.receive(peer.make(), 0.04)
        [disconnect] = peer.read_all(flush(client, 0.04))
        assert (disconnect.type, disconnect.payload) == (wire.DISCONNECT, b"")

    def test_the_disconnect_is_alone_in_its_packet(self, client, peer):
        client.send_queue.add(b"last words", NONE)
        client.begin_close()
        first, second = flush(client, 0.0)
        peer.read(first)
        header, messages = peer.read(second)
        assert (header.type, header.count, len(messages)) == (wire.DISCONNECT, 1, 1)
        assert header.length == 2

    @pytest.mark.parametrize("retry", [NONE, BEST_EFFORT])
    def test_what_is_not_reliable_leaves_once_and_is_not_waited_for(self, client, peer, retry):
        client.send_queue.add(b"unreliable", retry)
        client.begin_close()
        sent = [m.type for m in drained(client, peer, 0.0, 0.8)]
        assert sent == [wire.APP] + [wire.DISCONNECT] * (len(sent) - 1)
        assert len(sent) > 2

    @pytest.mark.parametrize("begun", [0.0, 0.1, 0.3], ids=["unsent", "in flight", "lost"])
    def test_what_is_reliable_is_sent_again_until_it_is_acked(self, client, peer, begun):
        client.send_queue.add(b"reliable", RELIABLE)
        if begun:
            peer.read_all(flush(client, 0.0))
            client.advance(begun)
        client.begin_close()
        sent = drained(client, peer, begun, 0.75)
        assert set(payloads(sent)) == {b"reliable"}
        assert len(sent) >= 12
        client.receive(peer.make(), begun + 0.75)
        assert {m.type for m in drained(client, peer, begun + 0.75, 0.1)} == {wire.DISCONNECT}

    def test_copies_of_all_that_is_unacked_leave_at_most_one_packet_at_a_time(self, client, peer):
        for number in range(8):
            client.send_queue.add(bytes([number]) * FULL)
        client.begin_close()
        assert len(flush(client, 0.0)) == 8
        left = [flush(client, step / 128) for step in range(6, 30)]
        assert max(map(len, left)) == 1
        assert len({m.payload for datagrams in left for m in peer.read_all(datagrams)}) == 4

    def test_next_timer_tells_when_the_next_copy_leaves(self, client, peer):
        client.send_queue.add(b"reliable", RELIABLE)
        client.begin_close()
        flush(client, 1.0)
        assert client.next_timer() == pytest.approx(1.05)
        peer.read_all(flush(client, 1.05))
        client.receive(peer.make(), 1.06)
        assert client.next_timer() == pytest.approx(1.06)
        flush(client, 1.06)
        assert client.next_timer() == pytest.approx(1.11)

    def test_an_ack_of_the_disconnect_ends_it(self, client, peer):
        outcomes = Outcomes()
        client.send_queue.add(b"reliable", RELIABLE, outcomes.expect("one"))
        peer.read_all(flush(client, 0.0))
        client.begin_close()
        client.receive(peer.make(), 0.05)
        assert not client.disconnect_acked()
        peer.read_all(flush(client, 0.05))
        client.receive(peer.make(), 0.1)
        assert client.disconnect_acked()
        assert flush(client, 0.15) == []
        client.close()
        assert outcomes.collect(client) == {("one", True): 1}

    def test_the_end_of_the_drain_lets_nothing_but_the_disconnect_leave(self, client, peer):
        for _ in range(50):
            client.send_queue.add(bytes(FULL))
        client.begin_close()
        assert len(paced(client, 0.0)) == 32
        client.end_drain()
        assert {m.type for m in drained(client, peer, 0.1, 0.2)} == {wire.DISCONNECT}

    def test_the_disconnect_is_sent_again_each_twentieth_of_a_second(self, client, peer):
        client.begin_close()
        sent = {step: peer.read_all(flush(client, step / 64)) for step in range(13)}
        assert [step for step, messages in sent.items() if messages] == [0, 4, 8, 12]

    def test_the_receivers_duplicate_filter_is_not_outrun(self, client, peer):
        for number in range(400):
            client.send_queue.add(b"%d" % number)
        client.begin_close()
        assert len(peer.read_all(flush(client, 0.0))) == 256

    def test_no_more_than_the_span_leaves_without_acks(self, client, peer):
        for _ in range(50):
            client.send_queue.add(bytes(FULL))
        client.begin_close()
        left = paced(client, 0.0)
        assert len(left) == 32
        peer.read_all(left)
        client.receive(peer.make(), 0.1)
        assert {m.seq for m in peer.read_all(paced(client, 0.1))} == set(range(33, 51))

    def test_a_ping_in_flight_does_not_hold_the_disconnect_up(self, client, peer):
        [ping] = peer.read_all(flush(client, 1.0))
        assert (ping.type, ping.payload) == (wire.KEEP_ALIVE, b"")
        client.begin_close()
        assert [m.type for m in peer.read_all(flush(client, 1.01))] == [wire.DISCONNECT]

    def test_abort_is_one_disconnect_at_once(self, client, peer):
        client.send_queue.add(b"never said")
        header, messages = peer.read(client.abort(0.0))
        assert (header.type, header.count, header.length) == (wire.DISCONNECT, 1, 2)
        assert payloads(messages) == [b""]

    def test_abort_in_the_middle_of_a_drain_too(self, client, peer):
        client.send_queue.add(b"unacked")
        client.begin_close()
        flush(client, 0.0)
        assert [m.type for m in peer.read(client.abort(0.01))[1]] == [wire.DISCONNECT]


class TestClose:
    @modes
    @pytest.mark.parametrize("size", [0, 10, 5000])
    @pytest.mark.parametrize("when", ["unsent", "in flight", "lost"])
    def test_all_that_is_outstanding_calls_back_once_with_false(self, client, mode, size, when):
        outcomes = Outcomes()
        for name in range(3):
            client.send_queue.add(bytes(size), mode, outcomes.expect(name))
        if when != "unsent":
            flush(client, 0.0)
        if when == "lost":
            client.advance(0.3)
        for _ in range(2):
            client.close()
            assert outcomes.collect(client) == {(name, False): 1 for name in range(3)}
        flush(client, 10.0)
        assert outcomes.collect(client) == {(name, False): 1 for name in range(3)}
        assert client.send_queue.pending == 0

    @modes
    def test_an_ack_after_the_end_changes_nothing(self, client, peer, mode):
        outcomes = Outcomes()
        client.send_queue.add(b"message", mode, outcomes.expect("one"))
        peer.read_all(flush(client, 0.0))
        client.close()
        client.receive(peer.make(), 0.1)
        assert outcomes.collect(client) == {("one", False): 1}

    def test_nothing_is_sent_any_more(self, client):
        client.send_queue.add(b"waits")
        flush(client, 0.0)
        client.send_queue.add(b"waits")
        client.established = False
        client.close()
        assert [flush(client, step / 10) for step in range(50)] == [[]] * 50

    def test_what_was_received_can_still_be_read(self, client, peer):
        client.receive(peer.make(peer.message(b"last words")), 0.0)
        client.close()
        assert messages_of(client) == [b"last words"]


class TestNonces:
    def test_no_more_than_32767_packets_leave_under_one_written_second(self):
        client, peer = new_endpoint(), Peer()
        client.keep_alive_interval = 1e-9
        left, now = 0, 0.1
        while client.next_datagram(now) is not None:
            left, now = left + 1, now + 1e-8
        assert left == 32767
        client.send_queue.add(b"waits")
        assert flush(client, 0.999) == []
        assert client.next_timer() == pytest.approx(1.0, abs=1e-5)
        client.keep_alive_interval = 10.0
        header, messages = peer.read(flush(client, 1.0)[0])
        assert (header.time, payloads(messages)) == (WALL_START + 1, [b"waits"])

    def test_a_clock_that_steps_back_gives_no_second_twice(self):
        client = new_endpoint()
        client.keep_alive_interval = 1e-9
        now = 5.0
        for _ in range(40_000):
            now += 1e-8
            client.next_datagram(now)
            client.next_datagram(now - 3.0)
        assert client.assembled == 32767

    def test_no_nonce_repeats_through_four_laps_of_the_counter(self):
        aead = GuardedAead()
        client = Endpoint1(aead, False, 0.0, WALL_START)
        client.established = True
        client.keep_alive_interval = 1e-9
        now, packets = 0.5, 4 * models.RING + 10
        while client.assembled < packets:
            if client.next_datagram(now) is None:
                now = client.next_timer()
            now += 1e-8
        assert len(aead.nonces) == packets
        assert now >= packets // 32767

    def test_the_two_directions_share_a_key_and_no_nonce(self):
        aead = GuardedAead()
        for is_server in (False, True):
            endpoint = Endpoint1(aead, is_server, 0.0, WALL_START)
            for _ in range(20):
                endpoint.send_queue.add(bytes(FULL))
            assert len(paced(endpoint, 0.0)) == 20
        assert len(aead.nonces) == 40


class TestCounters:
    def test_they_count_packets(self, client, peer):
        for _ in range(3):
            client.send_queue.add(bytes(1000), NONE)
        left = flush(client, 0.0)
        for datagram in left:
            client.on_datagram_sent(len(datagram), 0.0)
        peer.read_all(left[:2])
        client.receive(peer.make(peer.message()), 0.1)
        client.receive(b"noise", 0.1)
        client.advance(TIMEOUT)
        assert (client.assembled, client.sent, client.received) == (3, 3, 1)
        assert (client.acked, client.timeouts, client.dropped) == (2, 1, 1)

    def test_what_owes_no_ack_neither_times_out_nor_measures_the_path(self, client, peer):
        flush(client, 0.1)  # a ping, which nobody acks
        peer.read_all(flush(client, 0.2))
        client.receive(peer.make(), 0.3)
        flush(client, 0.4)
        client.advance(5.0)
        assert client.timeouts == 0
        assert not client.rtt.measured

    def test_traffic_is_counted_by_the_second(self, client, peer):
        client.send_queue.add(b"1")
        (datagram,) = flush(client, 0.5)
        client.on_datagram_sent(len(datagram), 0.5)
        peer.read(datagram)
        reply = peer.make()
        client.receive(reply, 1.25)
        sent, received, packets_sent, packets_received, latency = client.rate_bins.lists(1.5)
        assert (sent[-2:], packets_sent[-2:]) == ([len(datagram), 0], [1, 0])
        assert (received[-2:], packets_received[-2:]) == ([0, len(reply)], [0, 1])
        assert latency[-2:] == [0, 750]

    def test_the_round_trip_is_from_the_packet_to_its_ack(self, client, peer):
        client.send_queue.add(b"1")
        peer.read_all(flush(client, 1.0))
        client.receive(peer.make(), 1.125)
        assert client.rtt.srtt == 0.125


class TestMemory:
    """The memory of a connection does not depend on its age."""

    FRAME = 1 / 32
    START = 30_000  # what other tests have left behind by message number is not there

    def play(self, sides: list[Endpoint1], began: float, seconds: float) -> float:
        """Messages of all modes and sizes, some lost, and a quiet second; return when it ends."""
        frames = round(seconds / self.FRAME)
        for frame in range(frames):
            now = began + frame * self.FRAME
            for sender, receiver in (sides, sides[::-1]):
                if frame < frames - 32:
                    sender.send_queue.add(bytes(64), (NONE, RELIABLE, NONE, BEST_EFFORT)[frame % 4])
                    if frame % 320 == 0:
                        sender.send_queue.add(bytes(5000))
                for number, datagram in enumerate(flush(sender, now)):
                    sender.on_datagram_sent(len(datagram), now)
                    if (frame + number) % 50:
                        receiver.receive(datagram, now)
                receiver.take_messages()
                sender.take_completed()
        return began + seconds

    def test_ten_minutes_of_play_take_no_more_than_two(self):
        tracemalloc.start()
        try:
            aead = AESGCM(KEY)
            sides = [
                Endpoint1(aead, is_server, 0.0, WALL_START, messages_before=self.START)
                for is_server in (False, True)
            ]
            for side in sides:
                side.established = True
            now = self.play(sides, 0.0, 120.0)
            early, _ = tracemalloc.get_traced_memory()
            self.play(sides, now, 480.0)
            late, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert all(side.received > 18_000 for side in sides)
        assert late - early < 1000
