"""The demo as a whole, on real sockets: what it reports, and when it fails."""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from typing import Any

import pytest

from mpgameserver import udpproxy
from mpgameserver.cli import main
from mpgameserver.cli.demo import game as demo_module
from mpgameserver.cli.demo import player as player_module
from mpgameserver.cli.demo.game import FRAME, FramePace, run_demo
from mpgameserver.cli.demo.player import file_of
from mpgameserver.cli.demo.report import DemoReport, DemoSettings
from mpgameserver.cli.demo.traffic import Kind
from mpgameserver.cli.display import Display, PlainDisplay
from mpgameserver.client import UdpClient
from mpgameserver.netsim import Link, LinkPair
from mpgameserver.udpproxy import UdpProxy

SHORT = ["demo", "--seconds", "0.5", "--clients", "1"]


def settings(**changed: Any) -> DemoSettings:
    usual = {"seconds": 0.5, "loss": 5.0, "latency": 10.0, "jitter": 2.5, "duplicate": 2.0}
    return DemoSettings(**{**usual, "clients": 2, "seed": 1, **changed})


def messages_of(report: DemoReport) -> dict[tuple[str, str], Any]:
    return {(tally.kind, tally.direction): tally for tally in report.messages}


@pytest.fixture
def small_files(monkeypatch):
    """Have files that take no time."""
    monkeypatch.setattr(player_module, "FILE_SIZE", 5000)


@pytest.fixture
def impatient(monkeypatch):
    """Have the demo hardly wait for what is outstanding."""
    monkeypatch.setattr(demo_module, "WAIT_LIMIT", 0.2)


@pytest.fixture
def players(monkeypatch) -> list[player_module.Player]:
    """The players of the demos to come."""
    made: list[player_module.Player] = []

    class NotedPlayer(player_module.Player):
        def __post_init__(self) -> None:
            super().__post_init__()
            made.append(self)

    monkeypatch.setattr(demo_module, "Player", NotedPlayer)
    return made


class Duplicating(UdpClient):
    """Delivers every message of the server twice."""

    def getMessages(self):
        return [message for message in super().getMessages() for _ in range(2)]


class Losing(UdpClient):
    """Loses the file."""

    def getMessages(self):
        return [message for message in super().getMessages() if message[1][0] != Kind.FILE.code]


class CallingTwice(UdpClient):
    """Calls the callback of each message twice."""

    def send(self, msg, retry=-1, callback=None):
        super().send(msg, retry, lambda acked: [callback(acked) for _ in range(2)])


class NeverCalling(UdpClient):
    """Forgets the callbacks."""

    def send(self, msg, retry=-1, callback=None):
        super().send(msg, retry)


# -- what it reports ------------------------------------------------------------------------


def test_a_game_over_a_bad_link_delivers_all_that_is_reliable_once(players):
    stream = io.StringIO()
    report = run_demo(settings(), PlainDisplay(stream))
    assert report.problems == []
    tallies = messages_of(report)
    assert len(tallies) == 6
    for direction in ("up", "down"):
        assert tallies["file", direction].sent == tallies["file", direction].delivered == 2
        assert tallies["file", direction].bytes_delivered > 2 * (1 << 20)
        assert tallies["chat", direction].delivered == tallies["chat", direction].sent > 0
        assert tallies["position", direction].sent >= 2 * 25
    for tally in tallies.values():
        assert (tally.duplicated, tally.callbacks) == (0, tally.sent)
        assert 0.007 <= tally.latency_median <= tally.latency_p99
        assert tally.throughput > 0
    for datagrams in report.datagrams:
        assert 0 < datagrams.lost < datagrams.sent / 5
        assert datagrams.duplicated > 0
        assert datagrams.retried > 0
    assert "playing 0 s" in stream.getvalue() or "connecting 0 s" in stream.getvalue()
    assert stream.getvalue().splitlines()[-1].startswith("done: 2/2 connected")


def test_everybody_reads_the_same_chat_in_the_same_order(players, small_files):
    report = run_demo(settings(seconds=1.2, loss=20.0, clients=3), Display())
    assert report.problems == []
    chats = sorted((player.chat for player in players), key=len)
    assert len(chats) == 3
    assert len(chats[0]) >= 3 * 2
    # A late player has not received what was sent before.
    assert all(chat == chats[-1][-len(chat) :] for chat in chats)
    for number in (1, 2, 3):
        name = b"player %d: " % number
        own = [line for line in chats[-1] if line.startswith(name)]
        assert own == [name + b"line %d" % (1 + line) for line in range(len(own))]


def test_a_link_that_loses_thirty_per_cent_changes_nothing_but_the_time():
    report = run_demo(settings(seconds=0.2, loss=30.0, clients=1), Display())
    assert report.problems == []
    assert report.waited < 10
    assert all(tally.lost > tally.sent / 5 for tally in report.datagrams)


def test_the_json_document_is_all_that_is_printed(capsys, small_files):
    assert main([*SHORT, "--clients", "2", "--seed", "7", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    document = json.loads(out)
    assert list(document) == [
        *("ok", "problems", "settings", "played", "waited", "frames", "frames_left_out"),
        *("messages", "datagrams", "clients", "timeline"),
    ]
    assert document["ok"] is True
    assert document["problems"] == []
    assert document["settings"] == {
        "seconds": 0.5,
        "loss": 5.0,
        "latency": 25.0,
        "jitter": 5.0,
        "duplicate": 2.0,
        "clients": 2,
        "seed": 7,
    }
    assert [(m["kind"], m["direction"], m["reliable"]) for m in document["messages"]] == [
        ("position", "up", False),
        ("position", "down", False),
        ("chat", "up", True),
        ("chat", "down", True),
        ("file", "up", True),
        ("file", "down", True),
    ]
    for message in document["messages"]:
        assert message["sent"] == message["delivered"] + message["lost"] == message["callbacks"]
    assert [d["direction"] for d in document["datagrams"]] == ["up", "down"]
    for datagrams in document["datagrams"]:
        arrived = datagrams["delivered"] + datagrams["lost"]
        # Messages in flight at the end are neither arrived nor lost.
        assert 0 <= datagrams["sent"] + datagrams["duplicated"] - arrived < 20
    assert [c["number"] for c in document["clients"]] == [1, 2]
    assert all(c["problems"] == [] and c["round_trip"] > 0.03 for c in document["clients"])


def test_without_json_the_seed_the_tables_and_the_verdict_are_printed(capsys, small_files):
    assert main([*SHORT, "--seed", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    conditions = "5 % lost, 2 % duplicated and 25 ± 5 ms each way"
    assert lines[0].startswith(f"1 clients play for 0.5 s; {conditions}; seed ")
    assert lines[0].endswith("seed 7")
    first_words = [line.split()[0] for line in lines if line]
    wanted = ["datagrams", "up", "down", "messages", "position", "chat", "file"]
    assert [word for word in dict.fromkeys(first_words) if word in wanted] == wanted
    assert lines[-1] == (
        "every reliable byte arrived exactly once, and every callback was called once"
    )


# -- when it fails --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (Duplicating, r"client 1: chat down: \d+ of \d+ arrived more than once \(0"),
        (Losing, r"client 1: file down: 1 of 1 did not arrive \(0\)"),
        (CallingTwice, r"client 1: chat up: \d+ of \d+ had more than one callback \(0"),
        (NeverCalling, r"client 1: file up: 1 of 1 had no callback \(0\)"),
    ],
)
def test_a_transport_that_breaks_a_promise_makes_it_fail(
    client, said, capsys, monkeypatch, small_files, impatient
):
    monkeypatch.setattr(demo_module, "UdpClient", client)
    assert main([*SHORT, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert any(re.match(said, problem) for problem in document["problems"])


def test_what_went_wrong_is_printed_below_the_tables(capsys, monkeypatch, small_files, impatient):
    monkeypatch.setattr(demo_module, "UdpClient", Duplicating)
    assert main(SHORT) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("failed: client 1: ")
    assert "arrived more than once" in last


def test_a_server_that_cannot_be_reached_makes_it_fail(monkeypatch):
    monkeypatch.setattr("mpgameserver.client.udpclient.CONNECTION_TIMEOUT", 0.3)
    report = run_demo(settings(seconds=30.0, loss=100.0), Display())
    assert report.problems == [
        "client 1: could not connect: timeout",
        "client 2: could not connect: timeout",
    ]
    assert report.played < 1


# -- the seed -------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_link(monkeypatch, small_files, impatient):
    first, second, other = (fates_with_seed(seed, monkeypatch) for seed in (5, 5, 6))
    assert first.keys() == second.keys()
    for link, fates in first.items():
        common = min(len(fates), len(second[link]))
        assert common > 30
        assert fates[:common] == second[link][:common]
    assert first != other


def fates_with_seed(seed: int, monkeypatch) -> dict[str, list[bool]]:
    """Run the demo; which datagrams each link lost, by direction."""
    fates: defaultdict[str, list[bool]] = defaultdict(list)

    class NotedLink(Link):
        name = ""

        def send(self, datagram: bytes, now: float) -> None:
            before = self.stats.lost
            super().send(datagram, now)
            fates[self.name].append(self.stats.lost > before)

    class NotedPair(LinkPair):
        def __init__(self, up, down, seed):
            super().__init__(up, down, seed)
            for name, link in (("up", self.up), ("down", self.down)):
                link.__class__ = NotedLink
                link.name = name

    monkeypatch.setattr(udpproxy, "LinkPair", NotedPair)
    run_demo(settings(loss=20.0, clients=1, seed=seed), Display())
    return dict(fates)


def test_each_direction_has_the_whole_latency_and_the_whole_loss(
    monkeypatch, small_files, impatient
):
    made = []

    def note(*arguments, **named):
        made.append((arguments, named))
        return UdpProxy(*arguments, **named)

    monkeypatch.setattr(demo_module, "UdpProxy", note)
    run_demo(settings(clients=1, seed=3), Display())
    [((_, _, conditions), named)] = made
    assert named == {"seed": 3}
    assert (conditions.loss, conditions.duplicate) == (0.05, 0.02)
    assert (conditions.latency, conditions.jitter) == (0.01, 0.0025)


def test_files_differ_by_name_and_by_seed_only():
    assert file_of(1, "up 1") == file_of(1, "up 1")
    assert len({file_of(1, "up 1"), file_of(1, "down 1"), file_of(2, "up 1")}) == 3
    assert len(file_of(1, "up 1")) == 1 << 20


# -- the frames -----------------------------------------------------------------------------


class Clock:
    """Time that passes by sleeping, and when a test says so."""

    def __init__(self) -> None:
        self.now = 50.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_frames_begin_at_an_even_pace_however_long_they_take():
    clock = Clock()
    pace = FramePace(lambda: clock.now, clock.sleep)
    begins = []
    for duration in (0.0, 0.001, 0.016, 0.0, 0.01):
        pace.wait()
        begins.append(clock.now)
        clock.now += duration
    assert begins == pytest.approx([50.0 + FRAME * number for number in range(5)])
    assert (pace.begun, pace.left_out) == (5, 0)


def test_a_frame_that_takes_too_long_leaves_others_out_and_is_not_made_up_for():
    clock = Clock()
    pace = FramePace(lambda: clock.now, clock.sleep)
    pace.wait()
    clock.now += 3.5 * FRAME
    pace.wait()
    assert clock.now == 50.0 + 3.5 * FRAME
    pace.wait()
    assert clock.now == pytest.approx(50.0 + 4 * FRAME)
    assert (pace.begun, pace.left_out) == (3, 2)


def test_a_player_who_has_left_sends_nothing_more(small_files, players):
    run_demo(settings(clients=1, loss=0.0), Display())
    [player] = players
    before = player.ledger.counts()
    player.frame(is_playing=True)
    assert player.ledger.counts() == before
