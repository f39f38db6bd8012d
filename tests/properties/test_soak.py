"""A short run of every kind of condition of `make soak`, and the check that the checks bite."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import pytest
from soak.conditions import (
    SMALL,
    Condition,
    bad_times,
    everything,
    game_networking_sockets,
    replays,
    wraps,
    yojimbo,
    yojimbo_pauses,
)
from soak.crowd import Crowd, CrowdCondition, crowds, soak_crowd
from soak.soaking import soak
from soak.soakpair import SoakPair
from soak.talk import ConnectionTalk

from mpgameserver.connection import Timing
from mpgameserver.netsim import LinkConditions, LinkPair


def named(conditions: Iterable[Condition | CrowdCondition]) -> list[pytest.param]:
    return [pytest.param(condition, id=condition.name) for condition in conditions]


@pytest.mark.parametrize(
    "condition",
    named(
        chain(
            yojimbo(4000),
            game_networking_sockets(seconds=2.0),
            bad_times(seconds=10.0),
            wraps(messages=100, laps=1000),
            replays(laps=1000),
            everything(messages=100),
            yojimbo_pauses(messages=400),
        )
    ),
)
def test_nothing_is_lost_altered_or_delivered_twice(condition: Condition, seed: int) -> None:
    figures = soak(condition, seed)
    assert figures.messages >= 20


@pytest.mark.parametrize("condition", named(crowds(clients=8, seconds=8.0)))
def test_nobody_in_a_crowd_gets_what_is_not_meant_for_them(
    condition: CrowdCondition, seed: int
) -> None:
    figures = soak_crowd(condition, seed)
    assert figures.messages >= 4000


def test_the_same_seed_does_the_same(seed: int) -> None:
    [condition] = everything(50)
    first, second = soak(condition, seed), soak(condition, seed)
    assert (first.virtual, first.retransmitted) == (second.virtual, second.retransmitted)


class TestTheChecks:
    """Each breach, made by hand behind the back of the connections, is found."""

    @pytest.fixture
    def pair(self) -> SoakPair:
        return SoakPair.established(LinkPair(LinkConditions(latency=0.01)), Timing())

    @pytest.fixture
    def talk(self, pair: SoakPair) -> ConnectionTalk:
        talk = ConnectionTalk(pair.client, pair.server, SMALL, "checks")
        talk.say()
        return talk

    def arrive(self, pair: SoakPair) -> bytes:
        """Let the message arrive, and take it and its callback."""
        for _ in range(20):
            pair.step(1.0)
        [(_, message)] = pair.server.endpoint.take_messages()
        [(callback, _)] = pair.client.take_completed()
        self.callback = callback
        return message

    def replace(self, talk: ConnectionTalk, *messages: bytes) -> None:
        """Have the receiver of the talk receive these messages instead."""
        other = SoakPair.established(LinkPair(LinkConditions()), Timing())
        for message in messages:
            other.client.send(message)
        for _ in range(3):
            other.step(1.0)
        talk._receiver = other.server

    def test_an_altered_byte(self, pair, talk):
        message = self.arrive(pair)
        self.replace(talk, message[:-1] + bytes([message[-1] ^ 1]))
        with pytest.raises(AssertionError, match="altered"):
            talk.look()

    def test_the_message_of_another_talk(self, pair, talk):
        message = self.arrive(pair)
        outsider = ConnectionTalk(pair.client, pair.server, SMALL, "outsider")
        outsider.say()
        outsider.say()
        with pytest.raises(AssertionError, match="altered"):
            outsider.take(message)
        with pytest.raises(AssertionError, match="never sent"):
            talk.take(b"\0\0\0\1" + message[4:])

    def test_a_second_copy(self, pair, talk):
        message = self.arrive(pair)
        self.replace(talk, message, message)
        with pytest.raises(AssertionError, match="twice"):
            talk.look()

    def test_a_callback_for_what_did_not_arrive(self, pair, talk):
        self.arrive(pair)
        with pytest.raises(AssertionError, match="did not arrive"):
            self.callback(True)

    def test_a_reliable_message_given_up(self, pair, talk):
        self.arrive(pair)
        with pytest.raises(AssertionError, match="but False"):
            self.callback(False)

    def test_a_second_callback(self, pair, talk):
        self.replace(talk, self.arrive(pair))
        talk.look()
        self.callback(True)
        with pytest.raises(AssertionError, match="called again"):
            self.callback(True)

    def test_what_a_server_logs_as_an_error(self):
        [condition] = crowds(clients=2, seconds=1.0)
        crowd = Crowd(condition, 1)
        crowd.handle_message = lambda client, seqnum, msg: 1 / 0
        with pytest.raises(AssertionError, match="handle_message raised: ZeroDivisionError"):
            crowd.run()

    def test_a_session_that_ends_by_itself(self, monkeypatch):
        [condition] = crowds(clients=2, seconds=3.0)
        crowd = Crowd(condition, 1)
        monkeypatch.setattr(
            crowd, "connect", lambda client: (Crowd.connect(crowd, client), client.disconnect())
        )
        with pytest.raises(AssertionError, match=r"ended by itself|was DISCONNECTED"):
            crowd.run()

    def test_a_missing_callback(self, pair, talk):
        self.arrive(pair)
        with pytest.raises(AssertionError, match="missing"):
            talk.check()
