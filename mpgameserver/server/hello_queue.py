"""The queue of hellos that wait for the public-key work of their reply, and its order.

The address of a hello may be spoofed, and the wire format has no cookie that would reveal it. What
distinguishes a client from a flood with spoofed addresses is that a client repeats its hello until
it gets a reply. A hello that found no room in the queue is therefore remembered, and preferred when
it arrives a second time. While both kinds wait, three of four replies go to repeated hellos and one
to a new one, so that a client that sends its hello only once has a chance, too.

Within each kind, hosts take turns, so a host that floods delays only its own hellos. A few hosts
cannot keep others out by filling the queue either: the host with the most entries loses one
(`fair_queue`), which is remembered like the others.
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
"""One of this many replies goes to a new hello, if any is queued."""


@dataclass(frozen=True)
class WaitingHello:
    """A hello that has passed the cheap checks.

    `seq` is its packet number, `now` the monotonic time and `wall_now` the Unix time of its
    arrival, in seconds.
    """

    hello: ClientHello
    seq: int
    address: SocketAddress
    host: IpAddress
    now: float
    wall_now: float = field(repr=False)


class WaitingHellos:
    """The queued hellos, and the deferred ones that are remembered.

    `rng` chooses which deferred hello is forgotten. If it were the oldest, a fast enough flood
    would make every hello be forgotten before it is repeated.
    """

    def __init__(self, limits: Limits, rng: Random | None = None) -> None:
        self._put_off = RandomSet(limits.hellos_put_off, rng or Random())
        self._new = self._queue(limits)
        self._repeated = self._queue(limits)
        self._turn = 0
        self.evicted: int = 0
        """Hellos that lost their place to one of a host with fewer; they are remembered."""

    def __len__(self) -> int:
        return self._new.size + self._repeated.size

    @property
    def put_off(self) -> int:
        """Number of deferred hellos that are remembered."""
        return len(self._put_off)

    def add(self, hello: WaitingHello) -> bool:
        """Queue a hello; return False if there is no room, and it is remembered instead."""
        (party, _), *wider = host_groups(hello.host)
        groups, key = tuple(wider), _key_of(hello)
        if self._repeated.has(party, key):
            return True
        if self._new.has(party, key):
            if self._repeated.push(party, key, hello, groups):
                self._new.remove(party, key)
            return True
        mark = hash(key)  # of str and bytes, which is salted: nobody can construct a collision
        queue = self._repeated if mark in self._put_off else self._new
        if queue.push(party, key, hello, groups):
            self._put_off.discard(mark)
            return True
        self._put_off.add(mark)
        return False

    def pop(self) -> WaitingHello:
        """Take the hello whose turn it is. Raises IndexError if none is queued."""
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
        """Discard all hellos."""
        self._new.clear()
        self._repeated.clear()
        self._put_off.clear()


def _key_of(hello: WaitingHello) -> tuple[SocketAddress, bytes]:
    return hello.address, hello.hello.public_key_der
