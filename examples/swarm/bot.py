"""One bot: a client, its script, and how long the answers take.

It has no loop: `turn` is called when its sockets can be read (`client.filenos`) and when `due` has
come. Time is an argument, but for the moment in which an answer is read.
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass, field

from mpgameserver import ConnectionStatus, SendQueueFullError, UdpClient
from swarm.script import Script


@dataclass
class Tally:
    """The outcome of the requests of all bots."""

    asked: int = 0
    delays: list[float] = field(default_factory=list)
    """Seconds from each ask to its answer."""
    lateness: list[float] = field(default_factory=list)
    """Seconds by which each ask left later than it should have: the swarm's fault."""


class Bot:
    """A player without a screen; what becomes of its asks is added to `tally`."""

    def __init__(self, client: UdpClient, script: Script, tally: Tally) -> None:
        self.client = client
        self.script = script
        self._tally = tally
        self._asked: dict[Hashable, float] = {}
        self._next_ask = float("inf")

    @property
    def is_gone(self) -> bool:
        """It is not connected, and no attempt is in progress."""
        return self.client.status() in (ConnectionStatus.DISCONNECTED, ConnectionStatus.DROPPED)

    @property
    def outstanding(self) -> int:
        """The asks that have no answer."""
        return len(self._asked)

    @property
    def due(self) -> float:
        """Time at which `turn` is due if nothing arrives before, in seconds of `time.monotonic`."""
        return min(self.client.next_timer(), self._next_ask)

    def play(self, first: float) -> None:
        """Ask, from a moment on; what was asked before is forgotten."""
        self._asked.clear()
        self._next_ask = first

    def rest(self) -> None:
        """Ask no more, and still take the answers."""
        self._next_ask = float("inf")

    def turn(self, now: float) -> None:
        """Ask what is due, send, and take what has come."""
        if now >= self._next_ask and self.client.connected():
            self._ask(now)
        self.client.update()
        for _, message in self.client.getMessages():
            asked = self._asked.pop(self.script.answered(message), None)
            if asked is not None:
                self._tally.delays.append(time.monotonic() - asked)
        if self.is_gone:
            self.rest()

    def _ask(self, now: float) -> None:
        self._tally.asked += 1
        self._tally.lateness.append(now - self._next_ask)
        # An ask that the swarm is too late for is left out: a burst would be another load.
        self._next_ask = max(self._next_ask + self.script.interval, now)
        ask = self.script.ask()
        self._asked[ask.key] = now
        try:
            self.client.send(ask.message, ask.retry)
        except SendQueueFullError:  # it stays without an answer, and so counts as lost
            return
