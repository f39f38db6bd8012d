"""Channels: the independent streams of messages that a game declares, alike on both sides.

A game gives the same list to its server and its clients:

>>> from mpgameserver import Channel
>>> CHANNELS = [Channel("chat"), Channel("position", "latest", priority=1)]

Beside them there is always the channel without a name, on which `send` without a channel sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mpgameserver._core.frames import MAX_MESSAGE_SIZE, MAX_SETUP_SIZE
from mpgameserver.enums import RetryMode
from mpgameserver.wire.protocol2.setup import (
    MAX_CREDENTIAL_SIZE,
    MAX_NAME_SIZE,
    ChannelKind,
    DeclaredChannel,
    Window,
)

__all__ = ["Channel", "ChannelTable"]

LAST_CHANNEL = 255
LEAST_PRIORITY, MOST_PRIORITY = -2, 2
WINDOW_BYTES = 1 << 20
"""Bytes that one ordered channel may make the receiver keep: 10 MB/s at a round trip of 0.1 s, and
a sixteenth of what one session may hold in incomplete messages."""
WINDOW_MESSAGES = 4096
"""Messages of one ordered channel on their way, or waiting for a gap, at once: 256 bytes of each
fill the default window."""
FRAME_OF_TABLE = 64
"""Bytes of connect data beside the credential and the rows: lengths, counts and extensions."""

KindName = Literal["unordered", "ordered", "sequenced", "latest"]


@dataclass(frozen=True)
class Channel:
    """A channel, as both sides declare it: its name and kind must be the same on both.

    Parameters:
        name: 1 to 64 bytes of UTF-8, none twice.
        kind: "ordered": every message, once, in the order in which they were sent. "unordered":
            as messages without a channel; each chooses its `RetryMode`. "sequenced": sent once; one
            that arrives after a newer one is dropped. "latest": the newest message arrives for
            certain; it replaces one that still waits to be sent.
        priority: messages of a higher priority are sent first, -2 to 2. It is this side's own
            affair; messages without a channel have 0.
        window: for an ordered channel, the bytes of messages that may be on their way to this side
            or wait here for an earlier one. The largest message that this side receives on it is as
            large. At most 8,389,011.
        number: its number on the wire, 1 to 255; by default channels are numbered in the order in
            which they are declared.

    Raises:
        TypeError: an argument has another type.
        ValueError: the name, the kind, the priority, the window or the number is not allowed.
    """

    name: str
    kind: KindName = "ordered"
    priority: int = 0
    window: int = WINDOW_BYTES
    number: int | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in get_args(KindName):
            kinds = ", ".join(map(repr, get_args(KindName)))
            raise ValueError(f"kind must be one of {kinds}, not {self.kind!r}")
        _check_int("priority", self.priority, LEAST_PRIORITY, MOST_PRIORITY)
        _check_int("window", self.window, 1, MAX_MESSAGE_SIZE)
        if self.number is not None:
            _check_int("number", self.number, 1, LAST_CHANNEL)

    @property
    def wire_kind(self) -> ChannelKind:
        """The kind as the wire has it."""
        return ChannelKind[self.kind.upper()]

    def declared(self, number: int) -> DeclaredChannel:
        """Return the row that declares this channel under a number, with this side's window."""
        is_ordered = self.wire_kind is ChannelKind.ORDERED
        window = Window(WINDOW_MESSAGES, self.window) if is_ordered else Window()
        return DeclaredChannel(number, self.wire_kind, self.name, window)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"name must be encodable as UTF-8: {name!r}") from None
    if not 1 <= size <= MAX_NAME_SIZE:
        raise ValueError(
            f"name must have 1 to {MAX_NAME_SIZE} bytes of UTF-8, not {size}: {name!r}"
        )


def _check_int(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be {least} to {most}, not {value}")


class ChannelTable:
    """The channels that one side has declared, by ascending number.

    Raises TypeError for anything but Channels, and ValueError for a name or a number given twice,
    and for a table that leaves no room for a credential beside it.
    """

    def __init__(self, channels: Iterable[Channel] = ()) -> None:
        self._by_number: dict[int, Channel] = dict(sorted(_numbered(list(channels)).items()))
        self._numbers = {channel.name: number for number, channel in self._by_number.items()}
        self.names: dict[int, str] = {0: ""}
        """The name of each channel by its number; that of channel 0 is empty."""
        self.names.update((number, each.name) for number, each in self._by_number.items())
        self.declared: tuple[DeclaredChannel, ...] = tuple(
            channel.declared(number) for number, channel in self._by_number.items()
        )
        """The rows of the table on the wire, with the windows that this side grants."""
        _check_size(self.declared)

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[tuple[int, Channel]]:
        return iter(self._by_number.items())

    def number_of(self, name: str) -> int:
        """Return the number of a channel. Raises ValueError if none has that name."""
        number = self._numbers.get(name)
        if number is None:
            known = ", ".join(map(repr, self._numbers)) or "none"
            raise ValueError(f"no channel {name!r} is declared; declared: {known}")
        return number

    def mode_on(self, name: str, retry: int | None) -> tuple[int, int]:
        """Return a channel's number and the retry mode of a message on it, given or by default.

        Raises ValueError if there is no such channel or mode, or if the kind of the channel leaves
        nothing to choose.
        """
        if not name:
            return 0, RetryMode.NONE if retry is None else RetryMode(retry)
        number = self.number_of(name)
        if self._by_number[number].kind == "unordered":
            return number, RetryMode.NONE if retry is None else RetryMode(retry)
        if retry is not None:
            kind = self._by_number[number].kind
            raise ValueError(f"retry is not for a message on {name!r}: the channel is {kind}")
        return number, RetryMode.RETRY_ON_TIMEOUT

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that this side grants on its ordered channels, ascending."""
        return tuple(row.window for row in self.declared if row.kind is ChannelKind.ORDERED)

    def first_difference(self, others: Sequence[DeclaredChannel]) -> str | None:
        """Return what keeps a peer with these channels out, in words; None if nothing does.

        A peer that grants less than this side does is one: else a single client could make a
        message too long that goes to all.
        """
        own = {row.channel: row for row in self.declared}
        theirs = {row.channel: row for row in others}
        for number in sorted({*own, *theirs}):
            ours, peers = own.get(number), theirs.get(number)
            if ours is None or peers is None or (ours.kind, ours.name) != (peers.kind, peers.name):
                return (
                    f"channel {number} is {_described(ours)} here "
                    f"and {_described(peers)} at the peer"
                )
            if peers.window.total < ours.window.total:
                return (
                    f"the window of channel {number} {ours.name!r} is {ours.window.total} here "
                    f"and {peers.window.total} at the peer"
                )
        return None


def _numbered(channels: list[Channel]) -> dict[int, Channel]:
    """Return the channels by number. Raises TypeError or ValueError if they do not go together."""
    numbered: dict[int, Channel] = {}
    names = set()
    for channel in channels:
        if not isinstance(channel, Channel):
            raise TypeError(f"channels must be Channels, not {channel!r}")
        if channel.name in names:
            raise ValueError(f"two channels are named {channel.name!r}")
        names.add(channel.name)
        if channel.number is not None:
            if channel.number in numbered:
                raise ValueError(f"two channels have the number {channel.number}")
            numbered[channel.number] = channel
    free = iter(number for number in range(1, LAST_CHANNEL + 1) if number not in numbered)
    for channel in [each for each in channels if each.number is None]:
        number = next(free, None)
        if number is None:
            raise ValueError(f"there can be {LAST_CHANNEL} channels, not {len(channels)}")
        numbered[number] = channel
    return numbered


def _check_size(declared: Sequence[DeclaredChannel]) -> None:
    """Raise ValueError for channels that leave no room for a credential of the largest size."""
    size = sum(len(row.encode()) for row in declared)
    most = MAX_SETUP_SIZE - MAX_CREDENTIAL_SIZE - FRAME_OF_TABLE
    if size > most:
        raise ValueError(f"the names of the channels are too long: {size} bytes of at most {most}")


def _described(row: DeclaredChannel | None) -> str:
    return "not declared" if row is None else f"{row.kind.name.lower()} {row.name!r}"
