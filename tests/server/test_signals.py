"""Signal handlers that call and raise, in every step that they can interrupt."""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.echo import EchoServer

from mpgameserver._core.callbacks import Callbacks
from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.client import UdpClient
from mpgameserver.connection import Connection, Timing
from mpgameserver.netsim import LinkConditions
from mpgameserver.server import ThreadedServer
from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EVENTS, EventHandler
from mpgameserver.server.stuck import where_stuck
from mpgameserver.udpproxy import UdpProxy

LOOPBACK = ("127.0.0.1", 0)
BLOCKED = ip_address("192.0.2.1")
PATIENCE = 10.0

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to interrupt with")


class Interrupted(Exception):
    """Raised by a signal handler; an Exception, as a TimeoutError would be."""


class Interrupter:
    """Raises, or calls something, in the n-th step of what it runs, as a signal's handler may.

    A handler runs where a call begins or has ended, and where a loop goes back. A trace function
    sees calls and lines; with `calls_only`, which is what is exact, no lines.
    """

    def __init__(self, step: int, act: Callable[[], object], calls_only: bool = False) -> None:
        self.left = step
        self._act = act
        self._events = ("call", "return") if calls_only else ("call", "line")

    def __enter__(self) -> Interrupter:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if "mpgameserver" not in frame.f_code.co_filename:
            return None
        if event in self._events:
            self.left -= 1
        if self.left == 0:
            sys.settrace(None)
            frame.f_trace = None
            self._act()
        return self._trace


def fail() -> None:
    raise Interrupted


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as running:
        yield running


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a socket whose making was interrupted
class TestUpdate:
    def test_what_a_handler_raises_in_it_loses_no_callback(self, server: EchoServer) -> None:
        for step in range(1, 60, 2):
            self.play(server, step)

    def play(self, server: EchoServer, step: int) -> None:
        """A short session, whose `update` calls are interrupted in that step each."""
        calls: list[tuple[str, bool]] = []
        with UdpClient(server.public_key) as client:
            client.connect(server.address, lambda ok: calls.append(("connect", ok)))
            self.update_until(client, step, lambda: client.connected() and calls)
            for name in "abc":
                client.send(b"x", callback=lambda ok, name=name: calls.append((name, ok)))
            self.update_until(client, step, lambda: len(calls) >= 4)
            self.update_until(client, 0, lambda: client.next_timer() != 0.0)
        assert sorted(calls) == [("a", True), ("b", True), ("c", True), ("connect", True)]

    @staticmethod
    def update_until(client: UdpClient, step: int, done: Callable[[], object]) -> None:
        end = time.perf_counter() + PATIENCE
        chance = random.Random(step)
        while not done():
            assert time.perf_counter() < end
            try:
                with Interrupter(step if chance.random() < 0.5 else 0, fail):
                    client.update()
            except Interrupted:  # it may have cost a datagram, as the network does
                pass
            time.sleep(0.001)


class TestCallbacks:
    def connection(self) -> Connection:
        return Connection(Endpoint1(AESGCM(bytes(16)), False, 0.0, 0.0), 1, Timing())

    def test_what_is_no_exception_leaves_the_others_due(self) -> None:
        callbacks, calls = Callbacks(), []

        def interrupt(ok: bool) -> None:
            calls.append("interrupt")
            raise KeyboardInterrupt

        callbacks.expect(interrupt)
        callbacks.expect(lambda ok: calls.append("next"))
        callbacks.complete_attempt(True)
        with pytest.raises(KeyboardInterrupt):
            callbacks.run(fail)
        assert not callbacks.is_running
        assert callbacks
        callbacks.run(fail)
        assert calls == ["interrupt", "next"]
        assert not callbacks

    def test_those_that_come_meanwhile_wait_for_the_next_run(self) -> None:
        callbacks, calls = Callbacks(), []

        def again(ok: bool) -> None:
            calls.append(callbacks.is_running)
            callbacks.expect(again)
            callbacks.complete_attempt(ok)

        callbacks.expect(again)
        callbacks.complete_attempt(False)
        callbacks.run(fail)
        assert calls == [True]

    def test_those_of_a_connection_join_them(self) -> None:
        callbacks, calls = Callbacks(), []
        connection = self.connection()
        connection.send(b"x", -1, calls.append)
        connection.abort(0.0)
        callbacks.collect(connection)
        callbacks.collect(connection)
        callbacks.run(fail)
        assert calls == [False]

    def test_an_exception_is_told_and_stops_nothing(self) -> None:
        callbacks, calls, errors = Callbacks(), [], []
        for callback in (lambda ok: 1 / 0, calls.append):
            callbacks.expect(callback)
        callbacks.complete_attempt(True)
        callbacks.run(lambda: errors.append(sys.exc_info()[0]))
        assert (calls, errors) == ([True], [ZeroDivisionError])

    def test_what_is_cleared_is_never_called(self) -> None:
        callbacks, calls = Callbacks(), []
        callbacks.expect(calls.append)
        callbacks.complete_attempt(True)
        callbacks.expect(calls.append)
        callbacks.clear()
        callbacks.complete_attempt(True)
        callbacks.run(fail)
        assert calls == []


class TestSetters:
    def test_a_handler_may_call_one_in_the_middle_of_another(self) -> None:
        for step in range(1, 100):
            context = ServerContext(EventHandler())
            block = functools.partial(context.setBlockList, ["192.0.2.1"])
            with Interrupter(step, block, calls_only=True) as interrupter:
                context.setInterval(7)
            if interrupter.left > 0:
                assert step > 5
                return
            assert context.settings.interval == 7
            assert BLOCKED in context.settings.blocklist
        raise AssertionError("no end")

    def test_what_a_handler_raises_in_one_does_not_block_the_next(self) -> None:
        for step in range(1, 40):
            context = ServerContext(EventHandler())
            try:
                with Interrupter(step, fail):
                    context.setInterval(7)
            except Interrupted:
                context.setMessageTimeout(3)
                assert context.settings.timing.message == 3

    def test_a_handler_in_the_middle_of_a_change_loses_neither(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context = ServerContext(EventHandler())
        previous = signal.signal(signal.SIGALRM, lambda *_: context.setBlockList(["192.0.2.1"]))
        signals = [signal.SIGALRM]

        def interrupted(settings: Any, **changes: Any) -> Any:
            if signals:
                signal.raise_signal(signals.pop())
            return replace(settings, **changes)

        monkeypatch.setattr("mpgameserver.server.context.replace", interrupted)
        context.setInterval(7)
        signal.signal(signal.SIGALRM, previous)
        assert context.settings.interval == 7
        assert BLOCKED in context.settings.blocklist

    def test_a_real_signal_does_not_deadlock_it(self) -> None:
        context = ServerContext(EventHandler())
        previous = signal.signal(signal.SIGALRM, lambda *_: context.setBlockList(["192.0.2.1"]))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            for number in range(1, 2000):
                context.setMessageTimeout(number)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert context.settings.timing.message == number
        assert BLOCKED in context.settings.blocklist

    def test_the_figures_of_a_proxy_can_be_read_in_one(self) -> None:
        proxy = UdpProxy(LOOPBACK, ("127.0.0.1", 9), LinkConditions())
        with proxy._lock:
            assert proxy.stats.clients == 0
        proxy.stop()


STUBBORN = """
import signal, sys, time
from mpgameserver.server import EventHandler, ServerContext, UdpServer

class Handler(EventHandler):
    def starting(self):
        print("starting", flush=True)
    def update(self, delta_t):
        if sys.argv[1] == "hang":
            print("hanging", flush=True)
            while True:
                time.sleep(0.01)
    def shutdown(self):
        time.sleep(float(sys.argv[2]))
        print("shutdown", flush=True)

signal.signal(signal.SIGTERM, signal.SIG_DFL)
server = UdpServer(ServerContext(Handler()), ("127.0.0.1", 0))
close = server._loop._close
def slow_close():
    close()
    print("closed", flush=True)
    time.sleep(0.2)
server._loop._close = slow_close
try:
    server.run()
finally:
    print("returned", flush=True)
"""


class TestRun:
    def program(self, tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", STUBBORN, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    @pytest.mark.parametrize("line", ["starting", "closed"])
    def test_a_second_signal_harms_nothing_until_it_has_returned(
        self, tmp_path: Path, line: str
    ) -> None:
        with self.program(tmp_path, "", "0.1") as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "starting\n"
            program.send_signal(signal.SIGTERM)
            if line == "closed":
                assert [program.stdout.readline() for _ in range(2)] == ["shutdown\n", "closed\n"]
            for _ in range(5):
                program.send_signal(signal.SIGTERM)
                time.sleep(0.01)
            output, _ = program.communicate(timeout=PATIENCE)
        assert output.split()[-1] == "returned"
        assert program.returncode == 0

    def test_the_third_interrupt_ends_a_handler_that_hangs(self, tmp_path: Path) -> None:
        with self.program(tmp_path, "hang", "0") as program:
            assert program.stdout is not None
            assert [program.stdout.readline() for _ in range(2)] == ["starting\n", "hanging\n"]
            for _ in range(3):
                assert program.poll() is None
                program.send_signal(signal.SIGINT)
                time.sleep(0.05)
            output, errors = program.communicate(timeout=PATIENCE)
        assert output.split() == ["shutdown", "closed", "returned"]
        assert "KeyboardInterrupt" in errors


class Hanging(EventHandler):
    """Has an event that returns when it is told to."""

    def __init__(self) -> None:
        self.is_in, self.may_go = threading.Event(), threading.Event()

    def update(self, delta_t: float) -> None:
        self.is_in.set()
        self.may_go.wait(PATIENCE)


class TestStop:
    def test_an_event_that_does_not_return_is_named(self) -> None:
        handler = Hanging()
        server = ThreadedServer(ServerContext(handler), LOOPBACK)
        server.start()
        handler.is_in.wait(PATIENCE)
        with pytest.raises(TimeoutError, match=r"within 0\.05 s: the event update has .*line"):
            server.stop(timeout=0.05)
        handler.may_go.set()
        server.stop()
        server.stop()

    def test_the_event_of_a_decorated_handler_is_found_too(self) -> None:
        def logged(event: Callable[..., object]) -> Callable[..., object]:
            @functools.wraps(event)
            def call(*arguments: object) -> object:
                return event(*arguments)

            return call

        class Decorated(Hanging):
            update = logged(Hanging.update)  # type: ignore[assignment]

        handler = Decorated()
        thread = threading.Thread(target=handler.update, args=(0.1,))
        thread.start()
        handler.is_in.wait(PATIENCE)
        assert "the event update has not returned" in where_stuck(thread, handler, EVENTS)
        handler.may_go.set()
        thread.join()
        assert where_stuck(thread, handler, EVENTS) == "its thread is about to end"

    def test_a_thread_that_is_in_no_event_is_told_so(self) -> None:
        release = threading.Event()
        thread = threading.Thread(target=release.wait)
        thread.start()
        assert "no event is running" in where_stuck(thread, EventHandler(), EVENTS)
        release.set()
        thread.join()
