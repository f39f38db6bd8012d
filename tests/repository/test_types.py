"""The coverage of `make types`: everything public, with stubs that match the modules."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import mpgameserver
from mpgameserver import aio
from mpgameserver.connection import SeqNum

TESTS = Path(__file__).resolve().parents[1]
GAME = TESTS / "typed" / "game.py"
STUB = TESTS.parent / "mpgameserver" / "_core" / "seqnum.pyi"


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


def test_the_one_public_class_of_the_core_is_documented_for_editors_as_it_is_at_run_time() -> None:
    """Editors and the API reference cannot look into a compiled module."""
    tree = ast.parse(STUB.read_text())
    [stub] = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert ast.get_docstring(stub) == inspect.cleandoc(SeqNum.__doc__ or "")
    public = [n for n in stub.body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]
    assert public
    for method in public:
        _, _, text = (getattr(SeqNum, method.name).__doc__ or "").partition("\n\n")
        assert ast.get_docstring(method) == inspect.cleandoc(text), method.name
