"""A process that is forked has no client, server or session of its parent's, and the parent keeps
all of them.

Each test is a program of its own, for the interpreter warns of forks of a process with threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PATIENCE = 60.0
PRELUDE = """
import multiprocessing, os, select, socket, sys, threading, time

from mpgameserver import (
    EventHandler, NotConnectedError, ServerContext, ThreadedServer, UdpClient, UdpServer,
)

PATIENCE = 20.0
forking = multiprocessing.get_context("fork")


class Echo(EventHandler):
    def __init__(self):
        self.left = []

    def handle_message(self, client, seqnum, msg=b""):
        client.send_guaranteed(msg)

    def disconnect(self, client):
        self.left.append(client.reason.name)


def drive(*clients, until, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        for client in clients:
            client.update()
        time.sleep(0.002)
    return until()


def joined(address, key=None):
    client = UdpClient(key)
    client.connect(address)
    assert drive(client, until=client.connected)
    return client


def echoes(client, message):
    client.send_guaranteed(message)
    answers = []

    def answered():
        answers.extend(text for _, text in client.getMessages())
        return message in answers

    return drive(client, until=answered)


def in_child(work):
    \"\"\"The exit code of a forked process that does the work and exits as it ends.\"\"\"
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            work()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sockets():
    \"\"\"The sockets that this process has, by the numbers that the kernel gives them.\"\"\"
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            continue
        if target.startswith(("socket:", "anon_inode:[eventpoll]")):
            found.add(target)
    return found
"""


def lines_of(program: str, *arguments: str) -> list[str]:
    """Return the lines that a program prints."""
    ignored = "ignore:This process:DeprecationWarning"
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-W", ignored),
            *("-c", PRELUDE + textwrap.dedent(program), *arguments),
        ],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_no_key_and_nonce_seal_two_packets_when_parent_and_child_both_send():
    program = """
        class Recorder(threading.Thread):
            \"\"\"Forwards between a client and a server, and keeps what the client has sent.\"\"\"

            def __init__(self, server):
                super().__init__(daemon=True)
                self.sent, self.is_mute = [], False
                self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self.front.bind(("127.0.0.1", 0))
                self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self.back.connect(server)

            def run(self):
                while True:
                    ready, _, _ = select.select([self.front, self.back], [], [])
                    if self.front in ready:
                        datagram, self.client = self.front.recvfrom(65536)
                        self.sent.append(datagram)
                        self.back.send(datagram)
                    if self.back in ready:
                        datagram = self.back.recv(65536)
                        if not self.is_mute:
                            self.front.sendto(datagram, self.client)


        class Hearing(Echo):
            def handle_message(self, client, seqnum, msg=b""):
                heard.append(msg)
                super().handle_message(client, seqnum, msg)


        def play(text):
            for _ in range(10):
                try:
                    client.send(text)
                except NotConnectedError:
                    pass
                client.update()
                time.sleep(0.005)


        heard = []
        context = ServerContext(Hearing())
        with ThreadedServer(context, ("127.0.0.1", 0)) as server:
            recorder = Recorder(server.address)
            recorder.start()
            client = joined(recorder.front.getsockname())
            before = len(recorder.sent)
            recorder.is_mute = True  # the nonce has the number of what was received last
            drive(client, until=lambda: False, seconds=0.05)
            child = forking.Process(target=play, args=(b"the child's secret",))
            child.start()
            play(b"the parent's text!")
            child.join()
            recorder.is_mute = False
            assert echoes(client, b"still here")
            packets = set(recorder.sent[before:])
            assert len(packets) >= 10
            # In protocol 2 numbers are masked: the server sees whether one was used again.
            [player] = context.clients
            print("protocol:", client.protocol)
            print("heard of the parent:", b"the parent's text!" in heard)
            print("heard of the child:", b"the child's secret" in heard)
            print("numbers used again:", player.stats.drops["repeated"])
            print("packets that share a nonce:", len(packets) - len({p[:12] for p in packets}))
            client.forceDisconnect()
    """
    assert lines_of(program) == [
        "protocol: 2",
        "heard of the parent: True",
        "heard of the child: False",
        "numbers used again: 0",
        "packets that share a nonce: 0",
    ]


@pytest.mark.parametrize("way", ["os.fork", "multiprocessing"])
def test_a_child_that_leaves_the_block_of_a_client_does_not_end_the_session(way):
    program = """
        handler = Echo()
        with ThreadedServer(ServerContext(handler), ("127.0.0.1", 0)) as server:
            called = []

            def leave():
                with client:
                    client.update()
                    print(client.status().name, client.fileno(), client.token(), called)

            with joined(server.address) as client:
                client.send(b"", callback=called.append)
                if sys.argv[1] == "os.fork":
                    print(in_child(leave))
                else:
                    child = forking.Process(target=leave)
                    child.start()
                    child.join()
                    print(child.exitcode)
                print(echoes(client, b"still here"), called, handler.left)
    """
    assert lines_of(program, way) == ["DISCONNECTED -1 0 []", "0", "True [True] []"]


def test_a_client_can_connect_anew_in_the_child():
    program = """
        handler = Echo()
        with ThreadedServer(ServerContext(handler), ("127.0.0.1", 0)) as server:

            def connect_anew():
                client.connect(server_address)
                assert drive(client, until=client.connected)
                print(echoes(client, b"from the child"))
                client.waitForDisconnect()

            server_address = server.address
            client = joined(server_address)
            print(in_child(connect_anew))
            print(echoes(client, b"from the parent"), handler.left)
            client.waitForDisconnect()
    """
    assert lines_of(program) == ["True", "0", "True ['CLIENT']"]


def test_the_copy_of_a_client_that_another_thread_was_using_can_be_used():
    program = """
        def update():
            client.update()
            print(client.status().name)

        with ThreadedServer(ServerContext(Echo()), ("127.0.0.1", 0)) as server:
            client = joined(server.address)
            in_callback, forked = threading.Event(), threading.Event()
            client.send_guaranteed(b"", lambda _: (in_callback.set(), forked.wait(PATIENCE)))
            user = threading.Thread(target=drive, args=(client,), kwargs={"until": forked.is_set})
            user.start()
            in_callback.wait(PATIENCE)
            print(in_child(update))
            forked.set()
            user.join()
            update()
            client.forceDisconnect()
    """
    assert lines_of(program) == ["DISCONNECTED", "0", "CONNECTED"]


def test_what_a_child_sends_to_a_players_copy_is_refused_at_once():
    program = """
        class Keeps(Echo):
            def connect(self, client):
                players.append(client)

        def send():
            outcomes = []
            players[0].send_guaranteed(b"from the child", outcomes.append)
            players[0].disconnect()
            print(outcomes)

        players = []
        with ThreadedServer(ServerContext(Keeps()), ("127.0.0.1", 0)) as server:
            client = joined(server.address)
            print(in_child(send))
            print(echoes(client, b"still here"))
            client.forceDisconnect()
    """
    assert lines_of(program) == ["[False]", "0", "True"]


def test_an_attempt_to_connect_goes_on_in_the_parent_only():
    program = """
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(PATIENCE)
        outcomes = []
        client = UdpClient()
        client.connect(silent.getsockname(), outcomes.append)
        client.update()
        silent.recv(2048)

        def update():
            for _ in range(200):
                client.update()
                time.sleep(0.002)
            print(client.status().name, client.filenos(), outcomes)

        print(in_child(update))
        silent.setblocking(False)
        try:
            print(len(silent.recv(2048)))
        except BlockingIOError:
            print("nothing")
        print(client.status().name, outcomes)
        client.forceDisconnect()
        silent.close()
    """
    assert lines_of(program) == ["DISCONNECTED () []", "0", "nothing", "CONNECTING []"]


SERVING = """
    class Forks(Echo):
        def handle_message(self, client, seqnum, msg=b""):
            if msg == b"fork" and fork():
                return  # in the child
            super().handle_message(client, seqnum, msg)

        def update(self, delta_t):
            if os.getpid() != parent:
                print("an event in the child", flush=True)

        disconnect = shutdown = update

        def shutdown(self):
            self.update(0.0)


    def play(address):
        client = UdpClient()
        client.connect(address)
        assert drive(client, until=client.connected)
        print(echoes(client, b"fork"), echoes(client, b"still here"), flush=True)
        client.forceDisconnect()
        context.shutdown()


    parent = os.getpid()
    context = ServerContext(Forks())
    server = UdpServer(context, ("127.0.0.1", 0))
"""


@pytest.mark.parametrize(
    ("child", "code"), [("sys.exit(3)", 3), ("raise KeyboardInterrupt", 130), ("pass", 0)]
)
def test_a_child_forked_by_an_event_leaves_run_without_a_word_to_the_players(child, code):
    program = textwrap.dedent(SERVING) + textwrap.dedent("""
        def fork():
            pid = os.fork()
            if pid == 0:
                CHILD
                return True
            codes.append(pid)


        codes = []
        player = threading.Thread(target=play, args=(server.address,))
        player.start()
        try:
            server.run()
        except (SystemExit, KeyboardInterrupt) as end:
            os._exit(getattr(end, "code", 130))
        if os.getpid() != parent:
            os._exit(0)
        player.join()
        print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in codes])
    """).replace("CHILD", child)
    assert lines_of(program) == ["True True", f"[{code}]"]


@pytest.mark.parametrize(("child", "code"), [("pass", 0), ("sys.exit(3)", 3)])
@pytest.mark.parametrize(
    "serve", ["server.run()", "assert server.update() == (handler.pid != 0); server.close()"]
)
def test_a_child_forked_by_starting_serves_nobody_and_ends_as_it_would(serve, child, code):
    program = """
        class Forks(EventHandler):
            def starting(self):
                self.pid = os.fork()
                if self.pid == 0:
                    CHILD

            def update(self, delta_t):
                events.append("update")
                server.stop()

            def shutdown(self):
                events.append("shutdown")


        events = []
        handler = Forks()
        server = UdpServer(ServerContext(handler), ("127.0.0.1", 0), install_signals=False)
        try:
            SERVE
        except SystemExit as end:
            os._exit(end.code)
        if handler.pid == 0:
            os._exit(len(events))
        print(events[-1:])
        print(os.waitstatus_to_exitcode(os.waitpid(handler.pid, 0)[1]))
    """
    lines = lines_of(program.replace("SERVE", serve).replace("CHILD", child))
    assert lines == ["['shutdown']", str(code)]


def test_a_worker_of_a_handler_keeps_no_port_and_can_be_terminated():
    program = textwrap.dedent(SERVING) + textwrap.dedent("""
        def work():
            ready.set()
            time.sleep(PATIENCE)


        def fork():
            workers.append(forking.Process(target=work))
            workers[0].start()
            assert ready.wait(PATIENCE)


        workers, ready = [], forking.Event()
        player = threading.Thread(target=play, args=(server.address,))
        player.start()
        server.run()
        player.join()
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        again.bind(server.address)
        again.close()
        workers[0].terminate()
        workers[0].join()
        print(workers[0].exitcode)
    """)
    assert lines_of(program) == ["True True", "-15"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are not listed here")
def test_the_child_has_none_of_the_sockets_and_can_close_everything():
    program = """
        from mpgameserver.crypto import EllipticCurvePrivateKey
        from mpgameserver.monitorchannel import MonitorChannel
        from mpgameserver.netsim import LinkConditions
        from mpgameserver.udpproxy import UdpProxy

        own = sockets()
        context = ServerContext(Echo())
        with (
            MonitorChannel(context, EllipticCurvePrivateKey.new(), ("127.0.0.1", 0)) as channel,
            ThreadedServer(context, ("127.0.0.1", 0)) as server,
            UdpProxy(("127.0.0.1", 0), server.address, LinkConditions()) as proxy,
            joined(proxy.address) as client,
        ):
            driven = UdpServer(ServerContext(Echo()), ("127.0.0.1", 0))
            driven.update()

            def close():
                print(len(sockets() - own))
                client.forceDisconnect()
                for thing in (proxy, server, channel):
                    thing.stop()
                print(driven.update(), server.address == here, context.clients)
                driven.close()
                with ThreadedServer(context, ("127.0.0.1", 0)) as another:
                    with joined(another.address) as anew:
                        print(echoes(anew, b"anew"))

            here = server.address
            print(in_child(close))
            print(echoes(client, b"still here"), driven.update(), len(context.clients))
            driven.close()
    """
    assert lines_of(program) == ["0", "False False ()", "True", "0", "True True 1"]


def test_a_server_made_before_the_fork_does_not_run_in_the_child():
    program = """
        server = UdpServer(ServerContext(Echo()), ("127.0.0.1", 0))

        def run():
            for call in (server.run, server.update):
                try:
                    call()
                except RuntimeError as error:
                    print(error)

        print(in_child(run))
        server.close()
    """
    text = "this server is the parent process's; make a new one"
    assert lines_of(program) == [text, text, "0"]


def test_the_metrics_server_is_the_parents():
    pytest.importorskip("prometheus_client")
    program = """
        import urllib.request
        from mpgameserver.metrics import MetricsServer

        context = ServerContext(Echo())
        with MetricsServer(context, ("127.0.0.1", 0)) as metrics:
            with ThreadedServer(context, ("127.0.0.1", 0)):
                print(in_child(metrics.close))
                url = "http://127.0.0.1:%d/metrics" % metrics.address[1]
                with urllib.request.urlopen(url) as page:
                    print(b"mpgameserver_up 1.0" in page.read())
    """
    assert lines_of(program) == ["0", "True"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are not listed here")
def test_the_child_has_no_connection_of_the_metrics_server():
    pytest.importorskip("prometheus_client")
    program = """
        from mpgameserver.metrics import MetricsServer

        with MetricsServer(ServerContext(Echo()), ("127.0.0.1", 0)) as metrics:
            own = sockets()
            hanging = socket.create_connection(metrics.address)
            hanging.sendall(b"GET /metrics")
            while len(sockets() - own) < 2:
                time.sleep(0.01)
            handles = metrics._server._deadlines
            while not any(request._io_refs for request in list(handles)):
                time.sleep(0.01)
            before = sockets()
            print(in_child(lambda: print(len(before - sockets()))))  # and the one that listens
            hanging.close()
    """
    assert lines_of(program) == ["2", "0"]


def test_the_child_can_ask_for_figures_whatever_a_thread_held():
    program = """
        import signal
        from mpgameserver.server.snapshot import FiguresAsker

        def hold():
            with asker._condition:
                held.set()
                is_over.wait(PATIENCE)

        def ask():
            signal.alarm(5)
            print(asker.wait(0.01))

        asker = FiguresAsker(ServerContext(Echo()))
        held, is_over = threading.Event(), threading.Event()
        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        print(in_child(ask))
        is_over.set()
        holder.join()
    """
    assert lines_of(program) == ["None", "0"]


def test_an_event_loop_goes_on_in_the_parent():
    program = """
        import asyncio
        from mpgameserver import aio

        async def main():
            context = ServerContext(Echo())
            async with aio.serve(context, ("127.0.0.1", 0)) as server:
                async with aio.connect(server.address) as client:

                    def look():
                        print(client.status().name, server.fileno(), len(sockets() - own))
                        client._abandon()
                        server._driver.close()
                        server._loop.close()

                    print(in_child(look))
                    await client.send_guaranteed(b"still here")
                    async for _, message in client:
                        print(message)
                        break

        loop = asyncio.new_event_loop()
        own = sockets()
        loop.run_until_complete(main())
        loop.close()
    """
    assert lines_of(program) == ["DISCONNECTED -1 0", "0", "b'still here'"]


def test_a_key_seals_and_opens_nothing_in_the_child():
    program = """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from mpgameserver._core.endpoint1 import Endpoint1
        from mpgameserver.wire.session_cipher import session_cipher

        ends = []
        for cipher in (session_cipher, AESGCM):
            ends += [Endpoint1(cipher(bytes(16)), side, 0.0, 1.7e9) for side in (False, True)]
        for end in ends:
            end.established = True
            end.send_queue.add(b"text")
        datagram = ends[0].next_datagram(0.0)
        for end in ends[:1]:
            end.send_queue.add(b"more")

        def use():
            print([end.next_datagram(0.0) for end in ends], ends[1].receive(datagram, 0.0))

        print(in_child(use))
        sealed = sum(end.next_datagram(0.0) is not None for end in ends)
        print(sealed, ends[1].receive(datagram, 0.0))
    """
    assert lines_of(program) == ["[None, None, None, None] 7", "0", "4 0"]
