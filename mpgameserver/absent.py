"""Names of mpgameserver 0.2.4 that are not here: importing one says what to use instead.

The names are those that the published package exports or documents; docs/moving-over.md has the
same ones.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["REPLACEMENTS", "AbsentModules", "is_import", "sentence"]

PAGE = "docs/moving-over.md"

_CODEC = "a codec of your own (struct, json, msgpack), which can keep the type ids"
_DISPATCH = "a dict from message types to functions in handle_message"
_HTTP = "http.server, or a web framework such as aiohttp"
_TIMER = "the delta_t of EventHandler.update, or time.perf_counter"
_GAME = "a game library such as pygame or pyglet; examples/star is a whole game"
_POOL = "concurrent.futures, with ServerContext.call_soon_threadsafe for the results"
_AUTH = "hashlib.scrypt; examples/accounts has logins"

REPLACEMENTS = {
    **dict.fromkeys(("Serializable", "SerializableEnum", "SerializableType", "Default"), _CODEC),
    **dict.fromkeys(
        ("ClientMessageDispatcher", "ServerMessageDispatcher", "client_event", "server_event"),
        _DISPATCH,
    ),
    **dict.fromkeys(
        (
            "HTTPServer",
            "Router",
            "Resource",
            "Response",
            "JsonResponse",
            "SerializableResponse",
            "WebSocketOpCode",
            "get",
            "put",
            "post",
            "delete",
            "websocket",
            "path_join_safe",
        ),
        _HTTP,
    ),
    "HTTPClient": "urllib.request, or a library such as httpx",
    "Timer": _TIMER,
    "TaskPool": _POOL,
    "Auth": _AUTH,
    "setupLogger": "logging.basicConfig",
    "GuiServer": "the command mpgameserver monitor, or mpgameserver.metrics",
    **dict.fromkeys(("Engine", "GameScene", "Entity"), _GAME),
}
"""The names of the published package, and what takes their place."""

_MODULES = {
    "auth": _AUTH,
    "captcha": "a library such as captcha",
    "dispatch": _DISPATCH,
    "graph": "ConnectionStats.plot",
    "guiserver": REPLACEMENTS["GuiServer"],
    "handler": "EventHandler, which is in mpgameserver",
    "http_client": REPLACEMENTS["HTTPClient"],
    "http_server": _HTTP,
    "logger": REPLACEMENTS["setupLogger"],
    "pylon": _GAME,
    "serializable": _CODEC,
    "task": _POOL,
    "timer": _TIMER,
    "twisted": "UdpServer and ThreadedServer, which are in mpgameserver",
    "util": "your own code: it has no documented names",
}


def sentence(name: str, replacement: str) -> str:
    """Say that a name of the published package is not here, and what is."""
    return (
        f"{name} of mpgameserver 0.2.4 is not part of this package: "
        f"use {replacement} (see Moving over, {PAGE})"
    )


def is_import() -> bool:
    """Tell whether the caller's caller is an import statement, which asks for each name twice."""
    return sys._getframe(2).f_globals.get("__name__") == "importlib._bootstrap"


class AbsentModules:
    """The last finder of `sys.meta_path`: explains why a module of the old package is not found."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find nothing. Raises ImportError for a module of the old package.

        It is no ModuleNotFoundError, which `from mpgameserver import twisted` would swallow.
        """
        package, _, module = fullname.partition(".")
        if package == "mpgameserver" and module in _MODULES:
            raise ImportError(sentence(fullname, _MODULES[module]), name=fullname)
        return None
