"""The table of a server's sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from mpgameserver._core.session import Session
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import IpAddress, SocketAddress, host_groups, host_of

__all__ = ["Session", "SessionTable"]


class SessionTable:
    """The sessions, at most one for each address, with distinct client keys and tokens."""

    def __init__(self) -> None:
        self.by_address: dict[SocketAddress, Session] = {}
        self._client_keys: set[bytes] = set()
        self._tokens: set[int] = set()
        self._per_host: Counter[bytes] = Counter()
        self.get: Callable[[SocketAddress], Session | None] = self.by_address.get

    def __len__(self) -> int:
        return len(self.by_address)

    def __iter__(self) -> Iterator[Session]:
        """Iterate over a copy of the sessions, in the order in which they were established."""
        return iter(tuple(self.by_address.values()))

    def __contains__(self, address: SocketAddress) -> bool:
        return address in self.by_address

    def has_client_key(self, client_key: bytes) -> bool:
        """Return True if a session was established with this client key."""
        return client_key in self._client_keys

    def has_token(self, token: int) -> bool:
        """Return True if a session has this token."""
        return token in self._tokens

    def no_room(self, address: SocketAddress, host: IpAddress, limits: Limits) -> str | None:
        """Return the limit that forbids another session at an address: "full" or "host full".

        None if there is room, or if it would replace one.
        """
        if address in self.by_address:
            return None
        if len(self.by_address) >= limits.clients:
            return "full"
        for group, shares in host_groups(host):
            if self._per_host[group] >= limits.clients_per_host * shares:
                return "host full"
        return None

    def add(self, session: Session) -> None:
        """Add a session at an address that has none."""
        self.by_address[session.address] = session
        for group, _ in host_groups(host_of(session.address)):
            self._per_host[group] += 1
        self._client_keys.add(session.client_key)
        self._tokens.add(session.connection.token)

    def remove(self, session: Session) -> None:
        """Remove a session and what it holds of shared budgets; idempotent."""
        if self.by_address.get(session.address) is session:
            del self.by_address[session.address]
            self._client_keys.discard(session.client_key)
            self._tokens.discard(session.connection.token)
            for group, _ in host_groups(host_of(session.address)):
                self._leave(group)
            session.connection.endpoint.reassembler.clear()

    def _leave(self, group: bytes) -> None:
        self._per_host[group] -= 1
        if not self._per_host[group]:
            del self._per_host[group]
