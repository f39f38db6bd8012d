"""Half-open sessions: handshakes that were answered and are not established yet.

Anybody can open one from any address, so everything about them is bounded, by `Limits` and by time.
At a limit a random one is evicted. Evicting the oldest would keep honest clients out: they need a
round trip, and hellos spoofed in their name would make theirs the oldest before that is over. A
client whose handshake was evicted sends the same hello again.

A flood opens thousands, and every object that the garbage collector tracks lengthens a pause of all
sessions. A handshake therefore consists of bytes and numbers where possible, and the table creates
no keys of its own: five tracked objects for each in all.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection
from dataclasses import InitVar, dataclass, field
from random import Random, SystemRandom
from typing import Protocol, TypeVar

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.bounds.eviction import choose_victim
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import HandshakeError
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import (
    IpAddress,
    SocketAddress,
    host_groups,
    host_of,
    limits_towards,
)
from mpgameserver.transport.keylog import KeyLog
from mpgameserver.wire.handshake import (
    ClientHello,
    ServerHello,
    decode_challenge_response,
    encode_clear_packet,
    session_key,
    wire_time,
)
from mpgameserver.wire.session_cipher import SessionCipher, may_open, session_cipher

__all__ = ["HalfOpenSession", "HalfOpenTable", "leave_group", "remove_where"]

_NameT = TypeVar("_NameT")
_KeyT = TypeVar("_KeyT")
_EntryT = TypeVar("_EntryT")
_ItemT = TypeVar("_ItemT")


@dataclass(eq=False, slots=True)
class HalfOpenSession:
    """One answered hello: the reply, and what verifying the CHALLENGE_RESP takes.

    The endpoint is created when the CHALLENGE_RESP arrives; its packet numbers continue after those
    of the replies sent until then. `now` is the monotonic time of
    the first answer and `wall_now` the Unix time then, in seconds.
    """

    address: SocketAddress
    client_key_der: bytes
    private_key: EllipticCurvePrivateKey = field(repr=False)
    hello: InitVar[ServerHello]
    now: float
    wall_now: float
    answers: int = 0
    token: int = field(init=False, repr=False)
    _salt: bytes = field(init=False, repr=False)
    _message: bytes = field(init=False, repr=False)
    _aead: SessionCipher | None = field(init=False, repr=False, default=None)

    def __post_init__(self, hello: ServerHello) -> None:
        self.token, self._salt, self._message = hello.token, hello.salt, hello.encode()

    @property
    def host(self) -> IpAddress:
        """The host of the address."""
        return host_of(self.address)

    def answer(self, hello_seq: int, now: float) -> bytes:
        """Return the reply in a new packet, which acks the hello with packet number `hello_seq`.

        Clients of the published package count a hello that is not acked as timed out.
        """
        self.answers += 1
        time = wire_time(self._wall_at(now))
        return encode_clear_packet(
            PacketType.SERVER_HELLO, self.answers, 1, self._message, time, ack=hello_seq
        )

    @property
    def is_repeated(self) -> bool:
        """True if the hello was repeated."""
        return self.answers > 1

    @property
    def has_key(self) -> bool:
        """True once the ECDH exchange is done, so that a CHALLENGE_RESP can be verified."""
        return self._aead is not None

    def exchange(self, key_log: KeyLog | None = None) -> None:
        """Derive the session's key: public-key work, deferred until there is a CHALLENGE_RESP."""
        client_key = ClientHello(self.client_key_der).public_key()
        key = session_key(self.private_key, client_key, self._salt)
        if key_log is not None:
            key_log.write_protocol_1(self._salt, key)
        self._aead = session_cipher(key)

    def establish(self, datagram: bytes, now: float) -> Endpoint1 | None:
        """Return the session's endpoint if the datagram is the CHALLENGE_RESP, else None.

        Always None before there is a key.
        """
        if self._aead is None or not may_open(self._aead, datagram):
            return None
        endpoint = Endpoint1(
            self._aead,
            True,
            now,
            self._wall_at(now),
            max_datagram=limits_towards(self.host).datagram,
            packets_before=self.answers,
            messages_before=1,
        )
        if endpoint.receive(datagram, now) != 0 or endpoint.challenge is None:
            return None
        try:
            token = decode_challenge_response(endpoint.challenge)
        except HandshakeError:
            return None
        return endpoint if token == self.token else None

    def _wall_at(self, now: float) -> float:
        return self.wall_now + (now - self.now)


_Group = dict[HalfOpenSession, None]


class HalfOpenTable:
    """The half-open sessions: one for each address and client key, the oldest first.

    `rng` chooses the one to evict.
    """

    def __init__(self, limits: Limits, rng: Random | None = None) -> None:
        self._rng = rng or SystemRandom()
        self.limits = limits
        """May be replaced; new limits apply to sessions added from then on."""
        self._all: OrderedDict[HalfOpenSession, None] = OrderedDict()
        self._by_host: defaultdict[bytes, _Group] = defaultdict(dict)
        self._by_address: defaultdict[SocketAddress, dict[bytes, HalfOpenSession]] = defaultdict(
            dict
        )
        self._tokens: set[int] = set()
        self.evicted: int = 0
        """Handshakes evicted at a limit, before their timeout."""

    def __len__(self) -> int:
        return len(self._all)

    def get(self, address: SocketAddress, client_key_der: bytes) -> HalfOpenSession | None:
        """Return the half-open session of a hello, or None."""
        group = self._by_address.get(address)
        return None if group is None else group.get(client_key_der)

    def at(self, address: SocketAddress) -> tuple[HalfOpenSession, ...]:
        """Return the half-open sessions of an address, the oldest first."""
        return tuple(self._by_address[address].values()) if address in self._by_address else ()

    def all(self) -> tuple[HalfOpenSession, ...]:
        """Return all half-open sessions, the oldest first."""
        return tuple(self._all)

    def has_token(self, token: int) -> bool:
        """Return True if one of them has offered this token."""
        return token in self._tokens

    def add(self, half_open: HalfOpenSession) -> None:
        """Add one; at a limit, evict another of its address, its host or of all."""
        address, hosts = half_open.address, host_groups(half_open.host)
        of_address = self._by_address.get(address, {})
        self._make_room(of_address.values(), self.limits.half_open_per_address)
        for host, shares in hosts:
            self._make_room(self._by_host.get(host, {}), self.limits.half_open_per_host * shares)
        self._make_room(self._all, self.limits.half_open)
        self._all[half_open] = None
        self._by_address[address][half_open.client_key_der] = half_open
        for host, _ in hosts:
            self._by_host[host][half_open] = None
        self._tokens.add(half_open.token)

    def _make_room(self, group: Collection[HalfOpenSession], limit: int) -> None:
        while group and len(group) >= limit:
            self.evicted += 1
            self.remove(choose_victim(group, self._rng))

    def remove(self, half_open: HalfOpenSession) -> None:
        """Remove a half-open session."""
        del self._all[half_open]
        leave_group(self._by_address, half_open.address, half_open.client_key_der)
        for host, _ in host_groups(half_open.host):
            leave_group(self._by_host, host, half_open)
        self._tokens.discard(half_open.token)

    def expire(self, before: float) -> None:
        """Remove those that began before a time."""
        while self._all:
            oldest = next(iter(self._all))
            if oldest.now >= before:
                break
            self.remove(oldest)


class Table(Protocol[_ItemT]):
    """A table of half-open sessions of one protocol."""

    def all(self) -> tuple[_ItemT, ...]:
        """Return all of them."""

    def remove(self, half_open: _ItemT, /) -> None:
        """Remove one."""


def remove_where(table: Table[_ItemT], condition: Callable[[_ItemT], bool]) -> None:
    """Remove the half-open sessions for which `condition` is true."""
    for half_open in table.all():
        if condition(half_open):
            table.remove(half_open)


def leave_group(groups: dict[_NameT, dict[_KeyT, _EntryT]], name: _NameT, key: _KeyT) -> None:
    """Remove an entry from a group, and the group if it is empty then."""
    del groups[name][key]
    if not groups[name]:
        del groups[name]
