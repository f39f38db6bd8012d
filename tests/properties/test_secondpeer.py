"""The compiled endpoint against a second implementation, message by message, on bad links.

The scripts are random: who says what when, and what the link does to each datagram. Whatever they
are, each message is delivered at most once and unaltered, each reliable one exactly once, and the
two sides agree upon which: what one calls acked the other has.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from support import wire
from support.endpoints import KEY, WALL_START, GuardedAead
from support.secondpeer import SecondPeer

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import LinkConditions, LinkPair

MTU = 1500
FRAME = 1 / 32
RECOVERY = 40.0
"""Virtual seconds of a good link in which all that is reliable must be settled."""
SIZES = st.sampled_from((0, 1, 30, 1433, 1434, 1435, 2048, 5000)) | st.integers(0, 6000)
BEFORE = st.sampled_from((0, 0, 1, 32_760, 65_500, 65_530, 65_534))
RETRY = st.sampled_from((RetryMode.RETRY_ON_TIMEOUT, RetryMode.NONE))


def chances(most: float) -> st.SearchStrategy[float]:
    """Draw the probability that the link does something: 0, or up to `most`."""
    return st.just(0.0) | st.floats(0.0, most)


LINKS = st.builds(
    LinkConditions,
    loss=chances(0.4),
    duplicate=chances(0.4),
    latency=st.floats(0.0, 0.3),
    jitter=chances(0.2),
    reorder=chances(0.3),
    reorder_delay=st.floats(0.01, 0.2),
    corrupt=chances(0.2),
    truncate=chances(0.1),
    replay=chances(0.2),
)
SPEECH = st.tuples(st.booleans(), SIZES, RETRY)
SCRIPTS = st.lists(
    st.tuples(st.integers(0, 8), st.lists(SPEECH, max_size=4)), min_size=1, max_size=20
)


@dataclass
class Said:
    """The messages of one side, and those that it believes to have arrived."""

    messages: list[bytes] = field(default_factory=list)
    reliable: set[int] = field(default_factory=set)
    acked: Counter[int] = field(default_factory=Counter)
    given_up: Counter[int] = field(default_factory=Counter)

    def next(self, size: int, mode: RetryMode) -> tuple[int, bytes]:
        """The next message, which no other is like, and its index."""
        index = len(self.messages)
        start = index.to_bytes(2, "big")
        self.messages.append((start + bytes((index + place) % 251 for place in range(size)))[:8192])
        if mode == RetryMode.RETRY_ON_TIMEOUT:
            self.reliable.add(index)
        return index, self.messages[index]


class Talk:
    """Our endpoint, the second peer, the link, and the time."""

    def __init__(
        self, conditions: LinkConditions, seed: int, ours_is_server: bool, before: int
    ) -> None:
        self.now = 0.0
        self.ours = Endpoint1(
            GuardedAead(), ours_is_server, 0.0, WALL_START,
            packets_before=before, messages_before=before,
        )  # fmt: skip
        self.ours.established = True
        self.second = SecondPeer(not ours_is_server, KEY, WALL_START, before)
        self.link = LinkPair(conditions, seed=seed)
        self.our_said, self.second_said = Said(), Said()
        self.our_received: list[tuple[int, bytes]] = []

    def say(self, by_us: bool, size: int, mode: RetryMode) -> None:
        """One side says something."""
        if by_us:
            index, message = self.our_said.next(size, mode)
            said = self.our_said

            def settle(acked: bool) -> None:
                (said.acked if acked else said.given_up)[index] += 1

            self.ours.send_queue.add(message, mode, settle)
        else:
            index, message = self.second_said.next(size, mode)
            reliable = mode == RetryMode.RETRY_ON_TIMEOUT
            self.second.say(index, message, MTU, is_reliable=reliable)

    def frame(self) -> None:
        """Both receive, look, and send."""
        self.now += FRAME
        for datagram in self.link.up.receive(self.now):
            self.second.receive(datagram)
        for datagram in self.link.down.receive(self.now):
            self.ours.receive(datagram, self.now)
        self.our_received += [(int(seq), message) for seq, message in self.ours.take_messages()]
        self.ours.advance(self.now)
        for callback, acked in self.ours.take_completed():
            callback(acked)
        while (datagram := self.ours.next_datagram(self.now)) is not None:
            self.link.up.send(datagram, self.now)
        for datagram in self.second.datagrams(self.now):
            self.link.down.send(datagram, self.now)

    def recover(self) -> None:
        """Let the link be good until all that is reliable is settled on both sides."""
        self.link = LinkPair(LinkConditions(latency=0.02))
        end = self.now + RECOVERY
        while self.now < end:
            self.frame()
            ours = set(self.our_said.acked) | set(self.our_said.given_up)
            if len(ours) == len(self.our_said.messages) and self.second.is_done:
                break
        for _ in range(8):  # what is still in flight
            self.frame()

    def check(self) -> None:
        """Each once, none altered, all that is reliable; and the two agree."""
        self.second_said.acked.update(self.second.acked)
        for said, received in (
            (self.our_said, self.second.delivered),
            (self.second_said, self.our_received),
        ):
            arrived = Counter(message for _, message in received)
            assert set(arrived) <= set(said.messages), "altered, or never said"
            assert not arrived or max(arrived.values()) == 1, "delivered twice"
            assert len({number for number, _ in received}) == len(received)
            there = {index for index, message in enumerate(said.messages) if message in arrived}
            assert said.reliable <= there, f"lost: {sorted(said.reliable - there)}"
            assert said.reliable <= set(said.acked), "arrived, and the sender does not know"
            assert set(said.acked) <= there, "acked, and not there"
            assert all(count == 1 for count in (said.acked + said.given_up).values())
        assert len(self.our_said.acked + self.our_said.given_up) == len(self.our_said.messages)


@given(
    script=SCRIPTS,
    conditions=LINKS,
    seed=st.integers(0, 1 << 16),
    ours_is_server=st.booleans(),
    before=BEFORE,
)
@settings(max_examples=150)
def test_the_two_agree_on_every_script(script, conditions, seed, ours_is_server, before):
    talk = Talk(conditions, seed, ours_is_server, before)
    for frames, speeches in script:
        for speech in speeches:
            talk.say(*speech)
        for _ in range(frames):
            talk.frame()
    talk.recover()
    talk.check()
    event(f"sent again by us: {talk.ours.send_queue.retransmitted > 0}")


@pytest.mark.parametrize("ours_is_server", [False, True])
@pytest.mark.parametrize("before", [0, 65_400])
def test_a_thousand_messages_each_way_on_a_bad_link(ours_is_server, before, seed):
    conditions = LinkConditions(
        loss=0.1, duplicate=0.1, latency=0.03, jitter=0.02, corrupt=0.02, replay=0.02
    )
    talk = Talk(conditions, seed, ours_is_server, before)
    for number in range(1000):
        for by_us in (True, False):
            mode = RetryMode.NONE if number % 5 == 0 else RetryMode.RETRY_ON_TIMEOUT
            talk.say(by_us, (20, 200, 20, 1500)[number % 4], mode)
        talk.frame()
    talk.recover()
    talk.check()
    assert talk.ours.send_queue.retransmitted > 0


class TestTheSecondPeer:
    """Packets that the second peer refuses by itself, so that agreeing with it means something."""

    def packet(self, seq: int, time: int = WALL_START, *messages: wire.Message) -> bytes:
        return wire.seal(wire.TO_SERVER, time, seq, 0, 0, list(messages), KEY)

    def test_what_came_before_or_contradicts_its_time_is_rejected(self):
        peer = SecondPeer(True, KEY, WALL_START)
        assert peer.receive(self.packet(100))
        assert not peer.receive(self.packet(100))
        assert not peer.receive(self.packet(99, WALL_START + 1))
        assert not peer.receive(self.packet(101, WALL_START - 1))
        assert not peer.receive(self.packet(100 + 16_385))
        assert peer.receive(self.packet(99))
        assert peer.receive(self.packet(101, WALL_START + 1))

    def test_a_message_number_counts_once(self):
        peer = SecondPeer(True, KEY, WALL_START)
        for seq in (1, 2):
            peer.receive(self.packet(seq, WALL_START, wire.Message(7, wire.APP, b"x")))
        assert peer.delivered == [(7, b"x")]
