"""Messages and transfers share what leaves: what a transfer adds to the delay of a message."""

from __future__ import annotations

import pytest
from support.endpoints import EndpointPair, messages_of

from mpgameserver._core.endpoint import Endpoint
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import Link, LinkConditions

FRAME = 1 / 60
TRANSFER = 3_000_000
BROADBAND = LinkConditions(rate=500_000, queue=0.2, latency=0.02)


class Game(EndpointPair):
    """One side says a numbered position per frame; `delays` has when each arrived."""

    def __init__(
        self,
        conditions: LinkConditions,
        size: int = 64,
        mode: RetryMode = RetryMode.NONE,
        seed: int | str = 0,
        from_server: bool = False,
    ) -> None:
        super().__init__(conditions, seed)
        self.size, self.mode = size, mode
        self.sender = self.server if from_server else self.client
        self.receiver = self.client if from_server else self.server
        self.said: dict[bytes, float] = {}
        self.delays: dict[bytes, float] = {}

    @property
    def way(self) -> Link:
        return self.link.down if self.sender is self.server else self.link.up

    def say(self, message: bytes, mode: RetryMode = RetryMode.RETRY_ON_TIMEOUT) -> bytes:
        self.said[message[:8]] = self.now
        self.sender.queue(message, mode)
        return message[:8]

    def play(self, endpoint: Endpoint) -> None:
        if endpoint is self.receiver:
            for message in messages_of(endpoint):
                self.delays[message[:8]] = self.now - self.said[message[:8]]
        elif self.size:
            self.say(b"%8d" % len(self.said) + bytes(self.size - 8), self.mode)

    def frames(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.tick(FRAME)


def explained(conditions: LinkConditions) -> float:
    """The longest that the link and the frames of both sides explain, in seconds."""
    return conditions.latency + conditions.queue + 3 * FRAME


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
