"""docs/reliability.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from soak.figures import Figures

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", PAGE)))


def definitions(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """The classes and functions in a body, with theirs."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {node.name: node.body for node in body if isinstance(node, kinds)}


@pytest.mark.parametrize("name", NAMED)
def test_what_it_names_exists(name):
    path, *parts = name.split("::")
    body = ast.parse((ROOT / path).read_text()).body
    for part in parts:
        assert part in definitions(body), f"{path} has no {part}"
        body = definitions(body)[part]


def test_it_names_tests_for_each_clause():
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE, re.M)
    clauses = [tests for _, tests in rows if "tests/" in tests]
    assert len(NAMED) > 25
    assert len(clauses) == 25


def test_its_figures_are_those_that_the_soak_prints_today():
    assert f"\n{Figures.header()}\n" in PAGE
    assert re.search(r"^seed: (\d+) \(again: make soak ARGS='--seed \1'\)$", PAGE, re.M)
