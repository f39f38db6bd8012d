"""The command `netsim` without its command line: it forwards, counts, and ends when it should."""

from __future__ import annotations

import dataclasses
import math
import re
import signal
import socket
import threading

import pytest
from support.patience import PATIENCE

from mpgameserver.cli.display import Display, Table
from mpgameserver.cli.netsim import RelayReport, RelaySettings, relay
from mpgameserver.netsim import LinkConditions, LinkStats
from mpgameserver.udpproxy import ProxyStats

LOSSY = LinkConditions(loss=0.5)
PERFECT = LinkConditions()


class Watcher(Display):
    """Keeps what it is to show, and does something when the relay listens and while it works."""

    def __init__(self, when_listening=lambda address: None, while_working=lambda: None) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.shown: list[Table] = []
        self._when_listening = when_listening
        self._while_working = while_working

    def is_due(self) -> bool:
        return True

    def print(self, *parts: Table | str) -> None:
        for part in parts:
            assert isinstance(part, str)
            self.lines.append(part)
            host, _, port = re.findall(r"listening on (\S+),", part)[0].rpartition(":")
            self._when_listening((host.strip("[]"), int(port)))

    def show(self, table: Table) -> None:
        self.shown.append(table)
        self._while_working()


def settings(target, seconds=PATIENCE, **changes) -> RelaySettings:
    chosen = RelaySettings(("127.0.0.1", 0), target, PERFECT, PERFECT, 7, seconds)
    return dataclasses.replace(chosen, **changes)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def server():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        yield server


@pytest.fixture
def client():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        yield client


def test_it_forwards_both_ways_and_tells_what_the_links_did(server, client):
    def play() -> None:
        if display.exchanged:
            interrupt()
            return
        for number in range(40):
            client.send(b"%02d" % number)
        _, address = server.recvfrom(100)
        server.sendto(b"answer", address)
        assert client.recv(100) == b"answer"
        display.exchanged = True

    display = Watcher(client.connect, play)
    display.exchanged = False
    report = relay(settings(server.getsockname(), up=LOSSY), display)
    up, down = report.stats.up, report.stats.down
    assert (up.sent, up.sent_bytes, down.sent, down.delivered) == (40, 80, 1, 1)
    assert 0 < up.lost_random == up.sent - up.delivered < 40
    assert (report.stats.clients, report.stats.clients_seen) == (1, 1)
    assert [row[1:] for row in report.as_table().rows if row[0] == "sent"] == [("40", "1")]
    assert f"up: 40 datagrams, {100 * up.lost / 40:.1f} % lost" in report.summary()
    assert display.shown[0].columns == ("datagrams", "up", "down")


def test_the_same_seed_loses_the_same(server):
    lost = []
    for _ in range(2):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:

            def send(address, client=client) -> None:
                for number in range(100):
                    client.sendto(b"%02d" % number, address)

            relay(settings(server.getsockname(), seconds=0.2, up=LOSSY), Watcher(send))
        server.setblocking(False)
        arrived = set()
        while True:
            try:
                arrived.add(server.recv(100))
            except BlockingIOError:
                break
        lost.append(arrived)
    assert lost[0] == lost[1]
    assert 0 < len(lost[0]) < 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_old_handlers_are_back(server, number):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    display = Watcher(while_working=lambda: signal.raise_signal(number))
    report = relay(settings(server.getsockname(), seconds=math.inf), display)
    assert report.seconds < PATIENCE
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_it_ends_when_its_time_is_over_in_another_thread_too(server):
    reports = []
    thread = threading.Thread(
        target=lambda: reports.append(
            relay(settings(server.getsockname(), seconds=0.05), Display())
        )
    )
    thread.start()
    thread.join(PATIENCE)
    assert 0.05 <= reports[0].seconds < PATIENCE


def test_it_says_which_address_it_cannot_listen_on(server):
    taken = server.getsockname()
    with pytest.raises(OSError, match=str(taken[1])):
        relay(settings(taken, listen=taken), Display())


class TestReport:
    STATS = ProxyStats(
        clients=1,
        clients_seen=3,
        refused=4,
        socket_errors=5,
        up=LinkStats(*range(100, 115)),
        down=LinkStats(sent=2000, lost_random=1, lost_queue=99),
    )

    def test_the_table_has_every_figure_of_a_link(self):
        rows = RelayReport(1, 10.0, self.STATS).as_table().rows
        names = {field.name for field in dataclasses.fields(LinkStats)}
        shown = [int(up.replace(",", "")) for label, up, _ in rows if label != "lost"]
        assert sorted(shown) == sorted(getattr(self.STATS.up, name) for name in names)
        assert [down for label, _, down in rows if label == "lost"] == ["100"]

    def test_the_line_tells_what_went_wrong_only_when_something_did(self):
        assert RelayReport(1, 10.0, self.STATS).summary().endswith("4 refused, 5 socket errors")
        quiet = dataclasses.replace(self.STATS, refused=0, socket_errors=0)
        assert RelayReport(1, 10.0, quiet).summary().endswith("kB/s mean")

    def test_the_json_has_every_figure_by_name(self):
        document = RelayReport(1, 10.0, self.STATS).as_json()
        assert (document["seed"], document["seconds"], document["refused"]) == (1, 10.0, 4)
        assert document["down"]["lost_queue"] == 99
