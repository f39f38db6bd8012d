"""The screen of a terminal in which a command of the package has run, as an SVG."""

from __future__ import annotations

import io
import os
import re
import shlex
from contextlib import redirect_stdout
from unittest.mock import patch

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from mpgameserver.cli import main

SIZES = ((80, 24), (120, 40))
"""Columns and lines of the terminals that are drawn."""
_CONTROL = re.compile(r"(\n|\r|\x1b\[\d+A|\x1b\[2K|\x1b\[\?25[lh])")
"""Escape sequences with which rich's live display moves and clears; no colours among them."""
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


def last_screen(written: str) -> str:
    """The screen as it is in the end, without the drawings that were drawn over."""
    lines, row = [""], 0
    for part in _CONTROL.split(written):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part.endswith("A") and _CONTROL.fullmatch(part):
            row -= int(part[2:-1])
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not _CONTROL.fullmatch(part):
            lines[row] += part
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines).rstrip())


def draw(command: str, screen: str, width: int) -> str:
    """The screen below the command as an SVG that needs no font and nothing else from elsewhere."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(screen))
    console.print()  # the picture cuts off the last line
    svg = console.export_svg(title=command, theme=MONOKAI, unique_id="terminal")
    return _FONTS.sub("", svg)
