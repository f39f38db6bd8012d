"""Objects that can be handlers, and the mistakes that the context reports when it is created."""

from __future__ import annotations

import re
import warnings
from typing import Any
from unittest.mock import Mock

import pytest

from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EVENTS, EventHandler


def handler_with(**methods: Any) -> Any:
    """An object of a class that has these methods, and no base."""
    return type("Game", (), methods)()


def subclass_with(**methods: Any) -> Any:
    return type("Game", (EventHandler,), methods)()


def ignore(*arguments: Any) -> None:
    pass


@pytest.mark.parametrize("event", EVENTS)
def test_one_event_makes_a_handler_and_the_others_do_nothing(event: str) -> None:
    handler = handler_with(**{event: ignore})
    context = ServerContext(handler)
    assert context.handler is handler
    assert all(callable(getattr(context.events, name)) for name in EVENTS)
    context.events.update(0.1)


def test_a_handler_that_has_all_events_is_used_itself() -> None:
    for handler in (EventHandler(), Mock(), Mock(spec=EventHandler)):
        assert ServerContext(handler).events is handler


@pytest.mark.parametrize("handler", [None, 5, object(), handler_with(tick=ignore)])
def test_an_object_without_an_event_is_no_handler(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"at least one of its events .*handle_message"):
        ServerContext(handler)


def test_a_class_is_no_handler() -> None:
    with pytest.raises(TypeError, match=re.escape("not a class: did you mean EventHandler()?")):
        ServerContext(EventHandler)


@pytest.mark.parametrize("make", [handler_with, subclass_with])
@pytest.mark.parametrize(
    ("event", "method", "signature"),
    [
        ("update", lambda self: None, "update(delta_t)"),
        ("connect", lambda self, client, addr: None, "connect(client)"),
        ("handle_message", lambda self, client, msg: None, "handle_message(client, seqnum, msg)"),
        ("handle_message", lambda self, msg, *, seqnum: None, "handle_message(client, seqnum, msg"),
        ("starting", lambda: None, "starting()"),
        ("shutdown", 5, "shutdown()"),
    ],
)
def test_an_event_that_cannot_be_called_is_refused(
    make: Any, event: str, method: Any, signature: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(f"must be callable as {signature}")):
        ServerContext(make(**{event: method}))


@pytest.mark.parametrize(
    ("event", "method"),
    [
        ("update", lambda *arguments: None),
        ("update", lambda self, seconds, scale=1.0: None),
        ("handle_message", lambda self, who, number, data=b"", **more: None),
        ("connect", staticmethod(lambda client: None)),
        ("disconnect", print),  # built in
    ],
)
def test_an_event_that_can_be_called_is_taken(event: str, method: Any) -> None:
    ServerContext(subclass_with(**{event: method}))


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("handleMessage", "handle_message"),
        ("handle_messages", "handle_message"),
        ("on_message", "handle_message"),
        ("message", "handle_message"),
        ("on_connect", "connect"),
        ("connected", "connect"),
        ("onDisconnect", "disconnect"),
        ("disconnected", "disconnect"),
        ("on_connection", "connect"),
        ("Update", "update"),
        ("on_start", "starting"),
        ("shut_down", "shutdown"),
        ("on_full", "full"),
    ],
)
def test_a_method_named_nearly_like_an_event_is_told_with_the_right_name(
    name: str, event: str
) -> None:
    for make in (handler_with, subclass_with):
        handler = make(**{name: ignore, "update" if event != "update" else "full": ignore})
        with pytest.warns(UserWarning, match=f"Game.{name} is not an event.*mean {event}") as told:
            ServerContext(handler)
        assert told[0].filename == __file__


def test_nothing_is_told_of_other_methods() -> None:
    names = "update_players start stop send tick fill pull players on_collision handle_input fall"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ServerContext(subclass_with(**dict.fromkeys(names.split(), ignore)))
        # The event is there: what is named like it is something else.
        ServerContext(subclass_with(connect=ignore, connected=ignore, reconnect=ignore))
        ServerContext(subclass_with(_on_connect=ignore, messages=[]))
        ServerContext(Mock())
