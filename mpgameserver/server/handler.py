"""The handler: its events, and the mistakes in one that can be detected beforehand."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Awaitable
from typing import Any, TypeAlias

from mpgameserver.server.client import ServerClient

__all__ = [
    "EVENTS",
    "EventHandler",
    "EventResult",
    "all_events",
    "asks_for_channel",
    "check_channels",
    "check_handler",
    "has_own",
    "refuse_coroutines",
]

EventResult: TypeAlias = Awaitable[object] | None
"""The result of an event: an awaitable only where `mpgameserver.aio` serves."""

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "starting": (),
    "shutdown": (),
    "authenticate": ("client", "credential"),
    "connect": ("client",),
    "disconnect": ("client",),
    "update": ("delta_t",),
    "handle_message": ("client", "seqnum", "msg"),
    "full": ("addr",),
}
EVENTS = tuple(_ARGUMENTS)
"""The names of the events of a handler."""

_NAMEABLE = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

SIMILAR = 0.85
"""Similarity above which a name counts as a misspelt event: `connects`, but not `start`."""
SIMILAR_BEHIND_A_PREFIX = 0.76
"""The same for names such as `on_start`, which are almost certainly meant as events."""
_STEMS = {"message" if name == "handle_message" else name: name for name in EVENTS}


class EventHandler:
    """Your game's side of a server: derive from it and override the events that you need.

    A handler can also be any other object that has some of these methods.

    Events are called from one thread, one at a time. An exception in an event is logged; other
    clients are unaffected. Messages that an event queues are sent when it returns.

    Under `mpgameserver.aio.serve`, any event may be a coroutine function.
    """

    Client: TypeAlias = ServerClient
    """The class of the clients that events get, for annotations."""

    def starting(self) -> EventResult:
        """Called when the server is listening and about to serve."""

    def shutdown(self) -> EventResult:
        """Called when the server has stopped, after every client's `disconnect` event."""

    def authenticate(self, client: ServerClient, credential: bytes) -> Any:
        """Called for each new client before its `connect` event, to decide if there is one.

        Return who it is: anything but None and False, kept as `client.identity`. To refuse, return
        None or False, or raise `RefusedError` with a text for the player. If it raises something
        else, that is logged and the client refused. Without this event every client is accepted.
        It blocks the server; where `mpgameserver.aio` serves, a coroutine function does not, and
        has as long as a handshake (`ServerContext.setTempConnectionTimeout`).

        Parameters:
            client: a client to which nothing can be sent yet.
            credential: what it has given for this, 0 to 1,024 bytes of the game's own; empty from a
                client of protocol 1.
        """
        return True

    def connect(self, client: ServerClient) -> EventResult:
        """Called when a client has connected; you can send it messages from now on."""

    def disconnect(self, client: ServerClient) -> EventResult:
        """Called when a client that had a `connect` event has left; `client.reason` says why."""

    def update(self, delta_t: float) -> EventResult:
        """Called once per interval. Calls that the server is too late for are skipped.

        Parameters:
            delta_t: seconds since the last call.
        """

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> EventResult:
        """Called when a message from a client has arrived: once for each, but not in order.

        With a further parameter `channel` it also gets the name of the message's channel, which is
        empty for a message without one. A handler for a server with channels must have it.

        Parameters:
            client: the sender.
            seqnum: a `SeqNum`: the message number that the client gave it.
            msg: the message.
        """

    def full(self, addr: tuple[str, int]) -> EventResult:
        """Called when a client was refused because the server or the per-host limit is full.

        It is called at most once per second.

        Parameters:
            addr: a pair (host, port), which may be spoofed.
        """


class _PartialEvents(EventHandler):
    """The events that an object has; the others do nothing."""

    def __init__(self, handler: object) -> None:
        for name in EVENTS:
            event = getattr(handler, name, None)
            if event is not None:
                setattr(self, name, event)


def all_events(handler: Any) -> EventHandler:
    """Return an object with all events of a handler: the handler itself, if it has them."""
    if all(getattr(handler, name, None) is not None for name in EVENTS):
        return handler  # type: ignore[no-any-return]
    return _PartialEvents(handler)


def check_handler(handler: object) -> None:
    """Check that an object can be a handler.

    Raises TypeError for a class, for an object without any event, and for an event that cannot be
    called with its arguments. Warns of methods whose names resemble an event's.
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
    _warn_of_near_misses(handler)


def asks_for_channel(handler: object) -> bool:
    """Return True if a handler's `handle_message` has a parameter `channel`."""
    event = getattr(handler, "handle_message", None)
    try:
        channel = inspect.signature(event).parameters.get("channel")  # type: ignore[arg-type]
    except (TypeError, ValueError):  # there is no event, or no signature
        return False
    return channel is not None and channel.kind in _NAMEABLE


def check_channels(handler: object, channels: int) -> None:
    """Raise TypeError if a handler cannot tell the messages of several channels apart."""
    if channels and has_own(handler, "handle_message") and not asks_for_channel(handler):
        raise TypeError(
            f"{type(handler).__name__}.handle_message must have a parameter `channel`, because "
            "channels are declared: it would mix up their messages"
        )


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
    channel = {"channel": ""} if name == "handle_message" and asks_for_channel(handler) else {}
    if not _can_be_called(event, arguments, channel):
        kind, function = type(handler).__name__, getattr(event, "__func__", event)
        raise TypeError(
            f"{kind}.{name} must be callable as {expected}, but is "
            f"{name}{inspect.signature(function)}"
        )


def _can_be_called(event: Any, arguments: tuple[str, ...], channel: dict[str, str]) -> bool:
    """Return False if the signature of an event shows that it does not take these arguments."""
    try:
        inspect.signature(event).bind(*arguments, **channel)
    except ValueError:  # there is none for code that is not Python, or for a method without `self`
        return not inspect.ismethod(event)
    except TypeError:
        return False
    return True


def _warn_of_near_misses(handler: object) -> None:
    """Warn of methods that look like an event that the handler does not have."""
    known = {*dir(EventHandler), *dir(object)}
    missing = {stem: name for stem, name in _STEMS.items() if not has_own(handler, name)}
    names = {*dir(type(handler)), *getattr(handler, "__dict__", ())}
    for name in sorted(names - known):
        event = _near(name, missing)
        if event is not None and callable(inspect.getattr_static(handler, name)):
            warnings.warn(
                f"{type(handler).__name__}.{name} is not an event: did you mean {event}?",
                stacklevel=4,
            )


def has_own(handler: object, name: str) -> bool:
    """Return True if an event is a handler's own, and not the base class's empty one."""
    event: Any = getattr(handler, name, None)
    return event is not None and getattr(event, "__func__", event) is not getattr(
        EventHandler, name
    )


def _near(name: str, events: dict[str, str]) -> str | None:
    """Return the event, of those by stem, that a name was probably meant for."""
    if name.startswith("_"):
        return None
    whole = name.lower().replace("_", "")
    stem = whole.removeprefix("on").removeprefix("handle")
    similar = SIMILAR if stem == whole else SIMILAR_BEHIND_A_PREFIX
    close = difflib.get_close_matches(stem, events, 1, similar)
    return events[close[0]] if close else None
