"""Soak a session of protocol 2 in a condition, with all kinds of channels, and report figures."""

from __future__ import annotations

import random
import time

from soak.channeltalk import Conversation, read_client
from soak.conditions import Condition
from soak.errorlog import ErrorLog
from soak.figures import Figures
from soak.servedpair import ServedPair
from soak.soaking import PATIENCE, check_connections, figures_of, finish, talk_all
from support.recordingaead2 import recorded_sessions2

from mpgameserver.connection import Connection

__all__ = ["soak2"]


class _Up(Conversation):
    """The client's messages, which the server's handler takes."""

    def __init__(self, pair: ServedPair, condition: Condition, seed: str) -> None:
        super().__init__(pair.client.send_on, condition.kinds, seed)
        self._client = pair.client
        pair.handle = self.take_on

    def look(self) -> None:
        settle(self._client)


class _Down(Conversation):
    """The server's messages, whose callbacks the server calls."""

    def __init__(self, pair: ServedPair, condition: Condition, seed: str) -> None:
        super().__init__(pair.send_down, condition.kinds, seed)
        self._client = pair.client

    def look(self) -> None:
        read_client(self._client, self)


def settle(connection: Connection) -> None:
    """Call the callbacks of a client that are due."""
    for callback, acked in connection.take_completed():
        callback(acked)


def soak2(condition: Condition, seed: int) -> Figures:
    """Run one condition; raises AssertionError, which names it, as `soak` does."""
    began, name = time.perf_counter(), f"{seed}/{condition.name}"
    log = ErrorLog()
    with recorded_sessions2() as seals, log:
        pair = ServedPair(condition.link, condition.timing, name, log)
        if condition.has_one_path:
            pair.be_undisturbed()
        talks = [_Up(pair, condition, f"{name}/up"), _Down(pair, condition, f"{name}/down")]
        started = pair.now
        try:
            talk_all(pair, talks, condition, random.Random(f"{name}/pauses"))
            finish(pair, talks)
            check_connections(pair, condition, seals)
            _check_disturbances(pair)
        except AssertionError as error:
            raise AssertionError(
                f"{condition.name}, seed {seed}, at {pair.now:.3f} s: {error}"
            ) from error
    return figures_of(condition, pair, talks, seals, started, time.perf_counter() - began)


def _check_disturbances(pair: ServedPair) -> None:
    """Check that the server has followed the client, and each side the other's key updates.

    A burst or a blackout may be longer than the time between two moves.
    """
    moves, updates = pair.disturbances
    pair.be_undisturbed()
    limit = pair.now + PATIENCE
    while not pair.is_followed:
        assert pair.now < limit, "the server has not followed the last move"
        pair.step(limit)
    assert 2 * pair.moves >= moves, f"{pair.moves} of {moves} moves followed"
    for side in (pair.client, pair.server):
        phase = side.endpoint.key_phase[0]
        # The last one may have been asked for when all had been said.
        assert 2 * phase >= updates - 1, f"{phase} of {updates} key updates"
