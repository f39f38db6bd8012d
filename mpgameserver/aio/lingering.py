"""Clients that have left while one of their events is still running.

A coroutine may save to a database what a player has had: it is left to come to its end. One that
never does keeps the session in memory, and a client that comes and goes could leave as many of
those behind as it likes. So their number is bounded, per host and in all; beyond it the oldest
event is cancelled. The `disconnect` event that comes then may linger too, within the same bounds.
"""

from __future__ import annotations

from collections import Counter

from mpgameserver.server.client import ServerClient
from mpgameserver.transport.address import host_groups, host_of

__all__ = ["LingeringClients"]

MAX_LINGERING = 8192
"""As many as a server has clients: all of them may leave at once, and each be saved."""
MAX_LINGERING_PER_HOST = 256
"""As many as one host has clients."""


class LingeringClients:
    """Clients that have left with an event still running, in the order in which they left."""

    def __init__(self) -> None:
        self._clients: dict[ServerClient, None] = {}
        self._of_groups: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, client: ServerClient) -> ServerClient | None:
        """Add one, unless it is there; return the oldest, if there are too many."""
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
        """Remove one, if it is there."""
        if client not in self._clients:
            return
        del self._clients[client]
        for group, _ in host_groups(host_of(client.addr)):
            self._of_groups[group] -= 1
            if not self._of_groups[group]:
                del self._of_groups[group]
