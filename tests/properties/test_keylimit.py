"""One key seals at most 2^28 packets, of both sides together: a session ends before that."""

from __future__ import annotations

import logging

import pytest
from support.endpoints import WALL_START
from support.pair import KEY, TOKEN, ConnectionPair, received

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.session import Session
from mpgameserver.connection import Connection, Timing
from mpgameserver.enums import ConnectionStatus, DisconnectReason
from mpgameserver.wire.session_cipher import session_cipher

LIMIT = 2**28
RESERVE = 2**17
"""Packets that are left for the disconnect."""
RING = 65535
"""The number that the first packet received counts as, so that those before it have one, too."""


def connection(before: int, is_server: bool = False) -> Connection:
    """A connection that has sent so many packets."""
    endpoint = Endpoint1(session_cipher(KEY), is_server, 0.0, WALL_START, packets_before=before)
    return Connection(endpoint, TOKEN, Timing())


def pair_of(before: int, is_server: bool = False) -> tuple[ConnectionPair, Connection]:
    """Two connections of which one, the second value, has sent so many packets."""
    pair, worn = ConnectionPair(), connection(before, is_server)
    if is_server:
        pair.server = worn
    else:
        pair.client = worn
    return pair, worn


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "mpgameserver.connection"]


def test_half_of_it_is_told_once_and_the_session_goes_on(caplog):
    pair, worn = pair_of(LIMIT // 2 - RING - 20)
    pair.run(0.3)
    assert warnings(caplog) == []
    pair.run(2.0)
    [warning] = warnings(caplog)
    assert warning.startswith("a session has used half of its key: it ends after 134")
    assert worn.status == ConnectionStatus.CONNECTED


def test_what_the_other_side_seals_counts_too(caplog):
    pair, worn = pair_of(LIMIT // 2 - RING - 10)
    worn.endpoint.keep_alive_interval = pair.server.endpoint.keep_alive_interval = 1e9
    pair.run(0.5)
    assert warnings(caplog) == []
    for _ in range(20):
        pair.server.send(b"to the client", 0)
        pair.run(0.02)
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("is_server", [False, True])
def test_near_the_limit_the_session_disconnects_after_what_was_queued(is_server, caplog):
    caplog.set_level(logging.ERROR)
    pair, worn = pair_of(LIMIT - RESERVE - RING - 20, is_server)
    other = pair.client if is_server else pair.server
    outcomes: list[bool] = []
    pair.run(0.1)
    assert worn.status == ConnectionStatus.CONNECTED
    assert not worn.key_used_up
    while worn.status == ConnectionStatus.CONNECTED:
        worn.send(b"reliable", callback=outcomes.append)
        pair.frame()
    assert worn.key_used_up
    pair.run(1.0)
    assert (worn.status, other.status) == (ConnectionStatus.DISCONNECTED,) * 2
    for callback, acked in worn.take_completed():
        callback(acked)
    assert outcomes
    assert all(outcomes)
    assert len(received(other)) == len(outcomes)
    assert worn.endpoint.sent_packets.newest < LIMIT - RESERVE + 100


def test_the_servers_reason_says_so():
    class Owner:
        now = 0.0

    worn = connection(LIMIT - RESERVE, is_server=True)
    session = Session(worn, ("192.0.2.1", 5000), b"", Owner())
    worn.advance(0.0)
    assert session.end() == DisconnectReason.KEY_LIMIT


def test_not_one_packet_is_sealed_beyond_the_limit():
    worn = connection(LIMIT - 3).endpoint
    sealed = 0
    for second in range(10):
        worn.send_queue.add(b"text", 0)
        worn.advance(float(second))
        sealed += worn.next_datagram(float(second)) is not None
    assert sealed == 3
    assert worn.abort(10.0) is None
