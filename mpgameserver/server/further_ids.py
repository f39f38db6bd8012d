"""The connection ids of sessions besides those of their answers: docs/protocol2.md, "Paths".

A client that changes its address goes on under another id, so that nobody who sees both networks
can tell that it is the same. Packets under an id that it has retired still arrive for a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver._core.session import Session
from mpgameserver.server.resets import ResetTokens
from mpgameserver.server.sessions import SessionTable

__all__ = ["FurtherIds"]

MEMORY = 3.0
"""Probe timeouts for which packets under a retired id are taken; docs/protocol2.md has the figure.
"""
MAX_RETIRED = 8
"""Retired ids of one session that are remembered: two changes of all that it has. A client that
retires more in that time gains nothing from them."""


class FurtherIds:
    """Issues ids for the sessions of a table.

    `new_id` returns an id that nobody has, `clock` the monotonic time.
    """

    def __init__(
        self,
        sessions: SessionTable,
        tokens: ResetTokens,
        new_id: Callable[[], bytes],
        clock: Callable[[], float],
    ) -> None:
        self._sessions, self._tokens = sessions, tokens
        self._new_id, self._clock = new_id, clock
        self._sources: dict[Session, _Source] = {}
        self._remembering: dict[_Source, None] = {}

    def begin(self, session: Session) -> None:
        """Issue ids for a session whose client is accepted."""
        source = self._sources[session] = _Source(self, session)
        _endpoint(session).issue_ids(source)

    def forget(self, session: Session) -> None:
        """Issue nothing more for a session that has ended."""
        source = self._sources.pop(session, None)
        if source is not None:
            _endpoint(session).stop_issuing_ids()
            self._remembering.pop(source, None)

    def expire(self, now: float) -> None:
        """Forget the retired ids whose time is over."""
        for source in tuple(self._remembering):
            if source.expire(now):
                del self._remembering[source]

    def _issue(self, session: Session) -> tuple[bytes, bytes]:
        connection_id = self._new_id()
        self._sessions.add_id(session, connection_id)
        return connection_id, self._tokens.of(connection_id)


class _Source:
    """The ids of one session."""

    __slots__ = ("_owner", "_retired", "_session")

    def __init__(self, owner: FurtherIds, session: Session) -> None:
        self._owner, self._session = owner, session
        self._retired: deque[tuple[float, bytes]] = deque()

    def issue(self) -> tuple[bytes, bytes]:
        """Return a new id and its reset token."""
        return self._owner._issue(self._session)

    def retire(self, connection_id: bytes) -> None:
        """Take no packets under an id any more, after a while."""
        until = self._owner._clock() + MEMORY * self._session.connection.endpoint.rtt.pto()
        self._retired.append((until, connection_id))
        self._owner._remembering[self] = None
        if len(self._retired) > MAX_RETIRED:
            self._drop_oldest()

    def expire(self, now: float) -> bool:
        """Forget the ids whose time is over; return True if none is remembered any more."""
        while self._retired and now >= self._retired[0][0]:
            self._drop_oldest()
        return not self._retired

    def _drop_oldest(self) -> None:
        self._owner._sessions.drop_id(self._session, self._retired.popleft()[1])


def _endpoint(session: Session) -> Endpoint2:
    return cast(Endpoint2, session.connection.endpoint)
