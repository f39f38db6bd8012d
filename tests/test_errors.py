"""One small tree of errors, and the page that lists them."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import pytest

from mpgameserver import errors

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \|", re.M)
ERRORS = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", ERRORS)
def test_each_is_of_the_tree_and_documented(error: type[Exception]) -> None:
    assert issubclass(error, errors.MpGameServerError)
    assert error.__doc__


def test_the_page_lists_each_with_the_built_in_that_it_is() -> None:
    listed = dict(ROW.findall(PAGE.read_text()))
    assert set(listed) == set(errors.__all__) - {"MpGameServerError"}
    for name, built_in in listed.items():
        assert issubclass(getattr(errors, name), getattr(builtins, built_in))
