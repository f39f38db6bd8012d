"""Replies to a client's hello that verified, any of which may lead to a session.

Recorded replies of other handshakes verify, too, so there may be hundreds, and it takes a round
trip to find the right one. A candidate is therefore small: a key, a token, and the time when its
CHALLENGE_RESP was sent. It gets an endpoint only for the duration of a call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from random import Random

from mpgameserver.bounds.eviction import choose_victim
from mpgameserver.bounds.token_bucket import TokenBucket
from mpgameserver.wire.session_cipher import SessionCipher

__all__ = ["MAX_CANDIDATES", "RESPONSE_INTERVAL", "Candidate", "CandidateTable"]

MAX_CANDIDATES = 1024
"""Verified replies that are kept, some 1 kB each: as many as 60 frames a second verify in 4 s. At
the limit a random one is evicted."""
RESPONSE_INTERVAL = 0.25
"""Seconds after which a CHALLENGE_RESP is repeated: a slow round trip. Not shorter than the
interval of hellos, so that a candidate that was evicted and comes back never reuses a number."""

RESPONSES_REPEATED_PER_SECOND = 250
"""Repetitions of CHALLENGE_RESPs of all candidates: 17 kB/s, and twice as many as an attacker's
flood of 120 recorded replies a second causes."""
RESPONSES_REPEATED_AT_ONCE = 16
"""The burst of that rate."""

_Key = tuple[Hashable, bytes]


@dataclass(slots=True, eq=False)
class Candidate:
    """A reply that verified, and the session that it would lead to."""

    path: Hashable
    signed: bytes = field(repr=False)
    cipher: SessionCipher = field(repr=False)
    token: int = field(repr=False)
    hello_seq: int = 0
    """The packet number of the reply, which its CHALLENGE_RESP acks."""
    number: int = 0
    """The packet number of its last CHALLENGE_RESP; 0 while none was sent."""
    sent_at: float = float("-inf")
    """The time at which that was sent."""
    is_repeated: bool = False
    """The server has repeated the reply."""

    @property
    def response_due(self) -> float:
        """The time at which its CHALLENGE_RESP is due; in the past for the first one."""
        return self.sent_at + RESPONSE_INTERVAL


class CandidateTable:
    """The candidates of all paths, in the order in which their CHALLENGE_RESPs are due."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._by_answer: OrderedDict[_Key, Candidate] = OrderedDict()
        self._repetitions = TokenBucket(RESPONSES_REPEATED_PER_SECOND, RESPONSES_REPEATED_AT_ONCE)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._by_answer.values())

    def add(self, candidate: Candidate) -> None:
        """Add one that is not in the table; its CHALLENGE_RESP is due at once."""
        if len(self._by_answer) >= MAX_CANDIDATES:
            self._remove(choose_victim(self._by_answer.values(), self._rng))
        key = _key(candidate)
        self._by_answer[key] = candidate
        self._by_answer.move_to_end(key, last=False)

    def note_repeated(self, path: Hashable, signed: bytes, now: float) -> bool:
        """Record that a reply was repeated; return False if it is not in the table.

        The server has not received the CHALLENGE_RESP yet, so it is sent next, if it is due.
        """
        candidate = self._by_answer.get((path, signed))
        if candidate is None:
            return False
        candidate.is_repeated = True
        if candidate.response_due <= now:
            self._by_answer.move_to_end(_key(candidate), last=False)
        return True

    def take_due(self, now: float) -> Iterator[Candidate]:
        """Yield the candidates whose CHALLENGE_RESP is due; the caller records that it was sent.

        First ones are all due at once, repetitions at a limited rate.
        """
        while (candidate := self._first()) is not None:
            if candidate.response_due > now:
                return
            if candidate.number and not self._repetitions.take(now):
                return
            self._by_answer.move_to_end(_key(candidate))
            yield candidate

    def next_timer(self) -> float:
        """Return the time of the next CHALLENGE_RESP, or infinity."""
        candidate = self._first()
        if candidate is None:
            return float("inf")
        if not candidate.number:
            return candidate.response_due
        return max(candidate.response_due, self._repetitions.next_time())

    def take_started(self) -> list[Candidate]:
        """Remove those whose CHALLENGE_RESP was sent: each may have a session on its server."""
        started = [candidate for candidate in self if candidate.number]
        for candidate in started:
            self._remove(candidate)
        return started

    def remove_path(self, path: Hashable) -> None:
        """Remove the candidates of a path."""
        for candidate in [c for c in self if c.path == path]:
            self._remove(candidate)

    def _first(self) -> Candidate | None:
        """Return the candidate whose CHALLENGE_RESP is due first."""
        # No call between the iterator and its use: a finalizer may change the table in one.
        for candidate in self._by_answer.values():
            return candidate
        return None

    def _remove(self, candidate: Candidate) -> None:
        del self._by_answer[_key(candidate)]


def _key(candidate: Candidate) -> _Key:
    return candidate.path, candidate.signed
