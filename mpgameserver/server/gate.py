"""The gate of a server: which addresses get no session, and who is told that there is no room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mpgameserver.server.context import ServerSettings
from mpgameserver.server.eventlog import EventLog
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.sessions import SessionTable
from mpgameserver.transport.address import IpAddress, SocketAddress, plain_address

__all__ = ["Gate", "Owner"]

FULL_EVENT_INTERVAL = 1.0
"""Seconds between two `full` events: anyone can cause them, from any address."""


class Owner(Protocol):
    """The part of a server that its gate uses."""

    sessions: SessionTable
    handler: EventHandler

    @property
    def now(self) -> float:
        """The monotonic time, in seconds."""

    @property
    def settings(self) -> ServerSettings:
        """The settings in effect."""

    def call_event(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        """Call an event of the handler."""


class Gate:
    """Knows who is not let in; `is_closed` once the server stops."""

    def __init__(self, owner: Owner, log: EventLog) -> None:
        self._owner = owner
        self._log = log
        self.is_closed: bool = False
        """No client is admitted any more, because the server is stopping."""
        self._next_full_event = float("-inf")

    def bars(self, address: SocketAddress, host: IpAddress) -> str | None:
        """Return the reason for which an address gets no reply at all, or None."""
        if self.is_closed:
            return "stopping"
        if address[1] == 0:
            return "no port"  # spoofed: a reply cannot be sent there
        blocklist = self._owner.settings.blocklist
        if blocklist and host in blocklist:
            return "blocked"
        return None

    def may_bar(self, address: SocketAddress) -> bool:
        """Return True for an address that `bars` has to look at; it costs a flood less."""
        return self.is_closed or address[1] == 0 or bool(self._owner.settings.blocklist)

    def no_room(self, address: SocketAddress, host: IpAddress) -> str | None:
        """Return the limit that forbids another session of a host, and report it; or None."""
        reason = self._owner.sessions.no_room(host, self._owner.settings.limits)
        if reason is not None:
            self._report_full(reason, address)
        return reason

    def _report_full(self, reason: str, address: SocketAddress) -> None:
        now = self._owner.now
        if reason == "full":
            self._log.full(now, len(self._owner.sessions))
        else:
            self._log.host_full(now, address, self._owner.settings.limits.clients_per_host)
        if now >= self._next_full_event:
            self._next_full_event = now + FULL_EVENT_INTERVAL
            self._owner.call_event("full", self._owner.handler.full, plain_address(address))
