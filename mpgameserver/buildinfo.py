"""Which build of the package this is.

A number that was measured on a build with hooks says nothing about the package: whoever measures
asks here first. The answer comes from a compiled module, not from what a build was asked to be.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import ExtensionFileLoader
from typing import Literal

from mpgameserver._core import build

__all__ = ["BuildInfo", "build_info"]

_CORE = "mpgameserver._core."


@dataclass(frozen=True)
class BuildInfo:
    """What `build_info` returns."""

    kind: Literal["release", "profile", "debug", "sanitize"]
    """release: no hooks; profile: cProfile sees the compiled functions; debug: with line tracing,
    symbols and assertions, and without optimisation; sanitize: with AddressSanitizer and
    UndefinedBehaviorSanitizer, for a process that has their runtime."""
    modules: tuple[str, ...]
    """The full names of the compiled modules that are loaded, in alphabetical order."""


def build_info() -> BuildInfo:
    """Return the kind of this build, and the compiled modules that are loaded by now."""
    loaded = (
        name
        for name, module in sys.modules.items()
        if name.startswith(_CORE) and isinstance(module.__loader__, ExtensionFileLoader)
    )
    return BuildInfo(kind=build.KIND, modules=tuple(sorted(loaded)))
