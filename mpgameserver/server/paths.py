"""Clients of protocol 2 whose address changes: docs/protocol2.md, "Paths".

    packet from elsewhere ─> candidate ─PATH_CHALLENGE─> <─PATH_RESPONSE─ ─> the session's address

A connection id says whose a packet is, so a client may move: its NAT forgets it, or it goes from
Wi-Fi to a mobile network. Anybody on the path can send a copy of a packet from another address
first. So the session moves only once the new address has shown that it receives; until then it gets
no more than three times what came from there, and all else goes where it went.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver._core.frames import PATH_DATA_SIZE
from mpgameserver._core.session import Session
from mpgameserver.transport.address import SocketAddress
from mpgameserver.wire.protocol2.limits import LEAST_DATAGRAM

__all__ = ["Paths"]

MAX_CANDIDATES = 4
"""Addresses of one session besides its own; docs/protocol2.md has the figure. The oldest goes."""
MAX_CHALLENGES = 4
"""Challenges to a candidate in one probe timeout: a loss or two do not delay a move."""
MEMORY = 3.0
"""Probe timeouts: how long a candidate without packets, and the former address, are remembered."""
AMPLIFICATION = 3
"""Bytes to a candidate for each that came from there (RFC 9000, section 8)."""

SendTo = Callable[[bytes, SocketAddress], None]


@dataclass
class _Candidate:
    """An address from which packets of a session have come."""

    last_packet: float
    received: int = 0
    sent: int = 0
    """Bytes."""
    challenges: deque[tuple[float, bytes]] = field(
        default_factory=lambda: deque(maxlen=MAX_CHALLENGES)
    )
    """The last ones, and when they were sent."""

    @property
    def allowed(self) -> int:
        """The bytes that may be sent there now."""
        return AMPLIFICATION * self.received - self.sent


@dataclass
class _SessionPaths:
    """The addresses of one session besides its own."""

    candidates: OrderedDict[SocketAddress, _Candidate] = field(default_factory=OrderedDict)
    former: SocketAddress | None = None
    former_until: float = 0.0

    def forget(self, now: float, memory: float) -> None:
        """Forget what is older than `memory` seconds."""
        for address, candidate in tuple(self.candidates.items()):
            if now >= candidate.last_packet + memory:
                del self.candidates[address]
        if now >= self.former_until:
            self.former = None

    @property
    def is_empty(self) -> bool:
        return not self.candidates and self.former is None


class Paths:
    """The candidate addresses of a server's sessions; `send` takes a datagram and an address."""

    def __init__(self, send: SendTo, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._send, self._random_bytes = send, random_bytes
        self._sessions: dict[Session, _SessionPaths] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def on_packet(self, session: Session, address: SocketAddress, size: int, now: float) -> bool:
        """Note a packet of a session that has opened, from an address that is not the session's.

        Returns True if it shows that the session is there now; `moved` has to follow.
        """
        endpoint = cast(Endpoint2, session.connection.endpoint)
        paths = self._sessions.setdefault(session, _SessionPaths())
        paths.forget(now, MEMORY * endpoint.rtt.pto())
        if paths.former == address and endpoint.last_is_newest:
            return True
        candidate = self._candidate(paths, address, endpoint.last_is_newest, now)
        if candidate is None:
            endpoint.ignore_challenge()
            return False
        candidate.last_packet = now
        candidate.received += size
        response = endpoint.path_response
        answered = any(response == data for _, data in candidate.challenges)
        if answered and endpoint.last_number > session.home_newest:
            return True
        self._answer(endpoint, address, candidate, now)
        self._challenge(endpoint, address, candidate, now)
        return False

    def _candidate(
        self, paths: _SessionPaths, address: SocketAddress, is_newest: bool, now: float
    ) -> _Candidate | None:
        """Return the candidate with an address, a new one if this is the newest packet."""
        candidate = paths.candidates.get(address)
        if candidate is None and is_newest:
            if len(paths.candidates) >= MAX_CANDIDATES:
                paths.candidates.popitem(last=False)
            candidate = paths.candidates[address] = _Candidate(now)
        return candidate

    def _answer(
        self, endpoint: Endpoint2, address: SocketAddress, candidate: _Candidate, now: float
    ) -> None:
        """Answer a challenge on the path on which it came (RFC 9000, section 8.2.2)."""
        datagram = endpoint.answer_path(self._probe_size(candidate), now)
        if datagram is not None and len(datagram) <= candidate.allowed:
            candidate.sent += len(datagram)
            self._send(datagram, address)

    @staticmethod
    def _probe_size(candidate: _Candidate) -> int:
        """Return the size that a packet to a candidate is filled up to: as on any path, if it may.

        Where that is not allowed yet, it stays small.
        """
        return LEAST_DATAGRAM if candidate.allowed >= LEAST_DATAGRAM else 0

    def _challenge(
        self, endpoint: Endpoint2, address: SocketAddress, candidate: _Candidate, now: float
    ) -> None:
        """Send a challenge, unless enough were sent lately."""
        sent = candidate.challenges
        if len(sent) == MAX_CHALLENGES and now < sent[0][0] + endpoint.rtt.pto():
            return
        data = self._random_bytes(PATH_DATA_SIZE)
        datagram = endpoint.challenge_path(data, self._probe_size(candidate), now)
        if datagram is not None and len(datagram) <= candidate.allowed:
            sent.append((now, data))
            candidate.sent += len(datagram)
            self._send(datagram, address)

    def moved(self, session: Session, former: SocketAddress, now: float) -> None:
        """Note that a session has left its former address."""
        endpoint = cast(Endpoint2, session.connection.endpoint)
        self._sessions[session] = _SessionPaths(
            former=former, former_until=now + MEMORY * endpoint.rtt.pto()
        )

    def forget(self, session: Session) -> None:
        """Forget a session that has ended."""
        self._sessions.pop(session, None)

    def expire(self, now: float) -> None:
        """Forget what is old."""
        for session, paths in tuple(self._sessions.items()):
            paths.forget(now, MEMORY * session.connection.endpoint.rtt.pto())
            if paths.is_empty:
                del self._sessions[session]
