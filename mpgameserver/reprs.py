"""The `repr` of an object whose `__init__` has failed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["even_unmade"]


def even_unmade(shows: Callable[[Any], str]) -> Callable[[Any], str]:
    """Make a `__repr__` work for an object whose `__init__` has raised or was not called.

    Debuggers, loggers and test runners show the arguments of every frame of a traceback.
    """

    @functools.wraps(shows)
    def shown(self: Any) -> str:
        try:
            return shows(self)
        except AttributeError:
            return f"<{type(self).__name__}, not initialized>"

    return shown
