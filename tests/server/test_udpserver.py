"""The server on real sockets: addresses, threads, signals, and a small crowd."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from support.patience import PATIENCE
from support.serverworld import Recorder

from mpgameserver._core.datagrams import TELLS_LOCAL
from mpgameserver._core.pump import ServerPump
from mpgameserver.client import UdpClient
from mpgameserver.enums import ConnectionStatus, RetryMode
from mpgameserver.server import EventHandler, ServerContext, ThreadedServer, UdpServer, slow_events
from mpgameserver.server.slow_events import SLOW_EVENT, SlowEventLog

LOOPBACK = ("127.0.0.1", 0)


def echo() -> Recorder:
    return Recorder(handle_message=lambda client, message: client.send(message, -1))


def play(clients: list[UdpClient], until: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Update the clients until something holds."""
    end = time.perf_counter() + seconds
    while not until():
        assert time.perf_counter() < end, clients
        for client in clients:
            client.update()
        time.sleep(0.002)


def joined(context: ServerContext, host: str, port: int) -> UdpClient:
    client = UdpClient(context.root_key.getPublicKey())
    client.connect((host, port))
    try:
        play([client], client.connected)
    except BaseException:
        client.forceDisconnect()
        raise
    return client


@pytest.fixture
def switch_at_every_chance() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def can_bind(address: tuple[Any, ...]) -> bool:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(address)
        except OSError:
            return False
        return True


def link_local_host() -> str | None:
    """A link-local address of this host, with its scope; None where Linux tells of none."""
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return None
    for digits, *_, interface in map(str.split, lines):
        if digits.startswith("fe80"):
            host = f"{IPv6Address(int(digits, 16))}%{interface}"
            if can_bind(socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0][4]):
                return host
    return None


class TestAddresses:
    @pytest.mark.parametrize(
        ("bound", "host"),
        [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1")],
    )
    def test_a_client_plays_over_every_version(self, bound: str, host: str) -> None:
        context = ServerContext(echo())
        with ThreadedServer(context, (bound, 0)) as server:
            assert server.address[0] == bound
            with joined(context, host, server.address[1]) as client:
                client.send(b"x" * 5000)
                play([client], client.hasMessages)
                assert client.getMessage()[1] == b"x" * 5000
        assert context.handler.clients[0].addr[0] == host

    @pytest.mark.skipif(not TELLS_LOCAL, reason="this platform does not tell local addresses")
    @pytest.mark.parametrize("bound", ["0.0.0.0", "::"])
    def test_a_server_on_all_addresses_is_reached_by_each(self, bound: str) -> None:
        context = ServerContext(echo())
        hosts = [host for host in ("127.0.0.1", "127.0.0.2", "127.0.1.1") if can_bind((host, 0))]
        hosts += ["::1"] if bound == "::" else []
        with ThreadedServer(context, (bound, 0)) as server, ExitStack() as stack:
            clients = [
                stack.enter_context(joined(context, host, server.address[1])) for host in hosts
            ]
            for client in clients:
                client.send(b"x" * 50_000)
            play(clients, lambda: all(client.hasMessages() for client in clients))
            assert [client.getMessage()[1] for client in clients] == [b"x" * 50_000] * len(hosts)

    def test_a_server_on_a_link_local_address_is_reached_by_what_it_says(self) -> None:
        host = link_local_host()
        if host is None:
            pytest.skip("no link-local address of IPv6 is known on this host")
        context = ServerContext(echo())
        with ThreadedServer(context, (host, 0)) as server:
            assert server.address[0] == host
            with joined(context, *server.address) as client:
                assert f"[{host}]:{server.address[1]}" in repr(client)
                client.send(b"x" * 5000)
                play([client], client.hasMessages)
                assert client.getMessage()[1] == b"x" * 5000
        assert context.handler.clients[0].addr[0] == host

    def test_a_port_in_use_is_an_error_from_start_that_names_it(self) -> None:
        with ThreadedServer(ServerContext(EventHandler()), LOOPBACK) as server:
            other = ThreadedServer(ServerContext(EventHandler()), server.address)
            with pytest.raises(OSError, match=str(server.address[1])):
                other.start()
            other.stop()

    def test_the_address_is_known_before_it_runs(self) -> None:
        server = UdpServer(ServerContext(EventHandler()), LOOPBACK)
        assert server.address[1] > 0
        server.stop()


def drive(server: UdpServer, until: Callable[[], bool]) -> None:
    """Serve in a loop as somebody else's is: wait for the socket and the timer, then update."""
    end = time.perf_counter() + PATIENCE
    while server.update() and not until():
        assert time.perf_counter() < end
        seconds = max(server.next_timer() - time.perf_counter(), 0.0)
        writable = [server] if server.wants_write else []
        select.select([server], writable, [], seconds)


def turn(
    selector: selectors.BaseSelector, clients: list[UdpClient], until: Callable[[], bool]
) -> None:
    """Serve all servers of a selector in one loop; those that stop leave it."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, clients
        servers = [key.data for key in selector.get_map().values()]
        due = min((server.next_timer() for server in servers), default=0.0)
        selector.select(min(max(due - time.monotonic(), 0.0), 0.005))
        for server in servers:
            if not server.update():
                selector.unregister(server)
        for client in clients:
            client.update()


def quieten(server: UdpServer, client: UdpClient) -> None:
    """Update both until neither has anything to do soon."""

    def is_quiet() -> bool:
        server.update()
        due = min(client.next_timer(), server.next_timer())
        return bool(server.clients) and due > time.monotonic() + 1.0

    play([client], is_quiet)


class TestInSomebodyElsesLoop:
    def test_it_serves_by_update(self) -> None:
        context = ServerContext(echo())
        server = UdpServer(context, LOOPBACK)
        assert (server.fileno() >= 0, server.next_timer()) == (True, 0.0)
        with UdpClient(context.root_key.getPublicKey()) as client:
            client.connect(server.address)
            client.update()

            def answered() -> bool:
                client.update()
                if client.connected() and not context.handler.messages:
                    client.send(b"x")
                return client.hasMessages()

            drive(server, answered)
            server.stop()
            drive(server, lambda: client.update() is not None)
        assert not server.update()
        assert (server.fileno(), server.next_timer()) == (-1, float("inf"))
        assert context.handler.reasons == ["shutdown"]
        assert can_bind(server.address)

    def test_nothing_is_due_before_the_tick(self) -> None:
        context = ServerContext(EventHandler())
        context.setInterval(60.0)
        server = UdpServer(context, LOOPBACK)
        assert server.update()
        assert server.next_timer() > time.perf_counter() + 50.0
        server.close()

    def test_close_stops_it_at_once(self) -> None:
        context = ServerContext(Recorder())
        server = UdpServer(context, LOOPBACK)
        server.update()
        server.close()
        server.close()
        assert context.handler.events == [("starting",), ("shutdown",)]
        assert not server.update()
        with ThreadedServer(context, LOOPBACK):
            pass

    def test_what_is_asked_for_between_two_updates_is_due_at_once(self) -> None:
        context = ServerContext(Recorder())
        context.setInterval(60.0)
        context.setKeepAliveInterval(4.0)
        server = UdpServer(context, LOOPBACK)
        client = UdpClient(context.root_key.getPublicKey())
        client.setKeepAliveInterval(4.0)
        client.connect(server.address)
        calls: list[str] = []
        asked = {
            "a message": lambda: context.clients[0].send(b"news"),
            "a call": lambda: context.call_soon_threadsafe(calls.append, "called"),
            "a setting": lambda: context.setMessageTimeout(2.0),
            "a stop": server.stop,
        }
        with client:
            for name, ask in asked.items():
                quieten(server, client)
                ask()
                assert server.next_timer() <= time.monotonic(), name
            play([client], lambda: not server.update())
            assert [message for _, message in client.getMessages()] == [b"news"]
        assert calls == ["called"]

    def test_many_wakes_without_an_update_harm_nothing(self) -> None:
        context = ServerContext(Recorder())
        server = UdpServer(context, LOOPBACK)
        server.update()
        for _ in range(5000):
            context.setMessageTimeout(2.0)
        assert server.update()
        server.close()

    def test_it_shares_a_selector_with_others(self) -> None:
        contexts = [ServerContext(echo()) for _ in range(2)]
        servers = [UdpServer(context, LOOPBACK) for context in contexts]
        with selectors.DefaultSelector() as selector, ExitStack() as stack:
            for server in servers:
                selector.register(server, selectors.EVENT_READ, server)
                assert server.update()
            clients = []
            for context, server in zip(contexts, servers, strict=True):
                client = stack.enter_context(UdpClient(context.root_key.getPublicKey()))
                client.connect(server.address)
                clients.append(client)
            turn(selector, clients, until=lambda: all(client.connected() for client in clients))
            for number, client in enumerate(clients):
                client.send(b"%d" % number)
            turn(selector, clients, until=lambda: all(c.hasMessages() for c in clients))
            assert [client.getMessage()[1] for client in clients] == [b"0", b"1"]
            for server in servers:
                server.stop()
            turn(selector, clients, until=lambda: not selector.get_map())
        assert [context.handler.reasons for context in contexts] == [["shutdown"]] * 2

    def test_an_event_can_neither_update_nor_close_it(self) -> None:
        refused: list[str] = []

        def refuse(*_: float) -> None:
            for call in (server.update, server.close):
                with pytest.raises(RuntimeError, match="from an event") as error:
                    call()
                refused.append(str(error.value))

        context = ServerContext(Recorder(starting=refuse, update=refuse))
        server = UdpServer(context, LOOPBACK)
        drive(server, lambda: len(refused) > 2)
        server.close()
        assert refused[:2] == refused[2:4]
        assert context.handler.events == [("starting",), ("shutdown",)]

    def test_starting_that_raises_comes_out_of_update_and_ends_it(self) -> None:
        def fail() -> None:
            raise RuntimeError("out of order")

        context = ServerContext(Recorder(starting=fail))
        server = UdpServer(context, LOOPBACK)
        with pytest.raises(RuntimeError, match="out of order"):
            server.update()
        assert server.fileno() == -1
        assert not server.update()
        server.close()
        assert context.handler.events == [("starting",)]
        UdpServer(context, LOOPBACK).close()

    def test_what_is_no_exception_leaves_it_to_be_updated_or_closed(self) -> None:
        def end(delta_t: float) -> None:
            raise KeyboardInterrupt

        context = ServerContext(Recorder(update=end))
        context.setInterval(0.001)
        server = UdpServer(context, LOOPBACK)
        with pytest.raises(KeyboardInterrupt):
            drive(server, lambda: False)
        server.close()
        assert context.handler.events == [("starting",), ("shutdown",)]

    def test_it_is_run_or_updated_and_not_both(self) -> None:
        server = UdpServer(ServerContext(Recorder()), LOOPBACK)
        server.update()
        with pytest.raises(RuntimeError):
            server.run()
        server.close()
        context = ServerContext(Recorder(update=lambda delta_t: refuse()))
        other = UdpServer(context, LOOPBACK)

        def refuse() -> None:
            context.shutdown()
            for call in (other.update, other.close):
                with pytest.raises(RuntimeError):
                    call()

        other.run()
        assert context.handler.events[-1] == ("shutdown",)


class TestUdpServer:
    def test_all_events_come_from_the_thread_that_runs_it(self) -> None:
        threads = set()

        class Handler(Recorder):
            def _record(self, name: str, *arguments: object) -> None:
                threads.add(threading.current_thread())
                super()._record(name, *arguments)

            def update(self, delta_t: float) -> None:
                threads.add(threading.current_thread())

        context = ServerContext(Handler())
        server = UdpServer(context, LOOPBACK)
        thread = threading.Thread(target=server.run)
        thread.start()
        with joined(context, *server.address) as client:
            client.send(b"x")
            play([client], lambda: bool(context.handler.messages))
            context.call_soon_threadsafe(lambda: threads.add(threading.current_thread()))
        server.stop()
        thread.join(PATIENCE)
        assert threads == {thread}
        names = [event[0] for event in context.handler.events]
        assert names == ["starting", "connect", "handle_message", "disconnect", "shutdown"]

    def test_the_handler_can_stop_it(self) -> None:
        context = ServerContext(Recorder(update=lambda delta_t: context.shutdown()))
        UdpServer(context, LOOPBACK).run()
        assert context.handler.events == [("starting",), ("shutdown",)]

    def test_a_stop_or_shutdown_that_comes_first_counts(self) -> None:
        server = UdpServer(ServerContext(Recorder()), LOOPBACK)
        server.stop()
        server.run()
        server.stop()
        context = ServerContext(Recorder())
        context.shutdown()
        UdpServer(context, LOOPBACK).run()
        assert context.handler.events == [("starting",), ("shutdown",)]

    def test_it_runs_once(self) -> None:
        context = ServerContext(Recorder(update=lambda delta_t: context.shutdown()))
        server = UdpServer(context, LOOPBACK)
        server.run()
        with pytest.raises(RuntimeError, match="has already run"):
            server.run()

    def test_what_is_no_exception_ends_it_and_the_clients_are_told(self) -> None:
        def end(client: object, message: bytes) -> None:
            raise KeyboardInterrupt

        context = ServerContext(Recorder(handle_message=end))
        server = UdpServer(context, LOOPBACK)
        raised = []

        def run() -> None:
            try:
                server.run()
            except KeyboardInterrupt as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        with joined(context, *server.address) as client:
            client.send(b"stop it")
            play([client], lambda: not client.connected())
            assert client.status() == ConnectionStatus.DISCONNECTED
        thread.join(PATIENCE)
        assert len(raised) == 1
        assert context.handler.reasons == ["shutdown"]
        assert context.handler.events[-1] == ("shutdown",)

    def test_a_message_is_answered_at_once_and_not_at_the_next_tick(self) -> None:
        context = ServerContext(echo())
        context.setInterval(60)
        with ThreadedServer(context, LOOPBACK) as server:
            began = time.perf_counter()
            with joined(context, *server.address) as client:
                client.send(b"x")
                play([client], client.hasMessages)
            assert time.perf_counter() - began < PATIENCE

    def test_a_socket_that_takes_no_more_loses_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refusals = itertools.cycle([True, True, False])

        class Reluctant:
            def __init__(self, io: Any) -> None:
                self.receive_from = io.receive_from
                self.too_large = 0
                self.queue = lambda *leaving: not next(refusals) and io.queue(*leaving)
                self.flush = lambda: not next(refusals) and io.flush()

        monkeypatch.setattr(
            "mpgameserver.server.loop.ServerPump",
            lambda dispatcher, io, clock: ServerPump(dispatcher, Reluctant(io), clock),
        )
        context = ServerContext(
            Recorder(handle_message=lambda client, message: client.send(message))
        )
        messages = [bytes([i]) * 1000 for i in range(20)]
        received: list[bytes] = []

        def all_there() -> bool:
            received.extend(message for _, message in client.getMessages())
            return len(received) == len(messages)

        with (
            ThreadedServer(context, LOOPBACK) as server,
            joined(context, *server.address) as client,
        ):
            for message in messages:
                client.send(message, RetryMode.NONE)
            play([client], all_there)
        assert sorted(received) == messages


class TestThreadedServer:
    def test_it_starts_and_stops_again_and_again(self) -> None:
        context = ServerContext(Recorder())
        server = ThreadedServer(context, LOOPBACK)
        for _ in range(20):
            server.start()
            assert not can_bind(server.address)
            server.stop()
            server.stop()
            assert can_bind(server.address)
        assert context.handler.events == [("starting",), ("shutdown",)] * 20

    def test_it_cannot_be_started_twice(self) -> None:
        with (
            ThreadedServer(ServerContext(EventHandler()), LOOPBACK) as server,
            pytest.raises(RuntimeError, match="is running"),
        ):
            server.start()

    def test_two_servers_cannot_run_one_context(self) -> None:
        context = ServerContext(EventHandler())
        with ThreadedServer(context, LOOPBACK):
            second = ThreadedServer(context, LOOPBACK)
            with pytest.raises(RuntimeError, match="another server"):
                second.start()

    def test_stopping_disconnects_every_client(self) -> None:
        context = ServerContext(Recorder())
        server = ThreadedServer(context, LOOPBACK)
        server.start()
        clients = [joined(context, *server.address) for _ in range(3)]
        outcomes: list[bool] = []
        context.call_soon_threadsafe(
            lambda: [client.send(b"last", -1, outcomes.append) for client in context.clients]
        )
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        play(clients, lambda: not stopper.is_alive())
        stopper.join()
        for client in clients:
            client.update()
        assert {client.status() for client in clients} == {ConnectionStatus.DISCONNECTED}
        assert [client.getMessages()[-1][1] for client in clients] == [b"last"] * 3
        assert context.handler.reasons == ["shutdown"] * 3
        assert outcomes == [True] * 3

    def test_clients_that_do_not_answer_delay_it_by_a_second(self) -> None:
        context = ServerContext(Recorder())
        outcomes: list[bool] = []
        with ThreadedServer(context, LOOPBACK) as server:
            client = joined(context, *server.address)
            context.call_soon_threadsafe(lambda: context.clients[0].send(b"x", -1, outcomes.append))
            began = time.perf_counter()
        took = time.perf_counter() - began
        client.forceDisconnect()
        assert 0.9 < took < 3
        assert outcomes == [False]

    def test_the_handler_can_stop_it_too(self) -> None:
        context = ServerContext(Recorder(update=lambda delta_t: server.stop()))
        server = ThreadedServer(context, LOOPBACK)
        server.start()
        end = time.perf_counter() + PATIENCE
        while context.handler.events[-1:] != [("shutdown",)] and time.perf_counter() < end:
            time.sleep(0.001)
        server.stop()
        assert context.handler.events == [("starting",), ("shutdown",)]

    def test_what_ends_the_loop_comes_out_of_stop(self, caplog: pytest.LogCaptureFixture) -> None:
        def fail() -> None:
            raise SystemExit("out of order")

        def fail_soon(delta_t: float) -> None:
            fail()

        context = ServerContext(Recorder(update=fail_soon))
        server = ThreadedServer(context, LOOPBACK)
        server.start()
        server.join()
        with pytest.raises(SystemExit, match="out of order"):
            server.stop()
        server.stop()
        assert "the server has failed" in caplog.text
        assert context.handler.events[-1] == ("shutdown",)

    def test_starting_that_raises_comes_out_of_start(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise SystemExit("out of order")

        context = ServerContext(Recorder(starting=fail))
        server = ThreadedServer(context, LOOPBACK)
        with pytest.raises(SystemExit, match="out of order"):
            server.start()
        assert not server.is_alive()
        server.stop()
        assert context.handler.events == [("starting",)]
        assert not caplog.records
        context.handler.on.clear()
        with server:  # nothing is in the way of another attempt
            assert server.is_alive()

    def test_it_has_what_a_thread_has(self) -> None:
        names: list[str] = []
        context = ServerContext(
            Recorder(starting=lambda: names.append(threading.current_thread().name))
        )
        server = ThreadedServer(context, LOOPBACK)
        assert (server.name, server.daemon) == ("mpgameserver-server", True)
        server.name, server.daemon = "game", False
        assert not server.is_alive()
        with pytest.raises(RuntimeError, match="before it is started"):
            server.join()
        server.start()
        assert names == ["game"]
        [thread] = [thread for thread in threading.enumerate() if thread.name == "game"]
        assert not thread.daemon
        server.join(0.01)
        assert server.is_alive()
        with pytest.raises(RuntimeError, match="daemon"):
            server.daemon = True
        context.shutdown()
        server.join()
        assert not server.is_alive()
        server.stop()
        server.start()
        server.stop()
        server.join()

    def test_messages_of_many_threads_arrive_in_the_order_of_each(
        self, switch_at_every_chance: None
    ) -> None:
        context, outcomes = ServerContext(Recorder()), []
        with (
            ThreadedServer(context, LOOPBACK) as server,
            joined(context, *server.address) as player,
        ):
            play([player], lambda: bool(context.handler.clients))
            [client] = context.handler.clients

            def talk(number: int) -> None:
                for i in range(200):
                    client.send_guaranteed(bytes([number, i]), outcomes.append)

            threads = [threading.Thread(target=talk, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            received: list[tuple[int, bytes]] = []

            def is_over() -> bool:
                received.extend(player.getMessages())
                return len(received) == len(outcomes) == 1600

            play([player], is_over)
            client.disconnect()
            play([player], lambda: not player.connected())
        assert outcomes == [True] * 1600
        in_order = [message for _, message in sorted(received)]
        for number in range(8):
            sent = [message[1] for message in in_order if message[0] == number]
            assert sent == list(range(200))
        assert context.handler.reasons == ["kicked"]

    def test_calls_from_many_threads_all_arrive(self) -> None:
        context, calls = ServerContext(EventHandler()), []
        with ThreadedServer(context, LOOPBACK):

            def ask(number: int) -> None:
                for i in range(200):
                    context.call_soon_threadsafe(calls.append, (number, i))

            threads = [threading.Thread(target=ask, args=(n,)) for n in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sorted(calls) == [(n, i) for n in range(5) for i in range(200)]
        for number in range(5):
            assert [i for n, i in calls if n == number] == list(range(200))


@pytest.mark.skipif(os.name == "nt", reason="a socket of Windows is no descriptor")
class TestDescriptorsClosedBySomebodyElse:
    """By a library that makes a daemon of the process, such as python-daemon."""

    def test_update_raises_and_the_server_has_stopped(self) -> None:
        context = ServerContext(Recorder())
        server = UdpServer(context, LOOPBACK)
        with UdpClient(context.root_key.getPublicKey()) as client:
            client.connect(server.address)
            drive(server, lambda: client.update() or client.connected())
            pipe = [server._pipe._reader.fileno(), server._pipe._writer.fileno()]
            os.close(server.fileno())
            with pytest.raises(OSError, match="Bad file descriptor") as caught:
                server.update()
        assert caught.value.errno == errno.EBADF
        assert context.handler.events[-1] == ("shutdown",)
        assert context.handler.reasons == ["shutdown"]
        assert server.fileno() == -1
        assert not server.update()
        server.close()
        for descriptor in pipe:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)

    def test_files_that_have_their_numbers_by_now_stay_open(self) -> None:
        server = UdpServer(ServerContext(Recorder()), LOOPBACK)
        server.update()
        ends = server._pipe._reader, server._pipe._writer
        numbers = sorted([server.fileno(), *(end.fileno() for end in ends)])
        for number in numbers:
            os.close(number)
        others = [os.open(os.devnull, os.O_RDONLY) for _ in numbers]
        assert sorted(others) == numbers
        with pytest.raises(OSError, match="Socket operation on non-socket") as caught:
            server.update()
        assert caught.value.errno == errno.ENOTSOCK
        for other in others:
            os.close(other)

    @pytest.mark.parametrize("with_pipe", [False, True])
    def test_it_ends_run(self, with_pipe: bool) -> None:
        context = ServerContext(Recorder())
        server = ThreadedServer(context, LOOPBACK)
        server.start()
        running = server._server
        assert running is not None
        with joined(context, *server.address) as client:
            pipe = [running._pipe._reader.fileno(), running._pipe._writer.fileno()]
            for descriptor in (running.fileno(), *(pipe if with_pipe else ())):
                os.close(descriptor)
            assert server._thread is not None
            server._thread.join(PATIENCE)
            assert not server._thread.is_alive()
            client.forceDisconnect()
        with pytest.raises(OSError, match="Bad file descriptor"):
            server.stop()
        assert context.handler.events[-1] == ("shutdown",)
        for end in (running._pipe._reader, running._pipe._writer):
            assert end.fileno() == -1


class TestErrorsOfSending:
    def test_they_are_counted_by_kind_and_logged_once_a_second(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = UdpServer(ServerContext(Recorder()), LOOPBACK)
        server.update()
        for _ in range(3):
            server._loop.engine.dispatcher.answers.push((b"x", ("255.255.255.255", 9)))
            server.update()
        assert server.stats.send_errors == {"EACCES": 3}
        assert server.stats.drops == {}
        lines = [record.getMessage() for record in caplog.records]
        assert [line for line in lines if "cannot send" in line] == [
            "cannot send: Permission denied (EACCES)"
        ]
        server.close()


SIGNALLED = """
import signal
signal.SIGBREAK = signal.SIGUSR1  # what Windows calls Ctrl-Break
from mpgameserver.server import EventHandler, ServerContext, UdpServer

class Handler(EventHandler):
    def starting(self):
        print("starting", flush=True)
    def shutdown(self):
        print("shutdown", flush=True)

signals = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
before = [signal.getsignal(s) for s in signals]
UdpServer(ServerContext(Handler()), ("127.0.0.1", 0)).run()
assert before == [signal.getsignal(s) for s in signals]
print("returned", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to a process")
class TestSignals:
    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
    def test_a_signal_ends_run_and_the_old_handlers_are_back(
        self, name: str, tmp_path: Path
    ) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", SIGNALLED], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        ) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "starting\n"
            program.send_signal(getattr(signal, name))
            output, _ = program.communicate(timeout=PATIENCE)
        assert output.split() == ["shutdown", "returned"]
        assert program.returncode == 0

    def test_without_them_the_handlers_stay_as_they_are(self) -> None:
        seen = []
        context = ServerContext(EventHandler())

        def look() -> None:
            seen.append(signal.getsignal(signal.SIGINT))
            context.shutdown()

        context.call_soon_threadsafe(look)
        UdpServer(context, LOOPBACK, install_signals=False).run()
        assert seen == [signal.getsignal(signal.SIGINT)]


class TestStoppedByASignalHandlerInBetween:
    def test_while_it_takes_its_context_it_serves_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context = ServerContext(Recorder())
        server = UdpServer(context, LOOPBACK, install_signals=False)
        attach = context.attach

        def attach_and_stop(serving: UdpServer) -> None:
            attach(serving)
            server.stop()

        monkeypatch.setattr(context, "attach", attach_and_stop)
        server.run()
        assert context.handler.events == []
        monkeypatch.undo()
        with ThreadedServer(context, LOOPBACK):
            pass  # the context is free

    def test_while_it_stops_its_context_can_be_run_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context = ServerContext(Recorder())
        server = UdpServer(context, LOOPBACK)
        assert server.update()
        # The log of the end stands for whatever runs while it is made.
        monkeypatch.setattr("mpgameserver.server.loop._LOG.info", lambda *_: server.stop())
        server.close()
        monkeypatch.undo()
        another = UdpServer(context, LOOPBACK)
        try:
            assert another.update()
        finally:
            another.close()


class TestCrowd:
    def test_two_hundred_clients_play_at_once(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        context = ServerContext(echo())
        with ThreadedServer(context, LOOPBACK) as server:
            clients = [UdpClient(context.root_key.getPublicKey()) for _ in range(200)]
            try:
                for client in clients:
                    client.setConnectionTimeout(PATIENCE)
                    client.connect(server.address)
                play(clients, lambda: all(client.connected() for client in clients))
                for number, client in enumerate(clients):
                    client.send(b"%d" % number)
                play(clients, lambda: all(client.hasMessages() for client in clients))
                heard = [client.getMessage()[1] for client in clients]
                assert heard == [b"%d" % number for number in range(200)]
            finally:
                for client in clients:
                    client.forceDisconnect()
            play([], lambda: len(context.handler.reasons) == 200)
        assert len(context.handler.clients) == 200
        assert sorted(set(context.handler.reasons)) == ["closed by client"]
        assert "raised" not in caplog.text


class TestContradictingSettings:
    """A keep-alive interval above the idle timeout would end every idle session."""

    @pytest.mark.parametrize("serve", ["run", "update"])
    def test_a_server_refuses_them_and_the_context_is_free(self, serve: str) -> None:
        context = ServerContext(Recorder())
        context.setKeepAliveInterval(6)
        server = UdpServer(context, LOOPBACK)
        with pytest.raises(ValueError, match=r"keep-alive interval \(6 s\).*idle timeout \(5 s\)"):
            getattr(server, serve)()
        server.close()
        assert context.handler.events == []
        context.setConnectionTimeout(10)
        with pytest.raises(ValueError, match=r"\(6 s\).*idle timeout of clients \(5 s\)"):
            ThreadedServer(context, LOOPBACK).start()
        context.setKeepAliveInterval(4)
        with ThreadedServer(context, LOOPBACK):
            pass

    def test_a_threaded_server_refuses_them_and_can_be_started_later(self) -> None:
        context = ServerContext(EventHandler())
        server = ThreadedServer(context, LOOPBACK)
        context.setConnectionTimeout(0.1)
        with pytest.raises(ValueError, match=r"\(0\.1 s\)"):
            server.start()
        context.setKeepAliveInterval(0.05)
        server.start()
        server.stop()


class TestMistakesOfTheCaller:
    @pytest.mark.parametrize("kind", [UdpServer, ThreadedServer])
    @pytest.mark.parametrize(
        ("address", "error"),
        [("localhost", TypeError), (("x",), TypeError), (("127.0.0.1", -1), ValueError)],
    )
    def test_a_wrong_address_raises_at_once(
        self, kind: type, address: object, error: type[Exception]
    ) -> None:
        with pytest.raises(error, match="addr must"):
            kind(ServerContext(Recorder()), address)

    @pytest.mark.parametrize("kind", [UdpServer, ThreadedServer])
    def test_what_is_no_context_raises_at_once(self, kind: type) -> None:
        with pytest.raises(TypeError, match="ServerContext"):
            kind(5, LOOPBACK)


class TestLog:
    def test_it_says_where_it_listens_and_that_it_has_stopped(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "mpgameserver.server")
        context = ServerContext(Recorder())
        with ThreadedServer(context, LOOPBACK) as server:
            host, port = server.address
        assert [(record.levelname, record.message) for record in caplog.records] == [
            ("INFO", f"listening on {host}:{port}"),
            ("INFO", f"the server on {host}:{port} has stopped"),
        ]

    def test_one_that_never_served_says_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "mpgameserver.server")
        UdpServer(ServerContext(Recorder()), LOOPBACK).close()
        assert not caplog.records


class TestSlowEvents:
    @staticmethod
    def log(clock: list[float]) -> SlowEventLog:
        return SlowEventLog(lambda: clock[0])

    def test_an_event_that_blocks_is_named(self, caplog: pytest.LogCaptureFixture) -> None:
        clock = [100.0]
        log = self.log(clock)
        for name, seconds in (("update", SLOW_EVENT / 2), ("connect", 2 * SLOW_EVENT)):
            began = log.begin()
            clock[0] += seconds
            log.end(name, began)
        log.end_turn(100.0)
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert record.message.startswith("connect blocked the server for 0.50 s")

    def test_what_no_event_has_taken_is_the_messages(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = [100.0]
        log = self.log(clock)
        began = log.begin()
        clock[0] += SLOW_EVENT / 2
        log.end("update", began)
        clock[0] += 2 * SLOW_EVENT
        log.end_turn(100.0)
        clock[0] += SLOW_EVENT / 2
        log.end_turn(clock[0])
        [record] = caplog.records
        assert record.message.startswith("handle_message or a message's callback blocked")

    def test_warnings_of_one_event_come_at_a_limited_rate(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = [100.0]
        log = self.log(clock)
        for _ in range(8):
            began = log.begin()
            clock[0] += 2 * SLOW_EVENT
            log.end("update", began)
        assert len(caplog.records) == 4
        assert "(and 1 more like it)" in caplog.records[-1].message

    def test_a_server_that_runs_warns(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slow_events, "SLOW_EVENT", 0.0)
        context = ServerContext(Recorder(handle_message=lambda client, message: client.send(b"")))

        def told() -> set[str]:
            return {record.message.partition(" blocked ")[0] for record in caplog.records}

        with (
            ThreadedServer(context, LOOPBACK) as server,
            joined(context, *server.address) as player,
        ):
            player.send(b"hello")
            named = {"starting", "connect", "update", "handle_message or a message's callback"}
            play([player], lambda: told() >= named)
