"""The behaviour of a bot. Derive from `Script`, and pass your class to `swarm.command.main`."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

from mpgameserver import RetryMode


@dataclass(frozen=True)
class Ask:
    """A message that the server is to answer."""

    key: Hashable
    """The key by which the reply is recognized."""
    message: bytes
    retry: RetryMode = RetryMode.NONE


class Script(ABC):
    """One player. Bots are numbered from 0, and each has a script of its own."""

    interval = 1 / 32
    """Seconds between two calls of `ask`."""

    def __init__(self, number: int) -> None:
        self.number = number

    @abstractmethod
    def ask(self) -> Ask:
        """The next message, for which an answer is waited for."""

    @abstractmethod
    def answered(self, message: bytes) -> Hashable | None:
        """The key of what a message of the server answers; None when it answers nothing."""


class Echo(Script):
    """Asks a server that sends everything back: `swarm.echoserver`, or `mpgameserver serve`."""

    size = 64
    _COUNT = struct.Struct("<Q")

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._count = 0

    def ask(self) -> Ask:
        """A number, and what fills the message up."""
        self._count += 1
        return Ask(self._count, self._COUNT.pack(self._count).ljust(self.size, b"\0"))

    def answered(self, message: bytes) -> Hashable | None:
        """The number that has come back."""
        return self._COUNT.unpack_from(message)[0] if len(message) == self.size else None
