"""Soak two connections in a condition, and report figures."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from soak.channeltalk import Conversation
from soak.conditions import Condition
from soak.figures import Figures
from soak.servedpair import ServedPair
from soak.soakpair import FRAME, SoakPair
from soak.talk import ConnectionTalk
from support.recordingaead import Seals, recorded_sessions
from support.recordingaead2 import Seals2

from mpgameserver.connection import Connection
from mpgameserver.netsim import LinkPair
from mpgameserver.stats import ConnectionStats

WAITING = 600
"""Messages that wait in bulk: more than the span that reliable ones may have in flight."""
WAITING_BYTES = 200_000
MOST_AT_ONCE = 64
PATIENCE = 600.0
"""Virtual seconds that all that was said may take to be over, and that may pass with nothing
settled. Far more than any link here needs: beyond it the connection has stalled."""
AFTERMATH = 5.0
"""Virtual seconds to wait, after all is over, for duplicates that are still in flight."""
DAMAGE = {"misdirected", "authentication failed", "out of window", "unexpected"}
"""Reasons for which a link that damages and replays nothing never has a datagram dropped. Not
among them is "malformed": to a connection, a hello of its handshake that comes late is."""
OVERFLOWS = {"inbox full", "reassembly full"}

AnyPair = SoakPair | ServedPair
AnyTalk = ConnectionTalk | Conversation


def soak(condition: Condition, seed: int) -> Figures:
    """Run one condition.

    Raises AssertionError, which names condition and seed, when a message is lost, altered or
    delivered twice, a callback is missing or repeated, a nonce repeats, a packet is opened twice,
    or the connection ends or stalls.
    """
    began, name = time.perf_counter(), f"{seed}/{condition.name}"
    with recorded_sessions() as seals:
        pair = _connect(condition, seed, seals)
        talks = [
            ConnectionTalk(pair.client, pair.server, condition.kinds, f"{name}/up"),
            ConnectionTalk(pair.server, pair.client, condition.kinds, f"{name}/down"),
        ]
        started = pair.now
        try:
            talk_all(pair, talks, condition, random.Random(f"{name}/pauses"))
            finish(pair, talks)
            check_connections(pair, condition, seals)
        except AssertionError as error:
            raise AssertionError(
                f"{condition.name}, seed {seed}, at {pair.now:.3f} s: {error}"
            ) from error
    return figures_of(condition, pair, talks, seals, started, time.perf_counter() - began)


def figures_of(
    condition: Condition,
    pair: AnyPair,
    talks: Sequence[AnyTalk],
    seals: Seals | Seals2,
    started: float,
    wall: float,
) -> Figures:
    """Return the row of a run, in which the talk began at `started`."""
    stats = [
        ConnectionStats.of(connection.endpoint, pair.now)
        for connection in (pair.client, pair.server)
    ]
    return Figures(
        name=condition.name,
        messages=sum(talk.said for talk in talks),
        reliable=sum(talk.reliable for talk in talks),
        payload=sum(talk.bytes_arrived for talk in talks),
        packets=seals.sealed,
        retransmitted=sum(s.retransmitted for s in stats),
        duplicates=sum(s.repeated_messages + s.drops["repeated"] for s in stats),
        virtual=pair.now - started,
        wall=wall,
    )


def _connect(condition: Condition, seed: int, seals: Seals) -> SoakPair:
    link = LinkPair(condition.link, seed=f"{seed}/{condition.name}")
    if condition.before is None:
        return SoakPair.shake_hands(link, condition.timing)
    return SoakPair.established(
        link, condition.timing, condition.before, condition.max_datagram, seals
    )


def talk_all(
    pair: AnyPair, talks: Sequence[AnyTalk], condition: Condition, pauses: random.Random
) -> None:
    """Say all that is to be said."""
    end, progress, moved_at, next_at = pair.now + condition.seconds, 0, pair.now, pair.now
    while pair.now < end and any(talk.said < condition.messages for talk in talks):
        if pair.now >= next_at:
            for talk, connection in zip(talks, (pair.client, pair.server), strict=True):
                _say(talk, connection, condition, pauses)
            next_at = pair.now + condition.gap * pauses.uniform(0.001, 1.0)
        pair.step(end if condition.per_frame is None else pair.now + FRAME)
        for talk in talks:
            talk.look()
        settled = sum(talk.settled for talk in talks)
        if settled > progress or not any(talk.open for talk in talks):
            progress, moved_at = settled, pair.now
        assert pair.now - moved_at < PATIENCE, "stalled"


def _say(
    talk: AnyTalk, connection: Connection, condition: Condition, pauses: random.Random
) -> None:
    left = condition.messages - talk.said
    if condition.per_frame is not None or condition.gap:
        wanted = condition.per_frame or pauses.randint(0, MOST_AT_ONCE)
        for _ in range(min(wanted, left)):
            talk.say()
        return
    while left > 0 and talk.open < WAITING and connection.pending < WAITING_BYTES:
        talk.say()
        left -= 1


def finish(pair: AnyPair, talks: Sequence[AnyTalk]) -> None:
    """Wait until all is over, and for what is still in flight then; check that all is there."""
    limit = pair.now + PATIENCE
    while any(talk.open for talk in talks):
        assert pair.now < limit, f"{[talk.open for talk in talks]} callbacks missing"
        _step_and_look(pair, talks, limit)
    limit = pair.now + AFTERMATH
    while pair.now < limit:
        _step_and_look(pair, talks, limit)
    for talk in talks:
        talk.check()


def _step_and_look(pair: AnyPair, talks: Sequence[AnyTalk], limit: float) -> None:
    pair.step(limit)
    for talk in talks:
        talk.look()


def check_connections(pair: AnyPair, condition: Condition, seals: Seals | Seals2) -> None:
    """Check that nothing was dropped that should not be, and nothing opened twice."""
    link = condition.link
    is_damaging = bool(link.corrupt or link.truncate or link.replay)
    connections = (pair.client, pair.server)
    for connection in connections:
        drops = connection.endpoint.drops
        for reason in OVERFLOWS if is_damaging else OVERFLOWS | DAMAGE:
            assert not drops[reason], f"{drops[reason]} datagrams dropped: {reason}"
    received = sum(
        ConnectionStats.of(connection.endpoint, pair.now).received for connection in connections
    )
    assert seals.opened == received, f"{seals.opened} packets opened, {received} accepted"
