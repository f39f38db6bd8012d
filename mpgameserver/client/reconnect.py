"""Reconnecting after a connection has ended.

When a server restarts, all of its players try to return at the same moment. So each failed attempt
doubles the delay before the next one, up to a limit, and each delay is shortened by a random share
(jitter), which spreads the players out. A connection has to last before the delays start over: a
server that accepts players and loses them at once is not a server that is back.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum

from mpgameserver.client.connect import server_address
from mpgameserver.client.udpclient import UdpClient
from mpgameserver.connection import check_interval
from mpgameserver.enums import ConnectionStatus
from mpgameserver.reprs import even_unmade

__all__ = ["ReconnectState", "Reconnector"]

FIRST_DELAY = 0.5
"""Seconds; shorter than a player's patience, longer than the round trip of a playable link."""
MAX_DELAY = 15.0
"""Seconds; a player who watches a screen that says "reconnecting" rarely waits for longer."""
STABLE_AFTER = 10.0
"""Seconds that a connection must last for the delays to start over; twice the idle timeout."""
MIN_JITTER = 0.5
"""The least share of a delay that is kept, so that attempts never follow each other at once."""

_ENDED = (ConnectionStatus.DISCONNECTED, ConnectionStatus.DROPPED)


class ReconnectState(Enum):
    """The state of a `Reconnector`."""

    CONNECTING = "connecting"
    """An attempt is in progress, or the next `update` begins one."""
    CONNECTED = "connected"
    """The client is connected, or is closing its connection."""
    WAITING = "waiting"
    """The delay before the next attempt has not passed yet."""
    GAVE_UP = "gave up"
    """`max_attempts` attempts in a row have failed, and it makes no more."""
    STOPPED = "stopped"
    """`stop` was called."""


class Reconnector:
    """Connects a client to a server, and reconnects it whenever the connection ends.

    Call `update` once per frame instead of the client's own. Like the client, use it from one
    thread at a time.

    Parameters:
        client: the client; it may already be connected to `addr`.
        addr: the server, a pair (host, port) as for `UdpClient.connect`.
        first_delay: seconds before the first attempt after a connection has ended.
        max_delay: seconds; the delay doubles with each failed attempt, up to this.
        max_attempts: the number of consecutive attempts that may fail before it gives up; None for
            no limit.
        rng: the source of the jitter.
        clock: the source of the time, in seconds; by default, the clock of `client`.

    Raises:
        TypeError: `client` is not a UdpClient, or an argument has another type.
        ValueError: `addr` is not an address of a server, a delay or `max_attempts` is not above 0,
            or `max_delay` is below `first_delay`.
    """

    def __init__(
        self,
        client: UdpClient,
        addr: tuple[str, int],
        *,
        first_delay: float = FIRST_DELAY,
        max_delay: float = MAX_DELAY,
        max_attempts: int | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if not isinstance(client, UdpClient):
            raise TypeError(f"client must be a UdpClient, not {type(client).__name__}")
        self._client = client
        self._addr = server_address(addr)
        self._first_delay = check_interval("first_delay", first_delay)
        self._max_delay = check_interval("max_delay", max_delay)
        if max_delay < first_delay:
            raise ValueError(f"max_delay {max_delay!r} is below first_delay {first_delay!r}")
        self._max_attempts = _check_attempts(max_attempts)
        self._rng = random.Random() if rng is None else rng
        self._clock = client._network.now if clock is None else clock
        self._failures = 0
        self._connected_at = self._next_attempt = self._clock()
        connected = client.status() == ConnectionStatus.CONNECTED
        self._state = ReconnectState.CONNECTED if connected else ReconnectState.WAITING

    @even_unmade
    def __repr__(self) -> str:
        waiting = f", next attempt in {self.delay_left:.1f} s" if self.delay_left else ""
        return f"<Reconnector {self.state.value}{waiting}, {self._failures} failed>"

    @property
    def state(self) -> ReconnectState:
        """Current state."""
        if self._state is ReconnectState.WAITING and not self.delay_left:
            return ReconnectState.CONNECTING
        return self._state

    @property
    def failures(self) -> int:
        """Number of consecutive failed attempts; a connection that did not last counts as one."""
        return self._failures

    @property
    def delay_left(self) -> float:
        """Seconds until the next attempt; 0.0 unless it is waiting for one."""
        if self._state is not ReconnectState.WAITING:
            return 0.0
        return max(0.0, self._next_attempt - self._clock())

    def stop(self) -> None:
        """Stop reconnecting. The client stays as it is: disconnect it yourself. Idempotent."""
        self._state = ReconnectState.STOPPED

    def update(self) -> None:
        """Update the client, and connect it when that is due.

        It raises the same exceptions as `UdpClient.update`.
        """
        self._client.update()
        if self._state is ReconnectState.WAITING:
            if not self.delay_left:
                self._state = ReconnectState.CONNECTING
                self._client.connect(self._addr)
        elif self._state is ReconnectState.CONNECTING:
            self._watch_attempt()
        elif self._state is ReconnectState.CONNECTED and self._client.status() in _ENDED:
            self._connection_ended()

    def _watch_attempt(self) -> None:
        status = self._client.status()
        if status == ConnectionStatus.CONNECTED:
            self._state = ReconnectState.CONNECTED
            self._connected_at = self._clock()
        elif status in _ENDED:
            self._failures += 1
            self._schedule()

    def _connection_ended(self) -> None:
        lasted = self._clock() - self._connected_at >= STABLE_AFTER
        self._failures = 0 if lasted else self._failures + 1
        self._schedule()

    def _schedule(self) -> None:
        """Wait for the next attempt, unless too many have failed."""
        if self._max_attempts is not None and self._failures >= self._max_attempts:
            self._state = ReconnectState.GAVE_UP
            return
        # The exponent is bounded, for a float overflows after a thousand attempts.
        doubled = self._first_delay * 2.0 ** min(max(self._failures - 1, 0), 64)
        share = self._rng.uniform(MIN_JITTER, 1.0)
        self._next_attempt = self._clock() + share * min(doubled, self._max_delay)
        self._state = ReconnectState.WAITING


def _check_attempts(limit: object) -> int | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"max_attempts must be an int or None, not {type(limit).__name__}")
    if limit <= 0:
        raise ValueError(f"max_attempts must be above 0, not {limit!r}")
    return limit
