"""The .pyi files tell what the compiled modules hold: mypy believes them, and cannot look."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

STUBS = sorted((Path(__file__).resolve().parent.parent / "mpgameserver" / "_core").glob("*.pyi"))


def public_names(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Return the public names that a stub, or a class in one, defines."""
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return {name: node for name, node in found.items() if not name.startswith("_")}


def is_only_for_types(node: ast.stmt) -> bool:
    """Tell whether a definition is a protocol, which has nothing behind it at run time."""
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in bases)


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.stem)
def test_a_stub_names_what_the_module_has(stub):
    module = import_module(f"mpgameserver._core.{stub.stem}")
    named = {
        name: node
        for name, node in public_names(ast.parse(stub.read_text()).body).items()
        if not is_only_for_types(node)
    }
    assert set(getattr(module, "__all__", named)) <= set(named)
    for name, node in named.items():
        held = getattr(module, name)
        if isinstance(node, ast.ClassDef):
            members = {member for member in vars(held) if not member.startswith("_")}
            assert members == set(public_names(node.body)), name
