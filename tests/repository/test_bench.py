"""The parts of the benchmark that are not a matter of the machine."""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support import wire

from mpgameserver import EventHandler, ServerContext, ThreadedServer, UdpClient
from mpgameserver._core.endpoint1 import Endpoint1

BENCH = Path(__file__).resolve().parents[2] / "bench"
on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="IP_PKTINFO and 127.0.0.0/8 are those of Linux"
)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """A function that imports a module of the benchmark, or one that its programs share."""
    monkeypatch.syspath_prepend(str(BENCH / "peers"))
    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCH)):
            del sys.modules[name]


def test_a_spread_is_the_median_and_the_ends(module):
    spread = module("timing").Spread.of([3.0, 1.0, 2.0, 9.0, 2.5])
    assert (spread.median, spread.least, spread.most) == (2.5, 1.0, 9.0)


def test_cases_take_turns_and_the_first_round_is_not_counted(module):
    order = []

    def case(name, values):
        left = iter(values)

        def timed():
            order.append(name)
            return next(left)

        return timed

    found = module("timing").interleave(
        {"a": case("a", [100.0, 1.0, 3.0]), "b": case("b", [100.0, 2.0, 2.0])}, 2
    )
    assert order == ["a", "b"] * 3
    assert (found["a"].median, found["b"].median) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("value", "baseline", "target", "holds", "result"),
    [
        (3.0, 2.0, 1.5, True, "1.50 x"),
        (3.0, 2.0, 1.4, False, "1.50 x"),
        (0.4, None, 0.5, True, "0.40 µs"),
        (0.6, None, 0.5, False, "0.60 µs"),
    ],
)
def test_a_figure_holds_when_its_ratio_or_its_time_does(
    module, value, baseline, target, holds, result
):
    spread = module("timing").Spread
    against = None if baseline is None else spread.of([baseline])
    figure = module("figures").Figure(1, "it", spread.of([value]), target, "that", against)
    assert (figure.holds, figure.result) == (holds, result)
    assert figure.as_dict()["holds"] is holds


@pytest.mark.parametrize(("value", "holds"), [(99.0, False), (100.0, True)])
def test_a_rate_holds_from_its_target_on(module, value, holds):
    spread = module("timing").Spread.of([value])
    figure = module("figures").Figure(3, "it", spread, 100.0, unit="MB/s", at_least=True)
    assert (figure.holds, figure.limit) == (holds, "≥ 100 MB/s")


def test_what_has_no_target_is_not_judged(module):
    figure = module("figures").Figure(2, "it", module("timing").Spread.of([1.0]), None)
    assert (figure.holds, figure.limit, figure.verdict) == (None, "", "")


@pytest.fixture
def peer(module):
    """The module that the programs of the peers share."""
    return module("peer")


def test_a_bulk_transfer_is_over_once_when_all_of_it_has_come(peer):
    count = peer.BulkCount()
    assert not count.takes(b"echo")
    found = [(count.takes(part), count.is_over()) for part in (peer.BULK + b"5", b"abc", b"de")]
    assert found == [(True, False), (True, False), (True, True)]
    assert not count.is_over()
    assert not count.takes(b"echo")


def test_an_echo_is_timed_from_when_the_client_is_connected(peer, monkeypatch, capsys):
    now = iter([100.0, 100.5, 101.0, 102.0])
    monkeypatch.setattr(peer.time, "perf_counter", lambda: next(now))
    count = peer.Echo(outstanding=32, seconds=1.0)
    assert [count.counts(answers) for answers in (0, 10, 10)] == [True, True, False]
    count.report()
    assert json.loads(capsys.readouterr().out) == {"rate": 10.0}


def test_the_parts_of_a_transfer_are_all_of_it(peer):
    assert [len(part) for part in peer.parts(peer.LARGEST + 5)] == [peer.LARGEST, 5]


@pytest.mark.parametrize("kind", ["profile", "debug", "sanitize"])
def test_a_build_with_hooks_is_not_measured(module, monkeypatch, capsys, kind):
    run = module("run")
    info = type("Info", (), {"kind": kind})
    monkeypatch.setattr(run, "build_info", lambda: info)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run.main() == 2
    assert f"this is a {kind} build" in capsys.readouterr().err


def test_every_case_does_what_it_measures(module):
    hotpath = module("hotpath")
    from mpgameserver import RetryMode

    cases = [hotpath.exchange(16, 10, mode, 20) for mode in RetryMode]
    cases += [hotpath.receive_with_in_flight(n, 100) for n in (1, 1024)]
    cases += [
        hotpath.reject(hotpath.forged, 20, "authentication failed"),
        hotpath.reject(hotpath.behind, 20, "too old"),
        hotpath.reject(hotpath.misdirected, 20, "misdirected"),
        hotpath.failing_open(66, 20),
        hotpath.floor(66, 20),
    ]
    assert all(timed() > 0 for timed in cases)


def finding(**change):
    """A crowd on a server that serves it."""
    return {"lost": 0, "p50": 0.001, "p99": 0.04, "crowd": 0.5, "limited": False} | change


@pytest.mark.parametrize("capacity", [0, 127, 128, 1000, 4095, 4096, 8064, 9999])
def test_the_largest_crowd_is_found_in_a_bounded_number_of_trials(module, capacity):
    asked = []

    def attempt(bots):
        asked.append(bots)
        return finding(lost=int(bots > capacity))

    largest = module("crowds").largest(attempt, 0.04, most=8192, trials=6)
    assert asked[0] == 4096
    assert len(asked) == 6
    assert largest.players == min(capacity // 128 * 128, 8064)
    assert not largest.by_crowd


def test_a_crowd_that_was_the_limit_tries_once_more(module):
    answers = iter([finding(limited=True), finding(p99=0.01), finding(lost=3)])
    largest = module("crowds").largest(lambda bots: next(answers), 0.04, most=64, trials=2)
    assert (largest.players, largest.found["p99"]) == (32, 0.01)
    assert not largest.by_crowd


def test_a_crowd_that_stays_the_limit_is_named(module):
    def attempt(bots):
        return finding(limited=bots > 32)

    largest = module("crowds").largest(attempt, 0.04, most=64, trials=2)
    assert (largest.players, largest.by_crowd) == (32, True)


@pytest.mark.parametrize(
    ("change", "served"),
    [
        ({}, True),
        ({"lost": 1}, False),
        ({"p99": 0.041}, False),
        ({"limited": True}, False),
        ({"failure": "3 of 9 bots are not connected"}, False),
    ],
)
def test_a_crowd_is_served_when_nothing_is_lost_or_late(module, change, served):
    assert module("crowds").is_served(finding(**change), 0.04) is served


def test_the_players_are_held_against_their_target(module):
    crowds = module("crowds")
    runs = [crowds.Largest(n, finding(p99=n / 1e6, crowd=0.7)) for n in (4096, 3968, 4224)]
    rows = list(crowds.of_players(runs))
    assert [row.result for row in rows] == ["4,096 players", "1.00 ms", "4.10 ms", "70.00 %"]
    assert (rows[0].holds, rows[0].limit) == (True, "≥ 4,096 players")
    assert "the crowd can be" not in rows[0].name


def test_the_table_says_where_the_crowd_was_the_limit(module):
    crowds = module("crowds")
    run = crowds.Largest(0, {}, finding(limited=True))
    rows = list(crowds.of_players([run]))
    assert [row.name for row in rows] == [f"{crowds.PLAYERS}, or the crowd can be"]
    beside = crowds.beside({crowds.OURS: crowds.Largest(4096), "a": run, "b": crowds.Largest(64)})
    assert [(row.baseline_name, row.result) for row in beside] == [
        ("a (limited by its bots)", "no ratio"),
        ("b", "64.00 x"),
    ]


def test_a_server_is_told_what_it_is_for_and_the_bots_where_it_is(module):
    library = module("libraries").Library("python", ("it.py", "--seal"))
    assert library.command("server", "idle")[1:] == [
        str(BENCH / "peers" / "it.py"),
        "--seal",
        "server",
        "idle",
    ]
    assert library.crowd_command("play", 5)[2:] == ["--seal", "crowd", "play", "5"]
    borrowed = module("libraries").Library("python", ("it.py",), crowd=("crowd.py", "--plain"))
    assert borrowed.crowd_command("play", 5) == [
        sys.executable,
        str(BENCH / "peers" / "crowd.py"),
        *("--plain", "crowd", "play", "5"),
    ]


@pytest.mark.parametrize(("allocated", "expected"), [(0, 3.0), (101, 5.0)])
def test_what_is_allocated_in_advance_counts_for_the_connections(
    module, monkeypatch, allocated, expected
):
    memory = module("memory")

    def trial(library, what, bots, seconds, use=""):
        return {"memory": 3.0, "empty": 1000.0 if use == "single" else 1200.0}

    monkeypatch.setattr(memory, "trial", trial)
    library = module("libraries").Library("python", ("it.py",), allocated=allocated)
    assert memory.on_server(library, 50) == expected


def test_the_cipher_alone_seals_and_opens_every_piece(module):
    assert module("versus").cipher_alone(10_000) > 0


def test_echoes_are_held_against_the_nonces_of_all_seconds_that_a_run_sees(module, monkeypatch):
    versus = module("versus")
    runs = {versus.OURS: {"rate": 1_310_680.0, "p50": 50.0, "p99": 90.0}}
    monkeypatch.setattr(versus, "libraries", dict)  # else their environments would be made
    monkeypatch.setattr(versus, "echoes", lambda *_: {name: [run] for name, run in runs.items()})
    (row,) = versus.echo(1.0, 1)
    assert (row.baseline_name, row.result) == (versus.BY_NONCES, "1.00 x")
    assert row.holds is None


def test_a_bulk_transfer_is_held_against_the_cipher_alone(module, monkeypatch):
    versus = module("versus")
    here = module("libraries").Library(sys.executable, ("ours.py",), bulk_size=versus.BULK_SIZE)
    monkeypatch.setattr(versus, "libraries", lambda: {versus.OURS: here})
    monkeypatch.setattr(versus, "cipher_alone", lambda size: 1000.0)
    run = {"seconds": 0.02, "retransmitted": 1, "timeouts": 0}
    monkeypatch.setattr(versus, "client", lambda *command: run)
    monkeypatch.setattr(versus, "serving", lambda *command: nullcontext((1, "", 2)))
    bound, again = versus.bulk(3)
    assert (bound.baseline_name, bound.result) == (versus.BY_CIPHER, "0.50 x")
    assert bound.holds is None
    assert again.holds is False


@pytest.mark.parametrize(("count", "rate"), [(1, 32), (50, 32), (100, 1), (4096, 32), (4100, 32)])
def test_the_turns_of_a_crowd_are_spread_evenly(module, count, rate):
    swarm = module("load")
    turns = swarm.schedule(count, rate, 0.5 if rate > 1 else 2.0)
    rounds = 16 if rate > 1 else 2
    acted = [bot for turn in turns for bot in range(turn.first, turn.last)]
    assert acted == list(range(count)) * rounds
    assert all(turn.first // 64 == (turn.last - 1) // 64 for turn in turns)
    done = [0]
    for turn in turns:
        assert turn.due == pytest.approx(done[-1] / (rate * count))
        done.append(done[-1] + turn.last - turn.first)
    longest = max((b.due - a.due for a, b in pairwise(turns)), default=0.0)
    assert longest <= max(swarm.SPREAD, 1 / (rate * count)) + 1e-9


class Clock:
    """Stands for the time module: each look takes a microsecond, and sleeping nothing else."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        self.now += 1e-6
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def process_time(self):
        return self.now / 4


@pytest.fixture
def clocked(module, monkeypatch):
    """The module with the schedule, on a clock of its own."""
    swarm = module("load")
    monkeypatch.setattr(swarm, "time", Clock())
    return swarm


def listening(swarm, count, turn_takes=0.0):
    """Bots that answer themselves at once, and note when they had their turns."""

    class Bots(swarm.Swarm):
        def __init__(self):
            super().__init__(count)
            self.turns, self.reads = [], 0

        def play(self, turn):
            self.turns.append(swarm.time.now - self.began - turn.due)
            swarm.time.sleep(turn_takes)
            self.delays.extend([0.001] * (turn.last - turn.first))

        def read(self):
            self.reads += 1
            return 0

    return Bots()


def test_bots_have_their_turns_when_they_are_due_and_the_rest_of_the_time_is_read(clocked):
    bots = listening(clocked, 100)
    done = clocked.run(bots, bots.play, clocked.schedule(100, 32, 0.5))
    assert done.sent == len(bots.delays) == 1600
    assert all(0 <= late <= 1e-5 for late in bots.turns)
    assert done.late <= 1e-5
    assert done.busy == pytest.approx(0.25, abs=1e-5)
    assert 0.5 / clocked.PAUSE * 0.5 <= bots.reads <= 0.5 / clocked.PAUSE + len(bots.turns)


def test_a_crowd_that_falls_behind_says_so_and_still_reads(clocked, monkeypatch):
    monkeypatch.setattr(clocked, "processor_time", lambda process: 0.0)
    bots = listening(clocked, 100, turn_takes=0.001)
    found = clocked.play(bots, 0.5, process=1)
    assert found["limited"]
    assert found["late"] > clocked.BEHIND
    assert bots.reads > 100


def test_a_crowd_that_is_far_behind_gives_up(clocked):
    bots = listening(clocked, 100, turn_takes=2.0)
    assert clocked.run(bots, bots.play, clocked.schedule(100, 32, 0.5)).sent == 1


@pytest.mark.parametrize("change", ["busy", "dropped"])
def test_a_crowd_without_time_left_is_the_limit(clocked, monkeypatch, change):
    monkeypatch.setattr(clocked, "processor_time", lambda process: 0.0)
    bots = listening(clocked, 100)
    assert not clocked.play(bots, 0.5, process=1)["limited"]
    if change == "busy":
        monkeypatch.setattr(clocked.time, "process_time", lambda: clocked.time.now * 0.95)
    else:
        drops = iter(
            [0, 0, 0, 1]
        )  # before and after the play that settles, and the one that counts
        monkeypatch.setattr(bots, "dropped", lambda: next(drops))
    assert clocked.play(bots, 0.5, process=1)["limited"]


def test_bots_that_do_not_connect_are_a_finding(module, monkeypatch):
    swarm = module("load")
    monkeypatch.setattr(swarm, "resident", lambda process: 1000.0)

    def make(port, key, count):
        raise TimeoutError("3 of 9 are not connected")

    found = swarm.measure(make, "play", 1, "", 9, 1.0, 1)
    assert found["failure"] == "3 of 9 are not connected"


WALL_CLOCK = 1_700_000_000.0


class Wire:
    """Stands for the socket of some bots: what they send is kept, what is put there they read."""

    def __init__(self):
        self.sent, self.arrived = [], []

    def send(self, first, count, data):
        size = len(data) // count
        self.sent += [(first + n, data[size * n : size * (n + 1)]) for n in range(count)]

    def receive(self):
        received, self.arrived = self.arrived, []
        return received


@pytest.fixture
def sessions(module, monkeypatch):
    """A function that makes bots whose handshakes are over, with the server's endpoints."""
    bots_module, now = module("bots"), 1000.0
    # The turns of a test take no time: a packet must not say that it was sent before the last one.
    monkeypatch.setattr(bots_module.time, "time", lambda: WALL_CLOCK)

    def make(count):
        bots = bots_module.SessionBots.__new__(bots_module.SessionBots)
        module("load").Swarm.__init__(bots, count)
        keys = [AESGCM(bytes([n]) * 16) for n in range(count)]
        bots.socket, bots.kept, bots._handshakes = Wire(), [], {}
        bots._seals = [key.encrypt for key in keys]
        bots._opens = [key.decrypt for key in keys]
        bots._acks, bots._bits = array("H", [0]) * count, array("I", [0]) * count
        bots._number, bots._second, bots._answered = 2, 0.0, 0
        bots._sealed = iter(())
        ends = [Endpoint1(key, True, now, WALL_CLOCK) for key in keys]
        for end in ends:
            end.established = True
        return bots, ends

    return make


def echoed(bots, ends, now):
    """Let the server's ends send back what the bots have sent."""
    for bot, datagram in bots.socket.sent:
        end = ends[bot]
        assert end.receive(datagram, now) == 0
        for _, text in end.take_messages():
            end.send_queue.add(text, 0)
        end.advance(now)
        while (answer := end.next_datagram(now)) is not None:
            bots.socket.arrived.append((bot, answer))
    bots.socket.sent.clear()


def test_every_message_of_a_bot_is_answered_and_timed_from_when_it_was_due(module, sessions):
    bots, ends = sessions(70)
    turns = module("load").schedule(70, 32, 4 / 32)
    bots.prepare(turns)
    for turn in turns:
        bots.play(turn)
        echoed(bots, ends, 1000.0 + turn.due)
        bots.read()
    assert bots.answered == 280
    bots.settle()
    assert len(bots.delays) == 280
    assert [end.acked for end in ends] == [3] * 70
    assert all(end.dropped == 0 for end in ends)


def test_bots_that_hear_nothing_in_time_seal_again_with_the_acks_that_are_due(module, sessions):
    bots, ends = sessions(2)
    turns = module("load").schedule(2, 32, 40 / 32)
    bots.prepare(turns)
    for n, turn in enumerate(turns):
        bots.play(turn)
        echoed(bots, ends, 1000.0 + turn.due)
        if n % 7 == 0:
            bots.read()
    bots.read()
    bots.settle()
    assert len(bots.delays) == 80
    assert all(end.dropped == 0 and end.acked >= 30 for end in ends)
    assert [bots._acks[n] for n in range(2)] == [end.sent_packets.newest for end in ends]


def test_bots_that_are_done_acknowledge_the_last_answers(module, sessions):
    bots, ends = sessions(70)
    turns = module("load").schedule(70, 32, 2 / 32)
    bots.prepare(turns)
    for turn in turns:
        bots.play(turn)
    echoed(bots, ends, 1000.0)
    while bots.read():
        pass
    answers = [end.sent_packets.newest for end in ends]
    assert all(end.acked < newest for end, newest in zip(ends, answers, strict=True))
    bots.acknowledge()
    echoed(bots, ends, 1000.1)
    assert [end.acked for end in ends] == answers


def test_what_comes_while_bots_prepare_is_no_answer(module, sessions):
    bots, ends = sessions(2)
    turns = module("load").schedule(2, 32, 1 / 32)
    bots.prepare(turns)
    for turn in turns:
        bots.play(turn)
    echoed(bots, ends, 1000.0)
    bots.prepare(turns)
    assert bots.answered == 0
    bots.settle()
    assert len(bots.delays) == 0


def test_answers_that_share_a_datagram_are_all_counted(module, sessions):
    bots, ends = sessions(1)
    message = module("load").message
    for due in (0.25, 0.5, 0.75):
        ends[0].send_queue.add(message(due), 0)
    bots.began = module("bots").time.monotonic()
    bots.socket.arrived = [(0, ends[0].next_datagram(1000.0))]
    bots.read()
    bots.settle()
    assert bots.answered == len(bots.delays) == 3
    assert bots.delays[0] - bots.delays[2] == pytest.approx(0.5)


def test_a_bot_that_rests_sends_a_keep_alive(module, sessions):
    bots, ends = sessions(3)
    bots.rest(module("load").Turn(0, 3, 0.0))
    echoed(bots, ends, 1000.0)
    assert [(end.received, end.inbox_size) for end in ends] == [(1, 0)] * 3


@pytest.mark.parametrize("seed", range(20))
def test_a_bot_acks_what_came_in_whatever_order(sessions, seed):
    bots, _ = sessions(1)
    model = wire.AckField(32)
    for number in random.Random(seed).choices(range(2, 80), k=60):
        datagram = wire.HEADER.pack(b"FSOC", 0, number, 0, wire.KEEP_ALIVE, 0, 0, 0)
        bots.note([(0, datagram)])
        model.receive(number)
        assert (bots._acks[0], bots._bits[0]) == (model.ack, model.bits)


@contextmanager
def many_addresses(module, count: int) -> Iterator[tuple[object, socket.socket]]:
    """A socket with so many addresses, and the one that it speaks to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5.0)
        sock = module("manyaddresses").ManyAddresses(count, server.getsockname())
        try:
            yield sock, server
        finally:
            sock.close()


@on_linux
def test_each_bot_speaks_from_an_address_of_its_own(module):
    with many_addresses(module, 300) as (sock, server):
        sock.send(256, 3, b"aabbcc")
        sock.send_one(0, b"alone")
        sock.send(4, 1, b"x" * 1400)
        came = dict(server.recvfrom(2048)[::-1] for _ in range(5))
        assert {address[0]: data for address, data in came.items()} == {
            "127.1.1.1": b"aa",
            "127.1.1.2": b"bb",
            "127.1.1.3": b"cc",
            "127.1.0.1": b"alone",
            "127.1.0.5": b"x" * 1400,
        }
        assert len({address[1] for address in came}) == 1


@on_linux
def test_what_arrives_is_told_by_bot(module):
    with many_addresses(module, 300) as (sock, server):
        assert sock.receive() == []
        sock.send_one(0, b"?")
        port = server.recvfrom(16)[1][1]
        sent = [(n, b"%d" % n * n) for n in (1, 255, 256, 299)]
        for bot, data in sent:
            server.sendto(data, (f"127.1.{(bot + 1) >> 8}.{(bot + 1) & 255}", port))
        assert sock.receive() == sent
        assert sock.dropped() == 0


@on_linux
def test_no_turn_crosses_two_batches(module):
    with many_addresses(module, 300) as (sock, _):
        with pytest.raises(ValueError, match="2 bots from 63 are not one batch"):
            sock.send(63, 2, b"ab")
        with pytest.raises(ValueError, match="3 bytes of 2 bots"):
            sock.send(0, 2, b"abc")


@pytest.mark.parametrize("use", ["", "idle", "play"])
def test_a_server_of_this_package_takes_a_client_whatever_it_is_for(module, use):
    command = sys.executable, str(BENCH / "peers" / "ours.py"), "server", use
    with module("programs").serving(*command) as server:
        client = UdpClient(base64.b64decode(server.key).decode())
        client.connect(("127.0.0.1", server.port))
        module("peer").patiently(lambda: client.update() or client.connected())
        client.forceDisconnect()


def test_the_client_whose_frames_are_measured_is_connected(module):
    with module("frame").quiet_client() as client:
        assert client.connected()


@on_linux
def test_bots_connect_and_play_on_a_server(module, monkeypatch):
    swarm = module("load")

    class Echo(EventHandler):
        def handle_message(self, client, seqnum, msg=b""):
            client.send(msg)

    context = ServerContext(Echo())
    with ThreadedServer(context, ("127.0.0.1", 0)) as server:
        pem = context.root_key.getPublicKey().getPublicKeyPEM().encode()
        key = base64.b64encode(pem).decode()
        bots = module("bots").SessionBots(server.address[1], key, 5)
        done = swarm.play_for(bots, 4 / 32, os.getpid())
        assert (done.sent, len(bots.delays)) == (20, 20)
        assert len({client.addr for client in context.clients}) == 5
        bots.socket.close()


RESULTS = {
    "date": "2026-11-24",
    "machine": {
        "processor": "a processor",
        "cores": 2,
        "system": "a system",
        "python": "3.11",
        "cipher": "OpenSSL 3",
    },
}


def test_the_page_has_every_figure_of_the_results(module):
    spread, figure = module("timing").Spread, module("figures").Figure
    figures = [
        figure(
            2, "an echo", spread(3000.0, 2000.0, 4000.0), 2.0, "ENet", spread.of([1000.0]), "/s"
        ),
        figure(8, "a frame", spread.of([0.5]), 1.0),
    ]
    page = module("report").page(RESULTS | {"figures": [each.as_dict() for each in figures]})
    assert (
        "| an echo | 3,000 /s (2,000 to 4,000) | ENet: 1,000 /s | 3.00 x (≤ 2 x: missed) |" in page
    )
    assert "| a frame | 0.50 µs | ≤ 1 µs: met |" in page
    assert "Measured on 2026-11-24: a processor, 2 cores" in page


def test_a_measurement_with_several_baselines_has_a_table_of_its_own(module):
    spread, figure = module("timing").Spread, module("figures").Figure
    value = spread(6.0, 5.0, 8.0)
    figures = [
        figure(2, "an echo", value, 2.0, "ENet", spread.of([3.0]), "ms"),
        figure(2, "an echo", value, None, "QUIC", spread(12.0, 11.0, 14.0), "ms"),
        figure(2, "a reply", spread.of([1.0]), None, unit="frames"),
    ]
    page = module("report").page(RESULTS | {"figures": [each.as_dict() for each in figures]})
    assert page.endswith(
        """## Echoes

"""
        + module("report").NOTES[2]
        + """

### An echo

| | median | min to max | ratio |
| --- | --- | --- | --- |
| **this package** | 6.00 ms | 5.00 to 8.00 |  |
| ENet | 3.00 ms |  | 2.00 x (≤ 2 x: met) |
| QUIC | 12.00 ms | 11.00 to 14.00 | 0.50 x |

### Also measured

| measurement | this package | target |
| --- | --- | --- |
| a reply | 1.00 frames |  |
"""
    )


def test_the_page_shows_a_plot_where_there_is_something_to_plot(module):
    report, spread, figure = module("report"), module("timing").Spread, module("figures").Figure
    rows = [figure(4, report.BESIDE_OTHERS, spread.of([2.0]), None, "ENet", spread.of([3.0]))]
    rows.append(figure(2, "something else", spread.of([2.0]), None))
    results = RESULTS | {"figures": [row.as_dict() for row in rows]}
    page = report.page(results)
    assert "performance/players.svg" in page
    assert "performance/echo.svg" not in page
    assert [name for name, _ in report.bars(results, report.BESIDE_OTHERS)] == [
        "ENet",
        "this package",
    ]


def test_the_page_in_the_docs_is_that_of_the_results_on_record(module):
    report = module("report")
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert report.PAGE.read_text(encoding="utf-8") == report.page(results)


def test_a_load_may_take_a_twentieth_more_than_on_record(module):
    grown = module("instructions").grown
    assert grown({"a": 1050, "new": 5}, {"a": 1000}) == []
    assert grown({"a": 1051}, {"a": 1000}) == ["a: 1,051 instructions, +5.1%"]


@pytest.mark.parametrize("name", ["jitter", "overhead", "reordering", "moves", "paths", "replaced"])
def test_what_does_not_depend_on_the_machine_is_as_protocol_2_was_to_be(module, name):
    rows = list(module("protocol2").ROWS[name](True))
    assert rows
    assert [(row.name, row.result) for row in rows if not row.holds] == []
    assert {row.command for row in rows} == {f"python bench/protocol2.py {name}"}


@pytest.mark.parametrize("form", [1, 2])
@pytest.mark.parametrize("has_cookie", [False, True])
def test_each_hello_of_the_flood_is_asked_for_a_cookie(module, form, has_cookie):
    assert module("hellos").forged(form, has_cookie, 20)() > 0


def test_a_run_of_some_items_leaves_the_results_of_the_others(module, tmp_path):
    run, figures = module("run"), module("figures")
    spread, path = module("timing").Spread.of([1.0]), tmp_path / "results.json"
    old, new = (figures.Figure(item, "it", spread, None) for item in (2, 9))
    run.write(path, [old], [])
    run.write(path, [new], [9])
    run.write(path, [new], [9])
    found = json.loads(path.read_text())
    assert [figure["item"] for figure in found["figures"]] == [2, 9]
    assert list(found["dates"]) == ["9"]


def test_a_row_that_is_missed_says_by_how_much_and_why(module):
    report, spread = module("report"), module("timing").Spread.of
    figure = module("figures").Figure(
        9, "sustained datagrams of one session", spread([150_000.0]), 200_000.0,
        unit="/s", at_least=True, anchor="QUIC", command="python bench/protocol2.py rate",
    )  # fmt: skip
    unforeseen = figure.as_dict() | {"name": "a row that nobody thought could be missed"}
    *_, row, other, _ = report._beaten([figure.as_dict(), unforeseen])
    assert "missed by 25% |" in other
    assert "missed by 25%: of either core's time" in row
    assert "| QUIC |" in row
    assert "`python bench/protocol2.py rate`" in row


def test_every_row_of_protocol_2_that_a_machine_can_miss_has_a_reason(module):
    source = (BENCH / "protocol2.py").read_text(encoding="utf-8")
    for part in module("report").FALLS_SHORT:
        assert part in source.replace("{name if", ""), part
