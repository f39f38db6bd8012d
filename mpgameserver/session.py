"""The sessions of a server, and where to find them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from mpgameserver.address import IpAddress, SocketAddress, host_group, host_of, plain_address
from mpgameserver.connection import Connection
from mpgameserver.enums import ConnectionStatus, DisconnectReason
from mpgameserver.limits import Limits
from mpgameserver.serverclient import ServerClient

__all__ = ["Session", "SessionTable"]


class SessionOwner(Protocol):
    """What a session asks of the server."""

    @property
    def now(self) -> float:
        """The monotonic time, in seconds."""

    def wants_out(self, session: Session) -> None:
        """See to it that the session's datagrams leave."""


class Session:
    """A client that has proved its handshake, and how far the handler knows of it.

    `client_key` is the ephemeral key of its hello, in DER.
    """

    __slots__ = (
        "_owner",
        "address",
        "client",
        "client_key",
        "connected_at",
        "connection",
        "ending",
        "is_announced",
        "is_ready",
        "reason",
    )

    def __init__(
        self,
        connection: Connection,
        address: SocketAddress,
        client_key: bytes,
        owner: SessionOwner,
    ) -> None:
        self._owner = owner
        self.connection = connection
        self.address = address
        self.client_key = client_key
        self.client = ServerClient(self, plain_address(address))
        self.connected_at = owner.now
        self.is_announced = False
        """The handler has had the `connect` event."""
        self.is_ready = False
        """It waits for its turn to send."""
        self.ending: DisconnectReason | None = None
        """Why the server has begun to end it: no message is handled any more."""
        self.reason: DisconnectReason | None = None
        """Why it ended."""

    @property
    def now(self) -> float:
        """The monotonic time, in seconds."""
        return self._owner.now

    def wants_out(self) -> None:
        """See to it that what was queued leaves."""
        self._owner.wants_out(self)

    def say_goodbye(self, reason: DisconnectReason) -> None:
        """Begin to disconnect, unless that has begun or the session is over."""
        if self.connection.status == ConnectionStatus.CONNECTED:
            self.ending = reason
            self.connection.disconnect(self.now)
            self.wants_out()

    def end(self) -> DisconnectReason:
        """Note why the session, which is over, has ended."""
        dropped = self.connection.status == ConnectionStatus.DROPPED
        heard = DisconnectReason.TIMEOUT if dropped else DisconnectReason.GOODBYE
        self.reason = self.ending or heard
        return self.reason


class SessionTable:
    """The sessions, one for each address, each with a client key and a token of its own."""

    def __init__(self) -> None:
        self._by_address: dict[SocketAddress, Session] = {}
        self._client_keys: set[bytes] = set()
        self._tokens: set[int] = set()
        self._per_host: Counter[bytes] = Counter()
        self.get = self._by_address.get

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Session]:
        """The sessions as they are now, in the order in which they came."""
        return iter(tuple(self._by_address.values()))

    def __contains__(self, address: SocketAddress) -> bool:
        return address in self._by_address

    def has_client_key(self, client_key: bytes) -> bool:
        """True when a session came of a hello with this key."""
        return client_key in self._client_keys

    def has_token(self, token: int) -> bool:
        """True when a session has this token."""
        return token in self._tokens

    def no_room(self, address: SocketAddress, host: IpAddress, limits: Limits) -> str | None:
        """Which cap forbids another session at an address: "full", "host full", or None.

        None where it would replace one.
        """
        if address in self._by_address:
            return None
        if len(self._by_address) >= limits.clients:
            return "full"
        taken = self._per_host[host_group(host)]
        return "host full" if taken >= limits.clients_per_host else None

    def add(self, session: Session) -> None:
        """Add a session at an address that has none."""
        self._by_address[session.address] = session
        self._per_host[host_group(host_of(session.address))] += 1
        self._client_keys.add(session.client_key)
        self._tokens.add(session.connection.token)

    def remove(self, session: Session) -> None:
        """Remove a session, unless it was removed before; give back what all share."""
        if self._by_address.get(session.address) is session:
            del self._by_address[session.address]
            self._client_keys.discard(session.client_key)
            self._tokens.discard(session.connection.token)
            self._leave_host(host_group(host_of(session.address)))
            session.connection.endpoint.reassembler.clear()

    def _leave_host(self, group: bytes) -> None:
        self._per_host[group] -= 1
        if not self._per_host[group]:
            del self._per_host[group]
