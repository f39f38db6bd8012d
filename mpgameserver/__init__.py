"""Encrypted, reliable messages over UDP for multiplayer games."""

from __future__ import annotations

from importlib.metadata import version

from mpgameserver.buildinfo import BuildInfo, build_info

__all__ = ["BuildInfo", "__version__", "build_info"]

__version__ = version("mpgameserver")
