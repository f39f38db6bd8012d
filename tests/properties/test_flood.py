"""A flood of hellos from thousands of addresses, on real sockets: who notices it?

The players read as soon as something arrives, so that the figures are those of the server and the
network and not those of a frame. Flood, players and server are more processes than many a machine
has cores: how long a round trip takes is printed, and not asserted.
"""

from __future__ import annotations

import contextlib
import json
import math
import select
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.patience import PATIENCE

from mpgameserver.client import UdpClient
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import ConnectionStatus, RetryMode
from mpgameserver.server.limits import Limits

PROGRAMS = Path(__file__).resolve().parents[1] / "flood"
PLAYERS = 50
DATAGRAMS_PER_SECOND = 2800
MESSAGES_PER_SECOND = 20
HELLOS_PER_SECOND = 5000
ROUNDS = 3
SECONDS = 3.0
SETTLE = 0.3
NEWCOMER_PATIENCE = 5.0
LIMITS = Limits()
DRAINED_WITHIN = 2 * LIMITS.waiting_hellos / LIMITS.handshake_rate + 0.2
"""Seconds in which all hellos that wait are answered: those of both kinds, and the burst."""
TIME = struct.Struct("!d")


def has_loopback_network() -> bool:
    """True where all of 127.0.0.0/8 is this host, as on Linux."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.1.2.3", 0))
        except OSError:
            return False
        return True


def can_open(files: int) -> bool:
    """True where a process may open so many files."""
    resource = pytest.importorskip("resource")
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= files


@contextlib.contextmanager
def program(name: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A program of tests/flood, which ends when its input does."""
    command = [sys.executable, str(PROGRAMS / name), *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()


class Players:
    """Clients that send the time at a steady rate, and read when there is something."""

    def __init__(self, address: tuple[str, int], key: EllipticCurvePublicKey) -> None:
        self._address, self._key = address, key
        self.clients = [UdpClient(key) for _ in range(PLAYERS)]
        for client in self.clients:
            client.connect(address)
        end = time.monotonic() + PATIENCE
        while not all(client.connected() for client in self.clients):
            assert time.monotonic() < end, "the players did not get in"
            self._update()
        self._selector = selectors.DefaultSelector()
        for client in self.clients:
            self._selector.register(client, selectors.EVENT_READ)

    def close(self) -> None:
        for client in self.clients:
            client.forceDisconnect()
        with contextlib.suppress(AttributeError):
            self._selector.close()

    def settle(self) -> None:
        """Read what is in flight."""
        end = time.monotonic() + SETTLE
        while time.monotonic() < end:
            self._update()
            for client in self.clients:
                client.getMessages()

    def _update(self) -> None:
        for client in self.clients:
            client.update()
        time.sleep(0.002)

    def play(self, seconds: float) -> tuple[list[float], float]:
        """Play; the round trips, and how long one took to get in that came in the middle of it.

        All in seconds.
        """
        round_trips: list[float] = []
        interval = 1 / MESSAGES_PER_SECOND
        start = time.monotonic()
        middle, joined = start + seconds / 2, None
        due = [start + number * interval / PLAYERS for number in range(PLAYERS)]
        with UdpClient(self._key) as newcomer:
            newcomer.setConnectionTimeout(NEWCOMER_PATIENCE)
            while (now := time.monotonic()) < start + seconds or joined is None:
                assert now < middle + NEWCOMER_PATIENCE, newcomer.failure
                for key, _ in self._selector.select(max(min(due) - now, 0.0)):
                    round_trips += self._read(key.fileobj)
                now = time.monotonic()
                for number, client in enumerate(self.clients):
                    if due[number] <= now:
                        due[number] += interval
                        client.send(TIME.pack(time.monotonic()), RetryMode.NONE)
                        client.update()
                if now >= middle and newcomer.status() == ConnectionStatus.DISCONNECTED:
                    newcomer.connect(self._address)
                newcomer.update()
                if joined is None and newcomer.connected():
                    joined = time.monotonic() - middle
        return round_trips, joined

    def _read(self, client: UdpClient) -> list[float]:
        client.update()
        now = time.monotonic()
        return [now - TIME.unpack(message)[0] for _, message in client.getMessages()]


def p99(round_trips: list[float]) -> float:
    return statistics.quantiles(round_trips, n=100)[-1]


@pytest.mark.extra
@pytest.mark.skipif(not has_loopback_network(), reason="127.1.2.3 is not an address of this host")
@pytest.mark.skipif(not can_open(4200), reason="a process may not open 4200 files: see ulimit -n")
def test_a_flood_costs_the_server_bounded_work_and_no_player_an_answer(tmp_path: Path) -> None:
    key = EllipticCurvePrivateKey.new()
    key.savePEM(tmp_path / "key.pem")
    quiet: list[float] = []
    flooded: list[float] = []
    newcomers: list[float] = []
    with program("echoing.py", tmp_path / "key.pem") as server:
        port = int(server.stdout.readline())
        players = Players(("127.0.0.1", port), key.getPublicKey())
        try:
            for _ in range(ROUNDS):
                players.settle()
                quiet.append(p99(players.play(SECONDS)[0]))
                with program("hellos.py", port, HELLOS_PER_SECOND, SECONDS + 2 * SETTLE) as flood:
                    flood.stdout.readline()
                    players.settle()
                    flood.stdin.write("\n")
                    flood.stdin.flush()
                    round_trips, joined = players.play(SECONDS)
                    sent = int(flood.stdout.readline())
                assert sent > 0.9 * HELLOS_PER_SECOND * SECONDS
                assert len(round_trips) > 0.98 * PLAYERS * MESSAGES_PER_SECOND * SECONDS
                flooded.append(p99(round_trips))
                newcomers.append(joined)
        finally:
            players.close()
        server.stdin.close()
        stats = json.loads(server.stdout.readline())
    report(quiet, flooded, newcomers, stats)
    assert max(newcomers) < NEWCOMER_PATIENCE
    assert stats["drops"]["busy"] > 0
    # Hellos that wait are answered after the flood, too; the public-key work has the same rate.
    answered_for = ROUNDS * (SECONDS + 2 * SETTLE + DRAINED_WITHIN)
    assert stats["hellos_answered"] <= LIMITS.handshake_rate * answered_for
    assert stats["key_exchanges"] <= stats["hellos_answered"]
    assert stats["half_open"] <= LIMITS.half_open


def report(quiet: list[float], flooded: list[float], newcomers: list[float], stats: object) -> None:
    """Print the figures, which are shown when the test fails, and with -s or -rP."""
    print(f"{HELLOS_PER_SECOND} hellos a second, {PLAYERS} players, {ROUNDS} rounds")
    for what, seconds in (
        ("p99 of the round trip, quiet", quiet),
        ("p99 of the round trip, flooded", flooded),
        ("a newcomer gets in after", newcomers),
    ):
        rounds = ", ".join(f"{second * 1000:.2f}" for second in seconds)
        print(f"{what}: median {statistics.median(seconds) * 1000:.2f} ms of {rounds}")
    print(f"the server: {stats}")


def round_trips_of(client: UdpClient, seconds: float) -> list[float]:
    """The round trips of one player that sends 60 messages a second, and reads at once."""
    found: list[float] = []
    start = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        for frame in range(int(60 * seconds)):
            client.send(TIME.pack(time.monotonic()), RetryMode.NONE)
            client.update()
            while (left := start + (frame + 1) / 60 - time.monotonic()) > 0:
                selector.select(left)
                client.update()
                now = time.monotonic()
                found += [now - TIME.unpack(message)[0] for _, message in client.getMessages()]
    return found


def missed_ticks(ticks: list[float], span: tuple[float, float]) -> int:
    """Return the number of ticks that a server skipped in a span of time."""
    began, ended = span
    within = [tick for tick in ticks if began <= tick < ended]
    return max(math.floor(60 * (ended - began)) - 1 - len(within), 0)


def played(client: UdpClient) -> tuple[float, tuple[float, float]]:
    """Play for a while: the p99 of the round trips, and the time that it took."""
    began = time.monotonic()
    round_trips = round_trips_of(client, SECONDS)
    assert len(round_trips) > 0.98 * 60 * SECONDS
    return p99(round_trips), (began, time.monotonic())


def wait_for_line(process: subprocess.Popen[str], client: UdpClient) -> None:
    """Wait until a program says something; the client stays connected."""
    while not select.select([process.stdout], [], [], 0.01)[0]:
        client.update()
    process.stdout.readline()


@pytest.mark.extra
def test_a_client_that_floods_costs_no_answer_of_a_player_and_no_tick(tmp_path: Path) -> None:
    """In turns without and with the flood, so that what else the machine does concerns both."""
    key = EllipticCurvePrivateKey.new()
    key.savePEM(tmp_path / "key.pem")
    key.getPublicKey().savePEM(tmp_path / "public.pem")
    quiet: list[tuple[float, tuple[float, float]]] = []
    flooded: list[tuple[float, tuple[float, float]]] = []
    with program("costly.py", tmp_path / "key.pem") as server:
        port = int(server.stdout.readline())
        with UdpClient(key.getPublicKey()) as player:
            player.connect(("127.0.0.1", port))
            while not player.connected():
                player.update()
                time.sleep(0.001)
            for _ in range(ROUNDS):
                quiet.append(played(player))
                arguments = port, tmp_path / "public.pem", DATAGRAMS_PER_SECOND, SECONDS
                with program("messages.py", *arguments) as flood:
                    wait_for_line(flood, player)
                    flood.stdin.write("\n")
                    flood.stdin.flush()
                    flooded.append(played(player))
                    sent = int(flood.stdout.readline())
                assert sent > 0.9 * DATAGRAMS_PER_SECOND * SECONDS
                round_trips_of(player, SECONDS)  # until what the flood has left is handled
        server.stdin.close()
        told = json.loads(server.stdout.readline())
    print(f"{DATAGRAMS_PER_SECOND} datagrams of 255 messages a second, 5 µs each, one player")
    print(f"messages of 1 byte that were handled: {told['handled']}")
    missed = []
    for what, rounds in (("quiet", quiet), ("flooded", flooded)):
        median = statistics.median(latency for latency, _ in rounds)
        missed.append(statistics.median(missed_ticks(told["ticks"], span) for _, span in rounds))
        each = ", ".join(f"{latency * 1000:.2f}" for latency, _ in rounds)
        print(f"p99 of the round trip, {what}: median {median * 1000:.2f} ms of {each}")
        print(f"ticks missed, {what}: {[missed_ticks(told['ticks'], span) for _, span in rounds]}")
    assert told["handled"] > 20 * ROUNDS * DATAGRAMS_PER_SECOND  # the flood was no idle one
    assert missed[1] <= missed[0]
