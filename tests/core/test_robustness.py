"""Regression tests: each fault was found by attacking the core."""

from __future__ import annotations

import gc
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import wire
from support.endpoints import EndpointPair, Outcomes, Peer, flush, messages_of, new_endpoint
from support.packetwindows import acknowledge, send, timed_out

from mpgameserver._core.fragmenter import (
    MAX_REASSEMBLIES,
    REASSEMBLY_TIMEOUT,
    Reassembler,
)
from mpgameserver._core.packet import decode_payload, encode_payload
from mpgameserver._core.rate_bins import RateBins
from mpgameserver._core.sent_window import SentWindow
from mpgameserver.enums import RetryMode
from mpgameserver.errors import PacketError
from mpgameserver.netsim import LinkConditions

RELIABLE, NONE, BEST_EFFORT = RetryMode.RETRY_ON_TIMEOUT, RetryMode.NONE, RetryMode.BEST_EFFORT
STARTS = st.floats(0.0, 1e6)
INTERVALS = st.floats(0.001, 10.0)


def test_a_packet_is_not_mixed_with_that_of_another_endpoint_at_work() -> None:
    """The garbage collector may run in the middle of a packet, and another thread with it."""
    one, other, peer = new_endpoint(), new_endpoint(is_server=True), Peer()
    for _ in range(200):
        one.send_queue.add(b"A" * 5, NONE, lambda acked: None)

    class Garbage:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    def work() -> None:
        other.send_queue.add(b"B" * 1200, NONE)
        other.next_datagram(0.0)

    gc.collect()
    Garbage()
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        datagram = one.next_datagram(0.0)
    finally:
        gc.set_threshold(*before)
    _, messages = peer.read(datagram)
    assert {message.payload for message in messages} == {b"A" * 5}


class TestTimersAreKeptToTheLastBit:
    """At the time that `next_timer` gives there is something to do, however floats round."""

    @given(STARTS, INTERVALS)
    def test_a_keep_alive(self, start: float, interval: float) -> None:
        client = new_endpoint(now=start)
        client.keep_alive_interval = interval
        assert len(flush(client, client.next_timer())) == 1

    @given(STARTS, INTERVALS)
    def test_a_timeout(self, start: float, timeout: float) -> None:
        client, outcomes = new_endpoint(now=start), Outcomes()
        client.established, client.message_timeout = False, timeout
        client.send_queue.add(b"x", NONE, outcomes.expect("one"))
        client.next_datagram(start)
        for _ in range(10):
            if math.isfinite(client.next_timer()):
                flush(client, client.next_timer())
        assert outcomes.collect(client) == {("one", False): 1}

    @given(STARTS, st.floats(0.0, 1.0))
    def test_a_probe(self, start: float, elapsed: float) -> None:
        client, peer = new_endpoint(now=start), Peer()
        client.established = False
        client.send_queue.add(b"x")
        peer.read_all(flush(client, start))
        client.receive(peer.make(), start + elapsed)
        client.send_queue.add(b"y")
        flush(client, start + elapsed + 1)
        assert len(flush(client, client.next_timer())) == 1

    def test_sixteen_owed_acks_are_due_now(self) -> None:
        client, peer = new_endpoint(), Peer()
        for _ in range(16):
            client.receive(peer.make(peer.message()), 0.05)
        assert client.next_timer() <= 0.05

    def test_no_repeat_is_due_while_there_is_no_room(self) -> None:
        client = new_endpoint()
        client.keep_alive_interval = 0.2
        client.send_queue.add(b"repeats", BEST_EFFORT)
        flush(client, 0.0)
        for _ in range(40):
            client.send_queue.add(bytes(1434), NONE)
        flush(client, 0.1)
        flush(client, 0.21)
        assert client.next_timer() > 0.21

    def test_a_session_driven_by_its_timers_alone_makes_progress(self) -> None:
        start = 123456.789
        pair = EndpointPair(LinkConditions(loss=0.2, latency=0.0137), seed=1, start=start)
        for _ in range(50):
            pair.client.send_queue.add(bytes(700))
            pair.server.send_queue.add(b"x", BEST_EFFORT)
        for _ in range(5000):
            due = (pair.client.next_timer(), pair.server.next_timer(), pair.link.next_arrival())
            pair.tick(max(min(time for time in due if time is not None) - pair.now, 0.0))
            if pair.now >= start + 5:
                break
        assert pair.now >= start + 5


class TestReassemblyCaps:
    def test_one_packet_of_many_pieces_keeps_within_the_cap(self) -> None:
        client, peer = new_endpoint(), Peer()
        for batch in range(1, MAX_REASSEMBLIES + 510, 255):
            pieces = [
                peer.message(number.to_bytes(2, "big") + b"\0\1\0\2", wire.APP_FRAGMENT)
                for number in range(batch, batch + 255)
            ]
            client.receive(peer.make(*pieces), 0.0)
        assert MAX_REASSEMBLIES - 255 < len(client.reassembler) <= MAX_REASSEMBLIES

    def test_lost_unreliable_pieces_do_not_shut_out_reliable_messages(self, seed: int) -> None:
        """A 3 kB snapshot per frame, unreliable, at 5 % loss; a reliable 3 kB each second."""
        pair = EndpointPair(LinkConditions(loss=0.05, latency=0.02), seed)
        asked: dict[bytes, float] = {}
        delays, snapshots = [], 0
        for frame in range(64 * 22):
            if frame < 64 * 20:
                pair.client.send_queue.add(b"s" * 3000, NONE)
                if frame % 64 == 0:
                    name = b"r%08d" % frame
                    asked[name] = pair.now
                    pair.client.send_queue.add(name + bytes(3000))
            pair.tick()
            for message in messages_of(pair.server):
                if message[:1] == b"r":
                    delays.append(pair.now - asked.pop(message[:9]))
                else:
                    snapshots += 1
        assert not asked
        assert max(delays) < 1.0
        assert snapshots > 0.8 * 64 * 20


@pytest.mark.parametrize("per_frame", [60, 180, 300])
def test_a_flood_of_unreliable_messages_into_a_blackout_loses_no_reliable_one(
    per_frame: int,
) -> None:
    """Message numbers that leap by half the ring unseen would look old to the receiver."""
    pair = EndpointPair(LinkConditions(latency=0.005))
    for _ in range(40_000):
        pair.client.send_queue.add(b"", NONE)
    pair.run(3.0)
    messages_of(pair.server)
    pair.relink(LinkConditions(loss=1.0))
    for _ in range(64 * 4):
        for _ in range(per_frame):
            pair.client.send_queue.add(b"", NONE)
        pair.tick()
    pair.relink(LinkConditions(latency=0.005))
    names = [b"reliable %d" % number for number in range(2000)]
    for name in names:
        pair.client.send_queue.add(name)
    pair.run(20.0)
    assert sorted(filter(None, messages_of(pair.server))) == sorted(names)


class TestFullInbox:
    @staticmethod
    def full(peer: Peer):
        client = new_endpoint()
        while client.receive(peer.make(peer.message(bytes(60_000))), 1.0) == 0:
            pass
        return client

    def test_it_still_takes_acks_and_keep_alives(self) -> None:
        peer, outcomes = Peer(), Outcomes()
        client = self.full(peer)
        client.send_queue.add(b"x", RELIABLE, outcomes.expect("one"))
        peer.read_all(flush(client, 2.0))
        assert client.receive(peer.make(), 3.0) == 0
        assert client.last_received == 3.0
        assert outcomes.collect(client) == {("one", True): 1}

    def test_a_forged_packet_counts_as_forged(self) -> None:
        peer = Peer()
        client = self.full(peer)
        before = client.drops
        forger = Peer(key=bytes(16))
        forger.seq = peer.seq
        client.receive(forger.make(forger.message(b"x")), 1.0)
        assert client.drops == {
            **before,
            "authentication failed": before["authentication failed"] + 1,
        }


class TestTypes:
    def test_a_header_of_another_type_than_its_first_message_is_refused(self) -> None:
        client, peer = new_endpoint(), Peer()
        messages = [wire.Message(1, wire.APP, b"a"), wire.Message(2, wire.APP, b"b")]
        datagram = peer.raw(wire.pack_payload(messages), type=wire.KEEP_ALIVE, count=2)
        assert client.receive(datagram, 0.0) == 1
        assert client.inbox_size == 0

    def test_nothing_is_smuggled_in_beside_a_challenge_response(self) -> None:
        server, peer = new_endpoint(is_server=True), Peer(is_server=False)
        server.established = False
        messages = [
            wire.Message(1, wire.CHALLENGE_RESP, b"a"),
            wire.Message(2, wire.APP, b"smuggled"),
        ]
        datagram = peer.raw(wire.pack_payload(messages), type=wire.CHALLENGE_RESP, count=2)
        assert server.receive(datagram, 0.0) != 0
        assert server.inbox_size == 0


class TestEdges:
    def test_an_ack_does_not_reach_the_packets_of_the_handshake(self) -> None:
        window = SentWindow(5)
        send(window, 0.0)
        assert [number for number, _, _ in acknowledge(window, 6, 0xFFFF_FFFF)] == [6]

    def test_more_than_a_length_field_can_tell_is_no_payload(self) -> None:
        with pytest.raises(PacketError):
            decode_payload(b"\0\1" + bytes(70_000), 1, 6)
        with pytest.raises(ValueError, match="65535"):
            encode_payload([(1, 6, bytes(65535)), (2, 6, bytes(65535))])

    def test_a_round_trip_below_zero_counts_as_zero(self) -> None:
        bins = RateBins(0.0)
        bins.on_rtt_sample(-0.5, 0.0)
        assert bins.lists(0.0)[4][-1] == 0


class TestNumbersThatComeRound:
    def test_a_stale_piece_of_an_earlier_lap_is_not_mixed_into_a_message(self) -> None:
        reassembler = Reassembler()
        assert reassembler.add(b"\0\5\0\1\0\2old", 100, 0.0) is None
        assert reassembler.add(b"\0\5\0\1\0\2new", 100 + 131_070, 10.0) is None
        whole = reassembler.add(b"\0\5\0\2\0\2 and whole", 101 + 131_070, 10.0)
        assert whole == (131_170, b"new and whole")
        assert (reassembler.discarded, reassembler.held_bytes) == (1, 0)

    def test_no_message_is_altered_when_the_numbers_come_round_within_the_expiry(self) -> None:
        """67,000 unreliable messages of two pieces in 15 s, at 1 % loss."""
        pair = EndpointPair(LinkConditions(loss=0.01), 3, max_datagram=60)
        messages = [b"%06d" % n + b"." * 11 + b"%06d" % n for n in range(67_000)]
        for message in messages:
            pair.client.send_queue.add(message, NONE)
        arrived = []
        while pair.client.send_queue.pending:
            pair.tick(1 / 256)
            arrived += messages_of(pair.server)
        assert len(arrived) > 60_000
        assert set(arrived) <= set(messages)

    def test_message_numbers_stay_within_reach_however_long_nothing_is_acked(self) -> None:
        client = new_endpoint()
        for _ in range(60_000):
            client.send_queue.add(b"", NONE)
        for step in range(64 * 180):
            flush(client, step / 64)
        assert 16_384 <= client.send_queue.newest < 32_767


class TestForgetting:
    def test_what_has_not_grown_for_longest_expires_first(self) -> None:
        reassembler = Reassembler()
        for number in (1, 2, 3):
            reassembler.add(number.to_bytes(2, "big") + b"\0\1\0\3", number, float(number))
        reassembler.add(b"\0\1\0\2\0\3", 4, 4.0)
        assert reassembler.expire(2.0 + REASSEMBLY_TIMEOUT) == 3.0 + REASSEMBLY_TIMEOUT
        assert reassembler.expire(3.0 + REASSEMBLY_TIMEOUT) == 4.0 + REASSEMBLY_TIMEOUT
        assert (len(reassembler), reassembler.discarded) == (1, 2)

    def test_a_window_that_grows_does_not_remember_what_it_forgot(self) -> None:
        window = SentWindow()
        for number in range(1, 133):
            send(window, float(number), f"contents {number}", False)
            if number == 64:
                timed_out(window, 0.0, 0.0)
        settled = acknowledge(window, 80, 0xFFFF_FFFF)  # reports 48 to 80
        assert settled == [(n, float(n), f"contents {n}") for n in range(80, 64, -1)]


def test_the_timer_is_not_later_than_the_probe() -> None:
    """A steady path: the probe delay is below 9/8 of the round trip."""
    client, peer = new_endpoint(), Peer()
    client.established, now = False, 0.0
    for elapsed in [2.0] * 30 + [2.2]:
        client.send_queue.add(b"x", NONE)
        peer.read_all(flush(client, now))
        now += elapsed
        client.receive(peer.make(), now)
    client.send_queue.add(b"lost")
    flush(client, now)
    client.send_queue.add(b"later", NONE)
    peer.read_all(flush(client, now))
    client.receive(peer.make(), now + 2.2)
    due = now + client.rtt.pto()
    assert now + 2.2 < due < now + client.rtt.loss_delay()
    assert client.next_timer() <= due
