"""What a handler must be: the events it has, and the mistakes that can be told beforehand."""

from __future__ import annotations

import difflib
import inspect
import warnings
from typing import Any

__all__ = ["EVENTS", "checked_handler", "refuse_coroutines"]

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "starting": (),
    "shutdown": (),
    "connect": ("client",),
    "disconnect": ("client",),
    "update": ("delta_t",),
    "handle_message": ("client", "seqnum", "msg"),
    "full": ("addr",),
}
EVENTS = tuple(_ARGUMENTS)
"""The names of the events of a handler."""

SIMILAR = 0.85
"""How alike names are that are taken for the same: `connects` is `connect`, `start` is itself."""
SIMILAR_BEHIND_A_PREFIX = 0.76
"""The same for `on_start` and `handle_connection`, which can hardly be anything but events."""
_STEMS = {"message" if name == "handle_message" else name: name for name in EVENTS}


def checked_handler(handler: object, base: type) -> None:
    """Check that an object can be a handler; `base` is the class that handlers may derive from.

    Raises TypeError for a class, for an object without any event, and for an event that cannot be
    called with its arguments. Warns of methods that are named nearly like an event.
    """
    if isinstance(handler, type):
        raise TypeError(
            f"handler must be an EventHandler, not a class: did you mean {handler.__name__}()?"
        )
    events = [name for name in EVENTS if getattr(handler, name, None) is not None]
    if not events:
        raise TypeError(
            "handler must be an EventHandler, or have at least one of its events "
            f"({', '.join(EVENTS)}): {handler!r} has none"
        )
    for name in events:
        _check_event(handler, name)
    _warn_of_near_misses(handler, base)


def refuse_coroutines(events: object, handler: object) -> None:
    """Raise TypeError for an event that is a coroutine function; `events` are all of `handler`."""
    for name in EVENTS:
        if inspect.iscoroutinefunction(getattr(events, name)):
            raise TypeError(
                f"{name} of {handler!r} is a coroutine function: "
                "mpgameserver.aio.serve can serve it, this cannot"
            )


def _check_event(handler: object, name: str) -> None:
    event = getattr(handler, name)
    arguments = _ARGUMENTS[name]
    expected = f"{name}({', '.join(arguments)})"
    if not callable(event):
        raise TypeError(f"{name} of {handler!r} must be callable as {expected}, not {event!r}")
    if not _can_be_called(event, arguments):
        kind, function = type(handler).__name__, getattr(event, "__func__", event)
        raise TypeError(
            f"{kind}.{name} must be callable as {expected}, but is "
            f"{name}{inspect.signature(function)}"
        )


def _can_be_called(event: Any, arguments: tuple[str, ...]) -> bool:
    """False if the signature of an event shows that it does not take these arguments."""
    try:
        inspect.signature(event).bind(*arguments)
    except ValueError:  # none is known of what is not Python; a method without self has none either
        return not inspect.ismethod(event)
    except TypeError:
        return False
    return True


def _warn_of_near_misses(handler: object, base: type) -> None:
    """Warn of methods that look like an event that the handler does not have."""
    known = {*dir(base), *dir(object)}
    missing = {stem: name for stem, name in _STEMS.items() if not _has_own(handler, name, base)}
    names = {*dir(type(handler)), *getattr(handler, "__dict__", ())}
    for name in sorted(names - known):
        event = _near(name, missing)
        if event is not None and callable(inspect.getattr_static(handler, name)):
            warnings.warn(
                f"{type(handler).__name__}.{name} is no event of a handler: did you mean {event}?",
                stacklevel=4,
            )


def _has_own(handler: object, name: str, base: type) -> bool:
    """Tell whether an event is the handler's own, and not the one of the base that does nothing."""
    event: Any = getattr(handler, name, None)
    return event is not None and getattr(event, "__func__", event) is not getattr(base, name)


def _near(name: str, events: dict[str, str]) -> str | None:
    """The event, of those by stem, that somebody may have meant by a name."""
    if name.startswith("_"):
        return None
    whole = name.lower().replace("_", "")
    stem = whole.removeprefix("on").removeprefix("handle")
    similar = SIMILAR if stem == whole else SIMILAR_BEHIND_A_PREFIX
    close = difflib.get_close_matches(stem, events, 1, similar)
    return events[close[0]] if close else None
