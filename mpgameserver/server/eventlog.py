"""The log lines about a server's clients, at limited rates, because clients cause them."""

from __future__ import annotations

import logging
from collections import defaultdict

from mpgameserver.server.client import ServerClient
from mpgameserver.transport.address import SocketAddress, format_address, plain_address
from mpgameserver.transport.ratelog import LimitedLog

__all__ = ["EventLog"]

MAX_ARRIVALS_LOGGED = 20
"""Lines per second about clients that connect, and as many about those that leave."""

_LOG = logging.getLogger("mpgameserver.server")
_ORDINARY_DROPS = frozenset({"repeated", "too old", "no session", "stale hello"})
"""Drops that honest clients on an honest network cause; they are not logged."""


class _Place:
    """An address that is formatted only if the line is written: a flood writes few."""

    __slots__ = ("_address",)

    def __init__(self, address: SocketAddress) -> None:
        self._address = address

    def __str__(self) -> str:
        return format_address(plain_address(self._address))


class EventLog:
    """One method for each kind of line. `now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._drops: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))
        self._errors: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))
        self._full = LimitedLog(_LOG)
        self._ended = LimitedLog(_LOG)
        self._not_admitted = LimitedLog(_LOG, MAX_ARRIVALS_LOGGED)
        self._refused = LimitedLog(_LOG)
        self._arrivals = LimitedLog(_LOG, MAX_ARRIVALS_LOGGED)
        self._departures = LimitedLog(_LOG, MAX_ARRIVALS_LOGGED)

    def dropped(self, now: float, reason: str, address: SocketAddress) -> None:
        """Log a dropped datagram, unless the reason is an ordinary one."""
        if reason not in _ORDINARY_DROPS:
            self._drops[reason].warning(
                now, "dropped a datagram from %s: %s", _Place(address), reason
            )

    def full(self, now: float, clients: int) -> None:
        """Log a client that was refused because the server is full."""
        self._full.warning(now, "the server is full: %d clients", clients)

    def host_full(self, now: float, address: SocketAddress, clients: int) -> None:
        """Log a client that was refused because its host has as many as it may have."""
        self._full.warning(
            now, "refused %s: its host already has %d clients", _Place(address), clients
        )

    def connected(self, now: float, address: SocketAddress, clients: int) -> None:
        """Log a client that has connected."""
        self._arrivals.info(now, "%s has connected: %d clients", _Place(address), clients)

    def left(self, now: float, address: SocketAddress, reason: str, seconds: float) -> None:
        """Log the end of a session that lasted `seconds`."""
        self._departures.info(now, "%s has left: %s after %.1f s", _Place(address), reason, seconds)

    def moved(self, now: float, former: SocketAddress, address: SocketAddress) -> None:
        """Log a session that goes on at another address."""
        self._arrivals.info(now, "%s has moved to %s", _Place(former), _Place(address))

    def not_admitted(self, now: float, address: SocketAddress, reason: str) -> None:
        """Log the end of a session that had no `connect` event."""
        self._not_admitted.info(now, "%s was not admitted: %s", _Place(address), reason)

    def ended(self, now: float, address: SocketAddress, reason: str) -> None:
        """Log a session that the server has ended because of a limit."""
        self._ended.warning(now, "%s is %s", _Place(address), reason)

    def refused(self, now: float, client: ServerClient, error: Exception) -> None:
        """Log a message of another thread that could not be queued."""
        self._refused.warning(now, "%r misses a message from another thread: %s", client, error)

    def raised(self, now: float, name: str) -> None:
        """Log the exception being handled, which foreign code has raised."""
        self._errors[name].exception(now, "%s raised", name)

    def finish(self) -> None:
        """Log how many lines about clients were omitted."""
        self._arrivals.finish()
        self._departures.finish()
