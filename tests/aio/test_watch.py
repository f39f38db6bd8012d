"""Waiting for sockets on behalf of a loop: in the loop itself, and in a thread."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from support.patience import PATIENCE

from mpgameserver.aio.driver import Driver
from mpgameserver.aio.watch import LoopWatch, ThreadWatch

Pair = tuple[socket.socket, socket.socket]
Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=[(LoopWatch, True), (ThreadWatch, True), (ThreadWatch, False)], ids=str)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """In the loop, in a thread by `poll`, and in a thread by `select` as on Windows."""
    kind, has_poll = request.param
    if has_poll and not hasattr(select, "poll"):
        pytest.skip("this platform has no poll")
    if not has_poll:
        monkeypatch.delattr(select, "poll", raising=False)
    return kind


@pytest.fixture
def ends() -> Iterator[Pair]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        yield near, far


class Watched:
    """The reports of a watch."""

    def __init__(self, kind: Any) -> None:
        self.calls = 0
        self._called = asyncio.Event()
        self.watch = kind(asyncio.get_running_loop(), self._ready)

    def _ready(self) -> None:
        self.calls += 1
        self._called.set()

    async def ready(self) -> None:
        """Wait for the next call."""
        self._called.clear()
        await self._called.wait()


def run(main: Main) -> None:
    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_what_can_be_read_is_told_again_and_again(kind: Any, ends: Pair) -> None:
    async def main() -> None:
        near, far = ends
        watched = Watched(kind)
        for number in range(1, 4):
            watched.watch.set({near.fileno()}, None)
            far.send(b"%d" % number)
            await watched.ready()
            assert near.recv(10) == b"%d" % number
        watched.watch.close()

    run(main)


def test_a_socket_that_takes_more_is_told_while_that_is_wanted(kind: Any, ends: Pair) -> None:
    async def main() -> None:
        near, _ = ends
        watched = Watched(kind)
        watched.watch.set({near.fileno()}, near.fileno())
        await watched.ready()
        watched.watch.set({near.fileno()}, None)
        await asyncio.sleep(0.01)
        calls = watched.calls
        await asyncio.sleep(0.01)
        assert watched.calls == calls
        watched.watch.close()

    run(main)


def test_what_is_not_asked_for_any_more_is_not_told(kind: Any, ends: Pair) -> None:
    async def main() -> None:
        near, far = ends
        watched = Watched(kind)
        watched.watch.set({near.fileno(), far.fileno()}, None)
        watched.watch.set({far.fileno()}, None)
        await asyncio.sleep(0.01)
        far.send(b"x")
        await asyncio.sleep(0.01)
        watched.watch.close()
        near.send(b"x")
        await asyncio.sleep(0.01)
        assert watched.calls == 0

    run(main)


def test_a_socket_that_is_closed_meanwhile_stops_no_other(kind: Any, ends: Pair) -> None:
    async def main() -> None:
        near, far = ends
        watched = Watched(kind)
        gone = socket.socket()
        watched.watch.set({near.fileno(), gone.fileno()}, None)
        gone.close()
        watched.watch.set({near.fileno()}, None)
        far.send(b"x")
        await watched.ready()
        watched.watch.close()

    run(main)


def test_a_descriptor_that_was_closed_before_stops_no_other(ends: Pair) -> None:
    async def main() -> None:
        near, far = ends
        watched = Watched(LoopWatch)
        with socket.socket() as gone:
            descriptor = gone.fileno()
        watched.watch.set({near.fileno(), descriptor}, descriptor)
        far.send(b"x")
        await watched.ready()
        watched.watch.close()

    run(main)


def test_a_loop_that_is_closed_first_harms_nothing(ends: Pair) -> None:
    near, far = ends
    loop = asyncio.new_event_loop()
    watch = ThreadWatch(loop, lambda: None)
    watch.set({near.fileno()}, None)
    loop.close()
    far.send(b"x")
    watch.close()


class ClosedInTheMiddle(asyncio.SelectorEventLoop):
    """A finalizer calls `action` while the first reader is added."""

    action: Callable[[], object] | None = None

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        action, self.action = self.action, None
        if action is not None:
            action()
        super().add_reader(fd, callback, *args)


class Driven:
    """Two sockets, which are closed by whoever closes it."""

    wants_write = False

    def __init__(self) -> None:
        self.pairs = [socket.socketpair() for _ in range(2)]

    def filenos(self) -> tuple[int, ...]:
        return tuple(near.fileno() for near, _ in self.pairs)

    def next_timer(self) -> float:
        return float("inf")

    def close(self) -> None:
        for pair in self.pairs:
            for sock in pair:
                sock.close()


def test_a_driver_that_is_closed_as_it_begins_to_wait_waits_for_nothing() -> None:
    loop = ClosedInTheMiddle()

    async def main() -> None:
        driven = Driven()
        driver = Driver(driven, lambda: None)

        def close() -> None:
            driver.close()
            driven.close()

        loop.action = close
        driver.start()
        assert not [each for each in readers_of(loop) if each != loop._ssock.fileno()]

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def readers_of(loop: Any) -> list[int]:
    return list(loop._selector.get_map())


def test_a_thread_that_is_closed_in_the_middle_is_asked_for_nothing(ends: Pair) -> None:
    async def main() -> None:
        watch = ThreadWatch(asyncio.get_running_loop(), lambda: None)
        watch.close()
        watch.set({ends[0].fileno()}, None)

    run(main)
