"""The demo's own accounts: a message that goes wrong is found, and is not forgiven."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mpgameserver.cli.demo.audit import problems_between, tally_of
from mpgameserver.cli.demo.traffic import Kind, Ledger

Post = list[tuple[bytes, Callable[[bool], object]]]


class Wire:
    """Notes the messages and their callbacks."""

    def __init__(self) -> None:
        self.post: Post = []

    def send(self, payload: bytes, retry: int, callback: Callable[[bool], object]) -> None:
        self.post.append((payload, callback))


def sent(kind: Kind, count: int) -> tuple[Ledger, Post]:
    """The books of a side that has sent so many messages, one a second, and these messages."""
    ledger, wire = Ledger(), Wire()
    for number in range(count):
        ledger.send(wire, kind, b"message %d" % number, float(number))
    return ledger, wire.post


def arrive(receiver: Ledger, message: bytes, delay: float = 0.5) -> None:
    """Have a message arrive `delay` seconds after the second that it was sent in."""
    kind_and_number = Ledger().receive(message, 0.0)
    assert kind_and_number is not None
    receiver.receive(message, kind_and_number[1] + delay)


def all_went_well(kind: Kind, count: int) -> tuple[Ledger, Ledger, Post]:
    sender, post = sent(kind, count)
    receiver = Ledger()
    for message, callback in post:
        arrive(receiver, message)
        callback(True)
    return sender, receiver, post


@pytest.mark.parametrize("kind", Kind)
def test_nothing_is_wrong_when_everything_arrived_once_and_was_acked_once(kind):
    sender, receiver, _ = all_went_well(kind, 3)
    assert problems_between("up", sender, receiver) == []


def test_a_reliable_message_that_is_lost_is_a_problem():
    sender, post = sent(Kind.CHAT, 3)
    receiver = Ledger()
    for number, (message, callback) in enumerate(post):
        if number != 1:
            arrive(receiver, message)
            callback(True)
    post[1][1](False)
    assert problems_between("up", sender, receiver) == [
        "chat up: 1 of 3 did not arrive (1)",
        "chat up: 1 of 3 were not acked (1)",
    ]


def test_an_unreliable_message_may_be_lost():
    sender, post = sent(Kind.POSITION, 3)
    receiver = Ledger()
    arrive(receiver, post[0][0])
    for number, (_, callback) in enumerate(post):
        callback(number == 0)
    assert problems_between("down", sender, receiver) == []


def test_an_unreliable_message_may_arrive_without_its_ack():
    sender, receiver, _ = all_went_well(Kind.POSITION, 0)
    sender, post = sent(Kind.POSITION, 1)
    arrive(receiver, post[0][0])
    post[0][1](False)
    assert problems_between("down", sender, receiver) == []


@pytest.mark.parametrize("kind", Kind)
def test_a_message_that_arrives_twice_is_a_problem(kind):
    sender, receiver, post = all_went_well(kind, 3)
    arrive(receiver, post[2][0])
    name = kind.name.lower()
    assert problems_between("down", sender, receiver) == [
        f"{name} down: 1 of 3 arrived more than once (2)"
    ]


@pytest.mark.parametrize("kind", Kind)
def test_a_callback_that_comes_twice_is_a_problem(kind):
    sender, receiver, post = all_went_well(kind, 2)
    post[0][1](True)
    assert problems_between("up", sender, receiver) == [
        f"{kind.name.lower()} up: 1 of 2 had more than one callback (0)"
    ]


def test_a_callback_that_never_comes_is_a_problem():
    sender, post = sent(Kind.POSITION, 1)
    receiver = Ledger()
    arrive(receiver, post[0][0])
    assert problems_between("up", sender, receiver) == ["position up: 1 of 1 had no callback (0)"]


def test_an_ack_of_what_did_not_arrive_is_a_problem():
    sender, post = sent(Kind.POSITION, 1)
    post[0][1](True)
    assert problems_between("up", sender, Ledger()) == [
        "position up: 1 of 1 were acked, but did not arrive (0)"
    ]


def test_a_message_that_changed_on_its_way_is_a_problem():
    sender, post = sent(Kind.FILE, 1)
    message, callback = post[0]
    receiver = Ledger()
    arrive(receiver, message[:-1] + b"!")
    callback(True)
    assert problems_between("up", sender, receiver) == ["file up: 1 of 1 arrived damaged (0)"]


def test_messages_that_nobody_sent_are_a_problem():
    sender, receiver, _ = all_went_well(Kind.CHAT, 1)
    _, post = sent(Kind.CHAT, 2)
    arrive(receiver, post[1][0])
    receiver.receive(b"?", 0.0)
    assert problems_between("up", sender, receiver) == [
        "up: 1 messages that were never sent",
        "chat up: 1 of 1 arrived, but were never sent (1)",
    ]


def test_a_long_list_of_numbers_is_cut():
    sender, post = sent(Kind.CHAT, 100)
    for _, callback in post:
        callback(False)
    assert problems_between("up", sender, Ledger())[0] == (
        "chat up: 100 of 100 did not arrive (0, 1, 2, 3, 4, ...)"
    )


def test_a_tally_adds_up_all_connections():
    first, there, post = all_went_well(Kind.CHAT, 3)
    arrive(there, post[0][0], delay=2.5)
    second, _ = sent(Kind.CHAT, 2)
    tally = tally_of(Kind.CHAT, "down", [(first, there), (second, Ledger())])
    assert (tally.kind, tally.direction, tally.reliable) == ("chat", "down", True)
    assert (tally.sent, tally.delivered, tally.lost, tally.duplicated) == (5, 3, 2, 1)
    assert (tally.acked, tally.callbacks) == (3, 3)
    assert (tally.latency_median, tally.latency_p99) == (0.5, 2.5)
    size = len(post[0][0])
    assert (tally.bytes_sent, tally.bytes_delivered) == (5 * size, 4 * size)
    assert tally.throughput == 4 * size / 2.5


def test_a_tally_of_nothing_has_no_figures():
    tally = tally_of(Kind.FILE, "up", [(Ledger(), Ledger())])
    assert (tally.sent, tally.delivered, tally.lost) == (0, 0, 0)
    assert tally.latency_median is tally.latency_p99 is tally.throughput is None
