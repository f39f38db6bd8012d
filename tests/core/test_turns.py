"""Messages and transfers share what leaves: what a transfer adds to the delay of a message."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.endpoints import EndpointPair, messages_of
from support.examples import examples

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import Link, LinkConditions

FRAME = 1 / 60
TRANSFER = 3_000_000
ACK_DELAY = 0.025
"""Seconds that an ack waits at most: RFC 9000's default max_ack_delay."""
PACKET = 1434
"""Bytes: the largest message that a packet carries."""
FRAGMENT = 1024
MESSAGE_ROOM = 8
"""Packets in flight that are left to messages before a receiver is known to ack by count."""
BROADBAND = LinkConditions(rate=500_000, queue=0.2, latency=0.02)


class Game(EndpointPair):
    """One side says a numbered message every few frames; `delays` has when each arrived."""

    def __init__(
        self,
        conditions: LinkConditions,
        size: int = 64,
        mode: RetryMode = RetryMode.NONE,
        seed: int | str = 0,
        from_server: bool = False,
        frames: int = 1,
    ) -> None:
        super().__init__(conditions, seed)
        self.size, self.mode, self.every = size, mode, frames
        self.frame = 0
        self.sender = self.server if from_server else self.client
        self.receiver = self.client if from_server else self.server
        self.said: dict[bytes, float] = {}
        self.delays: dict[bytes, float] = {}

    @property
    def way(self) -> Link:
        return self.link.down if self.sender is self.server else self.link.up

    def say(self, message: bytes, mode: RetryMode = RetryMode.RETRY_ON_TIMEOUT) -> bytes:
        self.said[message[:8]] = self.now
        self.sender.send_queue.add(message, mode)
        return message[:8]

    def play(self, endpoint: Endpoint1) -> None:
        if endpoint is self.receiver:
            for message in messages_of(endpoint):
                self.delays[message[:8]] = self.now - self.said[message[:8]]
        elif self.size:
            if self.frame % self.every == 0:
                self.say(b"%8d" % len(self.said) + bytes(self.size - 8), self.mode)
            self.frame += 1

    def frames(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.tick(FRAME)


def explained(conditions: LinkConditions, size: int = 0) -> float:
    """The longest that the link and the frames of both sides explain, in seconds.

    Until a receiver is known to ack by count, there is room for 8 packets of messages behind each
    burst, and the next burst waits for the acks: then a message waits for its place in that,
    while the queue is empty.
    """
    assert conditions.rate is not None
    burst = round_trip(conditions) - MESSAGE_ROOM * FRAME
    burst += 2 * MESSAGE_ROOM * size / conditions.rate
    return conditions.latency + max(conditions.queue, burst) + 3 * FRAME


@pytest.mark.parametrize("size", [380, 420, 1000, 1434])
@pytest.mark.parametrize("from_server", [False, True])
def test_positions_and_chat_arrive_beside_a_transfer(size, from_server):
    game = Game(BROADBAND, size, from_server=from_server)
    transfer = game.say(bytes(TRANSFER))
    game.frames(1.5)
    chat = game.say(b"hey")
    game.frames(6.5)
    positions = [delay for name, delay in game.delays.items() if name not in (chat, transfer)]
    assert game.delays[chat] < explained(BROADBAND)
    assert max(positions) < explained(BROADBAND)
    assert len(positions) > 60 * (8.0 - explained(BROADBAND)) - game.way.stats.lost
    game.frames(1.0)
    assert game.delays[transfer] < 9.0


@pytest.mark.parametrize("size", [2_000, 20_000])
def test_a_fragmented_message_passes_a_longer_one(size):
    game = Game(BROADBAND)
    game.say(bytes(TRANSFER))
    game.frames(2.5)
    letter = game.say(b"letter" + bytes(size))
    game.frames(1.0)
    assert game.delays[letter] < explained(BROADBAND) + 4 * size / BROADBAND.rate


def test_messages_of_each_size_leave_beside_those_of_every_other():
    """The smallest of seven leaves with the first packets, and the largest comes through."""
    game = Game(LinkConditions(rate=2_000_000, queue=0.2, latency=0.01), size=0)
    messages = [game.say(b"%8d" % power + bytes(1500 * 4**power)) for power in range(6, -1, -1)]
    game.frames(15.0)
    delays = [game.delays[message] for message in messages]
    assert delays == sorted(delays, reverse=True)
    assert delays[-1] < 0.1
    assert game.receiver.reassembler.discarded == 0


def test_a_flood_of_messages_leaves_a_transfer_half():
    game = Game(LinkConditions(rate=500_000, queue=5.0, latency=0.02), size=0)
    transfer = game.say(bytes(500_000))
    for number in range(4000):
        game.say(b"%8d" % number + bytes(592), RetryMode.NONE)
    while transfer not in game.delays:
        game.frames(FRAME)
        assert game.now < 5.0
    assert len(game.delays) * 600 == pytest.approx(500_000, rel=0.2)


def round_trip(conditions: LinkConditions, queue: float = 0.0) -> float:
    """The longest that a packet and its ack take, in seconds, and two frames of either side."""
    return 2 * conditions.latency + queue + ACK_DELAY + 4 * FRAME


def largest_of_a_game(conditions: LinkConditions) -> int:
    """The bytes per frame that a fifth of the link and three rooms for messages carry.

    Until a receiver is known to ack by count, a round trip has room for messages in two thirds of
    a burst of 24 packets, and for 8 more behind it.
    """
    assert conditions.rate is not None
    room = 3 * MESSAGE_ROOM * PACKET / round_trip(conditions)
    return min(PACKET, int(min(conditions.rate / 5, room) * FRAME))


def frames_between(conditions: LinkConditions, size: int) -> int:
    """Frames from one fragmented message to the next, so that the game leaves the link alone.

    They take no more than a tenth of it, and no more than 8 packets of a round trip: fragments
    leave ahead of no others.
    """
    assert conditions.rate is not None
    fragments = size // FRAGMENT + 1
    seconds = max(10 * size / conditions.rate, fragments / MESSAGE_ROOM * round_trip(conditions))
    return math.ceil(seconds / FRAME)


PATHS = st.builds(
    LinkConditions,
    rate=st.sampled_from([250_000, 500_000, 1_000_000, 2_000_000]),
    queue=st.sampled_from([0.1, 0.2, 0.4]),
    latency=st.sampled_from([0.005, 0.02, 0.05, 0.1]),
)


@settings(max_examples=examples(25))
@given(
    path=PATHS,
    size=st.integers(8, PACKET),
    mode=st.sampled_from(RetryMode),
    transfer=st.integers(PACKET + 1, 3_000_000),
    transfer_mode=st.sampled_from(RetryMode),
    from_server=st.booleans(),
)
def test_the_queue_of_the_link_explains_what_a_transfer_adds(
    path, size, mode, transfer, transfer_mode, from_server
):
    """A message that the queue has dropped and that is sent again takes a round trip longer."""
    game = Game(path, min(size, largest_of_a_game(path)), mode, from_server=from_server)
    name = game.say(bytes(transfer), transfer_mode)
    game.frames(6.0)
    longest = explained(path, game.size)
    if mode != RetryMode.NONE and game.way.stats.lost:
        longest += round_trip(path, path.queue)
    assert [delay for said, delay in game.delays.items() if said != name and delay > longest] == []
    due = sum(said < game.now - longest for said in game.said.values())
    assert len(game.delays) >= due - 1 - game.way.stats.lost


@settings(max_examples=examples(20))
@given(
    path=PATHS,
    size=st.integers(PACKET + 1, 8_000),
    mode=st.sampled_from(RetryMode),
    transfer=st.integers(1_000_000, 3_000_000),
    transfer_mode=st.sampled_from(RetryMode),
    from_server=st.booleans(),
)
def test_it_explains_what_a_transfer_adds_to_a_fragmented_message(
    path, size, mode, transfer, transfer_mode, from_server
):
    """Its fragments take turns with the transfer's, and wait for acks: a round trip at the most."""
    game = Game(path, size, mode, from_server=from_server, frames=frames_between(path, size))
    name = game.say(bytes(transfer), transfer_mode)
    game.frames(6.0)
    assert path.rate is not None
    longest = explained(path) + round_trip(path) + 2 * size / path.rate
    if mode != RetryMode.NONE and game.way.stats.lost:
        longest += 2 * round_trip(path, path.queue)
    assert [delay for said, delay in game.delays.items() if said != name and delay > longest] == []
    due = sum(said < game.now - longest for said in game.said.values())
    assert len(game.delays) >= due - 1 - game.way.stats.lost
