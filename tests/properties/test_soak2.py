"""A short run of the conditions of `make soak` with protocol 2, and a check of its checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import pytest
from soak.channeltalk import TALKS, Conversation, UnorderedTalk
from soak.conditions import (
    BULK,
    GAME,
    GNS_KNOWN,
    GNS_RANGE,
    Condition,
    bad_times,
    everything,
    game_networking_sockets,
    reordered,
    replays,
    yojimbo,
)
from soak.crowd import crowds
from soak.crowd2 import soak_crowd2
from soak.soaking2 import soak2
from soak.talk import Kind

SMALL = (Kind(1, 8, 64),)
ONE_OF_EACH = 4
"""Every condition is run by `make soak`; here one in so many, in turn of bulk and game-like."""


def chosen() -> list[pytest.param]:
    links = list(game_networking_sockets(seconds=2.0))
    assert len(links) == 2 * len(GNS_KNOWN + GNS_RANGE) == 2 * 17
    conditions = chain(
        links[::ONE_OF_EACH],
        links[ONE_OF_EACH // 2 + 1 :: ONE_OF_EACH],
        bad_times(seconds=4.0),
        replays(laps=300),
        everything(messages=100),
        yojimbo(400),
    )
    return [pytest.param(condition, id=condition.name) for condition in conditions]


@pytest.mark.parametrize("condition", chosen())
def test_every_kind_of_channel_keeps_its_promise(condition: Condition, seed: int) -> None:
    assert soak2(condition, seed).messages >= 20


def test_they_do_while_the_client_moves_and_keys_are_updated(seed: int) -> None:
    """`soak2` checks that the moves and the updates have happened."""
    [condition] = everything(messages=1 << 20)
    assert soak2(replace(condition, seconds=45.0, kinds=GAME, per_frame=1), seed).virtual > 45


def test_nobody_in_a_crowd_gets_what_is_not_meant_for_them(seed: int) -> None:
    [condition] = crowds(clients=4, seconds=5.0)
    assert soak_crowd2(condition, seed).messages >= 1000


def test_hardly_anything_is_sent_again_because_of_reordering(seed: int) -> None:
    """36 % in protocol 1. What the queue of the link has dropped is in it, too."""
    [condition] = reordered(seconds=8.0)
    figures = soak2(replace(condition, kinds=BULK), seed)
    assert figures.retransmitted <= 0.02 * figures.packets


class Line:
    """A talk of one kind, whose messages and callbacks a test has in its hands."""

    def __init__(self, kind: str, said: int = 4) -> None:
        self.sent: list[bytes] = []
        self.callbacks: list[Callable[[bool], object]] = []
        self.talk: UnorderedTalk = TALKS[kind](self._send, SMALL, f"line/{kind}")
        for _ in range(said):
            self.talk.say()

    def _send(self, payload: bytes, retry: int, callback: Callable[[bool], object] | None) -> None:
        assert callback is not None
        self.sent.append(payload)
        self.callbacks.append(callback)

    def arrive(self, *indices: int) -> None:
        for index in indices:
            self.talk.take(self.sent[index])

    def settle(self, *outcomes: bool) -> None:
        for callback, acked in zip(self.callbacks, outcomes, strict=True):
            callback(acked)


every_kind = pytest.mark.parametrize("kind", TALKS)


class TestTheChecks:
    """Each breach, made by hand, is found on every kind of channel that promises otherwise."""

    @every_kind
    def test_what_keeps_the_promise_passes(self, kind):
        line = Line(kind)
        line.arrive(0, 1, 2, 3)
        line.settle(True, True, True, True)
        line.talk.check()

    @every_kind
    def test_an_altered_message(self, kind):
        line = Line(kind)
        with pytest.raises(AssertionError, match="altered"):
            line.talk.take(line.sent[0][:-1] + bytes([line.sent[0][-1] ^ 1]))

    @every_kind
    def test_the_message_of_another_channel(self, kind):
        line = Line(kind)
        for other in [each for each in TALKS if each != kind]:
            with pytest.raises(AssertionError, match="altered"):
                line.talk.take(Line(other).sent[0])

    @every_kind
    def test_one_that_was_never_sent(self, kind):
        line, longer = Line(kind), Line(kind, said=5)
        with pytest.raises(AssertionError, match="never sent"):
            line.talk.take(longer.sent[4])

    @every_kind
    def test_a_second_copy(self, kind):
        line = Line(kind)
        line.arrive(0)
        with pytest.raises(AssertionError, match="twice"):
            line.arrive(0)

    @pytest.mark.parametrize("kind", ["ordered", "sequenced", "latest"])
    def test_two_that_were_swapped(self, kind):
        line = Line(kind)
        with pytest.raises(AssertionError, match=r"was due|arrived after"):
            line.arrive(1, 0)

    @pytest.mark.parametrize("kind", ["sequenced", "latest"])
    def test_an_old_one_long_after_a_newer_one(self, kind):
        line = Line(kind)
        line.arrive(1, 3)
        with pytest.raises(AssertionError, match="message 2 arrived after 3"):
            line.arrive(2)

    def test_a_gap_on_an_ordered_channel(self):
        line = Line("ordered")
        line.arrive(0)
        with pytest.raises(AssertionError, match="message 2 arrived where 1 was due"):
            line.arrive(2)

    @pytest.mark.parametrize("kind", ["unordered", "ordered"])
    def test_a_reliable_message_that_was_dropped(self, kind):
        line = Line(kind)
        line.arrive(0, 1, 2)
        line.settle(True, True, True, True)
        with pytest.raises(AssertionError, match=r"message 3 was lost|3: True, but"):
            line.talk.check()

    @pytest.mark.parametrize("kind", ["unordered", "ordered"])
    def test_a_reliable_message_given_up(self, kind):
        with pytest.raises(AssertionError, match="but False"):
            Line(kind).callbacks[0](False)

    def test_the_newest_dropped_on_a_latest_channel(self):
        line = Line("latest")
        line.arrive(0, 2)
        line.settle(True, False, True, False)
        with pytest.raises(AssertionError, match="3, the newest, was lost"):
            line.talk.check()

    def test_one_dropped_on_a_sequenced_channel_though_it_was_acked(self):
        line = Line("sequenced")
        line.arrive(0, 2)
        line.settle(True, True, True, True)
        with pytest.raises(AssertionError, match="message 3: True, but it did not arrive"):
            line.talk.check()

    @every_kind
    def test_a_second_callback(self, kind):
        line = Line(kind)
        line.arrive(0, 1, 2, 3)
        line.settle(True, True, True, True)
        with pytest.raises(AssertionError, match="called again"):
            line.callbacks[0](True)

    @every_kind
    def test_a_missing_callback(self, kind):
        line = Line(kind)
        line.arrive(0, 1, 2, 3)
        with pytest.raises(AssertionError, match="4 callbacks missing"):
            line.talk.check()

    def test_a_message_on_a_wrong_channel_of_a_conversation(self):
        sent: list[tuple[int, bytes]] = []
        conversation = Conversation(
            lambda channel, payload, retry, callback: sent.append((channel, payload)), SMALL, "it"
        )
        while not sent or sent[-1][0] != 2:
            conversation.say()
        with pytest.raises(AssertionError, match=r"altered|never sent"):
            conversation.take_on("score", sent[-1][1])
        conversation.take_on("chat", sent[-1][1])
