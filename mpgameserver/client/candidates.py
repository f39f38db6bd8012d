"""Replies to a client's hello that verified, any of which may lead to a session.

Recorded replies of other handshakes verify too, so there may be hundreds, and it takes a round trip
to find the right one. A candidate is therefore small: a key, a token, and the time when its
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

__all__ = ["MAX_CANDIDATES", "PROOF_INTERVAL", "Candidate", "CandidateTable"]

MAX_CANDIDATES = 1024
"""Answers that verified and are kept, some 1 kB each: those of 4 s at the rate at which 60 frames
a second verify them. At the cap a random one is evicted."""
PROOF_INTERVAL = 0.25
"""Seconds after which a CHALLENGE_RESP is repeated: a slow round trip. No shorter than the
interval of hellos: a candidate that is evicted and comes back then never reuses a number."""

PROOFS_REPEATED_PER_SECOND = 250
"""CHALLENGE_RESPs of all candidates that are repeated: 17 kB/s, and twice as many as recorded
replies that an attacker repeats in a flood of 120 a second."""
PROOFS_REPEATED_AT_ONCE = 16
"""Of them, as many as may leave together."""

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
    """Time at which that was sent."""
    is_repeated: bool = False
    """The server has repeated the reply."""

    @property
    def proof_due(self) -> float:
        """Time at which its CHALLENGE_RESP is due; in the past for the first one."""
        return self.sent_at + PROOF_INTERVAL


class CandidateTable:
    """The candidates of all paths, in the order in which their CHALLENGE_RESPs are due."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._by_answer: OrderedDict[_Key, Candidate] = OrderedDict()
        self._repetitions = TokenBucket(PROOFS_REPEATED_PER_SECOND, PROOFS_REPEATED_AT_ONCE)

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
        """Note that a reply was repeated; return False if it is not in the table.

        The server has not received the CHALLENGE_RESP yet: it is sent next, if it is due.
        """
        candidate = self._by_answer.get((path, signed))
        if candidate is None:
            return False
        candidate.is_repeated = True
        if candidate.proof_due <= now:
            self._by_answer.move_to_end(_key(candidate), last=False)
        return True

    def take_due(self, now: float) -> Iterator[Candidate]:
        """The candidates whose proof is to be sent now; the caller notes that it was.

        First proofs are all due at once, repeated ones at a limited rate.
        """
        while (candidate := self._first()) is not None:
            if candidate.proof_due > now:
                return
            if candidate.number and not self._repetitions.take(now):
                return
            self._by_answer.move_to_end(_key(candidate))
            yield candidate

    def next_timer(self) -> float:
        """Time of the next CHALLENGE_RESP; infinity if there is no candidate."""
        candidate = self._first()
        if candidate is None:
            return float("inf")
        if not candidate.number:
            return candidate.proof_due
        return max(candidate.proof_due, self._repetitions.next_time())

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
        """The one whose proof is due first."""
        # No call between the iterator and its use: a finalizer may change the table in one.
        for candidate in self._by_answer.values():
            return candidate
        return None

    def _remove(self, candidate: Candidate) -> None:
        del self._by_answer[_key(candidate)]


def _key(candidate: Candidate) -> _Key:
    return candidate.path, candidate.signed
