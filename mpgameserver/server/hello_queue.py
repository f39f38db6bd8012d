"""Hellos that wait for the public-key work that answers them, and who goes first.

An address in a hello may be forged, and the wire format has no cookie that would show it. What
tells a client from a flood of forged addresses is that a client comes again: it repeats its hello
until it is answered. So a hello that found no room to wait is remembered, and preferred when it
comes a second time. Three answers of four go to repeated hellos and one to a new one, while both
wait: a client that says its hello only once has a chance, too, whoever repeats.

Among each kind, hosts take turns: one host that floods delays its own hellos only. Nor can a few
hosts keep others out by filling the queue: whoever has most in it gives way (`fair_queue`), and
is remembered as the others are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from mpgameserver.bounds.random_set import RandomSet
from mpgameserver.server.fair_queue import FairQueue
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import IpAddress, SocketAddress, host_groups
from mpgameserver.wire.handshake import ClientHello

__all__ = ["WaitingHello", "WaitingHellos"]

TURNS_PER_NEW_HELLO = 4
"""Of so many answers one goes to a hello that came once, if any of those waits."""


@dataclass(frozen=True)
class WaitingHello:
    """A hello that has passed every cheap check.

    `seq` is its packet number, `now` the monotonic time of its arrival and `wall_now` the Unix
    time then, in seconds.
    """

    hello: ClientHello
    seq: int
    address: SocketAddress
    host: IpAddress
    now: float
    wall_now: float = field(repr=False)


class WaitingHellos:
    """The hellos that wait, and those that found no room, as far as they are remembered.

    Which of these are forgotten `rng` decides: if it were the oldest, a flood that is fast enough
    would have each of them forgotten before it comes again.
    """

    def __init__(self, limits: Limits, rng: Random | None = None) -> None:
        self._put_off = RandomSet(limits.hellos_put_off, rng or Random())
        self._new = self._queue(limits)
        self._repeated = self._queue(limits)
        self._turn = 0
        self.evicted: int = 0
        """Number of hellos that lost their place to one of a host with fewer; remembered."""

    def __len__(self) -> int:
        return self._new.size + self._repeated.size

    @property
    def put_off(self) -> int:
        """Number of deferred hellos that are remembered."""
        return len(self._put_off)

    def add(self, hello: WaitingHello) -> bool:
        """Let a hello wait; False when it has no room, and is remembered instead."""
        (party, _), *wider = host_groups(hello.host)
        groups, key = tuple(wider), _key_of(hello)
        if self._repeated.has(party, key):
            return True
        if self._new.has(party, key):
            if self._repeated.push(party, key, hello, groups):
                self._new.remove(party, key)
            return True
        mark = hash(key)  # of str and bytes: nobody can know how two hellos come to share one
        queue = self._repeated if mark in self._put_off else self._new
        if queue.push(party, key, hello, groups):
            self._put_off.discard(mark)
            return True
        self._put_off.add(mark)
        return False

    def pop(self) -> WaitingHello:
        """Take the hello whose turn it is. Raises IndexError when none waits."""
        self._turn = (self._turn + 1) % TURNS_PER_NEW_HELLO
        if self._repeated.size and (self._turn or not self._new.size):
            return self._repeated.pop()
        return self._new.pop()

    def _queue(self, limits: Limits) -> FairQueue[WaitingHello]:
        return FairQueue(
            limits.waiting_hellos, limits.waiting_hellos_per_host, on_evicted=self._note_evicted
        )

    def _note_evicted(self, hello: WaitingHello) -> None:
        self.evicted += 1
        self._put_off.add(hash(_key_of(hello)))

    def clear(self) -> None:
        """Forget all hellos."""
        self._new.clear()
        self._repeated.clear()
        self._put_off.clear()


def _key_of(hello: WaitingHello) -> tuple[SocketAddress, bytes]:
    return hello.address, hello.hello.public_key_der
