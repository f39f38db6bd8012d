"""Draws the game with pygame."""

from __future__ import annotations

from collections.abc import Sequence

import pygame

from star import look
from star.game import View
from star.rules import HEIGHT, RADIUS, WIDTH, Place

SIZE = (int(WIDTH), int(HEIGHT))
MARGIN = 10
STAR_SCALE = 8


def star_picture() -> pygame.Surface:
    """The star, drawn large and made smaller, for smooth edges."""
    size = 2 * STAR_SCALE * RADIUS
    picture = pygame.Surface((size, size), pygame.SRCALPHA)
    picture.fill((*look.STAR, 0))
    corners = [
        pygame.Vector2(size / 2 * (look.STAR_INNER if corner % 2 else 1.0), 0).rotate(
            36 * corner - 90
        )
        for corner in range(10)
    ]
    centre = pygame.Vector2(size / 2, size / 2)
    pygame.draw.polygon(picture, look.STAR, [centre + corner for corner in corners])
    return pygame.transform.smoothscale_by(picture, 1 / STAR_SCALE)


class Screen:
    """A surface, and the fonts for it. Fonts need `pygame.font.init()` first."""

    def __init__(self, surface: pygame.Surface) -> None:
        self._surface = surface
        self._font = pygame.font.Font(None, 20)
        self._large = pygame.font.Font(None, 40)
        self._star = star_picture()

    def draw(self, view: View, link: Sequence[str], banner: str) -> None:
        """Draw a frame."""
        self._field()
        for number, place in view.heard.items():
            pygame.draw.aacircle(self._surface, look.colour_of(number), place, RADIUS + 3, 1)
        for number, place in view.players.items():
            self._player(number, place, is_own=number == view.number)
        if view.star is not None:
            self._surface.blit(self._star, self._star.get_rect(center=view.star))
        self._panel(link, (MARGIN, MARGIN), is_right=False)
        scores = look.score_lines(view.scores, view.number)
        self._panel(scores, (SIZE[0] - MARGIN, MARGIN), is_right=True)
        self._centred(self._font, look.HINT, look.FAINT, SIZE[1] - 2 * MARGIN)
        self._centred(self._large, banner, look.TEXT, SIZE[1] // 2)

    def _field(self) -> None:
        self._surface.fill(look.BACKGROUND)
        for x in range(0, SIZE[0], look.GRID_STEP):
            pygame.draw.line(self._surface, look.GRID, (x, 0), (x, SIZE[1]))
        for y in range(0, SIZE[1], look.GRID_STEP):
            pygame.draw.line(self._surface, look.GRID, (0, y), (SIZE[0], y))

    def _player(self, number: int, place: Place, is_own: bool) -> None:
        pygame.draw.aacircle(self._surface, look.colour_of(number), place, RADIUS)
        if is_own:
            pygame.draw.aacircle(self._surface, look.TEXT, place, RADIUS, 2)

    def _panel(self, lines: Sequence[str], corner: tuple[int, int], is_right: bool) -> None:
        """Lines of text on a dark ground, in the upper left or right corner."""
        if not lines:
            return
        texts = [self._font.render(line, True, look.TEXT) for line in lines]
        height = self._font.get_linesize()
        panel = pygame.Surface(
            (max(text.width for text in texts) + 2 * MARGIN, height * len(texts) + MARGIN),
            pygame.SRCALPHA,
        )
        panel.fill((*look.PANEL, look.PANEL_ALPHA))
        for row, text in enumerate(texts):
            panel.blit(text, (MARGIN, MARGIN // 2 + row * height))
        self._surface.blit(panel, (corner[0] - panel.width * is_right, corner[1]))

    def _centred(self, font: pygame.Font, text: str, colour: look.Colour, y: int) -> None:
        drawn = font.render(text, True, colour)
        self._surface.blit(drawn, drawn.get_rect(center=(SIZE[0] // 2, y)))
