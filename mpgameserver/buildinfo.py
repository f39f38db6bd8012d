"""The kind of build of the installed package, and the library that encrypts.

A measurement on a build with hooks says nothing about the package, so benchmarks check here first.
The answer comes from a compiled module, not from what a build was asked to be.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import ExtensionFileLoader
from typing import Literal

from mpgameserver._core import build
from mpgameserver.wire.session_cipher import CIPHER, cipher_library

__all__ = ["BuildInfo", "build_info"]

_CORE = "mpgameserver._core."


@dataclass(frozen=True)
class BuildInfo:
    """The result of `build_info`."""

    kind: Literal["release", "profile", "debug", "sanitize"]
    """release: no hooks; profile: cProfile sees the compiled functions; debug: with line tracing,
    symbols and assertions, and without optimisation; sanitize: with AddressSanitizer and
    UndefinedBehaviorSanitizer, for a process that has their runtime."""
    modules: tuple[str, ...]
    """The full names of the compiled modules that are loaded, in alphabetical order."""
    cipher: Literal["openssl", "cryptography"]
    """The library that seals the packets of sessions, by AES-128-GCM. openssl: the one that Python
    has loaded, called in C; cryptography: that package. The variable MPGAMESERVER_CIPHER, set to
    one of them, chooses; an impossible choice is an ImportError."""
    cipher_library: str
    """The name and version of that library, as it reports them."""


def build_info() -> BuildInfo:
    """Return the kind of this build, the compiled modules that are loaded, and the cipher."""
    loaded = (
        name
        for name, module in sys.modules.items()
        if name.startswith(_CORE) and isinstance(module.__loader__, ExtensionFileLoader)
    )
    return BuildInfo(
        kind=build.KIND,
        modules=tuple(sorted(loaded)),
        cipher=CIPHER,
        cipher_library=cipher_library(),
    )
