"""Two second peers of protocol 2, over a seeded bad link: the page is enough to be understood."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from support.wire2.frames import Message
from support.wire2.peer import PROTOCOL, WINDOW, Peer2
from support.wire2.tables import LATEST, ORDERED, SEQUENCED, UNORDERED, Channel

SECRETS = {"client": bytes(range(32)), "server": bytes(range(32, 64))}
CONNECTION_ID = bytes.fromhex("00c0c1c2c3c4c5c6")
CHANNELS = [
    Channel(1, ORDERED, (40, 60_000), "chat"),
    Channel(2, SEQUENCED, None, "position"),
    Channel(3, LATEST, None, "score"),
    Channel(200, UNORDERED, None, "loot"),
]
RELIABLE = (0, 1, 200)
STEP = 0.01


class Pair:
    """Both ends of a session, and the link between them."""

    def __init__(self, seed: int, loss: float = 0.0, credential: bytes = b"") -> None:
        self.client = Peer2("client", SECRETS, CONNECTION_ID, CHANNELS, credential)
        self.server = Peer2("server", SECRETS, CONNECTION_ID, CHANNELS, reset_token=b"t" * 16)
        self.now = 0.0
        self._rng, self._loss = random.Random(seed), loss
        self._on_the_way: list[tuple[float, int, Peer2, bytes]] = []
        self._count = 0

    def step(self) -> None:
        """Let a hundredth of a second pass."""
        self.now += STEP
        for sender, receiver in ((self.client, self.server), (self.server, self.client)):
            for datagram in sender.datagrams(self.now):
                for _ in range(1 + (self._rng.random() < self._loss)):
                    if self._rng.random() >= self._loss:
                        delay = self._rng.choice((0.0, 0.02, 0.05)) if self._loss else 0.0
                        self._count += 1
                        self._on_the_way.append((self.now + delay, self._count, receiver, datagram))
        arrived = sorted(each for each in self._on_the_way if each[0] <= self.now)
        self._on_the_way = [each for each in self._on_the_way if each[0] > self.now]
        for _, _, receiver, datagram in arrived:
            receiver.receive(datagram)

    def run_until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        end = self.now + seconds
        while not condition():
            assert self.now < end, "in vain"
            self.step()

    def open(self) -> Pair:
        self.run_until(lambda: self.client.is_open and self.server.is_open)
        return self

    @property
    def is_done(self) -> bool:
        return self.client.is_done and self.server.is_done


def test_a_session_opens_with_a_credential_and_a_token(seed):
    pair = Pair(seed, 0.3, credential=b"who I am" * 100).open()
    assert pair.server.credential == b"who I am" * 100
    assert pair.client.reset_token == b"t" * 16


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_every_kind_of_channel_keeps_its_promise(loss, seed):
    """With a key update in the middle of it, on both sides."""
    rng = random.Random(seed)
    pair = Pair(seed, loss).open()
    said: dict[str, list[tuple[int, bytes]]] = {"client": [], "server": []}
    for turn in range(120):
        for name in said:
            peer = getattr(pair, name)
            channel = rng.choice((0, 1, 2, 3, 200))
            message = rng.randbytes(rng.choice((0, 10, 100, 1024, 1025, 5000)))
            if channel in (2, 3):
                message = message[:1024]
            said[name].append((channel, message))
            peer.say(channel, message)
        if turn == 60:
            pair.client.update_key()
        pair.step()
    pair.run_until(lambda: pair.is_done)
    assert pair.client.phase == pair.server.phase == 1
    for name, other in (("client", pair.server), ("server", pair.client)):
        heard = {c: [m for on, _, m in other.delivered if on == c] for c in (0, 1, 2, 3, 200)}
        sent = {c: [m for on, m in said[name] if on == c] for c in heard}
        for channel in (0, 200):
            assert Counter(heard[channel]) == Counter(sent[channel])
        assert heard[1] == sent[1]
        assert is_part_in_order(heard[2], sent[2])
        assert is_part_in_order(heard[3], sent[3])
        assert heard[3][-1:] == sent[3][-1:]
        assert loss or heard[2] == sent[2]


def is_part_in_order(part: list[bytes], whole: list[bytes]) -> bool:
    """Return True if some messages are of these, each once and in their order."""
    rest = iter(whole)
    return all(message in rest for message in part)


def test_a_long_message_is_cut_anew_and_arrives_whole(seed):
    message = random.Random(seed).randbytes(60_000)
    pair = Pair(seed, 0.2).open()
    pair.client.say(0, message)
    pair.run_until(lambda: pair.is_done)
    assert pair.server.delivered == [(0, 1, message)]
    assert pair.client.acked == [(0, message)]


def test_an_ordered_channel_sends_no_more_than_its_window_allows(seed):
    """Messages beyond it wait, and go on as the game takes those before."""
    pair = Pair(seed).open()
    for number in range(200):
        pair.client.say(1, b"%d" % number)
    pair.run_until(lambda: pair.is_done)
    assert [m for _, _, m in pair.server.delivered] == [b"%d" % n for n in range(200)]


@pytest.mark.parametrize(
    ("message", "code"), [(Message(1, 41, b""), WINDOW), (Message(9, 1, b""), PROTOCOL)]
)
def test_who_breaks_a_rule_is_told_so(message, code, seed):
    pair = Pair(seed).open()
    pair.server.receive(pair.client.packet_of(message))
    pair.run_until(lambda: pair.client.closed)
    assert pair.client.closed is not None
    assert pair.client.closed[0] == code


def test_either_side_may_close_with_a_code_and_a_text(seed):
    for name in ("client", "server"):
        pair = Pair(seed, 0.3).open()
        getattr(pair, name).close(256, "bis später")
        other = pair.server if name == "client" else pair.client
        pair.run_until(lambda other=other: other.closed)
        pair.run_until(lambda pair=pair: pair.is_done)
        assert other.closed == (256, "bis später")
