"""Waiting for sockets, by `poll` and by `select`."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from mpgameserver import waiting
from mpgameserver.waiting import Waiter, wait_readable

PATIENCE = 5.0


@pytest.fixture(params=[True, False], ids=["poll", "select"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param and not waiting._HAS_POLL:
        pytest.skip("this platform has no poll")
    monkeypatch.setattr(waiting, "_HAS_POLL", request.param)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_what_can_be_read_ends_the_wait(ends):
    near, far = ends
    waiter = Waiter(near, far)
    assert waiter.wait(0.0) == set()
    far.send(b"x")
    assert waiter.wait(PATIENCE) == {near.fileno()}
    near.send(b"y")
    assert waiter.wait(PATIENCE) == {near.fileno(), far.fileno()}


def test_a_socket_that_takes_more_ends_it_while_that_is_wanted(ends):
    near, far = ends
    waiter = Waiter(near, far)
    waiter.want_write(far, True)
    assert waiter.wait(PATIENCE) == {far.fileno()}
    waiter.want_write(far, False)
    assert waiter.wait(0.0) == set()


def test_time_ends_it_too(ends):
    assert Waiter(ends[0]).wait(0.001) == set()


def test_one_socket_is_waited_for_without_more_ado(ends):
    near, far = ends
    far.send(b"x")
    wait_readable(near, PATIENCE)
    assert near.recv(1) == b"x"


def test_less_than_a_millisecond_is_one(ends, monkeypatch):
    """A clock of coarse steps would otherwise have the caller ask again without end."""
    waited = []
    monkeypatch.setattr(select, "select", lambda *_: waited.append(_[3]) or ((), (), ()))
    waiter = Waiter(ends[0])
    assert waiter.wait(1e-6) == set()
    assert waited in ([], [0.001])  # poll takes nothing else
