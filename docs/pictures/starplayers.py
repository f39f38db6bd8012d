"""Two players of the star example, as each sees the same moment in a window of its own.

They play in virtual time over seeded links, so every run ends in the same picture. No display is
needed: pygame draws into memory.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

import pygame

from mpgameserver import UdpClient
from mpgameserver.netsim import LinkConditions
from mpgameserver.testing import World
from star import look
from star.game import Game, View
from star.play import FRAMES_PER_SECOND, frame
from star.rules import HEIGHT, RADIUS, STEP, WIDTH, Direction
from star.screen import SIZE, Screen
from star.server import StarServer
from star.session import Session

SEED = 7
SECONDS = 8.0
LINKS = {
    "Ada": LinkConditions(latency=0.005),
    "Bob": LinkConditions(loss=0.1, latency=0.05, jitter=0.03),
}
"""Bob's is the bad link of the example's README."""
CAPTIONS = {"Ada": "Ada", "Bob": "Bob, over a link that loses 10 % and delays by 20 to 80 ms"}
MARGIN, TITLE = 12, 34
FRAME_COLOUR = (46, 54, 74)


def sign(difference: float) -> int:
    """The direction along one axis; 0 within a step, or a player would go back and forth."""
    return (difference > STEP) - (difference < -STEP)


def choose(view: View) -> Direction:
    """Chase the star, or run around the middle of the field with it."""
    own = view.players.get(view.number)
    if own is None or view.star is None:
        return 0, 0
    if math.dist(own, view.star) > RADIUS:
        return sign(view.star[0] - own[0]), sign(view.star[1] - own[1])
    return sign(own[1] - HEIGHT / 2) or 1, -sign(own[0] - WIDTH / 2) or 1


class AnyPlayer(Protocol):
    """A player at a window of some kind."""

    session: Session
    surface: pygame.Surface

    def frame(self, now: float) -> None:
        """One frame of the game, which presses keys by what it sees."""


Window = Callable[[UdpClient, str], AnyPlayer]


class Player:
    """A player at a window of pygame."""

    def __init__(self, client: UdpClient, name: str) -> None:
        self.session = Session(client, Game(name))
        self.surface = pygame.Surface(SIZE)
        self._screen = Screen(self.surface)

    def frame(self, now: float) -> None:
        """One frame of the game, which presses keys by what it sees."""
        frame(self.session, self._screen, choose(self.session.game.view(now)), now)


def play(ada: Window = Player) -> dict[str, AnyPlayer]:
    """Let Ada, in a window of any kind, play against Bob; return them by name."""
    pygame.font.init()
    world = World(StarServer().context, seed=SEED)
    windows: dict[str, Window] = {"Ada": ada, "Bob": Player}
    players = {name: windows[name](world.client(link), name) for name, link in LINKS.items()}
    for player in players.values():
        player.session.connect(world.address)
    while world.now < SECONDS:
        world.run(1 / FRAMES_PER_SECOND)
        for player in players.values():
            player.frame(world.now)
    return players


def window(caption: str, content: pygame.Surface) -> pygame.Surface:
    """A window with a title bar around what a player sees."""
    framed = pygame.Surface((SIZE[0], SIZE[1] + TITLE), pygame.SRCALPHA)
    pygame.draw.rect(framed, FRAME_COLOUR, framed.get_rect(), border_radius=8)
    title = pygame.font.Font(None, 26).render(caption, True, look.TEXT)
    framed.blit(title, (MARGIN, (TITLE - title.height) // 2))
    framed.blit(content, (0, TITLE))
    return framed


def draw(players: dict[str, AnyPlayer], captions: dict[str, str] = CAPTIONS) -> pygame.Surface:
    """The players' windows beside each other."""
    picture = pygame.Surface((2 * SIZE[0] + MARGIN, SIZE[1] + TITLE), pygame.SRCALPHA)
    for number, (name, player) in enumerate(players.items()):
        picture.blit(window(captions[name], player.surface), (number * (SIZE[0] + MARGIN), 0))
    return picture
