"""Paths of any size, in virtual time, carry every message, in datagrams as large as may be."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from support.endpoints2 import CHAT, SessionPair, Side, accepted
from support.wire2.frames import Ack, Padding, Ping, ack_of

from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver.netsim import Blackout, LinkConditions, LinkPair
from mpgameserver.wire.protocol2.limits import LEAST_DATAGRAM

LATENCY = 0.02
SEARCHED = 5.0
"""Seconds in which every search ends."""
PAUSE, RAISE = 60.0, 600.0
OVERHEAD = 1 + 8 + 4 + 16 + 3
"""Bytes around a message in a packet to the server, at most: the frame's type and number are 3."""
LIMITS = [1472, 1452]
both = pytest.mark.parametrize("most", LIMITS, ids=["IPv4", "IPv6"])


def conditions(carries: int | None = None, **others: float) -> LinkConditions:
    return LinkConditions(latency=LATENCY, max_datagram=carries, **others)


def searching(most: int, link: LinkConditions, seed: int | str = 0) -> SessionPair:
    """A session whose interfaces take `most` bytes; it has just opened."""
    client, server = (Side(is_server, max_datagram=most) for is_server in (False, True))
    return SessionPair(link, seed, client, server).open()


def sizes(pair: SessionPair) -> tuple[int, int]:
    """The sizes of both directions."""
    return client_of(pair).path_mtu.size, server_of(pair).path_mtu.size


def client_of(pair: SessionPair) -> Endpoint2:
    assert isinstance(pair.client, Side)
    return pair.client.endpoint


def server_of(pair: SessionPair) -> Endpoint2:
    assert isinstance(pair.server, Side)
    return pair.server.endpoint


def exchange(pair: SessionPair, lengths: list[int], limit: float = 60.0) -> None:
    """Send messages of these lengths both ways; each arrives, once."""
    sides = (pair.client, pair.server)
    messages = [random.Random(length).randbytes(length) for length in lengths]
    for side in sides:
        side.delivered.clear()
        for message in messages:
            side.say(CHAT if len(message) < 20_000 else 0, message)
    pair.run_until(lambda: pair.is_done and all_delivered(pair, len(messages)), limit)
    for side in sides:
        assert sorted(message for _, _, message in side.delivered) == sorted(messages)


def all_delivered(pair: SessionPair, count: int) -> bool:
    return len(pair.client.delivered) == len(pair.server.delivered) == count


class TestSizes:
    @both
    def test_each_is_found_to_the_byte(self, most: int) -> None:
        for carries in range(LEAST_DATAGRAM, most + 1):
            pair = searching(most, conditions(carries))
            pair.run(SEARCHED)
            assert sizes(pair) == (carries, carries)

    @both
    @pytest.mark.parametrize("step", range(4))
    def test_messages_of_all_lengths_arrive_over_each(self, most: int, step: int) -> None:
        for carries in range(LEAST_DATAGRAM + 17 * step, most + 1, 68):
            pair = searching(most, conditions(carries))
            exchange(pair, [0, 1, *range(1100, 1500, 7), 3000, 5000])
            pair.run(SEARCHED)
            exchange(pair, [0, 1, *range(1100, 1500, 7), 3000, 5000])

    @both
    def test_the_datagrams_are_the_largest_that_the_path_carries(self, most: int) -> None:
        for carries in range(LEAST_DATAGRAM, most + 1, 8):
            pair = searching(most, conditions(carries))
            pair.run(SEARCHED)
            pair.datagrams.clear()
            exchange(pair, list(range(carries - OVERHEAD - 40, carries - OVERHEAD + 1)))
            # A packet number takes up to 3 bytes less than there is room for.
            assert carries - 3 - 17 <= max(map(len, pair.datagrams)) <= carries

    def test_a_path_that_carries_all_is_found_in_a_round_trip(self) -> None:
        pair = searching(1472, conditions())
        assert pair.run_until(lambda: sizes(pair) == (1472, 1472)) < 2 * LATENCY + 0.07

    @pytest.mark.parametrize("loss", [0.1, 0.2])
    def test_it_is_found_where_packets_are_lost_at_random(self, loss: float, seed: int) -> None:
        for number in range(10):
            pair = searching(1472, conditions(1372, loss=loss), f"{seed} {number}")
            pair.run(3 * SEARCHED)
            assert min(sizes(pair)) >= 1200 + 128

    def test_each_direction_has_its_own(self) -> None:
        client, server = (Side(is_server, max_datagram=1472) for is_server in (False, True))
        pair = SessionPair(client=client, server=server)
        pair.link = LinkPair(conditions(1300), conditions(1400))
        pair.open().run(SEARCHED)
        assert sizes(pair) == (1300, 1400)

    def test_a_path_that_drops_everything_for_a_while_is_not_taken_for_a_narrow_one(self) -> None:
        blackout = Blackout(0.15, 2.0)
        pair = searching(1472, LinkConditions(latency=LATENCY, blackouts=(blackout,)))
        pair.run(SEARCHED)
        assert sizes(pair) == (1472, 1472)

    def test_a_slow_link_with_a_full_queue_is_not_taken_for_a_narrow_one(self) -> None:
        pair = searching(1472, conditions(rate=125_000.0))
        pair.run(1.0)
        exchange(pair, [1_000_000])
        assert sizes(pair) == (1472, 1472)


class TestChanges:
    @both
    @pytest.mark.parametrize("carries", [1200, 1201, 1252, 1372, 1440])
    def test_a_path_that_shrinks_in_mid_game_loses_nothing(self, most: int, carries: int) -> None:
        pair = searching(most, conditions())
        pair.run(SEARCHED)
        for side in (pair.client, pair.server):
            for length in range(1100, 1450, 10):
                side.say(CHAT, bytes(length))
        pair.tick()
        pair.relink(conditions(carries))
        pair.run_until(lambda: all_delivered(pair, 35), 30.0)
        exchange(pair, [0, *range(1100, 1500, 7), 100_000])
        assert max(sizes(pair)) <= carries

    @pytest.mark.parametrize("number", range(4))
    def test_more_messages_than_may_be_begun_in_fragments_are_cut_anew(self, number: int) -> None:
        """One that was to be begun in fragments, and fits after all, keeps no other waiting."""
        pair = searching(1452, conditions())
        pair.run(SEARCHED)
        edges = [
            mtu - header + step
            for mtu in (1280, 1400, 1420, 1480, 1492, 1500)
            for header in (66, 86)
            for step in (-1, 0, 1)
        ]
        count = len(edges) + 100
        for before_or_after in range(2):
            lengths = random.Random(1718713146 + number + before_or_after)
            messages = [*edges, *(lengths.randrange(20_000) for _ in range(100))]
            for side in (pair.client, pair.server):
                side.delivered.clear()
                for length in messages:
                    side.say(0, bytes(length))
            pair.run_until(lambda: all_delivered(pair, count), 60.0)
            pair.relink(conditions(1352))

    def test_what_is_in_flight_is_cut_anew(self) -> None:
        """A message that has left in one piece arrives in several."""
        pair = searching(1472, conditions())
        pair.run(SEARCHED)
        pair.relink(conditions(1300))
        pair.client.say(0, bytes(1400))
        pair.run_until(lambda: pair.server.delivered)
        assert pair.server.delivered == [(0, 1, bytes(1400))]
        assert sizes(pair)[0] == LEAST_DATAGRAM

    def test_a_while_later_it_is_searched_anew(self) -> None:
        pair = searching(1472, conditions())
        pair.run(SEARCHED)
        pair.relink(conditions(1400))
        exchange(pair, [1430] * 20)
        assert sizes(pair) == (LEAST_DATAGRAM, LEAST_DATAGRAM)
        pair.run(PAUSE + SEARCHED)
        assert sizes(pair) == (1400, 1400)

    def test_a_path_that_grows_is_used_within_ten_minutes(self) -> None:
        pair = searching(1472, conditions(1300))
        pair.run(SEARCHED)
        pair.relink(conditions())
        pair.run(RAISE + SEARCHED)
        assert sizes(pair) == (1472, 1472)

    def test_another_address_begins_anew(self) -> None:
        pair = searching(1472, conditions())
        pair.run(SEARCHED)
        client_of(pair).on_path_changed(1452)
        assert sizes(pair) == (LEAST_DATAGRAM, 1472)
        pair.run(SEARCHED)
        assert sizes(pair) == (1452, 1472)

    @pytest.mark.parametrize("loss", [0.01, 0.1])
    def test_random_loss_is_no_black_hole(self, loss: float, seed: int) -> None:
        pair = searching(1472, conditions(loss=loss), seed)
        pair.run(SEARCHED)
        least = min(sizes(pair))
        for _ in range(20):
            exchange(pair, [1430, 20] * 10)
            assert min(sizes(pair)) >= least


class TestProbes:
    """Packets without messages are no burden."""

    def test_their_loss_is_no_sign_of_congestion(self) -> None:
        windows = []
        for carries in (1200, 1472):
            pair = searching(1472, conditions(carries))
            pair.run(SEARCHED)
            windows.append(client_of(pair).send_limits.congestion.packets)
            assert client_of(pair).send_limits.congestion.loss == 0.0
            assert client_of(pair).send_queue.retransmitted == 0
        assert windows[0] >= 8

    def test_an_idle_session_sends_none_once_it_has_searched(self) -> None:
        pair = searching(1472, conditions(1300))
        pair.run(SEARCHED)
        pair.datagrams.clear()
        pair.run(30.0)
        assert max(map(len, pair.datagrams)) < 100

    def test_a_session_that_is_not_accepted_sends_none(self) -> None:
        side = Side(is_server=False, max_datagram=1472)
        for now in range(3):
            assert all(len(datagram) < 1000 for datagram in side.datagrams(now))

    def test_each_is_followed_by_a_packet_that_shows_its_loss(self) -> None:
        _, hand = accepted(max_datagram=1472)
        frames = hand.read
        [probe] = [number for number in frames if len(frames[number]) > 1000]
        assert frames[probe][0] == Ping()
        assert set(frames[probe][1:]) == {Padding()}
        assert Ping() in frames[probe + 1]


class TestHostilePeer:
    """One that holds the keys: it can only make what it receives worse."""

    @staticmethod
    def run(acks: Callable[[int, bool], bool], seconds: float) -> tuple[Side, list[int]]:
        """Let a peer ack the packets for which `acks(number, is_large)` is True.

        Returns the side, and the sizes of what it has sent in the second half of the time.
        """
        side, hand = accepted(max_datagram=1472)
        now, acked = 0.0, set(hand.read)
        sent: list[int] = []
        while now < seconds and not side.drops:
            now += 1 / 32
            side.say(0, bytes(1430))
            before = set(hand.read)
            leaving = side.datagrams(now)
            hand.take(leaving)
            sent += [len(datagram) for datagram in leaving if now > seconds / 2]
            for number, datagram in zip(sorted(set(hand.read) - before), leaving, strict=True):
                if acks(number, len(datagram) > LEAST_DATAGRAM):
                    acked.add(number)
            side.receive(hand.make(ack_of(acked, 0)), now)
        return side, sent

    def test_who_acks_every_probe_is_sent_no_larger_datagrams_than_the_interface_takes(
        self,
    ) -> None:
        side, sent = self.run(lambda number, is_large: True, 5.0)
        assert side.endpoint.path_mtu.size == 1472
        assert LEAST_DATAGRAM < max(sent) <= 1472

    def test_who_acks_no_large_one_is_sent_none(self) -> None:
        side, sent = self.run(lambda number, is_large: not is_large, 20.0)
        assert side.endpoint.path_mtu.size == LEAST_DATAGRAM
        assert 0 < max(sent) <= LEAST_DATAGRAM

    @pytest.mark.parametrize("every", [2, 3, 7])
    def test_who_acks_some_of_them_finds_no_other_size(self, every: int) -> None:
        side, sent = self.run(lambda number, is_large: not is_large or number % every == 0, 20.0)
        assert LEAST_DATAGRAM <= side.endpoint.path_mtu.size <= 1472
        assert 0 < max(sent) <= 1472

    def test_an_ack_of_a_probe_that_was_never_sent_ends_the_session(self) -> None:
        side, hand = accepted(max_datagram=1472)
        side.receive(hand.make(Ack(0, ((1, max(hand.read) + 1),))), 0.1)
        assert side.endpoint.error_code == 1
