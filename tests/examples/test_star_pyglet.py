"""Hold the star in a window of pyglet, without a display: OpenGL by EGL, which CI installs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.documents import HEADLESS, ROOT
from support.patience import PATIENCE
from support.programs import copied_examples, port_of, readme_commands, running

from mpgameserver import ThreadedServer, UdpClient
from star import look
from star.game import Game, View
from star.protocol import Score
from star.rules import HEIGHT, RADIUS, WIDTH
from star.server import StarServer
from star.session import Session

if TYPE_CHECKING:
    from star_pyglet.__main__ import Player

pytestmark = pytest.mark.extra

OPENS_A_WINDOW = "import pyglet; pyglet.window.Window().close()"
DRAWS_THE_PICTURE = (
    "import pygame, starpyglet, sys; pygame.image.save(starpyglet.picture(), sys.argv[1])"
)
FRAME = 1 / 60
PICTURES = ROOT / "docs" / "pictures"
Pixel = tuple[int, int, int]


@pytest.fixture(scope="module", autouse=True)
def headless() -> Iterator[None]:
    """pyglet without a display; skips where there is no EGL, or no OpenGL driver."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in HEADLESS.items():
            environment.setenv(name, value)
        done = subprocess.run(
            [sys.executable, "-c", OPENS_A_WINDOW], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"pyglet opens no window: {done.stderr.splitlines()[-1]}")
        import pyglet

        pyglet.window.Window().close()  # the driver keeps some files, from its first window on
        yield


@pytest.fixture
def player() -> Iterator[Player]:
    """A window that is not connected."""
    from star_pyglet.__main__ import Player

    with UdpClient() as client:
        player = Player(Session(client, Game("Ada")), "Ada")
        yield player
        player.close()


def nearly(colour: look.Colour) -> object:
    """A colour as it comes out of a window without a display, which has 16 bits for it."""
    return pytest.approx(colour, abs=8)


def pixels(player: Player) -> Callable[[float, float], Pixel]:
    """Draw, and tell the colour at a place of the game."""
    import pyglet

    player.draw()
    image = pyglet.image.get_buffer_manager().get_color_buffer().get_image_data()
    data = image.get_data("RGB", image.width * 3)

    def at(x: float, y: float) -> Pixel:
        begin = (int(HEIGHT - y) * image.width + int(x)) * 3
        return data[begin], data[begin + 1], data[begin + 2]

    return at


class TestDrawing:
    def test_everything_is_where_it_is(self, player: Player) -> None:
        players = {1: (225.0, 325.0), 2: (525.0, 125.0)}
        view = View(1, players, {2: (575.0, 125.0)}, (425.0, 475.0), ())
        player.drawing.show(view, [], "")
        at = pixels(player)
        assert at(225, 325) == nearly(look.colour_of(1))
        assert at(525, 125) == nearly(look.colour_of(2))
        assert at(425, 475) == nearly(look.STAR)
        assert at(575, 125) == nearly(look.BACKGROUND)
        ring = [at(575 + RADIUS + beyond, 125) for beyond in range(5)]
        assert nearly(look.colour_of(2)) in ring

    def test_the_star_points_up(self, player: Player) -> None:
        player.drawing.show(View(1, {}, {}, (425.0, 475.0), ()), [], "")
        at = pixels(player)
        assert at(425, 475 - RADIUS + 2) == nearly(look.STAR)
        assert at(425, 475 + RADIUS - 2) == nearly(look.BACKGROUND)

    def test_who_is_gone_is_gone_from_the_picture(self, player: Player) -> None:
        player.drawing.show(View(1, {2: (525.0, 125.0)}, {}, (425.0, 475.0), ()), [], "")
        player.drawing.show(View(1, {}, {}, None, ()), [], "")
        at = pixels(player)
        assert at(525, 125) == nearly(look.BACKGROUND)
        assert at(425, 475) == nearly(look.BACKGROUND)

    def test_the_figures_are_left_and_the_scores_right(self, player: Player) -> None:
        scores = (Score(1, "Ada", 3), Score(2, "Bob", 0))
        player.drawing.show(View(1, {}, {}, None, scores), ["round trip 52 ms"], "")
        assert player.drawing.link.text == "round trip 52 ms"
        assert player.drawing.scores.text == "  3  Ada (you)\n  0  Bob"
        at = pixels(player)
        for x in (12, WIDTH - 12):
            assert max(at(x, 12)) < max(look.BACKGROUND)

    def test_a_window_without_a_connection_says_so(self, player: Player) -> None:
        player.frame(FRAME)
        assert player.drawing.banner.text == "disconnected"


class TestTwoPlayers:
    def test_a_key_moves_the_player_in_both_windows(self) -> None:
        context = StarServer().context
        key = context.root_key.getPublicKey()
        with (
            ThreadedServer(context, ("127.0.0.1", 0)) as server,
            UdpClient(key) as first,
            UdpClient(key) as second,
        ):
            ada, bob = Session(first, Game("Ada")), Session(second, Game("Bob"))
            for session in (ada, bob):
                session.connect(server.address)
            self.play(ada, bob)

    def play(self, ada: Session, bob: Session) -> None:
        """Ada, who has the window, walks to the right for a second, in pyglet's own loop."""
        import pyglet
        from pyglet.window import key

        from star_pyglet.__main__ import Player

        window, views, end = Player(ada, "Ada"), [], time.monotonic() + PATIENCE

        def step(delta_t: float) -> None:
            assert time.monotonic() < end, views[-1:]
            now = time.monotonic()
            bob.say(now, (0, 0))
            bob.client.update()
            bob.hear(now)
            views.append((ada.game.view(now), bob.game.view(now)))
            together = [v for v in views if all(len(view.players) == 2 for view in v)]
            if len(together) == 1:
                window.window.dispatch_event("on_key_press", key.RIGHT, 0)
            elif len(together) == 60:
                window.window.dispatch_event("on_key_release", key.RIGHT, 0)
            elif len(together) == 120:
                pyglet.app.exit()

        pyglet.clock.schedule_interval(step, FRAME)
        try:
            pyglet.app.run(FRAME)
        finally:
            pyglet.clock.unschedule(step)
            window.close()
        assert "packets/s" in window.drawing.link.text
        assert sorted(window.drawing.scores.text.split("\n")) == ["  0  Ada (you)", "  0  Bob"]
        self.check([ada for ada, _ in views], views[-1][0].number)
        self.check([bob for _, bob in views], views[-1][0].number)

    def check(self, views: list[View], number: int) -> None:
        """The player has gone to the right, and never back."""
        way = [view.players[number][0] for view in views if number in view.players]
        assert way == sorted(way)
        assert way[-1] - way[0] > 100
        assert len(set(way)) > 20


def test_its_picture_shows_what_happens_in_a_new_run(tmp_path: Path) -> None:
    pygame = pytest.importorskip("pygame")
    drawn = tmp_path / "new.png"
    subprocess.run([sys.executable, "-c", DRAWS_THE_PICTURE, drawn], cwd=PICTURES, check=True)
    new, saved = pygame.image.load(drawn), pygame.image.load(PICTURES / "star_pyglet.png")
    assert saved.size == new.size
    field = 0, 130, new.width, 430  # without letters: the system's fonts draw them
    new, saved = new.subsurface(field), saved.subsurface(field)
    same = pygame.mask.from_threshold(new, (0, 0, 0), (40, 40, 40, 255), saved).count()
    # Drivers smooth edges differently. A tenth of a second changes 4,000 pixels.
    assert new.width * new.height - same < 1000


def test_the_commands_of_its_readme_give_a_game(tmp_path: Path) -> None:
    folder = copied_examples(tmp_path)
    genkey, server, *players = readme_commands("star_pyglet")
    subprocess.run([sys.executable, *genkey], cwd=folder, check=True)
    with ExitStack() as stack:
        serving = stack.enter_context(running(folder, *server, "--port", "0"))
        port = port_of(serving)
        for command in players:
            stack.enter_context(running(folder, *command, "--port", port))
        client = stack.enter_context(UdpClient(folder / "star.pem.pub"))
        watcher, end, names = Session(client, Game("Cy")), time.monotonic() + PATIENCE, []
        watcher.connect(("127.0.0.1", int(port)))
        while names != ["Ada", "Bob", "Cy"]:
            assert time.monotonic() < end, names
            client.update()
            watcher.hear(time.monotonic())
            names = sorted(line.name for line in watcher.game.view(0.0).scores)
            time.sleep(FRAME)
