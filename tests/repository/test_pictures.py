"""The pictures show what the package does today: `make pictures` draws them anew."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mpgameserver import RetryMode
from mpgameserver.cli.demo.report import DemoReport, DemoSettings
from mpgameserver.cli.display import Table
from mpgameserver.cli.monitor_tables import MonitorView
from mpgameserver.server.stats import ServerFigures

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
DESCRIPTION = re.compile(r"<dc:description>(.*?)</dc:description>", re.S)

Talk = dict[str, Any]


def load(name: str) -> ModuleType:
    """A module of the folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, PICTURES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def talks() -> ModuleType:
    return load("talks")


def drawn(mode: RetryMode) -> Talk:
    """The caption of a mode's picture."""
    svg = (PICTURES / f"{mode.name.lower().replace('_', '-')}.svg").read_text()
    found: Talk = json.loads(DESCRIPTION.findall(svg)[0].replace("&quot;", '"'))
    return found


def departures(talk: Talk, text: str) -> list[float]:
    return [flight["left"] for flight in talk["flights"] if text in flight["messages"]]


def first_is_lost(talk: Talk, text: str) -> bool:
    first = next(flight for flight in talk["flights"] if text in flight["messages"])
    return first["arrived"] is None


@pytest.mark.parametrize("mode", RetryMode)
def test_a_picture_shows_what_happens_in_a_new_run(talks: ModuleType, mode: RetryMode) -> None:
    assert drawn(mode) == json.loads(talks.talk(mode).to_json())


@pytest.mark.parametrize("mode", RetryMode)
def test_the_same_datagrams_are_lost_at_first(mode: RetryMode) -> None:
    talk = drawn(mode)
    assert [first_is_lost(talk, text) for text in "ABC"] == [False, True, False]


def test_none_is_sent_once_and_given_up_after_a_second() -> None:
    talk = drawn(RetryMode.NONE)
    assert [len(departures(talk, text)) for text in "ABC"] == [1, 1, 1]
    assert set(talk["handled"]) == {"A", "C"}
    assert {text: acked for text, (_, acked) in talk["callbacks"].items()} == {
        "A": True,
        "B": False,
        "C": True,
    }
    assert talk["callbacks"]["B"][0] - departures(talk, "B")[0] == pytest.approx(1.0, abs=0.02)


def test_best_effort_is_repeated_at_the_interval_until_it_is_acked() -> None:
    talk = drawn(RetryMode.BEST_EFFORT)
    left = departures(talk, "B")
    steps = [later - earlier for earlier, later in pairwise(left)]
    assert steps == pytest.approx([0.1] * len(steps), abs=0.001)
    settled, acked = talk["callbacks"]["B"]
    assert acked
    assert left[-1] < settled < left[-1] + 0.1
    assert len(departures(talk, "C")) == 2


def test_retry_on_timeout_is_repeated_when_the_loss_is_known() -> None:
    talk = drawn(RetryMode.RETRY_ON_TIMEOUT)
    _, again, rode = departures(talk, "B")
    arrivals = [f["arrived"] for f in talk["flights"] if not f["is_up"]]
    assert again in arrivals  # of the ack that told it
    assert again == pytest.approx(0.58, abs=0.005)
    assert rode == departures(talk, "C")[0]
    assert all(acked for _, acked in talk["callbacks"].values())
    assert set(talk["handled"]) == set("ABC")


def shown(name: str, width: int) -> str:
    """The text of a picture of a terminal."""
    svg = (PICTURES / f"{name}-{width}.svg").read_text()
    return html.unescape(re.sub(r"<[^>]+>", "", svg)).replace("\N{NO-BREAK SPACE}", " ")


WIDTHS = (80, 120)


class TestTheTerminal:
    """The pictures of the demo and of the monitor, whose numbers are those of one run."""

    @pytest.mark.parametrize("width", WIDTHS)
    def test_shows_a_demo_that_succeeded(self, width: int) -> None:
        assert "every reliable byte arrived exactly once" in shown("demo", width)

    @pytest.mark.parametrize("width", WIDTHS)
    def test_has_the_columns_that_the_demo_prints(self, width: int) -> None:
        settings = DemoSettings(8.0, 5.0, 25.0, 5.0, 2.0, clients=4, seed=7)
        text = shown("demo", width)
        assert settings.summary() in text
        report = DemoReport(settings, 8.0, 1.0, 540, 0, messages=(), datagrams=(), clients=())
        tables = [part for part in report.as_tables() if isinstance(part, Table)]
        assert len(tables) == 2
        for table in tables:
            assert all(column in text for column in table.columns)

    @pytest.mark.parametrize("width", WIDTHS)
    def test_has_the_tables_that_the_monitor_shows(self, width: int) -> None:
        *beside, clients = MonitorView().take(ServerFigures())
        text = shown("monitor", width)
        for table in beside:
            cells = [cell for row in table.rows for cell in row[:1] if cell != "nothing"]
            assert all(cell in text for cell in (*table.columns, *cells))
        for column in clients.columns:
            assert all(word in text for word in column.split())

    @pytest.mark.parametrize("width", WIDTHS)
    def test_shows_clients_of_which_some_lose_much(self, width: int) -> None:
        text = shown("monitor", width)
        assert "8 clients" in text
        assert re.search(r"127\.0\.0\.1:\d+ .* (?:[5-9]|1\d)\.\d%", text)

    @pytest.mark.parametrize("name", ["demo", "monitor"])
    @pytest.mark.parametrize("width", WIDTHS)
    def test_fetches_nothing(self, name: str, width: int) -> None:
        svg = (PICTURES / f"{name}-{width}.svg").read_text()
        assert re.findall(r"url\((?!#)|href=|src=|@import", svg) == []

    def test_leaves_out_what_was_drawn_over(self) -> None:
        terminal = load("terminal")
        live = "\x1b[?25lone\ntwo\r\x1b[2K\x1b[1A\x1b[2Kthree\nfour\n\x1b[?25h"
        assert terminal.last_screen(f"before\n{live}after\n") == "before\nthree\nfour\nafter"


@pytest.fixture(scope="module")
def starplayers() -> ModuleType:
    pytest.importorskip("pygame")
    return load("starplayers")


@pytest.fixture(scope="module")
def players(starplayers: ModuleType) -> dict[str, Any]:
    played: dict[str, Any] = starplayers.play()
    return played


class TestTwoPlayers:
    """The picture of the star example."""

    def test_shows_what_happens_in_a_new_run(
        self, starplayers: ModuleType, players: dict[str, Any]
    ) -> None:
        pygame = starplayers.pygame
        new = starplayers.draw(players)
        saved = pygame.image.load(PICTURES / "star.png")
        assert saved.size == new.size
        close = (40, 40, 40, 255)
        same = pygame.mask.from_threshold(new, (0, 0, 0), close, saved).count()
        # Releases of pygame smooth edges differently. A tenth of a second changes 4,500 pixels.
        assert new.width * new.height - same < 1000

    def test_shows_what_a_bad_link_does(self, players: dict[str, Any]) -> None:
        ada, bob = players["Ada"].session, players["Bob"].session
        assert bob.client.latency() > 2 * ada.client.latency()
        assert bob.game.link.figures.lost_down > ada.game.link.figures.lost_down == 0
