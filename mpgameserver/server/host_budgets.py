"""Bytes that the sessions of a server hold, per host, per network and in all.

Three things grow with what a peer sends or does not ack: messages that wait for the handler,
incomplete fragmented messages, and queued or unacked messages. Each has a budget of
all sessions, one per host, and over IPv6 one for the /56 and the /48 that the host is in.
"""

from __future__ import annotations

from mpgameserver._core.budget import Budget
from mpgameserver._core.session import Session
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import host_groups, host_of

__all__ = ["HostBudgets"]

PACKET_CHARGE = 96 << 10
"""The most that one packet can reserve: its bytes, and the overhead of 255 fragments."""


class _Budgets:
    """The three budgets of a group of hosts or of all hosts, and the sessions that share them."""

    __slots__ = ("inboxes", "reassembly", "send_queues", "sessions", "shares")

    def __init__(self, wider: _Budgets | None = None, shares: int = 1) -> None:
        self.inboxes: Budget = Budget(0, wider.inboxes if wider else None)
        self.reassembly: Budget = Budget(0, wider.reassembly if wider else None)
        self.send_queues: Budget = Budget(0, wider.send_queues if wider else None)
        self.sessions: set[Session] = set()
        self.shares = shares


class HostBudgets:
    """The budgets of the sessions of a server."""

    def __init__(self, limits: Limits) -> None:
        self._all = _Budgets()
        self._groups: dict[bytes, _Budgets] = {}
        self.limit(limits)

    @property
    def inboxes(self) -> int:
        """Bytes of messages that wait for the handler."""
        return self._all.inboxes.held

    @property
    def reassembly(self) -> int:
        """Bytes of incomplete messages."""
        return self._all.reassembly.held

    @property
    def send_queues(self) -> int:
        """Bytes of messages that are queued or not acked yet."""
        return self._all.send_queues.held

    def limit(self, limits: Limits) -> None:
        """Use other limits from now on."""
        self._limits = limits
        self._all.inboxes.limit = limits.inboxes_bytes
        self._all.reassembly.limit = limits.reassembly_bytes
        self._all.send_queues.limit = limits.send_queues_bytes
        for group in self._groups.values():
            self._limit_group(group)

    def _limit_group(self, group: _Budgets) -> None:
        limits, shares = self._limits, group.shares
        group.inboxes.limit = limits.inboxes_bytes_per_host * shares
        group.reassembly.limit = limits.reassembly_bytes_per_host * shares
        group.send_queues.limit = limits.send_queues_bytes_per_host * shares

    def add(self, session: Session) -> None:
        """Let a session share the budgets of its host and of the networks that contain it."""
        narrowest = self._all
        for name, shares in reversed(host_groups(host_of(session.address))):
            narrowest = self._group(name, shares, narrowest)
            narrowest.sessions.add(session)
        endpoint = session.connection.endpoint
        endpoint.inbox_share.join(narrowest.inboxes)
        endpoint.reassembler.share.join(narrowest.reassembly)
        endpoint.send_queue.share.join(narrowest.send_queues)

    def _group(self, name: bytes, shares: int, wider: _Budgets) -> _Budgets:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Budgets(wider, shares)
            self._limit_group(group)
        return group

    def remove(self, session: Session) -> None:
        """Remove a session that has ended and holds nothing any more."""
        for name, _ in host_groups(host_of(session.address)):
            group = self._groups[name]
            group.sessions.discard(session)
            if not group.sessions:
                del self._groups[name]

    def largest_reassembly(self, session: Session) -> Session | None:
        """Return the session whose incomplete messages must make room for those of another.

        That is the largest of its host or network if that has used up its budget. If the total is
        used up, it is the largest of the group that holds the most for its shares. None if no
        session holds more than this one.
        """
        groups = [self._groups[name] for name, _ in host_groups(host_of(session.address))]
        full = next((group for group in groups if _is_full(group.reassembly)), None)
        if full is None:
            if not _is_full(self._all.reassembly):
                return None  # it has reached the limits of a single session
            full = max(self._groups.values(), key=lambda each: each.reassembly.held / each.shares)
        largest = max(full.sessions, key=_held_by)
        return largest if _held_by(largest) > _held_by(session) else None


def _is_full(budget: Budget) -> bool:
    return budget.held + PACKET_CHARGE > budget.limit


def _held_by(session: Session) -> int:
    return session.connection.endpoint.reassembler.held_bytes
