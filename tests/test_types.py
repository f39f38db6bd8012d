"""What `make types` checks is all that is public."""

from __future__ import annotations

import ast
from pathlib import Path

import mpgameserver
from mpgameserver import aio

GAME = Path(__file__).resolve().parent / "typed" / "game.py"


def test_the_typed_game_uses_every_public_name() -> None:
    tree = ast.parse(GAME.read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "mpgameserver"
        for alias in node.names
    }
    assert set(mpgameserver.__all__) <= imported
    of_aio = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set(aio.__all__) <= of_aio
