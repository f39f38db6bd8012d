"""The screen of a terminal in which commands have run, as an SVG."""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Sequence
from contextlib import redirect_stdout
from itertools import groupby
from operator import itemgetter
from unittest.mock import patch

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from mpgameserver.cli import main

SIZES = ((80, 24), (120, 40))
"""Columns and lines of the terminals that are drawn."""
_PART = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|.", re.S)
"""A control sequence, or a character."""
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.S)


class _Terminal(io.StringIO):
    """A stream that a command takes for a terminal."""

    def isatty(self) -> bool:
        return True


def run(command: str, size: tuple[int, int]) -> str:
    """Run a command of the package in a terminal, and return all that it wrote."""
    terminal = _Terminal()
    environment = {"COLUMNS": str(size[0]), "LINES": str(size[1]), "TERM": "xterm-256color"}
    with patch.dict(os.environ, environment), redirect_stdout(terminal):
        exit_code = main(shlex.split(command)[1:])
    assert exit_code == 0, terminal.getvalue()
    return terminal.getvalue()


_Cell = tuple[str, str]
"""The escape sequences of its colours, and its character."""


class _Screen:
    """The cells of a terminal of any height: characters, each with the colours that it has.

    It knows the control sequences that rich's live display and prompt_toolkit's lines need.
    """

    def __init__(self) -> None:
        self._rows: list[list[_Cell]] = [[]]
        self._row = self._column = 0
        self._style = ""

    def write(self, text: str) -> None:
        """Take what a program has written."""
        for part in _PART.finditer(text):
            private, arguments, command = part.groups()
            if command is None:
                self._put(part[0])
            elif command == "m":
                self._dye(arguments)
            elif not private:
                self._control(command, arguments)

    def lines(self) -> list[str]:
        """The lines, with the escape sequences of their colours."""
        return [_joined(row).rstrip() for row in self._rows]

    def _dye(self, colours: str) -> None:
        first, _, others = colours.partition(";")
        if first in ("", "0"):
            self._style, colours = "", others
        if colours:
            self._style += f"\x1b[{colours}m"

    def _put(self, character: str) -> None:
        if character == "\n":
            self._move_to(self._row + 1, 0)
        elif character == "\r":
            self._column = 0
        elif character == "\b":
            self._column -= 1
        else:
            row = self._rows[self._row]
            row += [("", " ")] * (self._column + 1 - len(row))
            row[self._column] = self._style, character
            self._column += 1

    def _control(self, command: str, arguments: str) -> None:
        count = int(arguments or 1)
        if command in "AB":
            self._move_to(self._row + (count if command == "B" else -count), self._column)
        elif command in "CD":
            self._column += count if command == "C" else -count
        elif command == "K":
            del self._rows[self._row][0 if arguments == "2" else self._column :]
        elif command == "J":
            del self._rows[self._row][self._column :]
            del self._rows[self._row + 1 :]

    def _move_to(self, row: int, column: int) -> None:
        self._row, self._column = row, column
        while row >= len(self._rows):
            self._rows.append([])


def _joined(row: list[_Cell]) -> str:
    runs = groupby(row, key=itemgetter(0))
    texts = [(style, "".join(character for _, character in cells)) for style, cells in runs]
    return "".join(f"{style}{text}\x1b[0m" if style else text for style, text in texts)


def last_screen(written: str) -> str:
    """The screen as it is in the end, without what was erased or drawn over."""
    screen = _Screen()
    screen.write(written)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(screen.lines()).rstrip())


def draw(runs: Sequence[tuple[str, str]], width: int) -> str:
    """Commands and their screens below one another as an SVG that needs nothing from elsewhere."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    for command, screen in runs:
        console.print(Text(f"$ {command}", style="bold"))
        console.print(Text.from_ansi(screen))
    console.print()  # the picture cuts off the last line
    svg = console.export_svg(title=runs[0][0], theme=MONOKAI, unique_id="terminal")
    return _FONTS.sub("", svg)
