"""The sent and receive windows in the terms of their models: whole answers at once."""

from __future__ import annotations

from mpgameserver._core.receive_window import (
    BEHIND,
    DUPLICATE,
    FRESH,
    OUT_OF_TIME,
    TOO_FAR_AHEAD,
    ReceiveWindow,
)
from mpgameserver._core.sent_window import SentWindow

ARRIVALS = {
    FRESH: "fresh",
    DUPLICATE: "duplicate",
    BEHIND: "behind",
    OUT_OF_TIME: "out of time",
    TOO_FAR_AHEAD: "too far ahead",
}
"""The words of `models.ReceiveModel` for what a packet is."""


def arrival(window: ReceiveWindow, seq: int, time: int) -> str:
    """Return what a packet with this number and send time is."""
    return ARRIVALS[window.judge(seq, time)]


def receive(window: ReceiveWindow, seq: int, time: int) -> bool:
    """Enter a packet if it is fresh; return True if it was."""
    if window.judge(seq, time) != FRESH:
        return False
    window.enter(seq, time)
    return True


def send(
    window: SentWindow, now: float, contents: object = None, ack_eliciting: bool = True
) -> int:
    """Let a packet leave at `now`; return its packet number."""
    return window.on_packet_sent(now, ack_eliciting, contents)


def acknowledge(window: SentWindow, ack: int, ack_bits: int) -> list[tuple[int, float, object]]:
    """Take the ack fields of a packet in; return (number, time sent, contents) of what is new."""
    window.on_ack(ack, ack_bits)
    return window.take_newly_acked()


def acknowledge_ranges(
    window: SentWindow, ranges: list[tuple[int, int]]
) -> list[tuple[int, float, object]]:
    """Take the ranges of a packet in; return (number, time sent, contents) of what is new."""
    window.begin_ack()
    for newest, oldest in ranges:
        window.on_range_acked(newest, oldest)
    return window.take_newly_acked()


def lost(window: SentWindow, now: float, loss_delay: float, pto: float) -> list[int]:
    """Return the numbers of all packets that are found lost at `now`."""
    return list(iter(lambda: window.pop_lost(now, loss_delay, pto), 0))


def timed_out(window: SentWindow, now: float, timeout: float) -> list[int]:
    """Return the numbers of all packets that were not acked within `timeout` seconds."""
    return list(iter(lambda: window.pop_timed_out(now, timeout), 0))
