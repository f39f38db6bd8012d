"""Hold the star, played in windows of pygame over real sockets, and run as its README says."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.documents import HEADLESS
from support.patience import PATIENCE
from support.programs import copied_examples, port_named, port_of, readme_commands, running

from mpgameserver import ConnectFailure, ThreadedServer, UdpClient
from mpgameserver.netsim import LinkConditions
from mpgameserver.udpproxy import UdpProxy

with pytest.MonkeyPatch.context() as environment:
    for name, value in HEADLESS.items():
        environment.setenv(name, value)
    pygame = pytest.importorskip("pygame")

from star import look
from star.game import Game, View
from star.play import frame
from star.protocol import Score
from star.rules import RADIUS, Direction
from star.screen import MARGIN, SIZE, Screen
from star.server import StarServer
from star.session import Session

BAD = LinkConditions(loss=0.1, latency=0.04, jitter=0.02)
FRAME = 1 / 60
STILL = (0, 0)
LINK = ["round trip 52 ms", "lost 10% up, 25% down"]


@pytest.fixture(autouse=True)
def fonts() -> Iterator[None]:
    pygame.font.init()
    yield
    pygame.font.quit()


class TestScreen:
    @pytest.fixture
    def surface(self) -> pygame.Surface:
        return pygame.Surface(SIZE)

    def colour_at(self, surface: pygame.Surface, x: float, y: float) -> tuple[int, ...]:
        return tuple(surface.get_at((int(x), int(y))))[:3]

    def test_draws_everything_where_it_is(self, surface: pygame.Surface) -> None:
        players = {1: (200.0, 300.0), 2: (500.0, 350.0)}
        view = View(1, players, {2: (540.0, 325.0)}, (400.0, 450.0), ())
        Screen(surface).draw(view, [], "")
        assert self.colour_at(surface, 200, 300) == look.colour_of(1)
        assert self.colour_at(surface, 500, 350) == look.colour_of(2)
        assert self.colour_at(surface, 540, 325) == look.BACKGROUND
        ring = {self.colour_at(surface, 540 + RADIUS + beyond, 325) for beyond in range(5)}
        assert look.colour_of(2) in ring
        assert self.colour_at(surface, 400, 450) == look.STAR

    def test_draws_nobody_before_there_is_a_snapshot(self, surface: pygame.Surface) -> None:
        Screen(surface).draw(View(0, {}, {}, None, ()), [], "")
        colours = {
            self.colour_at(surface, x, y) for x in range(0, SIZE[0], 7) for y in range(0, 500, 7)
        }
        assert colours == {look.BACKGROUND, look.GRID}

    def test_draws_the_figures_left_and_the_scores_right(self, surface: pygame.Surface) -> None:
        view = View(1, {}, {}, None, (Score(1, "Ada", 3), Score(2, "Bob", 0)))
        Screen(surface).draw(view, LINK, "")
        for corner in (MARGIN + 1, SIZE[0] - MARGIN - 2):
            assert self.is_panel(self.colour_at(surface, corner, MARGIN + 1))
        assert not self.is_panel(self.colour_at(surface, SIZE[0] / 2, MARGIN + 1))

    def is_panel(self, colour: tuple[int, ...]) -> bool:
        return max(abs(a - b) for a, b in zip(colour, look.PANEL, strict=True)) < 6

    def test_shows_other_figures_when_they_change(self, surface: pygame.Surface) -> None:
        screen, view = Screen(surface), View(1, {}, {}, None, ())
        screen.draw(view, LINK, "")
        before = surface.copy()
        screen.draw(view, ["round trip 99 ms", *LINK[1:]], "")
        upper_left = pygame.Rect(0, 0, 250, 100)
        views = [pygame.image.tobytes(s.subsurface(upper_left), "RGB") for s in (before, surface)]
        assert views[0] != views[1]


class Seat:
    """A player in a window without a display, and what it has seen."""

    def __init__(self, client: UdpClient, name: str) -> None:
        self.session = Session(client, Game(name))
        self.surface = pygame.Surface(SIZE)
        self.direction: Direction = STILL
        self.views: list[View] = []
        self._screen = Screen(self.surface)

    def frame(self) -> None:
        now = time.monotonic()
        frame(self.session, self._screen, self.direction, now)
        self.views.append(self.session.game.view(now))

    @property
    def view(self) -> View:
        return self.views[-1]

    @property
    def link_lines(self) -> list[str]:
        """The overlay."""
        session = self.session
        return look.link_lines(session.game.link.figures, session.client.latency())

    @property
    def points(self) -> dict[str, int]:
        return {line.name: line.points for line in self.view.scores}


def play(seats: list[Seat], until: Callable[[], bool]) -> None:
    """Play 60 frames a second until something has happened."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for seat in seats:
            seat.frame()
        if until():
            return
        time.sleep(FRAME)
    raise AssertionError(f"not within {PATIENCE} s: {[seat.view for seat in seats]}")


@pytest.fixture
def two_players() -> Iterator[tuple[Seat, Seat]]:
    """Two clients over a bad link, of one server."""
    context = StarServer().context
    key = context.root_key.getPublicKey()
    with (
        ThreadedServer(context, ("127.0.0.1", 0)) as server,
        UdpProxy(("127.0.0.1", 0), server.address, BAD, seed=5) as proxy,
        UdpClient(key) as first,
        UdpClient(key) as second,
    ):
        ada, bob = Seat(first, "Ada"), Seat(second, "Bob")
        for seat in (ada, bob):
            seat.session.connect(proxy.address)
        play([ada, bob], lambda: len(ada.view.players) == len(bob.view.players) == 2)
        yield ada, bob


class TestTwoPlayersOverABadLink:
    def test_see_what_a_player_is_to_see(self, two_players: tuple[Seat, Seat]) -> None:
        ada, bob = seats = list(two_players)
        number = ada.view.number
        for axis, middle in enumerate((SIZE[0] / 2, SIZE[1] / 2)):
            self.walk_to(middle, axis, ada, seats)
        play(seats, lambda: ada.points == bob.points and ada.points["Ada"] >= 2)
        assert ada.points["Bob"] == 0
        assert bob.view.star == bob.view.players[number]
        figures = [float(text) for text in re.findall(r"[\d.]+", " ".join(ada.link_lines))]
        round_trip, _, _, sent, _, received, _ = figures
        assert round_trip > 2000 * BAD.latency * 0.9
        assert sent > 10
        assert received > 10

    def walk_to(self, middle: float, axis: int, ada: Seat, seats: list[Seat]) -> None:
        """Walk along an axis to the middle; in both windows the way is one without a step back."""
        number = ada.view.number
        begin = ada.view.players[number][axis]
        first = len(ada.views)
        sign = 1 if begin < middle else -1
        ada.direction = (sign, 0) if axis == 0 else (0, sign)
        play(seats, lambda: sign * (ada.view.players[number][axis] - middle) > 0)
        ada.direction = STILL
        play(seats, lambda: len(ada.views) - first > 100)
        for seat in seats:
            way = [sign * view.players[number][axis] for view in seat.views[first:]]
            assert way == sorted(way)
            assert way[-1] - way[0] > 80
            assert len(set(way)) > 20


def test_the_window_says_why_there_is_no_connection() -> None:
    with UdpClient() as client:
        seat = Seat(client, "Ada")
        seat.session.connect(("127.0.0.1", 9))  # nobody listens there
        play([seat], lambda: client.failure is not None)
        assert client.failure == ConnectFailure.REFUSED
        assert look.banner(client) == "No server is running on that port."


class TestReadme:
    """The commands of the README start two players that a third one sees."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return copied_examples(tmp_path)

    def test_its_commands_give_a_game(self, folder: Path) -> None:
        genkey, server, ada, bob, netsim, far_bob = readme_commands("star")
        subprocess.run([sys.executable, *genkey], cwd=folder, check=True)
        with ExitStack() as stack:
            serving = stack.enter_context(running(folder, *server, "--port", "0"))
            port = port_of(serving)
            netsim = [port_named(argument, port) for argument in netsim]
            relay = stack.enter_context(running(folder, *netsim))
            far_port = port_of(relay)
            far_bob[far_bob.index("--port") + 1] = far_port
            players = [
                stack.enter_context(running(folder, *command))
                for command in ([*ada, "--port", port], [*bob, "--port", port], far_bob)
            ]
            watcher = Seat(stack.enter_context(UdpClient(folder / "star.pem.pub")), "Cy")
            watcher.session.connect(("127.0.0.1", int(port)))
            wanted = ["Ada", "Bob", "Bob", "Cy"]
            play([watcher], lambda: sorted(x.name for x in watcher.view.scores) == wanted)
            play([watcher], lambda: len(watcher.view.players) == 4)
            signals = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
            for process, number in zip(players, signals, strict=True):
                process.send_signal(number)
                assert "Traceback" not in process.communicate(timeout=PATIENCE)[0]
                assert process.returncode == 0
            play([watcher], lambda: list(watcher.points) == ["Cy"])
