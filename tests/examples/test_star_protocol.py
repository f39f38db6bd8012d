"""Hold the star: its messages as bytes."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpgameserver.connection import Packet
from star.protocol import (
    MAX_NAME_BYTES,
    MAX_PLAYERS,
    MAX_STEPS,
    Join,
    Message,
    Moves,
    Score,
    Scores,
    Snapshot,
    Welcome,
    decode,
    scores,
)

MESSAGES = [
    Join("Ada"),
    Join(""),
    Moves(1, ()),
    Moves(4_000_000_000, tuple((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1))),
    Welcome(8),
    Scores(1, ()),
    Scores(70_000, (Score(2, "Ægir", 65_535), Score(1, "", 0))),
    Snapshot(90_000, 1500.25, 12, 0, (400.0, 300.0), {}),
    Snapshot(3, 0.05, 0, 2, (1.5, 2.25), {1: (14.0, 586.0), 2: (1.5, 2.25)}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode(message.encode()) == message


@given(data=st.binary(max_size=64))
@example(data=b"")
@example(data=b"J\xff")
@example(data=b"J" + b"x" * (MAX_NAME_BYTES + 1))
@example(data=b"J\n")
@example(data=b"M\x00\x00\x00\x01\x09")
@example(data=b"M\x00\x00\x00\x01" + b"\x04" * (MAX_STEPS + 1))
@example(data=b"S\x00\x00\x00\x01\x01\x00\x00\x05abc")
@example(data=b"S\x00\x00\x00\x01\x01\x00\x00\x05")
def test_any_bytes_are_a_message_or_a_value_error(data: bytes) -> None:
    try:
        message = decode(data)
    except ValueError:
        return
    if not any(isinstance(value, float) and math.isnan(value) for value in _numbers(message)):
        assert decode(message.encode()) == message


def _numbers(message: Message) -> list[float]:
    if not isinstance(message, Snapshot):
        return []
    places = (value for place in message.places.values() for value in place)
    return [message.time, *message.star, *places]


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_what_is_cut_short_is_no_longer_that_message(message: Message) -> None:
    data = message.encode()
    for length in range(len(data)):
        try:
            assert decode(data[:length]) != message
        except ValueError:
            continue


def test_a_name_is_cut_between_two_letters() -> None:
    assert decode(Join("é" * 20).encode()) == Join("é" * (MAX_NAME_BYTES // 2))
    assert decode(Join("x" + "é" * 20).encode()) == Join("x" + "é" * (MAX_NAME_BYTES // 2 - 1))


def test_a_snapshot_of_all_players_fits_in_a_datagram() -> None:
    places = dict.fromkeys(range(MAX_PLAYERS), (1.0, 2.0))
    assert len(Snapshot(1, 1.0, 1, 1, (0.0, 0.0), places).encode()) < Packet.MAX_PAYLOAD_SIZE


def test_the_scoreboard_begins_with_the_most_points() -> None:
    board = scores(4, [(1, "Ada", 3), (2, "Bob", 7), (3, "Cy", 3)])
    assert [line.name for line in board.lines] == ["Bob", "Ada", "Cy"]


def test_points_beyond_what_the_message_can_say_stay_at_that() -> None:
    board = scores(1, [(1, "Ada", 100_000)])
    assert decode(board.encode()) == Scores(1, (Score(1, "Ada", 65_535),))
