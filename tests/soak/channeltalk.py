"""The messages of one side on channels of every kind, and the check of what each kind promises.

Each channel has a talk of its own, of messages that no other talk has: one that arrives on another
channel, or at the other side, is found as altered.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from soak.talk import CALLED_TRUE, INDEX, Kind, Talk

from mpgameserver.channels import Channel
from mpgameserver.connection import Connection
from mpgameserver.enums import RetryMode

CHANNELS = (
    Channel("loot", "unordered"),
    Channel("chat", "ordered"),
    Channel("position", "sequenced"),
    Channel("score", "latest"),
)
LAP = 509
"""A sixteenth of what a talk without channels has: of a crowd each member has ten talks."""
UNNAMED = ""
"""The channel that is always there; it is unordered."""


class SendOn(Protocol):
    """Sending a message on the channel with a number."""

    def __call__(
        self, channel: int, payload: bytes, retry: int, callback: Callable[[bool], object] | None
    ) -> None: ...


class UnorderedTalk(Talk):
    """A talk on an unordered channel: what every talk promises.

    What was acked has arrived at the side, but its handler may not have had its turn. So a True is
    checked in the end.
    """

    lap = LAP

    def _check_acked(self, index: int) -> None:
        """Leave it to `check`."""

    def check(self) -> None:
        super().check()
        for index, called in enumerate(self._called):
            if called == CALLED_TRUE:
                assert self._is_over(index), f"message {index}: True, but it did not arrive"

    def _is_over(self, index: int) -> bool:
        """Return True if a message has arrived, or need not any more."""
        return bool(self._arrived[index])


class OrderedTalk(UnorderedTalk):
    """A talk of which every message arrives, in the order in which they were said."""

    _next = 0

    def take(self, message: bytes) -> None:
        super().take(message)
        index = INDEX.unpack_from(message)[0]
        assert index == self._next, f"message {index} arrived where {self._next} was due"
        self._next += 1

    def _is_over(self, index: int) -> bool:
        """Return True if a message has arrived, or waited for a gap when the session ended."""
        if super()._is_over(index):
            return True
        return self.has_ended and self._called[self._next] != CALLED_TRUE


class SequencedTalk(UnorderedTalk):
    """A talk of which no message arrives after a newer one; `newest` is -1 at first."""

    newest = -1

    def take(self, message: bytes) -> None:
        super().take(message)
        index = INDEX.unpack_from(message)[0]
        assert index > self.newest, f"message {index} arrived after {self.newest}"
        self.newest = index

    def _is_reliable(self, index: int) -> bool:
        return False

    def _is_over(self, index: int) -> bool:
        return self.newest >= index


class LatestTalk(SequencedTalk):
    """The same, of which the newest message arrives for certain."""

    def check(self) -> None:
        super().check()
        if not self.has_ended:
            assert self.newest == self.said - 1, f"message {self.said - 1}, the newest, was lost"


TALKS: dict[str, type[UnorderedTalk]] = {
    "unordered": UnorderedTalk,
    "ordered": OrderedTalk,
    "sequenced": SequencedTalk,
    "latest": LatestTalk,
}


class Conversation:
    """All that one side says to the other, on every channel in turn as the seed has it."""

    def __init__(self, send_on: SendOn, kinds: Sequence[Kind], seed: str) -> None:
        reliable = tuple(replace(kind, mode=RetryMode.RETRY_ON_TIMEOUT) for kind in kinds)
        self.talks: dict[str, UnorderedTalk] = {
            UNNAMED: UnorderedTalk(partial(send_on, 0), kinds, f"{seed}/")
        }
        for number, channel in enumerate(CHANNELS, 1):
            says = kinds if channel.kind == "unordered" else reliable
            talk = TALKS[channel.kind](partial(send_on, number), says, f"{seed}/{channel.name}")
            self.talks[channel.name] = talk
        self._turns = random.Random(seed).choices(list(self.talks.values()), k=LAP)

    @property
    def said(self) -> int:
        """The number of messages queued so far."""
        return self._sum("said")

    @property
    def open(self) -> int:
        """The number of messages whose callback has not been called."""
        return self._sum("open")

    @property
    def settled(self) -> int:
        """The number of those whose callback was called."""
        return self._sum("settled")

    @property
    def reliable(self) -> int:
        """The number of messages that must arrive."""
        talks = self.talks.values()
        return sum(talk.reliable for talk in talks if not isinstance(talk, SequencedTalk))

    @property
    def bytes_arrived(self) -> int:
        """The bytes of the messages that have arrived."""
        return self._sum("bytes_arrived")

    @property
    def has_ended(self) -> bool:
        """The session has ended, which is when even a reliable message may be given up."""
        return self.talks[UNNAMED].has_ended

    @has_ended.setter
    def has_ended(self, has_ended: bool) -> None:
        for talk in self.talks.values():
            talk.has_ended = has_ended

    def say(self) -> None:
        """Queue the next message."""
        self._turns[self.said % LAP].say()

    def take_on(self, channel: str, message: bytes) -> None:
        """Check a message that has arrived on a channel."""
        self.talks[channel].take(message)

    def check(self) -> None:
        """When all is over: check what each channel has promised."""
        for name, talk in self.talks.items():
            try:
                talk.check()
            except AssertionError as error:
                raise AssertionError(f"channel {name!r}: {error}") from error

    def look(self) -> None:
        """Read what has arrived: the owner gives it to `take`."""

    def _sum(self, name: str) -> int:
        return sum(getattr(talk, name) for talk in self.talks.values())


def read_client(connection: Connection, conversation: Conversation) -> None:
    """Read what has arrived at a client."""
    for _, message in connection.endpoint.take_messages():
        conversation.take_on(UNNAMED, message)
    for number, channel in enumerate(CHANNELS, 1):
        while connection.channel_inbox_size(number):
            conversation.take_on(channel.name, connection.take_channel_message(number)[1])
