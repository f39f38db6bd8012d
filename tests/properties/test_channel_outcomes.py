"""One outcome for each message, and nothing sent against the rules, whatever becomes of packets.

A session's channels get any messages, and their packets are acked, lost, acked after all, in any
order, while time goes on, the path changes and windows open.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.channelpair import ChannelPair
from support.examples import examples

from mpgameserver._core.channel_receiver import ChannelKind
from mpgameserver.enums import RetryMode

KINDS = dict(enumerate(ChannelKind, 1))
KINDS[17] = ChannelKind.ORDERED

adds = st.tuples(
    st.just("add"),
    st.sampled_from([0, *KINDS]),
    st.sampled_from([0, 1, 63, 64, 65, 200, 700, 1100, 1200, 3000, 9000, 70_000]),
    st.sampled_from(RetryMode),
)
calls = st.one_of(
    adds,
    adds,
    st.tuples(st.just("send"), st.integers(1, 5)),
    st.tuples(st.just("ack"), st.integers(0, 30)),
    st.tuples(st.just("lose"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.1, 0.7])),
    st.tuples(st.just("path"), st.sampled_from([200, 500, 1150, 1400])),
    st.tuples(st.just("redundant"), st.booleans()),
    st.tuples(st.just("deliver"), st.integers(0, 30)),
)


class Run:
    """A pair whose calls are drawn."""

    def __init__(self) -> None:
        self.pair = ChannelPair(KINDS, window=(8, 100_000))
        self.added = 0

    def call(self, name: str, *arguments: object) -> None:
        getattr(self, name)(*arguments)
        assert self.pair.queues.pending >= 0
        assert self.pair.queues.share.held >= 0

    def add(self, channel: int, size: int, retry: RetryMode) -> None:
        self.pair.add(b"%4d" % self.added + bytes(size), channel, retry, self.added)
        self.added += 1

    def send(self, most: int) -> None:
        had = self.pair.queues.has_more()
        sent = self.pair.send_all(most)
        assert sent or not had

    def ack(self, index: int) -> None:
        if self.pair.packets:
            packet = self.pair.packets[-1 - index % len(self.pair.packets)]
            if self.pair.receive(packet):
                self.pair.ack(packet)
                self.pair.read()

    def deliver(self, index: int) -> None:
        """Let a packet arrive whose ack is lost."""
        if self.pair.packets:
            self.pair.receive(self.pair.packets[-1 - index % len(self.pair.packets)])
            self.pair.read()

    def lose(self, index: int) -> None:
        if self.pair.packets:
            packet = self.pair.packets[-1 - index % len(self.pair.packets)]
            if not packet.is_acked and not packet.is_lost:
                self.pair.lose(packet)

    def wait(self, seconds: float) -> None:
        self.pair.now += seconds
        self.pair.queues.expire(self.pair.now, self.pair.message_timeout)
        self.pair.complete()

    def path(self, payload: int) -> None:
        self.pair.payload = payload
        self.pair.queues.set_payload_limit(payload)

    def redundant(self, on: bool) -> None:
        self.pair.queues.set_redundant(on)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(calls, max_size=80), st.booleans())
def test_every_message_has_one_outcome_and_no_rule_is_broken(drawn, closes):
    run = Run()
    for name, *arguments in drawn:
        run.call(name, *arguments)
    pair = run.pair
    if closes:
        pair.queues.close()
        pair.complete()
    else:
        pair.in_flight = [each for each in pair.packets if not (each.is_acked or each.is_lost)]
        pair.queues.begin_close()
        pair.run(600.0)
        pair.now += 2 * pair.message_timeout
        pair.queues.expire(pair.now, pair.message_timeout)
        pair.complete()
        assert pair.queues.is_drained()
    assert [name for name, outcomes in pair.outcomes.items() if len(outcomes) != 1] == []
    assert (pair.queues.pending, pair.queues.share.held) == (0, 0)
    if not closes:
        check_what_arrived(run)


def check_what_arrived(run: Run) -> None:
    """All that was reported as acked has arrived, in the order of its channel."""
    pair = run.pair
    for channel, messages in pair.delivered.items():
        names = [int(message[:4]) for message in messages]
        assert len(set(names)) == len(names)
        if channel and KINDS[channel] != ChannelKind.UNORDERED:
            assert names == sorted(names)
    arrived = {int(message[:4]) for each in pair.delivered.values() for message in each}
    latest = {n for n, outcomes in pair.outcomes.items() if outcomes == [True]} - arrived
    newest = max((int(message[:4]) for message in pair.delivered[4]), default=-1)
    assert all(name < newest for name in latest), "acked, for a newer one had come"
