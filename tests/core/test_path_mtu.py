"""The search for the largest datagram that a path carries, without a path."""

from __future__ import annotations

import math

import pytest

from mpgameserver._core.path_mtu import PathMtu
from mpgameserver._core.sent_window import SentWindow

LEAST, MOST = 1200, 1472
ROUND_TRIP = 0.05
PAUSE, RAISE = 60.0, 600.0
"""Seconds until a search after a black hole, and until one for more than was found."""


class Searcher:
    """A search over a path that carries datagrams of `carries` bytes and acks them at once."""

    def __init__(self, carries: int, most: int = MOST) -> None:
        self.path = PathMtu(most)
        self.carries = carries
        self.now = 0.0
        self.number = 0
        self.probed: list[int] = []
        """The sizes of all probes."""
        self.path.start(self.now)

    def probe(self) -> int:
        """Send the probe that is due; return its packet number."""
        assert self.path.probe_at <= self.now
        self.number += 1
        size = self.path.take_probe(self.number, self.now)
        assert size
        self.probed.append(size)
        return self.number

    def run(self) -> Searcher:
        """Go on until no probe is due."""
        while self.path.probe_at <= self.now:
            number = self.probe()
            self.now += ROUND_TRIP
            if self.probed[-1] <= self.carries:
                self.path.on_probe_acked(number, self.now)
            else:
                self.path.on_probe_lost(number, True, self.now)
        return self

    def wait(self, seconds: float) -> Searcher:
        self.now += seconds
        return self


class Loser:
    """Packets of a session, in the order in which they are sent, acked and lost."""

    def __init__(self, path: PathMtu) -> None:
        self.path, self.sent = path, SentWindow()
        self.now = 10.0

    def send(self, size: int) -> int:
        number = self.sent.on_packet_sent(self.now, True, None)
        self.sent.note_size_class(number, max(size - LEAST + 1, 0) // 2)
        return number

    def ack(self, *numbers: int) -> None:
        self.sent.begin_ack()
        for number in numbers:
            self.sent.on_range_acked(number, number)

    def lose(self, number: int) -> bool:
        """Let a packet before one that was acked be lost; True if that is a black hole."""
        return self.path.on_lost(self.sent, number, self.now)

    def lose_in_turn(self, size: int, rounds: int) -> list[bool]:
        """Lose a packet of a size in each of some rounds, and let a small one behind it arrive."""
        found = []
        for _ in range(rounds):
            lost = self.send(size)
            self.ack(self.send(100))
            found.append(self.lose(lost))
        return found


def found(carries: int = MOST) -> PathMtu:
    """A path whose search is over."""
    return Searcher(carries).run().path


class TestSearch:
    @pytest.mark.parametrize("most", [1472, 1452, 8972], ids=["IPv4", "IPv6", "jumbo"])
    def test_it_finds_what_the_path_carries_to_the_byte(self, most: int) -> None:
        for carries in {*range(LEAST, min(most, 1500) + 1), most}:
            assert Searcher(carries, most).run().path.size == carries

    def test_a_path_that_carries_all_takes_one_probe(self) -> None:
        assert Searcher(MOST).run().probed == [MOST]

    def test_a_size_fails_after_three_probes(self) -> None:
        assert Searcher(1400).run().probed[:4] == [MOST, MOST, MOST, (LEAST + MOST + 1) // 2]

    def test_no_search_takes_more_than_27_probes(self) -> None:
        assert max(len(Searcher(size).run().probed) for size in range(LEAST, MOST + 1)) <= 27

    def test_nothing_is_probed_that_was_found_to_fail_or_to_arrive(self) -> None:
        probed = Searcher(1300).run().probed
        for size in set(probed):
            assert probed.count(size) == (1 if size <= 1300 else 3)

    @pytest.mark.parametrize("own", [0, 576, LEAST])
    def test_where_the_interface_takes_no_more_there_is_none(self, own: int) -> None:
        path = PathMtu(own)
        path.start(0.0)
        assert (path.size, path.probe_at) == (LEAST, math.inf)

    def test_it_stays_within_what_the_peer_takes(self) -> None:
        path = PathMtu(MOST)
        path.peer_limit = 1300
        path.start(0.0)
        assert path.take_probe(1, 0.0) == 1300

    def test_there_is_none_before_the_session_starts(self) -> None:
        path = PathMtu(MOST)
        path.on_path_changed(MOST, 1.0)
        assert path.probe_at == math.inf

    def test_one_probe_is_in_flight_at_a_time(self) -> None:
        search = Searcher(MOST)
        search.probe()
        assert search.path.probe_at == math.inf


class TestProbes:
    def test_a_loss_after_which_nothing_was_acked_shows_nothing(self) -> None:
        search = Searcher(MOST)
        for _ in range(20):
            search.path.on_probe_lost(search.probe(), False, search.now)
        assert set(search.probed) == {MOST}
        assert search.run().path.size == MOST

    def test_an_ack_that_comes_late_counts(self) -> None:
        search = Searcher(MOST)
        late = search.probe()
        search.path.on_probe_lost(late, True, search.now)
        search.probe()
        assert search.path.on_probe_acked(late, search.now)
        assert search.path.size == MOST

    def test_that_of_a_size_that_was_given_up_does_not(self) -> None:
        search = Searcher(1400)
        late = [search.probe()]
        search.path.on_probe_lost(late[0], True, search.now)
        for _ in range(2):
            late.append(search.probe())
            search.path.on_probe_lost(late[-1], True, search.now)
        search.probe()
        for number in late:
            assert not search.path.on_probe_acked(number, search.now)
        assert search.path.size == LEAST

    def test_the_ack_of_a_probe_counts_once(self) -> None:
        search = Searcher(MOST)
        number = search.probe()
        assert search.path.on_probe_acked(number, 1.0)
        assert not search.path.on_probe_acked(number, 1.0)

    def test_one_that_the_interface_refuses_fails_at_once(self) -> None:
        search = Searcher(MOST)
        search.probe()
        search.path.on_probe_refused(search.now)
        search.probe()
        assert search.probed == [MOST, (LEAST + MOST + 1) // 2]

    def test_its_loss_afterwards_means_nothing(self) -> None:
        search = Searcher(MOST)
        refused = search.probe()
        search.path.on_probe_refused(search.now)
        second = search.probe()
        for _ in range(3):
            search.path.on_probe_lost(refused, True, search.now)
        search.path.on_probe_acked(second, search.now)
        assert search.run().path.size == MOST - 1


class TestRaise:
    def test_ten_minutes_later_it_searches_for_more_from_what_it_has(self) -> None:
        search = Searcher(1400).run()
        search.carries = MOST
        search.probed.clear()
        assert search.path.probe_at == pytest.approx(search.now + RAISE, abs=1.0)
        assert search.wait(RAISE).run().path.size == MOST
        assert search.probed == [MOST]

    def test_a_path_that_has_not_grown_keeps_its_size(self) -> None:
        search = Searcher(1400).run()
        search.probed.clear()
        assert search.wait(RAISE).run().path.size == 1400
        assert min(search.probed) > 1400

    def test_there_is_nothing_more_to_find_than_is_allowed(self) -> None:
        assert found().probe_at == math.inf


class TestAnotherPath:
    def test_it_begins_with_the_least_size(self) -> None:
        search = Searcher(MOST).run()
        search.path.on_path_changed(1452, search.now)
        search.carries = 1300
        assert search.path.size == LEAST
        assert search.run().path.size == 1300
        assert max(search.probed[1:]) == 1452

    def test_a_probe_of_the_former_path_means_nothing(self) -> None:
        search = Searcher(MOST)
        former = search.probe()
        search.path.on_path_changed(MOST, search.now)
        assert not search.path.on_probe_acked(former, search.now)
        search.probe()
        assert not search.path.on_probe_acked(former, search.now)
        assert search.path.size == LEAST


class TestBlackHole:
    def test_it_is_found_after_five_rounds(self) -> None:
        loser = Loser(found())
        assert loser.lose_in_turn(MOST, 5) == [False, False, False, False, True]
        assert loser.path.size == LEAST

    def test_a_while_later_it_searches_anew(self) -> None:
        search = Searcher(MOST).run()
        loser = Loser(search.path)
        loser.now = search.now
        loser.lose_in_turn(MOST, 5)
        assert search.path.probe_at == search.now + PAUSE
        search.carries = 1400
        assert search.wait(PAUSE).run().path.size == 1400

    def test_a_large_packet_that_arrives_in_between_refutes_it(self) -> None:
        loser = Loser(found())
        for _ in range(20):
            assert not any(loser.lose_in_turn(MOST, 4))
            loser.ack(loser.send(MOST))

    def test_one_that_was_sent_before_them_does_not(self) -> None:
        loser = Loser(found())
        before = loser.send(MOST)
        loser.lose_in_turn(MOST, 4)
        loser.ack(before)
        assert loser.lose_in_turn(MOST, 1) == [True]

    def test_nor_one_that_is_smaller_than_those_that_are_lost(self) -> None:
        loser = Loser(found())
        for _ in range(4):
            loser.lose_in_turn(MOST, 1)
            loser.ack(loser.send(1300))
        assert loser.lose_in_turn(MOST, 1) == [True]

    def test_not_even_by_a_little(self) -> None:
        loser = Loser(found())
        for _ in range(4):
            loser.lose_in_turn(1353, 1)
            loser.ack(loser.send(1352))
        assert loser.lose_in_turn(1353, 1) == [True]

    def test_one_as_large_as_the_smallest_of_them_does(self) -> None:
        loser = Loser(found())
        loser.lose_in_turn(MOST, 4)
        loser.lose_in_turn(1300, 1)
        loser.ack(loser.send(1320))
        assert not any(loser.lose_in_turn(MOST, 4))

    def test_many_that_are_lost_at_once_are_one_round(self) -> None:
        """A full queue has room for a small packet behind many large ones that it drops."""
        loser = Loser(found())
        for _ in range(4):
            lost = [loser.send(MOST) for _ in range(50)]
            loser.ack(loser.send(100))
            for number in lost:
                assert not loser.lose(number)

    def test_packets_that_every_path_carries_do_not_count(self) -> None:
        assert not any(Loser(found()).lose_in_turn(LEAST, 50))

    def test_nor_do_large_ones_once_the_size_is_the_least(self) -> None:
        loser = Loser(found())
        loser.lose_in_turn(MOST, 5)
        assert not any(loser.lose_in_turn(MOST, 50))

    def test_losses_before_packets_that_are_forgotten_do_not_count(self) -> None:
        """It cannot be told any more if a large one has arrived since."""
        loser = Loser(found())
        for _ in range(10):
            loser.lose_in_turn(MOST, 4)
            loser.ack(loser.send(MOST))
            for _ in range(200):
                loser.now += 1.0
                loser.ack(loser.send(100))
                while loser.sent.pop_lost(loser.now, 0.1, 0.1):
                    pass
                while loser.sent.pop_timed_out(loser.now, 1.0):
                    pass
            assert loser.path.size == MOST

    def test_a_packet_that_was_never_sent_is_no_loss(self) -> None:
        loser = Loser(found())
        for number in (0, -1, 5, 1 << 40):
            assert not loser.lose(number)

    def test_a_search_in_progress_ends(self) -> None:
        search = Searcher(1400).run().wait(RAISE)
        probe = search.probe()
        loser = Loser(search.path)
        loser.lose_in_turn(1400, 5)
        assert not search.path.on_probe_acked(probe, search.now)
        assert search.path.size == LEAST
