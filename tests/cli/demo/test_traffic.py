"""The messages of the demo, and the books that each side keeps of them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mpgameserver.cli.demo.traffic import InOrder, Kind, Ledger
from mpgameserver.enums import RetryMode


class Wire:
    """Notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int, Callable[[bool], object]]] = []

    def send(self, payload: bytes, retry: int, callback: Callable[[bool], object]) -> None:
        self.sent.append((payload, retry, callback))


def test_a_message_is_read_as_it_was_sent():
    wire, ledger = Wire(), Ledger()
    ledger.send(wire, Kind.CHAT, b"one", 1.0)
    ledger.send(wire, Kind.CHAT, b"two", 2.0)
    ledger.send(wire, Kind.FILE, b"", 3.0)
    reader = Ledger()
    read = [reader.receive(message, 5.0) for message, _, _ in wire.sent]
    assert read == [(Kind.CHAT, 0, b"one"), (Kind.CHAT, 1, b"two"), (Kind.FILE, 0, b"")]
    assert reader.received[Kind.CHAT].latencies == [4.0, 3.0]
    assert reader.received[Kind.CHAT].last_at == 5.0
    assert ledger.sent[Kind.CHAT].first_at == 1.0


def test_positions_are_unreliable_and_the_rest_is_reliable():
    wire, ledger = Wire(), Ledger()
    for kind in Kind:
        ledger.send(wire, kind, b"x", 0.0)
    modes = dict(zip(Kind, (retry for _, retry, _ in wire.sent), strict=True))
    assert modes == {
        Kind.POSITION: RetryMode.NONE,
        Kind.CHAT: RetryMode.RETRY_ON_TIMEOUT,
        Kind.FILE: RetryMode.RETRY_ON_TIMEOUT,
    }
    assert [kind for kind in Kind if kind.is_reliable] == [Kind.CHAT, Kind.FILE]


def test_a_callback_belongs_to_its_message():
    wire, ledger = Wire(), Ledger()
    for _ in range(3):
        ledger.send(wire, Kind.CHAT, b"x", 0.0)
    assert ledger.counts().outstanding == 3
    wire.sent[2][2](True)
    wire.sent[0][2](False)
    assert ledger.sent[Kind.CHAT].acked == {2}
    assert ledger.sent[Kind.CHAT].calls == {0: 1, 2: 1}
    assert ledger.counts().outstanding == 1


def test_a_message_that_is_refused_is_not_entered():
    class Full:
        def send(self, payload: bytes, retry: int, callback: Callable[[bool], object]) -> None:
            raise BufferError

    ledger = Ledger()
    with pytest.raises(BufferError):
        ledger.send(Full(), Kind.CHAT, b"x", 0.0)
    assert ledger.counts() == Ledger().counts()


def test_what_nobody_can_have_sent_is_counted_and_not_read():
    ledger = Ledger()
    for message in (b"", b"\x02", b"\x02" * 12, b"\x00" * 13, b"\x04" * 100):
        assert ledger.receive(message, 0.0) is None
    assert ledger.unreadable == 5
    assert ledger.counts() == Ledger().counts()


def test_counts_count_a_message_once_however_often_it_arrives():
    wire, ledger = Wire(), Ledger()
    ledger.send(wire, Kind.CHAT, b"x", 0.0)
    reader = Ledger()
    for _ in range(3):
        reader.receive(wire.sent[0][0], 1.0)
    assert reader.counts().received[Kind.CHAT] == 1
    assert reader.received[Kind.CHAT].arrivals == {0: 3}


def test_lines_are_shown_in_order_and_once_in_whatever_order_they_come(seed):
    numbers = [*range(50), *range(0, 50, 7)]
    random.Random(seed).shuffle(numbers)
    order, shown = InOrder(), []
    for number in numbers:
        shown += order.take(number, b"line %d" % number)
    assert shown == [b"line %d" % number for number in range(50)]


def test_a_line_that_is_late_holds_back_those_behind_it():
    order = InOrder()
    assert order.take(1, b"b") == []
    assert order.take(2, b"c") == []
    assert order.take(0, b"a") == [b"a", b"b", b"c"]
    assert order.take(1, b"b") == []
