"""What the sessions of a server hold together, of each host and in all.

Three things grow with what a peer sends or does not ack: messages that wait for the handler,
unfinished fragmented messages, and messages that wait to be sent or acked. Each has a budget of
all sessions and one per host.
"""

from __future__ import annotations

from mpgameserver._core.budget import Budget
from mpgameserver._core.session import Session
from mpgameserver.address import host_group, host_of
from mpgameserver.limits import Limits

__all__ = ["HostBudgets"]

PACKET_CHARGE = 96 << 10
"""What one packet can ask for at most: its bytes, and the charge for each of 255 fragments."""


class _Budgets:
    """The three budgets of a host or of all, and whose sessions share them."""

    __slots__ = ("inboxes", "reassembly", "send_queues", "sessions")

    def __init__(self) -> None:
        self.inboxes, self.reassembly, self.send_queues = Budget(0), Budget(0), Budget(0)
        self.sessions: set[Session] = set()


class HostBudgets:
    """The budgets of the sessions of a server."""

    def __init__(self, limits: Limits) -> None:
        self._all = _Budgets()
        self._hosts: dict[bytes, _Budgets] = {}
        self.limit(limits)

    @property
    def inboxes(self) -> int:
        """The bytes that messages hold which wait for the handler."""
        return self._all.inboxes.held

    @property
    def reassembly(self) -> int:
        """The bytes that unfinished messages hold."""
        return self._all.reassembly.held

    @property
    def send_queues(self) -> int:
        """The bytes that messages hold which wait to be sent or acked."""
        return self._all.send_queues.held

    def limit(self, limits: Limits) -> None:
        """Use other limits from now on."""
        self._limits = limits
        self._all.inboxes.limit = limits.inboxes_bytes
        self._all.reassembly.limit = limits.reassembly_bytes
        self._all.send_queues.limit = limits.send_queues_bytes
        for host in self._hosts.values():
            self._limit_host(host)

    def _limit_host(self, host: _Budgets) -> None:
        limits = self._limits
        host.inboxes.limit = limits.inboxes_bytes_per_host
        host.reassembly.limit = limits.reassembly_bytes_per_host
        host.send_queues.limit = limits.send_queues_bytes_per_host

    def add(self, session: Session) -> None:
        """Have a session share the budgets of its host."""
        group = host_group(host_of(session.address))
        host = self._hosts.get(group)
        if host is None:
            host = self._hosts[group] = _Budgets()
            self._limit_host(host)
        host.sessions.add(session)
        endpoint, whole = session.connection.endpoint, self._all
        endpoint.inbox_share.join(host.inboxes, whole.inboxes)
        endpoint.reassembler.share.join(host.reassembly, whole.reassembly)
        endpoint.outbox.share.join(host.send_queues, whole.send_queues)

    def remove(self, session: Session) -> None:
        """Forget a session that is over and holds nothing any more."""
        group = host_group(host_of(session.address))
        host = self._hosts[group]
        host.sessions.discard(session)
        if not host.sessions:
            del self._hosts[group]

    def largest_reassembly(self, session: Session) -> Session | None:
        """Whose unfinished messages are to make room for those of a session.

        The largest of its host, where the host has its share; the largest of the host that holds
        most, where all is taken. None when no session holds more than this one.
        """
        host = self._hosts[host_group(host_of(session.address))]
        if not _is_full(host.reassembly):
            if not _is_full(self._all.reassembly):
                return None  # it has reached the bounds of a single session
            host = max(self._hosts.values(), key=lambda each: each.reassembly.held)
        largest = max(host.sessions, key=_held_by)
        return largest if _held_by(largest) > _held_by(session) else None


def _is_full(budget: Budget) -> bool:
    return budget.held + PACKET_CHARGE > budget.limit


def _held_by(session: Session) -> int:
    return session.connection.endpoint.reassembler.held_bytes
