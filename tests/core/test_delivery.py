"""Two endpoints over bad links: what was promised of each message holds on every one of them."""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support import models
from support.endpoints import TICK, EndpointPair
from support.examples import examples

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.packet import size_limits
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import Blackout, BurstLoss, LinkConditions

RELIABLE, NONE, BEST_EFFORT = RetryMode.RETRY_ON_TIMEOUT, RetryMode.NONE, RetryMode.BEST_EFFORT
DATA = random.Random("delivery").randbytes(1 << 20)
SIZES = (4, 5, 60, 500, 1000, 1432, 1433, 1434, 1435, 2451, 2452, 5000)
PERFECT = LinkConditions()
LINKS = {
    "perfect": PERFECT,
    "loss": LinkConditions(loss=0.3, latency=0.02),
    "bursts": LinkConditions(burst_loss=BurstLoss(enter=0.02, leave=0.1), latency=0.03),
    "duplicates": LinkConditions(duplicate=0.5, latency=0.02, jitter=0.02),
    "reordering": LinkConditions(latency=0.05, jitter=0.05),
    "held back": LinkConditions(latency=0.01, reorder=0.2, reorder_delay=0.3),
    "damage": LinkConditions(corrupt=0.1, truncate=0.1, latency=0.01),
    "replays": LinkConditions(replay=1.0, latency=0.01, jitter=0.01),
    "a second each way": LinkConditions(latency=1.0, jitter=0.1, loss=0.1),
    "narrow": LinkConditions(rate=60_000, queue=0.2, latency=0.02),
    "blackouts": LinkConditions(blackouts=(Blackout(0.1, 2.0), Blackout(2.5, 1.0)), latency=0.02),
    "everything": LinkConditions(
        loss=0.1,
        burst_loss=BurstLoss(enter=0.01, leave=0.2),
        duplicate=0.2,
        latency=0.04,
        jitter=0.03,
        reorder=0.05,
        reorder_delay=0.2,
        corrupt=0.03,
        truncate=0.03,
        replay=0.2,
    ),
}


class Talk:
    """The messages from one endpoint to the other, and the outcome of each.

    Each message begins with its index, and its bytes follow from index and size, so that every
    byte that arrives can be checked.
    """

    def __init__(self, sender: Endpoint1, receiver: Endpoint1) -> None:
        self.sender, self.receiver = sender, receiver
        self.said: list[tuple[int, RetryMode]] = []
        self.arrived: Counter[int] = Counter()
        self.called: dict[int, list[bool]] = {}

    def say(self, size: int, mode: RetryMode) -> None:
        index = len(self.said)
        self.said.append((size, mode))
        self.called[index] = []
        self.sender.send_queue.add(self._message(index), mode, self.called[index].append)

    def _message(self, index: int) -> bytes:
        size = self.said[index][0]
        return struct.pack(">I", index) + DATA[index % 5000 :][: size - 4]

    def look(self) -> None:
        """Read what arrived and call what is settled; check every byte and every count."""
        for _, message in self.receiver.take_messages():
            (index,) = struct.unpack_from(">I", message)
            assert message == self._message(index)
            self.arrived[index] += 1
            assert self.arrived[index] == 1, f"message {index} arrived twice"
        for callback, acked in self.sender.take_completed():
            callback(acked)
        for index in [index for index, calls in self.called.items() if calls]:
            (acked,) = self.called.pop(index)
            assert acked or self.said[index][1] != RELIABLE
            assert not acked or self.arrived[index] == 1

    @property
    def is_over(self) -> bool:
        """True when every message was called back and every reliable one arrived."""
        return not self.called

    def check_all_reliable_arrived(self) -> None:
        missing = [i for i, (_, mode) in enumerate(self.said) if mode == RELIABLE]
        assert [index for index in missing if not self.arrived[index]] == []


class Conversation:
    """A pair of endpoints that talk both ways."""

    def __init__(self, conditions: LinkConditions, seed: int | str, **options) -> None:
        self.pair = EndpointPair(conditions, seed, **options)
        self.up = Talk(self.pair.client, self.pair.server)
        self.down = Talk(self.pair.server, self.pair.client)
        self.talks = (self.up, self.down)

    def run(self, seconds: float) -> None:
        for _ in range(math.ceil(seconds / TICK)):
            self.pair.tick()
            for talk in self.talks:
                talk.look()

    def run_until_over(self, limit: float = 120.0) -> None:
        start = self.pair.now
        while not all(talk.is_over for talk in self.talks):
            assert self.pair.now - start < limit, f"not over within {limit} s"
            self.run(TICK)
        for talk in self.talks:
            talk.check_all_reliable_arrived()


class TestEveryLength:
    def deliver(self, pair: EndpointPair, sizes: list[int]) -> None:
        """Send one message of each size, and wait until each has arrived whole and once."""
        expected = Counter(DATA[size % 97 :][:size] for size in sizes)
        for size in sizes:
            pair.client.send_queue.add(DATA[size % 97 :][:size])
        arrived: Counter[bytes] = Counter()
        while arrived.total() < len(sizes):
            pair.tick()
            arrived.update(message for _, message in pair.server.take_messages())
            assert pair.now < 120
        pair.run(0.5)
        assert pair.server.inbox_size == 0
        assert arrived == expected

    def test_up_to_three_pieces(self):
        self.deliver(EndpointPair(), list(range(3600)))

    def test_around_each_multiple_of_a_piece(self):
        edges = [1024 * pieces for pieces in range(3, 40)]
        edges += [1024 * pieces + 1434 - 6 for pieces in range(3, 40)]
        self.deliver(EndpointPair(), [edge + step for edge in edges for step in (-1, 0, 1)])

    @pytest.mark.parametrize("max_datagram", [100, 484, 548, 1068, 1069, 1070, 1071, 8972])
    def test_with_other_datagrams(self, max_datagram):
        payload = max_datagram - 38
        edges = {0, 1, payload - 6, payload, 2 * (payload - 6), payload + 1024, 2048, 3000}
        sizes = sorted({max(edge + step, 0) for edge in edges for step in range(-3, 4)})
        self.deliver(EndpointPair(max_datagram=max_datagram), sizes)

    @pytest.mark.parametrize("seed_of_link", range(3))
    def test_with_losses(self, seed_of_link):
        link = LinkConditions(loss=0.2, duplicate=0.2, latency=0.01, jitter=0.01)
        sizes = [0, 1, *range(1430, 1440), *range(2045, 2050), *range(2448, 2456), 30_000]
        self.deliver(EndpointPair(link, seed_of_link), sizes)

    @pytest.mark.parametrize("less", [0, 1])
    def test_the_largest(self, less):
        pair = EndpointPair()
        message = (DATA * 9)[: size_limits(1500).message - less]
        pair.client.send_queue.add(message)
        pair.run_until(lambda: pair.server.inbox_size > 0)
        assert pair.server.take_messages() == [(1, message)]
        assert len(pair.server.reassembler) == pair.server.reassembler.held_bytes == 0

    def test_empty_messages_by_the_thousand(self):
        pair, arrived = EndpointPair(LinkConditions(loss=0.1), seed=1), []
        for _ in range(5000):
            pair.client.send_queue.add(b"")
        while len(arrived) < 5000:
            pair.tick()
            arrived += pair.server.take_messages()
        assert Counter(arrived) == {(number, b""): 1 for number in range(1, 5001)}


class TestEveryMode:
    """True for what was acked, False at the timeout, once each; nothing arrives twice."""

    @pytest.mark.parametrize("name", LINKS)
    def test_every_message_on_every_link(self, name, seed):
        talk, rng = Conversation(LINKS[name], seed), random.Random(seed)
        for _ in range(60):
            for one in talk.talks:
                for _ in range(rng.randrange(4)):
                    one.say(rng.choice(SIZES), rng.choice(list(RetryMode)))
            talk.run(TICK * 2)
        talk.run_until_over()

    @pytest.mark.parametrize("mode", list(RetryMode), ids=lambda mode: mode.name)
    def test_on_a_perfect_link_every_message_arrives(self, mode, seed):
        talk = Conversation(PERFECT, seed)
        for one, size in itertools.product(talk.talks, SIZES * 5):
            one.say(size, mode)
        talk.run_until_over(limit=5.0)
        assert all(one.arrived.total() == len(SIZES) * 5 for one in talk.talks)

    @pytest.mark.parametrize("mode", [NONE, BEST_EFFORT])
    def test_on_a_dead_link_every_callback_is_false_at_the_timeout(self, mode):
        pair, called = EndpointPair(LinkConditions(loss=1.0)), []
        for size in SIZES:
            pair.client.send_queue.add(bytes(size), mode, called.append)
        pair.run(1.0)
        assert pair.client.take_completed() == []
        pair.run(2 * TICK)
        for callback, acked in pair.client.take_completed():
            callback(acked)
        assert called == [False] * len(SIZES)

    def test_best_effort_arrives_more_often_than_none(self, seed):
        talk = Conversation(LinkConditions(loss=0.4), seed)
        for mode in (NONE, BEST_EFFORT):
            for _ in range(300):
                talk.up.say(20, mode)
                talk.run(TICK)
        talk.run_until_over()
        arrived = Counter(talk.up.said[index][1] for index in talk.up.arrived)
        assert arrived[BEST_EFFORT] >= 297
        assert 150 <= arrived[NONE] <= 210

    @pytest.mark.parametrize("way", ["up", "down"])
    def test_with_one_way_worse_than_the_other(self, way, seed):
        bad = LinkConditions(loss=0.6, latency=0.05, jitter=0.05)
        links = (bad, PERFECT) if way == "up" else (PERFECT, bad)
        talk = Conversation(links[0], seed, down=links[1])
        for one, size in itertools.product(talk.talks, SIZES * 3):
            one.say(size, RELIABLE)
        talk.run_until_over()

    def test_ending_midway_calls_every_callback_once(self, seed):
        talk, rng = Conversation(LINKS["everything"], seed), random.Random(seed)
        called: Counter[int] = Counter()
        for number in range(300):
            size, mode = rng.choice(SIZES), rng.choice(list(RetryMode))
            talk.pair.client.send_queue.add(
                bytes(size), mode, lambda _, n=number: called.update([n])
            )
        for _ in range(20):
            talk.pair.tick()
            for callback, acked in talk.pair.client.take_completed():
                callback(acked)
        assert 0 < called.total() < 300
        talk.pair.client.close()
        for callback, acked in talk.pair.client.take_completed():
            assert acked is False
            callback(acked)
        assert called == dict.fromkeys(range(300), 1)


class TestWraps:
    @pytest.mark.parametrize("before", [32760, 65400, 65530, 65534, 65535, 131065])
    @pytest.mark.parametrize("name", ["loss", "everything"])
    def test_just_before_a_wrap(self, before, name, seed):
        talk = Conversation(LINKS[name], seed, packets_before=before, messages_before=before)
        for one, size in itertools.product(talk.talks, SIZES * 8):
            one.say(size, RELIABLE)
            one.say(20, NONE)
        talk.run_until_over()

    def test_all_three_counters_wrap(self, seed):
        link = LinkConditions(loss=0.01, duplicate=0.01, jitter=TICK)
        pair, arrived = EndpointPair(link, seed, max_datagram=60), Counter()
        count = models.RING + 200
        for number in range(count):
            pair.client.send_queue.add(b"%023d" % number)
        while len(arrived) < count:
            pair.tick()
            arrived.update(message for _, message in pair.server.take_messages())
        assert set(arrived.values()) == {1}
        assert pair.client.sent_packets.newest > 2 * models.RING
        assert pair.client.send_queue.newest > 2 * models.RING
        assert len(pair.server.reassembler) == 0

    def test_small_messages_out_of_order_arrive_once_through_three_laps(self, seed):
        pair, arrived = EndpointPair(LinkConditions(jitter=TICK), seed), set()
        for lap in range(3):
            for number in range(models.RING):
                pair.client.send_queue.add(b"%d/%d" % (lap, number), NONE)
            while len(arrived) < (lap + 1) * models.RING:
                pair.tick()
                messages = {message for _, message in pair.server.take_messages()}
                assert arrived.isdisjoint(messages)
                arrived |= messages
                assert pair.now < 60
        assert pair.client.send_queue.newest == 3 * models.RING
        assert pair.server.repeated_messages == 0


class TestBadTimes:
    @pytest.mark.parametrize("seconds", [0.5, 2.0, 4.5])
    def test_after_a_blackout_all_goes_on(self, seconds, seed):
        talk = Conversation(LinkConditions(latency=0.03, blackouts=(Blackout(0.5, seconds),)), seed)
        for _ in range(64 * 5):
            for one in talk.talks:
                one.say(50, RELIABLE)
            talk.run(TICK)
        talk.run_until_over(limit=3.0)

    def test_a_megabyte_through_loss_in_both_directions(self, seed):
        talk = Conversation(LinkConditions(loss=0.05, latency=0.01), seed)
        for one in talk.talks:
            one.say(1 << 20, RELIABLE)
        talk.run_until_over(limit=60.0)

    def test_small_messages_pass_a_large_one(self, seed):
        talk = Conversation(LinkConditions(latency=0.02), seed)
        talk.up.say(1 << 20, NONE)
        for _ in range(64):
            talk.up.say(20, NONE)
            talk.run(TICK)
        assert len(talk.up.arrived) >= 60

    def test_what_is_dropped_does_not_arrive_and_calls_no_true(self, seed):
        """A server that does not accept the session yet acks nothing."""
        pair = EndpointPair(seed=seed)
        pair.server.established = False
        called = []
        pair.client.send_queue.add(b"early", NONE, called.append)
        pair.run(2.0)
        for callback, acked in pair.client.take_completed():
            callback(acked)
        assert called == [False]


class TestDeterminism:
    def play(self, seed: int) -> list[bytes]:
        talk, rng = Conversation(LINKS["everything"], seed), random.Random(seed)
        left, send = [], talk.pair.link.up.send
        talk.pair.link.up.send = lambda datagram, now: (left.append(datagram), send(datagram, now))
        for _ in range(100):
            talk.up.say(rng.choice(SIZES), rng.choice(list(RetryMode)))
            talk.down.say(rng.choice(SIZES), rng.choice(list(RetryMode)))
            talk.run(TICK)
        return left

    def test_the_same_calls_make_the_same_datagrams(self, seed):
        assert self.play(seed) == self.play(seed)


class EndpointsMachine(RuleBasedStateMachine):
    """Anything that an application and a network can do, in any order."""

    sides = st.sampled_from(("up", "down"))

    @initialize(seed=st.integers(0, 2**32), before=st.sampled_from((0, 32760, 65530, 65535)))
    def create(self, seed, before):
        self.talk = Conversation(PERFECT, seed, packets_before=before, messages_before=before)
        self.seed = seed

    @rule(
        side=sides,
        size=st.integers(4, 60) | st.sampled_from(SIZES),
        mode=st.sampled_from(list(RetryMode)),
        count=st.integers(1, 5) | st.sampled_from((40, 300)),
    )
    def say(self, side, size, mode, count):
        for _ in range(count if size < 100 else min(count, 5)):
            getattr(self.talk, side).say(size, mode)

    @rule(frames=st.integers(1, 20))
    def pass_frames(self, frames):
        self.talk.run(frames * TICK)

    @rule(pause=st.floats(0.0, 3.0))
    def miss_frames(self, pause):
        self.talk.pair.tick(pause)

    @rule(name=st.sampled_from(sorted(LINKS)))
    def change_the_link(self, name):
        self.talk.pair.relink(LINKS[name], self.seed)

    @precondition(lambda self: hasattr(self, "talk"))
    @rule(side=sides)
    def lose_what_is_under_way(self, side):
        link = getattr(self.talk.pair.link, side)
        link.receive(math.inf)

    def teardown(self):
        if hasattr(self, "talk"):
            self.talk.pair.relink(PERFECT)
            self.talk.run_until_over()


TestEndpointsMachine = EndpointsMachine.TestCase
TestEndpointsMachine.settings = settings(max_examples=examples(30), stateful_step_count=25)
