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

from accounts.game import Hall
from accounts.tokens import TokenChecker, TokenMaker, game_of
from chat.conversation import Conversation, as_text
from chat.rooms import Deliveries, Rooms
from chat.wire import Request, Verb, decode_request, encode_line
from filetransfer import send
from mpgameserver import EllipticCurvePrivateKey, RetryMode, ServerContext, UdpClient
from mpgameserver.cli.demo.report import DemoReport, DemoSettings
from mpgameserver.cli.display import Table
from mpgameserver.cli.monitor_tables import MonitorView
from mpgameserver.server.stats import ServerFigures
from mpgameserver.testing import World
from swarm.command import HEADERS
from swarm.measuring import Step, finding

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
LINE = re.compile(r'<text[^>]*#terminal-line-(\d+)\)">(.*?)</text>', re.S)
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


def caption(name: str) -> Talk:
    """The description that a picture carries: the times of all that happens in it."""
    svg = (PICTURES / f"{name}.svg").read_text()
    found: Talk = json.loads(DESCRIPTION.findall(svg)[0].replace("&quot;", '"'))
    return found


def drawn(mode: RetryMode) -> Talk:
    """The caption of a mode's picture."""
    return caption(mode.name.lower().replace("_", "-"))


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


class TestKinds:
    """The picture of the four kinds of channels."""

    @pytest.fixture
    def run(self) -> Talk:
        return caption("channel-kinds")

    def test_shows_what_happens_in_a_new_run(self, run: Talk) -> None:
        assert run == json.loads(load("kinds").run().to_json())

    def test_has_messages_that_are_lost_and_one_that_is_late_on_every_channel(
        self, run: Talk
    ) -> None:
        for kind in run["handled"]:
            first: dict[str, float | None] = {}
            for flight in run["flights"]:
                for text in flight["messages"].get(kind, []):
                    first.setdefault(text, flight["arrived"])
            assert [text for text, arrived in first.items() if arrived is None] == ["2", "6"]
            assert first["5"] < first["4"]  # type: ignore[operator]

    def test_shows_what_each_kind_is_for(self, run: Talk) -> None:
        handled = {kind: [text for text, _ in told] for kind, told in run["handled"].items()}
        assert handled == {
            "ordered": ["1", "2", "3", "4", "5", "6"],
            "latest": ["1", "3", "5", "6"],
            "sequenced": ["1", "3", "5"],
            "unordered": ["1", "3", "5", "2", "4", "6"],
        }

    def test_is_on_the_page_with_the_order_for_those_who_cannot_see(self) -> None:
        page = (ROOT / "docs" / "channels.md").read_text()
        [text] = re.findall(r"^!\[(.*)\]\(pictures/channel-kinds\.svg\)$", page, re.M)
        assert text.endswith("on the unordered one 1, 3, 5, 2, 4 and 6.")


def lines_of(name: str) -> list[str]:
    """The lines of text in a picture of a terminal."""
    lines: dict[int, str] = {}
    for number, text in LINE.findall((PICTURES / f"{name}.svg").read_text()):
        lines[int(number)] = lines.get(int(number), "") + html.unescape(text)
    rows = [line.replace("\N{NO-BREAK SPACE}", " ").rstrip() for line in lines.values()]
    return rows[:-1]  # the last one is for space below


def shown(name: str, width: int) -> str:
    """The text of a picture of a terminal of a width."""
    return "\n".join(lines_of(f"{name}-{width}"))


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

    def test_fetches_nothing(self) -> None:
        svgs = {path.stem: path.read_text() for path in PICTURES.glob("*.svg")}
        terminals = {name: svg for name, svg in svgs.items() if "rich-terminal" in svg}
        assert set(terminals) >= {"demo-80", "monitor-120", *EXAMPLES}
        for svg in terminals.values():
            assert re.findall(r"url\((?!#)|href=|src=|@import", svg) == []

    def test_leaves_out_what_was_drawn_over(self) -> None:
        terminal = load("terminal")
        live = "\x1b[?25lone\ntwo\r\x1b[2K\x1b[1A\x1b[2Kthree\nfour\n\x1b[?25h"
        assert terminal.last_screen(f"before\n{live}after\n") == "before\nthree\nfour\nafter"

    def test_leaves_out_a_prompt_that_was_erased(self) -> None:
        terminal = load("terminal")
        prompt = "> hel\x1b[0m\r\r\n\r\r\n\x1b[0m \x08\x1b[2A\x1b[5C"
        assert terminal.last_screen(f"{prompt}\x1b[5D\x1b[Jada: hi\r\n> \x1b[K") == "ada: hi\n>"

    def test_has_the_colours_of_what_is_left(self) -> None:
        terminal = load("terminal")
        written = "\x1b[31mred\x1b[0;1mbold\x1b[mplain\r\x1b[32mg\x1b[0m\n"
        assert terminal.last_screen(written) == (
            "\x1b[32mg\x1b[0m\x1b[31med\x1b[0m\x1b[1mbold\x1b[0mplain"
        )


EXAMPLES = ("accounts", "chat", "filetransfer", "swarm")


@pytest.fixture(scope="module")
def exampleruns() -> ModuleType:
    pytest.importorskip("fcntl", exc_type=ImportError)  # there are no pseudo-terminals on Windows
    load("terminal")
    return load("exampleruns")


def heard_by_ada(runs: ModuleType) -> list[str]:
    """The lines that the chat's rooms have for Ada, in memory."""
    rooms: Rooms[str] = Rooms()
    deliveries: Deliveries[str] = []
    for nick in runs.NICKS:
        deliveries += rooms.enter(nick)
        deliveries += rooms.do(nick, Request(Verb.NICK, nick))
        deliveries += rooms.do(nick, Request(Verb.JOIN, "lobby"))
    for nick, line in runs.TALK:
        typed = Conversation().typed(line)
        assert typed is not None
        deliveries += rooms.do(nick, decode_request(typed))
    return [as_text(encode_line(line)) for nick, line in deliveries if nick == "ada"]


def heard_in_the_hall() -> list[str]:
    """The lines that Ada gets in virtual time while Bob comes and she logs in once more."""
    key, token_key = EllipticCurvePrivateKey.new(), EllipticCurvePrivateKey.new()
    game = game_of(key.getPublicKey())
    hall = Hall(TokenChecker(token_key.getPublicKey(), game, 0.0), lambda: 0.0)
    world = World(ServerContext(hall, key))

    def join(name: str) -> UdpClient:
        client = world.connect(credential=TokenMaker(token_key, game).issue(name, 0.0))
        client.send_guaranteed(b"hello")
        world.run(0.1)
        return client

    ada, *_ = [join(name) for name in ("Ada", "Bob", "Ada")]
    assert ada.reason is not None
    return [*(message.decode() for _, message in ada.getMessages()), ada.reason.text]


class TestTheExamples:
    """The pictures of the examples' terminals."""

    def test_shows_the_talk_as_ada_hears_it(self, exampleruns: ModuleType) -> None:
        command, *heard, prompt = lines_of("chat")
        assert command == "$ python -m chat.client --nick ada"
        assert heard == heard_by_ada(exampleruns)
        assert prompt == f"> {exampleruns.HALF_TYPED}"

    def test_shows_a_transfer_that_goes_on_where_it_was_interrupted(self) -> None:
        lines = lines_of("filetransfer")
        assert lines[0] == lines[3] == "$ python -m filetransfer.send world.dat --port 1475"
        progress = re.compile(r"world\.dat *[━╸╺]+ *(\d+\.\d)/12\.0 MB *\d+\.\d MB/s *[\d:]+")
        first, second = (progress.fullmatch(lines[number]) for number in (1, 4))
        assert first is not None
        assert second is not None
        assert 4.0 < float(first[1]) < float(second[1]) == 12.0
        source = Path(send.__file__).read_text()
        assert lines[2] in source
        assert lines[5].removeprefix("world.dat") in source

    def test_shows_who_is_let_in_and_who_is_not(self) -> None:
        assert lines_of("accounts") == [
            "$ python -m accounts.client Ada --new",
            "Password of Ada:",
            *heard_in_the_hall(),
            "$ python -m accounts.client Ada",
            "Password of Ada:",
            "refused: no such name, or another password",
        ]

    def test_shows_a_ramp_of_bots_that_were_all_served(self) -> None:
        lines = lines_of("swarm")
        assert all(header in lines[2] for header in HEADERS)
        rows = [re.findall(r"[\d.,]+", line) for line in lines if line.startswith("│")]
        assert [int(row[0]) for row in rows] == [20, 40, 60, 80, 100]
        step = Step(100, 0, 3200.0, 0.001, 0.01, 9600, 0, 0.001, 0.5)
        assert lines[-1] == finding([step], 0.05).text

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_is_on_the_page_of_its_example_with_a_text_for_those_who_cannot_see(
        self, name: str
    ) -> None:
        readme = (ROOT / "examples" / name / "README.md").read_text()
        picture = re.search(
            rf"^!\[(.{{40,}})\]\(\.\./\.\./docs/pictures/{name}\.svg\)$", readme, re.M
        )
        assert picture is not None
        assert picture.start() < readme.index("    python -m")


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
