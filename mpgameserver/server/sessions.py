"""The table of a server's sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mpgameserver._core.session import Session
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import IpAddress, SocketAddress, host_groups, host_of
from mpgameserver.wire.protocol2.hello import POINT_SIZE

__all__ = ["Session", "SessionTable"]


class SessionTable:
    """The sessions, with distinct client keys and tokens.

    Those of protocol 1 are found by their address, at most one at each; those of protocol 2 by
    their connection ids, however many share an address.
    """

    def __init__(self) -> None:
        self.by_address: dict[SocketAddress, Session] = {}
        self.by_id: dict[bytes, Session] = {}
        self._ids: dict[Session, list[bytes]] = {}
        self._all: dict[Session, None] = {}
        self._client_points: set[bytes] = set()
        self._tokens: set[int] = set()
        self._per_host: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Session]:
        """Iterate over a copy of the sessions, in the order in which they were established."""
        return iter(tuple(self._all))

    def __contains__(self, session: Session) -> bool:
        return session in self._all

    def get(self, address: SocketAddress) -> Session | None:
        """Return the session of protocol 1 at an address, or None."""
        return self.by_address.get(address)

    def has_client_key(self, client_key: bytes) -> bool:
        """Return True if a session was established with this client key, in DER."""
        return self.has_client_point(client_key[-POINT_SIZE:])

    def has_client_point(self, client_point: bytes) -> bool:
        """Return True if a session was established with this client key, as a point."""
        return client_point in self._client_points

    def has_token(self, token: int) -> bool:
        """Return True if a session has this token."""
        return token in self._tokens

    def has_connection_id(self, connection_id: bytes) -> bool:
        """Return True if a session has this connection id, or has a token that looks the same."""
        return connection_id in self.by_id or self.has_token(int.from_bytes(connection_id, "big"))

    def ids_of(self, session: Session) -> tuple[bytes, ...]:
        """Return the connection ids of a session; none in protocol 1."""
        return tuple(self._ids.get(session, ()))

    def add_id(self, session: Session, connection_id: bytes) -> None:
        """Have a session found by another connection id as well."""
        self.by_id[connection_id] = session
        self._ids[session].append(connection_id)

    def drop_id(self, session: Session, connection_id: bytes) -> None:
        """Have a session found by this connection id no more."""
        del self.by_id[connection_id]
        self._ids[session].remove(connection_id)

    def no_room(self, host: IpAddress, limits: Limits) -> str | None:
        """Return the limit that forbids another session of a host: "full" or "host full".

        None if there is room.
        """
        if len(self._all) >= limits.clients:
            return "full"
        for group, shares in host_groups(host):
            if self._per_host[group] >= limits.clients_per_host * shares:
                return "host full"
        return None

    def add(self, session: Session) -> None:
        """Add a session; one of protocol 1 at an address that has none."""
        if session.connection_id:
            self._ids[session] = []
            self.add_id(session, session.connection_id)
        else:
            self.by_address[session.address] = session
        self._all[session] = None
        for group, _ in host_groups(host_of(session.address)):
            self._per_host[group] += 1
        self._client_points.add(session.client_key[-POINT_SIZE:])
        self._tokens.add(session.connection.token)

    def move(self, session: Session, address: SocketAddress) -> None:
        """Give a session of protocol 2 another address."""
        for group, _ in host_groups(host_of(session.address)):
            self._leave(group)
        session.move(address)
        for group, _ in host_groups(host_of(address)):
            self._per_host[group] += 1

    def remove(self, session: Session) -> None:
        """Remove a session and what it holds of shared budgets; idempotent."""
        if session not in self._all:
            return
        del self._all[session]
        if session.connection_id:
            for connection_id in self._ids.pop(session):
                del self.by_id[connection_id]
        else:
            del self.by_address[session.address]
        self._client_points.discard(session.client_key[-POINT_SIZE:])
        self._tokens.discard(session.connection.token)
        for group, _ in host_groups(host_of(session.address)):
            self._leave(group)
        session.connection.endpoint.reassembler.clear()

    def _leave(self, group: bytes) -> None:
        self._per_host[group] -= 1
        if not self._per_host[group]:
            del self._per_host[group]
