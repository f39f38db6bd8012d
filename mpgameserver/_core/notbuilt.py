"""Explanation of why the compiled modules cannot be imported, with what to do about it."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

__all__ = ["explain", "is_ours"]

_CORE = Path(__file__).parent
_THIS_PYTHON = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"


def is_ours(error: ImportError) -> bool:
    """Return True for the error of a compiled module that is missing or cannot be loaded."""
    # If the dynamic linker refuses a module, the error has only the last part of its name.
    return (error.name or "").startswith(__package__) or (error.path or "").startswith(str(_CORE))


def explain(error: ImportError) -> ImportError:
    """Return the error to raise instead."""
    return ImportError(_reason(error, _CORE), name=error.name, path=error.path)


def _reason(error: ImportError, folder: Path) -> str:
    if not folder.is_dir():
        return (
            f"mpgameserver was imported from a zip file ({folder.parent.parent}), from which "
            "Python cannot load its compiled modules: unpack it, or install the wheel"
        )
    built = [path.name for path in folder.iterdir() if path.suffix in (".so", ".pyd")]
    if any(name[name.index(".") :] in EXTENSION_SUFFIXES for name in built):
        return f"a compiled module of mpgameserver cannot be loaded: {error}"
    if built:
        return (
            f"mpgameserver in {folder.parent} was built for another Python ({min(built)}), and "
            f"this is {_THIS_PYTHON}: install the wheel for this Python"
        )
    if (folder.parent.parent / "_core" / "endpoint.pyx").exists():
        return (
            f"mpgameserver was imported from its source tree ({folder.parent.parent}), which has "
            "no compiled modules: run your program from another folder, so that the installed "
            "package is found; if there is none, `make wheel` builds the wheel to install"
        )
    return (
        f"mpgameserver in {folder.parent} has no compiled modules: install it from a wheel, or "
        "with pip from its source, and do not copy the folder"
    )
