"""Sessions of protocol 2 that have ended lately, for clients that do not know it yet.

A client repeats its CLOSE until it is acked, and the ack may be lost. So what is needed to ack it
again is kept for a while.
"""

from __future__ import annotations

from collections import OrderedDict

from mpgameserver._core.session import Session

__all__ = ["ClosedSessions"]

CLOSED_TIMEOUT = 3.0
"""Seconds: three probe timeouts of a second each, the longest that there are."""
MAX_CLOSED = 1024
"""Two seconds' worth of sessions that begin at the rate of handshakes and end at once, 13 kB each.
A client whose CLOSE is not acked ends a little later all the same."""


class ClosedSessions:
    """The sessions, the oldest first, which are found by any of their connection ids."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[Session, tuple[tuple[bytes, ...], float]] = OrderedDict()
        self._by_id: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, connection_id: object) -> bool:
        return connection_id in self._by_id

    def add(self, session: Session, connection_ids: tuple[bytes, ...], now: float) -> None:
        """Keep a session that has ended; the oldest goes where there are too many."""
        self.expire(now)
        if len(self._sessions) >= MAX_CLOSED:
            self._forget_oldest()
        self._sessions[session] = connection_ids, now
        self._by_id.update(dict.fromkeys(connection_ids, session))

    def expire(self, now: float) -> None:
        """Forget the sessions whose time is over."""
        while self._sessions:
            _, closed_at = next(iter(self._sessions.values()))
            if now < closed_at + CLOSED_TIMEOUT:
                break
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (connection_ids, _) = self._sessions.popitem(last=False)
        for connection_id in connection_ids:
            del self._by_id[connection_id]

    def receive(self, connection_id: bytes, datagram: bytes, now: float) -> bytes | None:
        """Return the reply to a packet for one of them, if there is one."""
        connection = self._by_id[connection_id].connection
        connection.receive(datagram, now)
        return connection.next_datagram(now)
