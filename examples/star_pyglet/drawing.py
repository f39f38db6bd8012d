"""Draws the game with pyglet: shapes that are made once, and moved from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence

from pyglet import shapes, text
from pyglet.graphics import Batch, Group

from star import look
from star.game import View
from star.protocol import MAX_PLAYERS
from star.rules import HEIGHT, RADIUS, WIDTH, Place

MARGIN = 10
FONT_SIZE = 10
LARGE_FONT_SIZE = 22
LINE_HEIGHT = 16


def upright(place: Place) -> Place:
    """A place of the game in pyglet's coordinates, where y points up."""
    return place[0], HEIGHT - place[1]


class Drawing:
    """Everything that can be seen. Needs a window."""

    def __init__(self) -> None:
        self._batch = Batch()
        back, middle, front, texts = (Group(order) for order in range(4))
        self._grid = [*_grid(self._batch, back)]
        self._players = {
            number: _Player(number, self._batch, middle) for number in range(1, MAX_PLAYERS + 1)
        }
        self._star = shapes.Star(
            0,
            0,
            RADIUS,
            look.STAR_INNER * RADIUS,
            5,
            -90,
            look.STAR,
            batch=self._batch,
            group=front,
        )
        self.link = Panel(MARGIN, "left", self._batch, front, texts)
        self.scores = Panel(int(WIDTH) - MARGIN, "right", self._batch, front, texts)
        self._hint = _centred(look.HINT, 2 * MARGIN, FONT_SIZE, look.FAINT, self._batch, texts)
        self.banner = _centred("", HEIGHT / 2, LARGE_FONT_SIZE, look.TEXT, self._batch, texts)

    def show(self, view: View, link: Sequence[str], banner: str) -> None:
        """Put everything where it is now."""
        for number, player in self._players.items():
            player.show(view.players.get(number), view.heard.get(number), number == view.number)
        self._star.visible = view.star is not None
        if view.star is not None:
            self._star.position = upright(view.star)
        self.link.show(link)
        self.scores.show(look.score_lines(view.scores, view.number))
        self.banner.text = banner

    def draw(self) -> None:
        """Draw it."""
        self._batch.draw()


class _Player:
    """A disc, a ring around the own one, and a ring where the newest packet has another one."""

    def __init__(self, number: int, batch: Batch, group: Group) -> None:
        colour = look.colour_of(number)
        self._disc = shapes.Circle(0, 0, RADIUS, color=colour, batch=batch, group=group)
        self._own = shapes.Arc(0, 0, RADIUS, thickness=2, color=look.TEXT, batch=batch, group=group)
        self._heard = shapes.Arc(0, 0, RADIUS + 3, color=colour, batch=batch, group=group)

    def show(self, place: Place | None, heard: Place | None, is_own: bool) -> None:
        for shape, where in (
            (self._disc, place),
            (self._own, place if is_own else None),
            (self._heard, heard),
        ):
            shape.visible = where is not None
            if where is not None:
                shape.position = upright(where)


class Panel:
    """Lines of text on a dark ground, in the upper left or right corner."""

    def __init__(self, x: int, side: str, batch: Batch, back: Group, front: Group) -> None:
        self._x, self._is_right = x, side == "right"
        self._ground = shapes.Rectangle(
            0, 0, 0, 0, (*look.PANEL, look.PANEL_ALPHA), batch=batch, group=back
        )
        self._text = text.Label(
            "",
            font_size=FONT_SIZE,
            color=(*look.TEXT, 255),
            anchor_y="top",
            multiline=True,
            width=int(WIDTH),
            batch=batch,
            group=front,
        )

    @property
    def text(self) -> str:
        """The text that it shows."""
        return str(self._text.text)

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines, and no panel if there are none."""
        wanted = "\n".join(lines)
        self._ground.visible = bool(lines)
        if self._text.text == wanted:  # laying text out is what costs
            return
        self._text.text = wanted
        width, height = self._text.content_width, self._text.content_height
        left = self._x - (width + 2 * MARGIN) * self._is_right
        top = HEIGHT - MARGIN
        self._text.position = (left + MARGIN, top - MARGIN / 2, 0)
        self._ground.position = (left, top - height - MARGIN)
        self._ground.width, self._ground.height = width + 2 * MARGIN, height + MARGIN


def _grid(batch: Batch, group: Group) -> list[shapes.ShapeBase]:
    """The field, and lines on it."""
    field = shapes.Rectangle(0, 0, WIDTH, HEIGHT, look.BACKGROUND, batch=batch, group=Group(-1))
    xs, ys = range(0, int(WIDTH), look.GRID_STEP), range(0, int(HEIGHT), look.GRID_STEP)
    down = [shapes.Line(x, 0, x, HEIGHT, 1, look.GRID, batch=batch, group=group) for x in xs]
    across = [
        shapes.Line(0, HEIGHT - y, WIDTH, HEIGHT - y, 1, look.GRID, batch=batch, group=group)
        for y in ys
    ]
    return [field, *down, *across]


def _centred(
    words: str, y: float, size: int, colour: look.Colour, batch: Batch, group: Group
) -> text.Label:
    return text.Label(
        words,
        x=WIDTH / 2,
        y=y,
        font_size=size,
        color=(*colour, 255),
        anchor_x="center",
        anchor_y="center",
        batch=batch,
        group=group,
    )
