"""The live table of the demo."""

from __future__ import annotations

from dataclasses import dataclass, field

from mpgameserver.cli.demo.live import LiveView
from mpgameserver.cli.demo.player import FILE_SIZE
from mpgameserver.cli.demo.room import Progress
from mpgameserver.cli.demo.traffic import Counts, Kind, Ledger
from mpgameserver.cli.display import Table
from mpgameserver.netsim import LinkStats
from mpgameserver.stats import ConnectionStats
from mpgameserver.udpproxy import ProxyStats


@dataclass
class Client:
    """The part of a client that the table uses."""

    pending: int = 0
    seconds: ConnectionStats = field(default_factory=ConnectionStats)

    def send(self, *message: object) -> None:
        """Take a message."""

    def connected(self) -> bool:
        return True

    def latency(self) -> float:
        return 0.05

    def stats(self) -> ConnectionStats:
        return self.seconds


@dataclass
class Seat:
    """The part of a player that the table uses."""

    client: Client = field(default_factory=Client)
    number: int = 1
    token: int = 5
    ledger: Ledger = field(default_factory=Ledger)


def link(sent: int, lost: int) -> ProxyStats:
    return ProxyStats(0, 0, 0, 0, LinkStats(sent=sent, lost_random=lost), LinkStats())


def counts(received: int) -> Counts:
    none = dict.fromkeys(Kind, 0)
    return Counts(none, none | {Kind.FILE: received}, 0)


def table(seat: Seat, received: int = 0) -> Table:
    progress = Progress(members={seat.token: counts(received)})
    return LiveView().table(1.0, "playing", [seat], progress, link(0, 0))  # type: ignore[list-item]


def cell(shown: Table, column: str) -> str:
    return shown.rows[0][shown.columns.index(column)]


def test_the_bar_of_a_file_grows_as_it_leaves_and_is_full_when_it_has_arrived() -> None:
    seat = Seat()
    assert cell(table(seat), "file\nup") == "────────"
    seat.ledger.send(seat.client, Kind.FILE, b"", 0.0)
    seat.client.pending = FILE_SIZE // 2
    assert cell(table(seat), "file\nup") == "━━━━────"
    seat.client.pending = 0
    assert cell(table(seat), "file\nup") == "━━━━━━━─"
    assert cell(table(seat, received=1), "file\nup") == "━━━━━━━━"


def test_the_bar_of_a_file_on_its_way_down_goes_by_the_bytes_that_came() -> None:
    received = [0] * 298 + [FILE_SIZE // 4, FILE_SIZE // 4]
    seat = Seat(Client(seconds=ConnectionStats(bytes_recv=received)))
    assert cell(table(seat), "file\ndown") == "━━━━────"


def test_the_latency_of_the_last_whole_seconds_is_a_sparkline() -> None:
    latency = [9] * 291 + [0, 0, 10, 20, 30, 40, 70, 70] + [500]
    seat = Seat(Client(seconds=ConnectionStats(latency=latency)))
    assert cell(table(seat), "last\n8 s") == "  ▂▃▄▄▇▇"


def test_the_losses_of_each_second_are_a_sparkline() -> None:
    view, progress = LiveView(), Progress()
    notes = [
        view.table(now, "playing", [], progress, link(sent, lost)).note
        for now, sent, lost in ((0.0, 0, 0), (1.0, 100, 10), (1.5, 150, 60), (2.0, 200, 10))
    ]
    assert notes[1] == notes[2] == "lost, last 8 s        ▁▇"
    assert notes[3] == "lost, last 8 s       ▁▇▁"


def test_a_line_for_a_pipe_has_no_sparkline() -> None:
    assert table(Seat()).caption == (
        "playing: 1/1 connected, 0.0 kB/s up, 0.0 down, 0.0 % lost, 0/2 files"
    )
