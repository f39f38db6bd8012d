"""The CPythons of this machine for which a wheel can be built.

Looked for on PATH and among the versions of pyenv, whose folder need not be on PATH. A name says
little: pyenv's shims are there for every version and run only the chosen ones, and a system's
Python may come without what is compiled against. So each is asked what it is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OLDEST", "Interpreter", "candidates", "find_interpreters"]

OLDEST = (3, 10)
"""Return `requires-python` of pyproject.toml."""
ASKING_LIMIT = 20.0
"""Seconds for an answer: a wrapper that waits for somebody must not hold everything up."""

_NAME = re.compile(r"python(3(\.\d+)?)?")
# For any Python that is still about, so in words that all of them know.
_ASK = """
import json, os, platform, sys, sysconfig
header = os.path.join(sysconfig.get_path("include") or "", "Python.h")
try:
    import venv
except ImportError:
    venv = None
print(json.dumps({
    "executable": sys.executable,
    "implementation": platform.python_implementation(),
    "version": list(sys.version_info[:3]),
    "is_final": sys.version_info[3] == "final",
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "has_headers": os.path.isfile(header),
    "has_venv": venv is not None,
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A CPython: the program itself, no shim of it, and its version (major, minor, micro)."""

    path: Path
    version: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Major and minor version, such as "3.10"."""
        return "{}.{}".format(*self.version)


def candidates(environment: dict[str, str] | None = None) -> Iterator[Path]:
    """Yield possible interpreters: by their name on PATH, and in pyenv's versions."""
    chosen = dict(os.environ) if environment is None else environment
    for folder in chosen.get("PATH", "").split(os.pathsep):
        if folder and Path(folder).is_dir():
            yield from sorted(path for path in Path(folder).iterdir() if _NAME.fullmatch(path.name))
    pyenv = chosen.get("PYENV_ROOT") or Path(chosen.get("HOME", "/nonexistent"), ".pyenv")
    yield from sorted(Path(pyenv).glob("versions/*/bin/python3"))


def find_interpreters(paths: Iterable[Path]) -> tuple[list[Interpreter], dict[str, str]]:
    """The newest of each minor version that will do, the oldest first; why others will not.

    The second is by minor version, and has none for which there is one that will do.
    """
    best: dict[str, Interpreter] = {}
    refused: dict[str, str] = {}
    for path in paths:
        answer = _ask(path)
        if answer is None or answer["implementation"] != "CPython":
            continue
        found = Interpreter(Path(answer["executable"]), tuple(answer["version"]))
        reason = _why_not(answer)
        if reason is not None:
            refused.setdefault(found.name + "t" * answer["free_threaded"], f"{path}: {reason}")
        elif found.name not in best or found.version > best[found.name].version:
            best[found.name] = found
    found = sorted(best.values(), key=lambda interpreter: interpreter.version)
    return found, {name: why for name, why in refused.items() if name not in best}


def _ask(path: Path) -> dict | None:
    """Return an interpreter's description of itself, or None if it is none or does not run."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASKING_LIMIT,
            check=True,
        )
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _why_not(answer: dict) -> str | None:
    if tuple(answer["version"]) < OLDEST:
        return "is older than {}.{}".format(*OLDEST)
    if answer["free_threaded"]:
        return "is free-threaded (docs/installing.md)"
    if not answer["is_final"]:
        return "is no release"
    if not answer["has_headers"]:
        return "has no Python.h"
    return None if answer["has_venv"] else "has no venv"
