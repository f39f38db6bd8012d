"""A player's window, with pygame."""

from __future__ import annotations

import time
from contextlib import suppress

import pygame

from mpgameserver import UdpClient
from star import look
from star.game import Game
from star.options import player_options
from star.rules import Direction
from star.screen import SIZE, Screen
from star.session import Session

FRAMES_PER_SECOND = 60


def frame(session: Session, screen: Screen, direction: Direction, now: float) -> None:
    """One turn of the loop, but for the waiting."""
    session.say(now, direction)
    session.client.update()
    session.hear(now)
    link = look.link_lines(session.game.link.figures, session.client.latency())
    screen.draw(session.game.view(now), link, look.banner(session.client))


def direction_of(keys: pygame.key.ScancodeWrapper) -> Direction:
    """Return the direction of the arrow keys."""
    return (
        keys[pygame.K_RIGHT] - keys[pygame.K_LEFT],
        keys[pygame.K_DOWN] - keys[pygame.K_UP],
    )


def wants_to_leave() -> bool:
    """Handle the window's events; True when it was closed, or Esc pressed."""
    return any(
        event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE)
        for event in pygame.event.get()
    )


def main() -> None:
    """Play until the window is closed, or Ctrl-C is pressed where it was started."""
    options = player_options("python -m star.play", __doc__)
    pygame.init()
    pygame.display.set_caption(f"Hold the star: {options.name}")
    screen = Screen(pygame.display.set_mode(SIZE))
    clock = pygame.time.Clock()
    with UdpClient(options.key) as client:
        session = Session(client, Game(options.name))
        session.connect(options.server)
        with suppress(KeyboardInterrupt):
            while not wants_to_leave():
                frame(session, screen, direction_of(pygame.key.get_pressed()), time.monotonic())
                pygame.display.flip()
                clock.tick(FRAMES_PER_SECOND)
        client.waitForDisconnect()
    pygame.quit()


if __name__ == "__main__":
    main()
