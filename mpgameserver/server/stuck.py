"""Finding the event of a handler in which a thread is stuck."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Iterable, Iterator
from types import CodeType

__all__ = ["where_stuck"]


def where_stuck(thread: threading.Thread, handler: object, events: Iterable[str]) -> str:
    """Return a clause that names the event of `handler` and the line at which the thread is."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return "its thread is about to end"
    place = f'File "{frame.f_code.co_filename}", line {frame.f_lineno}'
    names = {code: name for name in events for code in _codes(getattr(handler, name, None))}
    while frame is not None:
        if frame.f_code in names:
            return f"the event {names[frame.f_code]} has not returned ({place})"
        frame = frame.f_back
    return f"no event is running ({place})"


def _codes(event: object) -> Iterator[CodeType]:
    """Return the code objects of a method and of what it wraps; empty unless written in Python."""
    for function in (event, inspect.unwrap(event) if callable(event) else None):
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            yield code
