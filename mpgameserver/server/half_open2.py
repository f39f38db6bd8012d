"""Half-open sessions of protocol 2: hellos that were answered, and have opened no packet yet.

A client that has returned a cookie receives at its address; anybody can open one without a cookie
from any address. So those without get only room that is free, and make place for those with one.
Among these a random one is evicted at a limit, as in `half_open`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random, SystemRandom

from mpgameserver.bounds.eviction import choose_victim
from mpgameserver.connection import Connection
from mpgameserver.server.half_open import leave_group
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import IpAddress, SocketAddress, host_groups
from mpgameserver.wire.protocol2.keys import SessionSecrets

__all__ = ["HalfOpenSession2", "HalfOpenTable2"]

MAX_PER_ADDRESS = 64
"""Half-open sessions of one host and port: a client has two, and each attempt from there adds two
more; whoever sees its cookie can add as many as it likes."""
MAX_PER_ADDRESS_WITHOUT_COOKIE = 8
"""Those of them without a cookie, before one is asked for whatever the load: four attempts of a
client, and little work for who spoofs a player's address."""


@dataclass(eq=False, slots=True)
class HalfOpenSession2:
    """An answered hello, and the session that it becomes with the first packet that opens."""

    address: SocketAddress
    """That to which the answer was first sent: the session's, if the packet comes from there."""
    host: IpAddress
    client_point: bytes = field(repr=False)
    transcript: bytes = field(repr=False)
    connection_id: bytes
    secrets: SessionSecrets
    awaits_key: bool
    """The answer has an empty extension 1: the client may send an encapsulation key in KEM frames.
    """
    answer: bytes = field(repr=False)
    """The datagram that answers the hello, again and again."""
    has_cookie: bool
    since: float
    """The monotonic time of the answer, in seconds."""
    answers: int = 1
    connection: Connection | None = None
    """Made for the first packet that claims to be of this session, and kept whether it opens or
    not: for further ones there is one AEAD to try, and nothing to make."""
    closing: bytes = field(default=b"", repr=False)
    """The datagram with CLOSE, where there was no room for the session; empty before."""
    closes: int = 0
    """Times that it was repeated."""

    @property
    def is_repeated(self) -> bool:
        """True if the hello was repeated."""
        return self.answers > 1


_Group = dict[HalfOpenSession2, None]


class HalfOpenTable2:
    """The half-open sessions by transcript, the oldest first.

    `limits` may be replaced; new ones apply to sessions added from then on. `rng` chooses the one
    to evict.
    """

    def __init__(self, limits: Limits, rng: Random | None = None) -> None:
        self.limits = limits
        self.evicted: int = 0
        """Handshakes evicted at a limit, before their timeout."""
        self._rng = rng or SystemRandom()
        self._all: OrderedDict[bytes, HalfOpenSession2] = OrderedDict()
        self._by_id: dict[bytes, HalfOpenSession2] = {}
        self._by_client: defaultdict[bytes, _Group] = defaultdict(dict)
        self._by_address: defaultdict[SocketAddress, _Group] = defaultdict(dict)
        self._by_host: defaultdict[bytes, _Group] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._all)

    def get(self, transcript: bytes) -> HalfOpenSession2 | None:
        """Return the one that a hello has opened, or None."""
        return self._all.get(transcript)

    def with_id(self, connection_id: bytes) -> HalfOpenSession2 | None:
        """Return the one with a connection id, or None."""
        return self._by_id.get(connection_id)

    def has_client(self, client_point: bytes) -> bool:
        """Return True if a hello with this client key has opened one."""
        return client_point in self._by_client

    def all(self) -> tuple[HalfOpenSession2, ...]:
        """Return all of them, the oldest first."""
        return tuple(self._all.values())

    def has_room(self, address: SocketAddress, host: IpAddress) -> bool:
        """Return True if a hello without a cookie may open one: none has to go for it."""
        here = self._by_address.get(address, {})
        without = sum(not half_open.has_cookie for half_open in here)
        return without < MAX_PER_ADDRESS_WITHOUT_COOKIE and all(
            len(group) < limit for group, limit in self._groups(address, host)
        )

    def add(self, half_open: HalfOpenSession2) -> None:
        """Add one; at a limit another one of its address, its host or of all is evicted."""
        for group, limit in self._groups(half_open.address, half_open.host):
            while group and len(group) >= limit:
                self._evict(group)
        self._all[half_open.transcript] = half_open
        self._by_id[half_open.connection_id] = half_open
        self._by_client[half_open.client_point][half_open] = None
        self._by_address[half_open.address][half_open] = None
        for name, _ in host_groups(half_open.host):
            self._by_host[name][half_open] = None

    def _groups(
        self, address: SocketAddress, host: IpAddress
    ) -> list[tuple[Collection[HalfOpenSession2], int]]:
        """Return the groups that one there belongs to, each with its limit."""
        groups: list[tuple[Collection[HalfOpenSession2], int]] = [
            (self._by_address.get(address, {}), MAX_PER_ADDRESS)
        ]
        for name, shares in host_groups(host):
            limit = self.limits.half_open_per_host * shares
            groups.append((self._by_host.get(name, {}), limit))
        groups.append((self._all.values(), self.limits.half_open))
        return groups

    def _evict(self, group: Collection[HalfOpenSession2]) -> None:
        without = [half_open for half_open in group if not half_open.has_cookie]
        self.evicted += 1
        self.remove(choose_victim(without or group, self._rng))

    def remove(self, half_open: HalfOpenSession2) -> None:
        """Remove one."""
        del self._all[half_open.transcript]
        del self._by_id[half_open.connection_id]
        leave_group(self._by_client, half_open.client_point, half_open)
        leave_group(self._by_address, half_open.address, half_open)
        for name, _ in host_groups(half_open.host):
            leave_group(self._by_host, name, half_open)

    def remove_client(self, client_point: bytes) -> None:
        """Remove all those of a client's key."""
        for half_open in tuple(self._by_client.get(client_point, ())):
            self.remove(half_open)

    def expire(self, before: float) -> None:
        """Remove those that were answered before a time."""
        while self._all:
            oldest = next(iter(self._all.values()))
            if oldest.since >= before:
                break
            self.remove(oldest)
