"""Clients that have left while one of their events is still running.

A coroutine may be saving a player's state to a database, so it may finish. One that never does
keeps the session in memory, and a client that reconnects repeatedly could leave many behind. Their
number is therefore limited, per host and in all; beyond the limit the oldest event is cancelled.
The `disconnect` event that follows may linger, too, within the same limits.
"""

from __future__ import annotations

from collections import Counter

from mpgameserver.server.client import ServerClient
from mpgameserver.transport.address import host_groups, host_of

__all__ = ["LingeringClients"]

MAX_LINGERING = 8192
"""The default limit on clients: all of them may leave at once, and be saved."""
MAX_LINGERING_PER_HOST = 256
"""The default limit on clients of one host."""


class LingeringClients:
    """Clients that have left with an event still running, in the order in which they left."""

    def __init__(self) -> None:
        self._clients: dict[ServerClient, None] = {}
        self._of_groups: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, client: ServerClient) -> ServerClient | None:
        """Add a client, once; return the oldest one if there are too many."""
        if client in self._clients:
            return None
        groups = host_groups(host_of(client.addr))
        self._clients[client] = None
        self._of_groups.update(group for group, _ in groups)
        for group, shares in groups:
            if self._of_groups[group] > MAX_LINGERING_PER_HOST * shares:
                return self._oldest(group)
        return next(iter(self._clients)) if len(self) > MAX_LINGERING else None

    def _oldest(self, group: bytes) -> ServerClient:
        return next(
            client
            for client in self._clients
            if any(group == each for each, _ in host_groups(host_of(client.addr)))
        )

    def discard(self, client: ServerClient) -> None:
        """Remove a client, if it is in the table."""
        if client not in self._clients:
            return
        del self._clients[client]
        for group, _ in host_groups(host_of(client.addr)):
            self._of_groups[group] -= 1
            if not self._of_groups[group]:
                del self._of_groups[group]
