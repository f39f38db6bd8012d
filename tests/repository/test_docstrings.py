"""A docstring begins with a verb or a noun, not with a question."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("mpgameserver", "bench", "tools", "examples", "docs", "tests")
SOURCES = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))
COMPILED = sorted((ROOT / "_core").glob("*.pyx"))

QUESTION = re.compile(r"(What|Who|Whom|Whose|Whether|How)\b")
COMPILED_DOCSTRING = re.compile(r'^ *"""(.*)', re.MULTILINE)


def docstrings(source: str) -> Iterator[str]:
    """The docstrings of a module, those of its attributes included."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_begins_with_a_question(path: Path) -> None:
    found = [each for each in docstrings(path.read_text("utf-8")) if QUESTION.match(each)]
    assert found == []


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.name)
def test_nor_does_one_of_a_compiled_module(path: Path) -> None:
    found = COMPILED_DOCSTRING.findall(path.read_text("utf-8"))
    assert found != []
    assert [each for each in found if QUESTION.match(each)] == []


def test_a_question_is_found_wherever_it_stands() -> None:
    module = '''"""How it works."""
SIZE = 1
"""What is read at once."""
class Table:
    """A table of whatever there is."""
    def size(self) -> int:
        """Whose entries count."""
'''
    found = [each for each in docstrings(module) if QUESTION.match(each)]
    assert found == ["How it works.", "What is read at once.", "Whose entries count."]
