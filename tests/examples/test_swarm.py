"""The swarm: what its steps say, its loop over real sockets, and its commands."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from support.dialogue import Dialogue, succeeds
from support.programs import EXAMPLES, copied_examples, readme_commands

from mpgameserver import (
    EllipticCurvePrivateKey,
    EventHandler,
    ServerClient,
    ServerContext,
    ThreadedServer,
)
from swarm import measuring, openfiles
from swarm.bot import Bot
from swarm.command import Ramp, main, run
from swarm.crowd import Crowd
from swarm.echoserver import EchoServer, limits_for
from swarm.measuring import Step, finding, own_limit, percentile, server_limit
from swarm.openfiles import SPARE, TooFewFilesError, allow
from swarm.script import Ask, Echo, Script

LOOPBACK = ("127.0.0.1", 0)
KEY = EllipticCurvePrivateKey.new()
RAMP = Ramp(step=5, most=15, seconds=0.3, latest=0.5)


def step(**changes: float) -> Step:
    """A step in which all went well, but for some changes."""
    good = {"bots": 50, "unconnected": 0, "asks_per_second": 1600.0, "median": 0.001}
    good |= {"p99": 0.01, "asked": 4800, "lost": 0, "late": 0.001, "busy": 0.2}
    return Step(**(good | changes))


class TestMeasuring:
    @pytest.mark.parametrize(
        ("values", "share", "found"),
        [
            ([3.0], 0.99, 3.0),
            ([float(n) for n in range(100, 0, -1)], 0.99, 99.0),
            ([float(n) for n in range(1, 102)], 0.5, 51.0),
            ([1.0, 2.0], 0.0, 1.0),
            ([], 0.99, float("inf")),
        ],
    )
    def test_a_percentile_is_one_of_the_values(
        self, values: list[float], share: float, found: float
    ) -> None:
        assert percentile(values, share) == found

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({}, None),
            ({"p99": 0.05}, None),
            ({"p99": 0.051}, "the 99th percentile of the answers is 51.0 ms, above 50.0 ms"),
            ({"lost": 1}, "1 of 4,800 answers were lost"),
            ({"unconnected": 7}, "7 of them could not connect, or stay so"),
        ],
    )
    def test_a_server_is_at_its_limit_when_somebody_is_not_served(
        self, changes: dict[str, float], reason: str | None
    ) -> None:
        assert server_limit(step(**changes), 0.05) == reason

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"late": 0.01, "busy": 0.95}, None),
            ({"late": 0.02}, "it sends 20 ms late"),
            ({"busy": 0.99}, "it uses 99% of its core"),
        ],
    )
    def test_the_swarm_is_the_limit_when_it_is_late_or_busy(
        self, changes: dict[str, float], reason: str | None
    ) -> None:
        assert own_limit(step(**changes)) == reason

    @pytest.mark.parametrize(
        ("steps", "text", "of_the_server"),
        [
            ([step(), step(bots=100)], "100 bots are served, and no more", True),
            ([step(), step(bots=100, lost=3)], "50 bots are served; with 100, 3 of", True),
            ([step(lost=3)], "0 bots are served; with 50, 3 of", True),
            # A loss of a swarm that is late may not be the server's.
            ([step(), step(bots=100, late=0.02, lost=3)], "with 100 the swarm itself", False),
        ],
    )
    def test_the_finding_names_what_was_served_and_what_was_not(
        self, steps: list[Step], text: str, of_the_server: bool
    ) -> None:
        found = finding(steps, 0.05)
        assert text in found.text
        assert found.is_of_the_server is of_the_server


class TestOpenFiles:
    @pytest.fixture
    def limits(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The soft limit of open files, and the hard one."""
        limits = [256, 1024]

        def set_limits(what: int, wanted: tuple[int, int]) -> None:
            if wanted[0] > limits[1]:
                raise ValueError("not allowed to raise maximum limit")
            limits[:] = wanted

        fake = SimpleNamespace(
            RLIMIT_NOFILE=7,
            RLIM_INFINITY=-1,
            getrlimit=lambda what: tuple(limits),
            setrlimit=set_limits,
        )
        monkeypatch.setitem(sys.modules, "resource", fake)
        return limits

    def test_a_limit_that_is_enough_stays(self, limits: list[int]) -> None:
        allow(256 - SPARE)
        assert limits == [256, 1024]

    def test_it_is_raised_as_far_as_needed(self, limits: list[int]) -> None:
        allow(500)
        assert limits == [500 + SPARE, 1024]

    def test_what_the_system_does_not_allow_is_told(self, limits: list[int]) -> None:
        with pytest.raises(TooFewFilesError, match=r"2,064 files .*ulimit -n 2064"):
            allow(2000)
        assert limits == [256, 1024]

    def test_no_limit_is_enough(self, limits: list[int]) -> None:
        limits[0] = -1
        allow(5000)

    def test_a_system_without_such_limits_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "resource", None)
        openfiles.allow(5000)


def test_an_echo_answers_the_ask_that_it_repeats() -> None:
    script = Echo(0)
    asks = [script.ask() for _ in range(3)]
    assert len({ask.key for ask in asks}) == 3
    assert [script.answered(ask.message) for ask in asks] == [ask.key for ask in asks]
    assert script.answered(b"something else") is None


@contextmanager
def served_by(handler: EventHandler, clients_per_host: int = 1000) -> Iterator[tuple[str, int]]:
    limits = replace(limits_for(1000), clients_per_host=clients_per_host)
    context = ServerContext(handler, KEY, limits)
    with ThreadedServer(context, LOOPBACK) as server:
        yield server.address


def climbed(
    address: tuple[str, int], ramp: Ramp = RAMP, script: Callable[[int], Script] = Echo
) -> tuple[int, str]:
    """The exit code of a ramp, and what it has printed."""
    printed = io.StringIO()
    with Crowd(address, KEY.getPublicKey(), script) as crowd:
        code = run(crowd, ramp, Console(file=printed, width=100))
    return code, printed.getvalue()


def rows_of(printed: str) -> list[int]:
    return [int(bots) for bots in re.findall(r"^│ +([\d,]+) │", printed, re.M)]


class TestRamp:
    @pytest.fixture(autouse=True)
    def patient_with_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server of these tests is in the same process: all of it is one core."""
        monkeypatch.setattr(measuring, "BEHIND", 5.0)
        monkeypatch.setattr(measuring, "BUSY", 5.0)

    def test_all_are_served_by_a_server_that_can(self) -> None:
        with served_by(EchoServer()) as address:
            code, printed = climbed(address)
        assert code == 0
        assert rows_of(printed) == [5, 10, 15]
        assert printed.endswith("15 bots are served, and no more were asked for.\n")

    def test_the_last_step_has_all_that_were_asked_for(self) -> None:
        with served_by(EchoServer()) as address:
            code, printed = climbed(address, Ramp(step=5, most=7, seconds=0.3, latest=0.5))
        assert code == 0
        assert rows_of(printed) == [5, 7]
        assert "7 bots are served, and no more were asked for" in printed

    def test_a_server_that_loses_answers_is_at_its_limit(self) -> None:
        class Few(EchoServer):
            def __init__(self) -> None:
                self.served: set[ServerClient] = set()

            def connect(self, client: ServerClient) -> None:
                if len(self.served) < 7:
                    self.served.add(client)

            def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
                if client in self.served:
                    super().handle_message(client, seqnum, msg)

        with served_by(Few()) as address:
            code, printed = climbed(address)
        assert code == 0
        assert rows_of(printed) == [5, 10]
        assert re.search(r"5 bots are served; with 10, \d+ of \d+ answers were lost", printed)

    def test_a_server_that_answers_late_is_at_its_limit(self) -> None:
        class Slow(EchoServer):
            def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
                time.sleep(0.002)  # the eighth part of what ten bots ask for
                super().handle_message(client, seqnum, msg)

        with served_by(Slow()) as address:
            code, printed = climbed(address, Ramp(step=40, most=80, seconds=0.3, latest=0.05))
        assert code == 0
        assert re.search(
            r"0 bots are served; with 40, .*(99th percentile|answers were lost)", printed
        )

    def test_a_server_that_lets_no_more_in_is_at_its_limit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mpgameserver.client.udpclient.CONNECTION_TIMEOUT", 1.0)
        with served_by(EchoServer(), clients_per_host=8) as address:
            code, printed = climbed(address)
        assert code == 0
        assert rows_of(printed) == [5, 10]
        assert "5 bots are served; with 10, 2 of them could not connect" in printed

    def test_without_a_server_nothing_was_found_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mpgameserver.client.udpclient.CONNECTION_TIMEOUT", 1.0)
        with served_by(EchoServer()) as address:
            pass
        code, printed = climbed(address)
        assert code == 1
        assert "None of the 5 bots could connect." in printed
        assert "inf" not in printed

    def test_a_swarm_that_is_too_slow_blames_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(measuring, "BEHIND", 0.05)

        class Ponderous(Echo):
            def ask(self) -> Ask:
                time.sleep(0.05)
                return super().ask()

        with served_by(EchoServer()) as address:
            code, printed = climbed(address, script=Ponderous)
        assert code == 1
        assert rows_of(printed) == [5]
        assert "0 bots are served; with 5 the swarm itself is at its limit" in printed

    def test_bots_that_only_wait_cost_next_to_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Silent(Echo):
            interval = 60.0

        turns: list[Bot] = []
        turn = Bot.turn
        monkeypatch.setattr(Bot, "turn", lambda bot, now: (turns.append(bot), turn(bot, now)))

        def datagrams(crowd: Crowd) -> int:
            figures = [seat.bot.client.stats() for seat in crowd._seats]
            return sum(each.sent + each.received for each in figures)

        with (
            served_by(EchoServer()) as address,
            Crowd(address, KEY.getPublicKey(), Silent) as crowd,
        ):
            crowd.grow(20)
            turns.clear()
            before = datagrams(crowd)
            crowd.play(0.5)
            # A turn for each, and one for a timer that has moved on meanwhile.
            assert 20 <= len(turns) <= 2 * (datagrams(crowd) - before) + 20


class TestProgram:
    def test_the_readme_works_word_for_word_but_for_the_port(self, tmp_path: Path) -> None:
        folder = copied_examples(tmp_path)
        genkey, server, ramp, mine = readme_commands("swarm")
        succeeds(folder, *genkey)
        with Dialogue(folder, *server, "--port", "0") as serving:
            port = serving.sees(r"serving on 127\.0\.0\.1:(\d+)")[1]
            assert ramp[-1] == "127.0.0.1:1474"
            command = [*ramp[:-1], f"127.0.0.1:{port}"]
            small = ["--step", "5", "--most", "10", "--seconds", "0.3", "--p99", "2000"]
            with Dialogue(folder, *command, *small) as swarm:
                swarm.sees(r"(10 bots are served, and no more were asked for|.* itself is at .*)\.")
                assert swarm.ended() in (0, 1)

        class Pong(EventHandler):
            def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
                client.send(msg.replace(b"ping", b"pong"))

        text = (EXAMPLES / "swarm" / "README.md").read_text()
        [script] = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
        (folder / "mybots.py").write_text(script)
        KEY.getPublicKey().savePEM(folder / "your.pem.pub")
        with served_by(Pong()) as address:
            mine[mine.index("127.0.0.1:1474")] = f"127.0.0.1:{address[1]}"
            with Dialogue(folder, *mine, *small) as swarm:
                swarm.sees(r"(10 bots are served, and no more were asked for|.* itself is at .*)\.")

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["192.0.2.1:1474"], "is not this machine"),
            (["example.org:1474"], "is not this machine"),
            (["1474"], "must be HOST:PORT"),
            (["127.0.0.1:1474", "--step", "0"], "must be above 0"),
            (["127.0.0.1:1474", "--most", "20000"], "must be above 0, up to 10,000"),
            (["127.0.0.1:1474", "--most", "20"], "is more than 20 bots"),
        ],
    )
    def test_what_makes_no_sense_is_told(
        self,
        arguments: list[str],
        told: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        key = tmp_path / "key.pem.pub"
        KEY.getPublicKey().savePEM(key)
        monkeypatch.setattr(sys, "argv", ["swarm", "--key", str(key), *arguments])
        with pytest.raises(SystemExit):
            main()
        assert told in capsys.readouterr().err
