"""Sessions of protocol 2 over bad links: every kind of channel keeps its promise.

Each side is the package's, or one is the second peer, which was written from the page alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from support.endpoints2 import (
    CHAT,
    LOOT,
    POSITION,
    RELIABLE,
    SCORE,
    SecondPeer,
    SessionPair,
    Side,
)

from mpgameserver.netsim import LinkConditions

TURNS = 150
SIZES = (0, 3, 60, 900, 1160, 5000)
Sides = Callable[[], tuple[Side | SecondPeer, Side | SecondPeer]]
PAIRS: dict[str, Sides] = {
    "both ours": lambda: (Side(is_server=False), Side(is_server=True)),
    "second peer as client": lambda: (SecondPeer(is_server=False), Side(is_server=True)),
    "second peer as server": lambda: (Side(is_server=False), SecondPeer(is_server=True)),
}


class Talk:
    """Messages of both sides on all channels, and the promises of these."""

    def __init__(self, pair: SessionPair, rng: random.Random) -> None:
        self.pair, self.rng = pair, rng
        self.said: list[list[tuple[int, bytes]]] = [[], []]

    def turn(self, number: int) -> None:
        """Let both say something, and a frame pass."""
        for i, side in enumerate((self.pair.client, self.pair.server)):
            for channel in (0, CHAT, POSITION, SCORE, LOOT):
                if self.rng.random() < 0.25:
                    body = self.rng.randbytes(self.rng.choice(SIZES))
                    message = number.to_bytes(2, "big") + bytes([i, channel]) + body
                    side.say(channel, message)
                    self.said[i].append((channel, message))
        self.pair.tick()

    def check(self) -> None:
        """Check that each channel has kept its promise, after all is done."""
        for i, other in enumerate((self.pair.server, self.pair.client)):
            said, got = self.said[i], [(channel, m) for channel, _, m in other.delivered]
            for channel in RELIABLE:
                assert sorted(_on(channel, said)) == sorted(_on(channel, got)), f"channel {channel}"
            assert _on(CHAT, said) == _on(CHAT, got), "out of order"
            assert _on(SCORE, said)[-1] == _on(SCORE, got)[-1], "the newest has not arrived"
            for channel in (POSITION, SCORE):
                turns = [message[:2] for message in _on(channel, got)]
                assert turns == sorted(set(turns)), "an older one after a newer one"
                assert set(_on(channel, got)) <= set(_on(channel, said))


def _on(channel: int, messages: list[tuple[int, bytes]]) -> list[bytes]:
    return [message for each, message in messages if each == channel]


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("sides", PAIRS.values(), ids=PAIRS)
def test_every_kind_of_channel_keeps_its_promise(sides: Sides, loss: float, seed: int) -> None:
    """Reordered, duplicated and delayed, with a key update of our side in the middle."""
    conditions = LinkConditions(
        latency=0.03, jitter=0.02, loss=loss, duplicate=0.02, reorder=0.3, reorder_delay=0.05
    )
    pair = SessionPair(conditions, seed, *sides()).open()
    talk = Talk(pair, random.Random(seed))
    for number in range(TURNS):
        talk.turn(number)
        if number == TURNS // 2:
            for side in (pair.client, pair.server):
                if isinstance(side, Side):
                    side.endpoint.request_key_update()
    pair.run_until(lambda: pair.is_done, 120)
    pair.run(1.0)
    talk.check()
    assert pair.client.closed is pair.server.closed is None


def rate(jitter: float, seed: int) -> float:
    """Bytes per second of one long message over a path of 100 ms."""
    size = 3_000_000
    pair = SessionPair(LinkConditions(latency=0.05, jitter=jitter), seed).open()
    began = pair.now
    pair.client.say(0, bytes(size))
    while not any(len(message) == size for _, _, message in pair.server.delivered):
        pair.tick(0.004)
        assert pair.now - began < 30
    return size / (pair.now - began)


def test_jitter_costs_no_rate(seed: int) -> None:
    """Protocol 1 loses four fifths with 5 ms: its acks report no more than 33 packets."""
    assert rate(0.005, seed) > 0.9 * rate(0.0, seed)
