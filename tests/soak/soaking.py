"""Soak two connections in a condition, and report figures."""

from __future__ import annotations

import time
from dataclasses import dataclass

from soak.conditions import Condition
from soak.soakpair import FRAME, SoakPair
from soak.talk import Talk

from mpgameserver.connection import Connection
from mpgameserver.netsim import LinkPair

WAITING = 600
"""Messages that wait in bulk: more than the span that reliable ones may have under way."""
WAITING_BYTES = 200_000
PATIENCE = 600.0
"""Virtual seconds that all that was said may take to be over, and that may pass with nothing
settled. Far more than any link here needs: beyond it the connection has stalled."""
AFTERMATH = 5.0
"""Virtual seconds to wait, after all is over, for duplicates that are still under way."""
DAMAGE = {"misdirected", "forged", "implausible", "unexpected"}
"""Reasons for which a link that damages and replays nothing never has a datagram dropped. Not
among them is "malformed": to a connection, a hello of its handshake that comes late is."""
OVERFLOWS = {"inbox full", "reassembly full"}


@dataclass(frozen=True)
class Figures:
    """What a run in one condition took."""

    name: str
    messages: int
    reliable: int
    virtual: float
    wall: float
    retransmitted: int
    duplicates: int

    @staticmethod
    def header() -> str:
        return (
            f"{'condition':42} {'messages':>9} {'reliable':>9} {'virtual s':>10} "
            f"{'wall s':>7} {'sent again':>10} {'duplicates':>10}"
        )

    def __str__(self) -> str:
        return (
            f"{self.name:42} {self.messages:9} {self.reliable:9} {self.virtual:10.1f} "
            f"{self.wall:7.1f} {self.retransmitted:10} {self.duplicates:10}"
        )


def soak(condition: Condition, seed: int) -> Figures:
    """Run one condition.

    Raises AssertionError, which names condition and seed, when a message is lost, altered or
    delivered twice, a callback is missing or repeated, or the connection ends or stalls.
    """
    began = time.perf_counter()
    pair = _connect(condition, seed)
    talks = [
        Talk(pair.client, pair.server, condition.kinds, f"{seed}/{condition.name}/up"),
        Talk(pair.server, pair.client, condition.kinds, f"{seed}/{condition.name}/down"),
    ]
    started = pair.now
    try:
        _talk(pair, talks, condition)
        _finish(pair, talks)
        _check_connections(pair, condition)
    except AssertionError as error:
        raise AssertionError(
            f"{condition.name}, seed {seed}, at {pair.now:.3f} s: {error}"
        ) from error
    stats = [connection.stats(pair.now) for connection in (pair.client, pair.server)]
    return Figures(
        condition.name,
        sum(talk.said for talk in talks),
        sum(talk.reliable for talk in talks),
        pair.now - started,
        time.perf_counter() - began,
        sum(s.retransmitted for s in stats),
        sum(s.repeated_messages + s.drops["repeated"] for s in stats),
    )


def _connect(condition: Condition, seed: int) -> SoakPair:
    link = LinkPair(condition.link, seed=f"{seed}/{condition.name}")
    if condition.before is None:
        return SoakPair.shake_hands(link, condition.timing)
    return SoakPair.established(link, condition.timing, condition.before, condition.max_datagram)


def _talk(pair: SoakPair, talks: list[Talk], condition: Condition) -> None:
    """Say all that is to be said."""
    end, progress, moved_at = pair.now + condition.seconds, 0, pair.now
    while pair.now < end and any(talk.said < condition.messages for talk in talks):
        for talk, connection in zip(talks, (pair.client, pair.server), strict=True):
            _say(talk, connection, condition)
        pair.step(end if condition.per_frame is None else pair.now + FRAME)
        for talk in talks:
            talk.look()
        settled = sum(talk.settled for talk in talks)
        if settled > progress:
            progress, moved_at = settled, pair.now
        assert pair.now - moved_at < PATIENCE, "stalled"


def _say(talk: Talk, connection: Connection, condition: Condition) -> None:
    left = condition.messages - talk.said
    if condition.per_frame is not None:
        for _ in range(min(condition.per_frame, left)):
            talk.say()
        return
    while left > 0 and talk.open < WAITING and connection.pending < WAITING_BYTES:
        talk.say()
        left -= 1


def _finish(pair: SoakPair, talks: list[Talk]) -> None:
    """Wait until all is over, and for what is still under way then; check that all is there."""
    limit = pair.now + PATIENCE
    while any(talk.open for talk in talks):
        assert pair.now < limit, f"{[talk.open for talk in talks]} callbacks missing"
        _step_and_look(pair, talks, limit)
    limit = pair.now + AFTERMATH
    while pair.now < limit:
        _step_and_look(pair, talks, limit)
    for talk in talks:
        talk.check()


def _step_and_look(pair: SoakPair, talks: list[Talk], limit: float) -> None:
    pair.step(limit)
    for talk in talks:
        talk.look()


def _check_connections(pair: SoakPair, condition: Condition) -> None:
    link = condition.link
    is_damaging = bool(link.corrupt or link.truncate or link.replay)
    for connection in (pair.client, pair.server):
        drops = connection.stats(pair.now).drops
        for reason in OVERFLOWS if is_damaging else OVERFLOWS | DAMAGE:
            assert not drops[reason], f"{drops[reason]} datagrams dropped: {reason}"
