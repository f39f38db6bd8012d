"""Waiting for sockets, by `poll` and by `select`."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest
from support.patience import PATIENCE

from mpgameserver.transport.poll import QUICK, SPIN, STREAK, BusyPoller, Waiter, wait_readable


@pytest.fixture(params=[True, False], ids=["poll", "select"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`select` is what is left when a library for green threads, imported later, has patched it."""
    if request.param and not hasattr(select, "poll"):
        pytest.skip("this platform has no poll")
    if not request.param:
        monkeypatch.delattr(select, "poll", raising=False)


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


class TestBusyPoller:
    """The clock is the test's own, and a sleep ends when the test says."""

    @pytest.fixture
    def eager(self, ends, monkeypatch) -> Eager:
        return Eager(ends[0], monkeypatch)

    def test_sleeps_at_once_at_first(self, eager):
        eager.sleeps = 1e-6
        assert eager.wait() == {eager.descriptor}
        assert eager.looked_for == []

    def test_looks_before_the_next_sleep_when_many_in_a_row_were_short(self, eager):
        eager.hurry()
        assert eager.looked_for == []
        eager.finds = True
        assert eager.wait() == {eager.descriptor}
        assert (eager.looked_for, eager.slept) == ([SPIN], STREAK)

    def test_goes_on_looking_while_it_finds_something(self, eager):
        eager.hurry()
        eager.finds = True
        for _ in range(5):
            eager.wait()
        assert (len(eager.looked_for), eager.slept) == (5, STREAK)

    def test_sleeps_when_it_looked_in_vain_and_waits_for_as_many_again(self, eager):
        eager.hurry()
        assert eager.wait() == {eager.descriptor}
        assert (len(eager.looked_for), eager.slept) == (1, STREAK + 1)
        eager.hurry()
        assert len(eager.looked_for) == 1
        eager.wait()
        assert len(eager.looked_for) == 2

    @pytest.mark.parametrize(("sleeps", "comes"), [(QUICK * 2, True), (QUICK / 2, False)])
    def test_a_long_wait_or_one_for_nothing_ends_the_row(self, eager, sleeps, comes):
        eager.hurry(STREAK - 1)
        eager.sleeps, eager.comes = sleeps, comes
        eager.wait()
        eager.comes = True
        eager.hurry()
        assert eager.looked_for == []

    def test_looks_no_longer_than_it_may_wait(self, eager):
        eager.hurry()
        eager.wait(SPIN / 4)
        assert eager.looked_for == [SPIN / 4]


class Eager:
    """An `BusyPoller`, and what it has done."""

    def __init__(self, sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
        self.descriptor = sock.fileno()
        self.sleeps = 0.0
        """Seconds that a sleep takes."""
        self.comes = True
        """A sleep ends because something can be read."""
        self.finds = False
        """A look finds something."""
        self.slept = 0
        self.looked_for: list[float] = []
        self._now = 100.0
        self._waiter = BusyPoller(self._spin, sock)
        monkeypatch.setattr(time, "perf_counter", lambda: self._now)
        monkeypatch.setattr(Waiter, "wait", lambda _, seconds: self._sleep())

    def wait(self, seconds: float = 1.0) -> set[int]:
        return self._waiter.wait(seconds)

    def hurry(self, waits: int = STREAK) -> None:
        """Let so many waits be short."""
        self.sleeps = QUICK / 2
        for _ in range(waits):
            self.wait()

    def _spin(self, seconds: float) -> bool:
        self.looked_for.append(seconds)
        self._now += 0.0 if self.finds else seconds
        return self.finds

    def _sleep(self) -> set[int]:
        self.slept += 1
        self._now += self.sleeps
        return {self.descriptor} if self.comes else set()
