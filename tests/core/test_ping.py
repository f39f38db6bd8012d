"""Round trips on idle links: a keep-alive with one empty message, which is acked at once."""

from __future__ import annotations

import itertools

import pytest
from support import wire
from support.endpoints import EndpointPair, Outcomes, Peer, flush, messages_of, new_endpoint

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import LinkConditions
from mpgameserver.stats import ConnectionStats

FRAME = 1 / 60
SECONDS = 12
PING_INTERVAL = 0.5
KEEP_ALIVE = 0.1


def idle(pair: EndpointPair, seconds: float = SECONDS) -> None:
    end = pair.now + seconds
    while pair.now < end:
        pair.tick(FRAME)


def latencies(endpoint: Endpoint1, now: float) -> list[int]:
    """Milliseconds of each whole second of the run, without the first."""
    return ConnectionStats.of(endpoint, now).latency[-SECONDS:-1]


def pings_of(endpoint: Endpoint1, seconds: float) -> list[float]:
    """When pings leave an endpoint that hears nothing."""
    steps = [step * FRAME for step in range(1, round(seconds / FRAME))]
    return [now for now in steps for datagram in flush(endpoint, now) if datagram[15]]


class TestIdleLinks:
    @pytest.mark.parametrize("latency", [0.0, 0.02, 0.1, 0.3])
    def test_both_sides_know_the_round_trip_of_each_second(self, latency):
        pair = EndpointPair(LinkConditions(latency=latency))
        idle(pair)
        for side in (pair.client, pair.server):
            seconds = latencies(side, pair.now)
            assert all(2000 * latency <= each <= 2000 * latency + 3000 * FRAME for each in seconds)
            assert 2 * latency <= side.rtt.srtt <= 2 * latency + 3 * FRAME

    def test_it_follows_a_path_that_changes(self):
        pair = EndpointPair(LinkConditions(latency=0.02))
        idle(pair)
        pair.relink(LinkConditions(latency=0.15))
        idle(pair)
        for side in (pair.client, pair.server):
            assert latencies(side, pair.now)[-1] == pytest.approx(300, abs=50)
            assert side.rtt.latest_rtt == pytest.approx(0.3, abs=0.05)

    @pytest.mark.parametrize("from_server", [False, True])
    def test_a_side_that_only_receives_and_acks_knows_it_too(self, from_server):
        pair = EndpointPair(LinkConditions(latency=0.05))
        speaker, hearer = (pair.server, pair.client) if from_server else (pair.client, pair.server)
        for _ in range(round(SECONDS / FRAME)):
            speaker.send_queue.add(b"position", RetryMode.NONE)
            pair.tick(FRAME)
        assert all(100 <= each <= 150 for each in latencies(hearer, pair.now))

    def test_the_keep_alives_of_the_other_side_do_not_add_to_it(self):
        pair = EndpointPair(LinkConditions(latency=0.01))
        pair.client.keep_alive_interval = pair.server.keep_alive_interval = 0.5
        idle(pair)
        assert pair.client.rtt.srtt < 0.02 + 3 * FRAME
        assert pair.server.rtt.srtt < 0.02 + 3 * FRAME

    def test_no_game_sees_anything_of_it(self):
        pair, outcomes = EndpointPair(LinkConditions(latency=0.02, duplicate=0.2)), Outcomes()
        idle(pair)
        pair.client.send_queue.add(b"after", callback=outcomes.expect("after"))
        idle(pair, 1.0)
        assert messages_of(pair.server) == [b"after"]
        assert messages_of(pair.client) == []
        assert outcomes.collect(pair.client) == {("after", True): 1}


class TestAReceiverThatAcksByAClock:
    """The published one: its ack of a ping reports the keep-alives that came after it, too."""

    ACK_INTERVAL = 0.115

    @pytest.mark.parametrize("phase", [0.0, 0.03, 0.06, 0.09])
    def test_no_second_is_without_a_sample(self, phase):
        client, peer = new_endpoint(), Peer()
        next_ack = phase
        for step in range(1, round(SECONDS / FRAME)):
            now = step * FRAME
            peer.read_all(flush(client, now))
            if now >= next_ack:
                next_ack = now + self.ACK_INTERVAL
                client.receive(peer.make(), now + 0.001)
        assert all(latencies(client, SECONDS))

    def test_the_next_keep_alive_pings_again_where_an_ack_tells_nothing(self):
        client, peer = new_endpoint(), Peer()
        peer.read_all([*flush(client, 0.1), *flush(client, 0.2)])
        client.receive(peer.make(), 0.21)
        assert flush(client, 0.31)[-1][15] == 1


class TestCost:
    def test_two_a_second_and_in_packets_that_leave_anyway(self):
        pair = EndpointPair(LinkConditions(latency=0.02))
        idle(pair)
        for side in (pair.client, pair.server):
            assert SECONDS <= side.send_queue.newest <= 2 * SECONDS
            assert side.assembled <= 1.1 * (SECONDS / 7 / FRAME) + 2 * SECONDS

    def test_two_a_second_where_nothing_answers(self):
        times = pings_of(new_endpoint(), 10.0)
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert all(PING_INTERVAL <= gap <= PING_INTERVAL + KEEP_ALIVE + FRAME for gap in gaps)

    def test_none_where_messages_were_acked_within_half_a_second(self):
        pair = EndpointPair(LinkConditions(latency=0.02))
        for step in range(round(SECONDS / FRAME)):
            if step % 25 == 0:
                pair.client.send_queue.add(b"word")
            pair.tick(FRAME)
        assert pair.client.send_queue.newest == -(-round(SECONDS / FRAME) // 25)


class TestLoss:
    def test_a_lost_ping_is_no_lost_packet(self):
        client = new_endpoint()
        before = client.send_limits.congestion.packets
        pings_of(client, 10.0)
        assert client.timeouts == client.send_queue.retransmitted == 0
        assert client.send_limits.congestion.loss == 0.0
        assert client.send_limits.congestion.packets == before
        sent = client.sent_packets
        assert sent.oldest_undecided == sent.newest + 1

    def test_it_neither_delays_nor_probes_for_what_is_said_next(self):
        client, peer = new_endpoint(), Peer()
        pings_of(client, 10.0)
        client.send_queue.add(b"now")
        (datagram,) = flush(client, 10.0)
        assert peer.read(datagram)[1][-1].payload == b"now"
        assert client.next_timer() == pytest.approx(10.1, abs=0.001)

    def test_an_ack_that_comes_behind_later_packets_measures_nothing(self):
        """The ack was lost: what reports it now has waited for a keep-alive."""
        client, peer = new_endpoint(), Peer()
        (ping,) = flush(client, 0.1)
        (later,) = flush(client, 0.2)
        peer.read(ping)
        peer.read(later)
        client.receive(peer.make(), 0.21)
        assert not client.rtt.srtt
        assert ping[15] == 1
        assert later[15] == 0

    def test_congestion_control_sees_nothing_of_it(self):
        pair = EndpointPair(LinkConditions(latency=0.02))
        idle(pair)
        assert pair.client.send_limits.congestion.base_delay == float("inf")
        assert pair.client.send_limits.congestion.packets == 32.0


def test_it_takes_a_message_number_of_its_own():
    """The published receiver drops every message whose number it had, whatever its type."""
    client, peer = new_endpoint(), Peer()
    pings = [flush(client, now)[-1] for now in (0.1, 0.7, 1.3)]
    client.send_queue.add(b"next")
    numbers = [m.seq for m in peer.read_all([*pings, *flush(client, 1.4)])]
    assert numbers == [1, 2, 3, 4]
    assert all(ping[12] == wire.KEEP_ALIVE and ping[15] == 1 for ping in pings)


@pytest.mark.parametrize("now", [2.0**53, 2.0**64, 1e300])
def test_a_clock_beyond_every_integer_has_pings_too(now):
    endpoint = new_endpoint()
    datagram = endpoint.next_datagram(now)
    assert datagram is not None
    assert datagram[15] == 1
