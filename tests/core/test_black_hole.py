"""Paths that drop large datagrams without a word, from the start or in mid-session.

The limits that are written here are those of IPv4 at an MTU of 1500, and of packets of 1,260 bytes
(datagrams of 1,232), which every path carries.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from support import wire
from support.endpoints import (
    KEY,
    EndpointPair,
    Outcomes,
    Peer,
    flush,
    messages_of,
    new_endpoint,
)
from support.pair import ConnectionPair, received

from mpgameserver._core.progress import Progress
from mpgameserver.connection import Timing
from mpgameserver.enums import ConnectionStatus, RetryMode
from mpgameserver.netsim import LinkConditions

LARGEST = 1434
"""Bytes of the largest message that is not cut, in a datagram of 1,472."""
SAFE = 1194
"""Bytes of the largest one in a datagram of 1,232."""
LARGEST_OF_ALL = 8191 * 1024 + 1427
SMALL_DATAGRAM = 1232
LEAST_DATAGRAM = 548
LEAST = 510
"""Bytes of the largest message in a datagram of 548, which every IPv4 host takes (RFC 791)."""
LOSSES_OF_A_BLACK_HOLE = 10
LOSSES_BEFORE_A_PROBE = 3
LOSSES_THAT_END = 40
STUCK_TIMEOUT = 10.0

NARROW = LinkConditions(max_datagram=1300 - 28, latency=0.02)
NARROWER = LinkConditions(max_datagram=1000 - 28, latency=0.02)
NARROW_FROM_THE_START = LinkConditions(max_datagram=1460 - 28, latency=0.02)


def wire_messages(datagram: bytes) -> list[wire.Message]:
    return wire.unseal(datagram, KEY)[1]


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{size}/{seed}").randbytes(size)


class ByHand:
    """An endpoint whose datagrams arrive or are lost one by one."""

    def __init__(self, **options: int) -> None:
        self.endpoint = new_endpoint(**options)
        self.peer = Peer()
        self.now = 0.0

    def lose(self, size: int = LARGEST, retry: RetryMode = RetryMode.NONE) -> None:
        """Send a message in a datagram that is lost."""
        self.endpoint.send_queue.add(bytes(size), retry)
        assert flush(self.endpoint, self.now)

    def deliver(self, size: int = 1) -> None:
        """Send a message in a datagram that arrives and is acked; what was lost is found."""
        self.endpoint.send_queue.add(bytes(size), RetryMode.NONE)
        [datagram] = flush(self.endpoint, self.now)
        self.peer.read(datagram)
        self.ack()

    def ack(self) -> None:
        self.now += 0.05
        assert self.endpoint.receive(self.peer.make(), self.now) == 0
        self.now += 0.1
        self.endpoint.advance(self.now)

    def deliver_all(self) -> tuple[list[int], list[bytes]]:
        """Let all arrive that is to be sent: the sizes of the datagrams, and the messages."""
        receiver = new_endpoint(is_server=True)
        sizes = []
        is_idle = False
        while not is_idle:
            is_idle = True
            for datagram in flush(self.endpoint, self.now):
                assert receiver.receive(datagram, self.now) == 0
                is_idle &= not self.peer.read(datagram)[1]
                sizes.append(len(datagram))
            self.ack()
        return sizes, messages_of(receiver)

    def lose_large(self, times: int, size: int = LARGEST, after: int = 1) -> None:
        """Let large datagrams be lost, while a smaller one after each of them arrives."""
        for _ in range(times):
            self.lose(size)
            self.deliver(after)


@pytest.fixture
def by_hand() -> ByHand:
    hand = ByHand()
    hand.deliver()
    return hand


class TestDetection:
    def test_ten_large_losses_in_a_row_with_smaller_packets_acked_show_a_black_hole(self, by_hand):
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE - 1)
        assert not by_hand.endpoint.path_is_narrow
        by_hand.lose_large(1)
        assert by_hand.endpoint.path_is_narrow

    def test_a_large_packet_that_is_acked_refutes_it(self, by_hand):
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE - 1)
        by_hand.deliver(LARGEST)
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE - 1)
        assert not by_hand.endpoint.path_is_narrow

    def test_a_packet_of_548_bytes_is_small(self, by_hand):
        by_hand.lose_large(3 * LOSSES_OF_A_BLACK_HOLE, LEAST)
        assert not by_hand.endpoint.path_is_narrow

    @pytest.mark.parametrize("size", [LEAST + 1, SAFE, SAFE + 1, LARGEST])
    def test_one_of_549_bytes_is_not(self, by_hand, size):
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE, size)
        assert by_hand.endpoint.path_is_narrow

    @pytest.mark.parametrize(
        ("lost", "largest"),
        [
            (LEAST + 1, LEAST_DATAGRAM),
            (SAFE, LEAST_DATAGRAM),
            (SAFE + 1, SMALL_DATAGRAM),
        ],
    )
    def test_datagrams_shrink_to_the_size_below_what_is_lost(self, by_hand, lost, largest):
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE, lost)
        by_hand.endpoint.send_queue.add(content(SAFE))
        sizes, messages = by_hand.deliver_all()
        assert max(sizes) == largest
        assert messages == [content(SAFE)]

    def test_twice_where_datagrams_of_1232_bytes_vanish_as_well(self, by_hand):
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE)
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE, SAFE)
        by_hand.endpoint.send_queue.add(content(LARGEST))
        sizes, messages = by_hand.deliver_all()
        assert max(sizes) <= LEAST_DATAGRAM
        assert messages == [content(LARGEST)]

    def test_a_medium_packet_that_is_acked_refutes_nothing_about_large_ones(self, by_hand):
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE - 1, LARGEST, after=SAFE)
        assert not by_hand.endpoint.path_is_narrow
        by_hand.lose_large(1, LARGEST, after=SAFE)
        assert by_hand.endpoint.path_is_narrow
        by_hand.endpoint.send_queue.add(content(SAFE))
        assert max(by_hand.deliver_all()[0]) == SMALL_DATAGRAM

    def test_a_loss_says_nothing_where_the_next_packet_is_lost_too(self, by_hand):
        for _ in range(3 * LOSSES_OF_A_BLACK_HOLE):
            by_hand.lose()
            by_hand.lose(1)
            by_hand.deliver()
        assert not by_hand.endpoint.path_is_narrow

    def test_a_burst_of_large_losses_counts_once(self, by_hand):
        for _ in range(LOSSES_OF_A_BLACK_HOLE - 1):
            by_hand.lose()
            by_hand.lose()
            by_hand.lose()
            by_hand.deliver()
        assert not by_hand.endpoint.path_is_narrow

    def test_a_keep_alive_that_is_acked_says_nothing(self, by_hand):
        """A receiver whose inbox is full acks it, too."""
        for _ in range(3 * LOSSES_OF_A_BLACK_HOLE):
            by_hand.lose()
            by_hand.now += by_hand.endpoint.keep_alive_interval
            for packet in flush(by_hand.endpoint, by_hand.now):
                if packet[12] == wire.KEEP_ALIVE:
                    by_hand.peer.read(packet)
            by_hand.ack()
        assert not by_hand.endpoint.path_is_narrow

    def test_behind_large_losses_a_probe_leaves_though_there_is_nothing_to_say(self, by_hand):
        """It is empty, and its number is that of a message that has arrived."""
        by_hand.endpoint.keep_alive_interval = 1000.0
        by_hand.deliver()
        for _ in range(LOSSES_BEFORE_A_PROBE):
            by_hand.lose()
            by_hand.now += 2.0
            packets = flush(by_hand.endpoint, by_hand.now)
        [probe] = packets
        [message] = wire_messages(probe)
        assert (message.seq, message.type, message.payload) == (2, wire.APP, b"")

    def test_no_game_sees_anything_of_a_probe(self):
        pair = ConnectionPair(NARROW)
        for frame in range(64 * 3):
            pair.server.send(content(LARGEST, frame), RetryMode.NONE)
            pair.frame()
        assert pair.client.endpoint.repeated_messages >= LOSSES_OF_A_BLACK_HOLE
        assert all(received(pair.client))

    def test_a_game_that_sends_nothing_but_large_packets_finds_it(self):
        pair = ConnectionPair(NARROW)
        for frame in range(64 * 3):
            pair.server.send(content(LARGEST, frame), RetryMode.NONE)
            pair.frame()
        assert pair.server.endpoint.path_is_narrow
        pair.run(1.0)
        assert content(LARGEST, 64 * 3 - 1) in received(pair.client)

    def test_where_no_packet_is_large_nothing_changes(self):
        by_hand = ByHand(max_datagram=LEAST_DATAGRAM)
        by_hand.deliver()
        for _ in range(3 * LOSSES_OF_A_BLACK_HOLE):
            by_hand.lose(LEAST)
            by_hand.deliver()
        assert not by_hand.endpoint.path_is_narrow


class TestBehindABlackHole:
    """Datagrams that are sent from then on."""

    @pytest.mark.parametrize("size", [SAFE, SAFE + 1, LARGEST, 20_000])
    def test_new_messages_fit_into_datagrams_of_1232_bytes(self, by_hand, size):
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE)
        by_hand.endpoint.send_queue.add(content(size))
        sizes, messages = by_hand.deliver_all()
        assert max(sizes) <= SMALL_DATAGRAM
        assert messages == [content(size)]

    def test_so_do_messages_that_share_a_packet(self, by_hand):
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE)
        for _ in range(8):
            by_hand.endpoint.send_queue.add(bytes(300))
        sizes, messages = by_hand.deliver_all()
        assert max(sizes) <= SMALL_DATAGRAM
        assert messages == [bytes(300)] * 8

    def test_messages_that_waited_are_cut_anew_and_arrive(self, by_hand):
        outcomes = Outcomes()
        sizes = [LARGEST, SAFE + 1, 3, 1024 + 1427, 2 * 1024 + 1427]
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE - 1)
        by_hand.lose()
        by_hand.endpoint.send_queue.add(b"", RetryMode.NONE)
        [small] = flush(by_hand.endpoint, by_hand.now)
        by_hand.peer.read(small)
        for size in sizes:
            by_hand.endpoint.send_queue.add(content(size), callback=outcomes.expect(size))
        by_hand.ack()
        assert by_hand.endpoint.path_is_narrow
        assert by_hand.endpoint.send_queue.pending == sum(sizes)
        datagrams, messages = by_hand.deliver_all()
        assert max(datagrams) <= SMALL_DATAGRAM
        assert Counter(messages) == Counter(map(content, sizes))
        assert outcomes.collect(by_hand.endpoint) == {(size, True): 1 for size in sizes}
        assert by_hand.endpoint.send_queue.pending == by_hand.endpoint.send_queue.share.held == 0

    def test_what_is_told_of_a_message_goes_on_when_it_is_cut(self, by_hand):
        told: list[object] = []
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE - 1)
        by_hand.lose()
        by_hand.endpoint.send_queue.add(b"", RetryMode.NONE)
        [small] = flush(by_hand.endpoint, by_hand.now)
        by_hand.peer.read(small)
        watch = Progress(lambda *reported: told.append(reported), told.append)
        by_hand.endpoint.send_queue.add(content(LARGEST), callback=watch)
        by_hand.ack()
        assert by_hand.endpoint.path_is_narrow
        by_hand.deliver_all()
        for function, acked in by_hand.endpoint.take_completed():
            function(acked)
        assert told == [(LARGEST, LARGEST), True]

    def test_of_a_message_that_has_begun_the_rest_is_cut_anew(self, by_hand):
        """Its count is on the wire; its last fragment would be one of 1,427 bytes."""
        message = content(3 * 1024 + 1427)
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE - 1)
        by_hand.lose()
        by_hand.endpoint.send_queue.add(message)
        first = by_hand.endpoint.next_datagram(by_hand.now)
        by_hand.peer.read(first)
        by_hand.ack()
        assert by_hand.endpoint.path_is_narrow
        rest = [m.payload for d in flush(by_hand.endpoint, by_hand.now) for m in wire_messages(d)]
        counts = {int.from_bytes(fragment[4:6], "big") for fragment in rest}
        assert counts == {4}
        assert [len(fragment) for fragment in rest] == [6 + 1159, 6 + 1159, 6 + 1157]
        assert b"".join(fragment[6:] for fragment in rest) == message[1024:]

    def test_the_largest_message_is_still_taken(self, by_hand):
        by_hand.lose_large(LOSSES_OF_A_BLACK_HOLE)
        assert by_hand.endpoint.send_queue.max_message == LARGEST_OF_ALL
        by_hand.endpoint.send_queue.add(bytes(LARGEST_OF_ALL))
        [datagram, *_] = flush(by_hand.endpoint, by_hand.now)
        [message] = wire_messages(datagram)
        assert len(datagram) <= SMALL_DATAGRAM
        assert int.from_bytes(message.payload[4:6], "big") == 8192

    def test_a_message_that_was_sent_keeps_its_number_and_its_cut(self, by_hand):
        by_hand.endpoint.send_queue.add(content(LARGEST))
        [first] = flush(by_hand.endpoint, by_hand.now)
        for _ in range(LOSSES_OF_A_BLACK_HOLE):
            by_hand.deliver()
            [again] = flush(by_hand.endpoint, by_hand.now)
        assert by_hand.endpoint.path_is_narrow
        for datagram in (first, again):
            assert len(datagram) == 1472
        assert by_hand.peer.read(first)[1] == by_hand.peer.read(again)[1]


class TestStuck:
    """A reliable message that was sent already, and is too large for the path."""

    def test_it_ends_the_connection(self):
        pair = ConnectionPair(NARROW)
        pair.client.send(content(LARGEST))
        outcomes = Outcomes()
        pair.client.send(content(LARGEST, 1), callback=outcomes.expect("stuck"))
        began = pair.now
        while pair.client.status is ConnectionStatus.CONNECTED:
            pair.run(0.1)
            assert pair.now - began < 2 * STUCK_TIMEOUT
        assert pair.now - began > STUCK_TIMEOUT
        assert pair.client.status is ConnectionStatus.DROPPED
        assert outcomes.collect(pair.client.endpoint) == {("stuck", False): 1}
        pair.run(0.1)
        assert pair.server.status is ConnectionStatus.DISCONNECTED

    def test_so_does_a_fragment(self):
        pair = ConnectionPair(NARROW)
        pair.server.send(content(1024 + 1427))
        pair.run(2 * STUCK_TIMEOUT)
        assert pair.server.status is ConnectionStatus.DROPPED

    def test_it_arrives_where_the_path_carries_it_after_all(self):
        """Lost datagrams are larger than the path carries; the others are not."""
        pair = ConnectionPair(NARROW)
        pair.run(1.0)
        for _ in range(64 * 5):
            pair.client.send(content(LARGEST), RetryMode.NONE)
            pair.frame()
        assert pair.client.endpoint.path_is_narrow
        pair.relink(LinkConditions(latency=0.02))
        pair.client.send(content(LARGEST, 1))
        pair.run(2 * STUCK_TIMEOUT)
        assert content(LARGEST, 1) in received(pair.server)
        assert pair.client.status is ConnectionStatus.CONNECTED

    @pytest.mark.parametrize("size", [SAFE, 100_000])
    def test_it_ends_a_connection_over_a_path_that_carries_no_1232_bytes_either(self, size):
        pair = ConnectionPair(LinkConditions(latency=0.02))
        pair.run(1.0)
        pair.client.send(content(size))
        pair.client.advance(pair.now)
        while pair.client.next_datagram(pair.now) is not None:
            pass
        pair.relink(NARROWER)
        pair.run(2 * STUCK_TIMEOUT)
        assert pair.client.status is ConnectionStatus.DROPPED

    def test_a_receiver_whose_game_reads_nothing_is_no_path(self):
        """It acks keep-alives, and nothing with messages, whatever its size."""
        pair = ConnectionPair(LinkConditions(latency=0.02))
        pair.run(1.0)
        block = bytes(4_000_000)
        while not pair.server.endpoint.drops["inbox full"]:
            if not pair.client.endpoint.send_queue.pending:
                pair.client.send(block)
            pair.frame()
        pair.client.send(content(LARGEST))
        pair.client.send(content(20))
        pair.run(3 * STUCK_TIMEOUT)
        assert pair.client.status is ConnectionStatus.CONNECTED
        assert not pair.client.endpoint.path_is_narrow
        received(pair.server)
        pair.run(5.0)
        assert {content(LARGEST), content(20)} <= set(received(pair.server))

    def test_unreliable_messages_never_end_it(self):
        pair = ConnectionPair(NARROW)
        pair.client.retime(Timing(message=60.0))
        for _ in range(3):
            pair.client.send(content(LARGEST), RetryMode.BEST_EFFORT)
        pair.run(40.0)
        assert pair.client.endpoint.path_is_narrow
        assert pair.client.status is ConnectionStatus.CONNECTED


@pytest.mark.parametrize("sender", ["client", "server"])
class TestDelivery:
    """Over a link that takes no more than so many bytes."""

    SIZES = (0, 1, *range(SAFE - 8, SAFE + 9), *range(LARGEST - 8, LARGEST + 9), 2048, 100_000)

    def deliver(self, pair: ConnectionPair, sender: str, retry: RetryMode) -> None:
        """Send messages of all sizes; each arrives once."""
        sending = getattr(pair, sender)
        receiving = pair.server if sending is pair.client else pair.client
        pair.run(1.0)
        received(receiving)
        messages = [content(size, retry) for size in self.SIZES]
        for message in messages:
            sending.send(message, retry)
        pair.run(10.0)
        assert Counter(received(receiving)) == Counter(messages)
        assert sending.status is ConnectionStatus.CONNECTED

    @staticmethod
    def play(pair: ConnectionPair, sender: str, seconds: float = 4.0) -> None:
        """A game's state, in messages that need a large packet, beside small reliable ones."""
        sending = getattr(pair, sender)
        for frame in range(round(64 * seconds)):
            if frame % 3 == 0:
                sending.send(content(1400, frame), RetryMode.NONE)
            elif frame % 3 == 1:
                sending.send(b"reliable")
            pair.frame()
        assert sending.endpoint.path_is_narrow

    @pytest.mark.parametrize("conditions", [NARROW, NARROW_FROM_THE_START], ids=["1300", "1460"])
    def test_new_messages_of_all_sizes_arrive_on_a_path_narrow_from_the_start(
        self, sender, conditions
    ):
        pair = ConnectionPair(conditions)
        for _ in range(64 * 4):
            getattr(pair, sender).send(content(LARGEST), RetryMode.NONE)
            pair.frame()
        self.deliver(pair, sender, RetryMode.RETRY_ON_TIMEOUT)
        self.deliver(pair, sender, RetryMode.NONE)

    def test_they_arrive_when_it_narrows_in_mid_session(self, sender):
        pair = ConnectionPair(LinkConditions(latency=0.02))
        self.deliver(pair, sender, RetryMode.RETRY_ON_TIMEOUT)
        pair.relink(NARROW)
        self.play(pair, sender)
        self.deliver(pair, sender, RetryMode.RETRY_ON_TIMEOUT)
        self.deliver(pair, sender, RetryMode.NONE)

    def test_they_arrive_when_it_narrows_below_what_ipv6_would_carry(self, sender):
        pair = ConnectionPair(LinkConditions(latency=0.02))
        self.deliver(pair, sender, RetryMode.RETRY_ON_TIMEOUT)
        pair.relink(NARROWER)
        self.play(pair, sender, 8.0)
        self.deliver(pair, sender, RetryMode.RETRY_ON_TIMEOUT)
        self.deliver(pair, sender, RetryMode.NONE)

    def test_they_arrive_where_a_tenth_of_the_packets_is_lost_as_well(self, sender):
        pair = ConnectionPair(LinkConditions(max_datagram=1300 - 28, latency=0.02, loss=0.1))
        self.play(pair, sender, 8.0)
        self.deliver(pair, sender, RetryMode.RETRY_ON_TIMEOUT)

    def test_the_other_direction_keeps_its_size(self, sender):
        pair = ConnectionPair(NARROW)
        self.play(pair, sender)
        other = pair.server if sender == "client" else pair.client
        assert not other.endpoint.path_is_narrow


class TestRandomLoss:
    @staticmethod
    def play(loss: float, seed: int, seconds: float) -> EndpointPair:
        """A game whose large and small messages leave in packets of their own."""
        pair = EndpointPair(LinkConditions(loss=loss, latency=0.02), seed)
        for frame in range(round(64 * seconds)):
            pair.client.send_queue.add(bytes(LARGEST if frame % 2 else 20), RetryMode.NONE)
            pair.tick()
        return pair

    @pytest.mark.parametrize("seed", range(4))
    def test_of_30_percent_is_taken_for_no_black_hole(self, seed):
        assert not self.play(0.3, seed, 60.0).client.path_is_narrow

    @pytest.mark.parametrize("loss", [0.3, 0.5, 0.8, 0.85])
    def test_never_ends_a_connection(self, loss):
        """Not even where it was taken for one, and reliable messages are large."""
        pair = ConnectionPair(LinkConditions(loss=loss, latency=0.02), seed=7)
        pair.client.retime(Timing(idle_timeout=60.0))
        pair.server.retime(Timing(idle_timeout=60.0))
        messages = [content(LARGEST, number) for number in range(40)]
        for message in messages:
            pair.client.send(message)
            pair.client.send(b"small")
            pair.run(1.0)
        pair.run(120.0)
        assert pair.client.status is ConnectionStatus.CONNECTED
        arrived = [message for message in received(pair.server) if message != b"small"]
        assert Counter(arrived) == Counter(messages)
