"""The tools of this machine for builds with sanitizers and for guidance by coverage.

Guided fuzzing takes clang, which puts counters into the compiled modules, and atheris, whose
runtime (libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer in one library) is loaded
before Python. It follows the Python modules as well, where an embedded libFuzzer does not.
Without either of them gcc and its own runtime do for inputs without guidance.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CLANGS = ("clang", *(f"clang-{version}" for version in range(22, 13, -1)))
IGNORED = Path(__file__).with_name("ignored.txt")
GUIDED_FLAGS = ("-fsanitize=fuzzer-no-link", f"-fsanitize-ignorelist={IGNORED}")


class NoToolchainError(Exception):
    """Nothing here builds with sanitizers; the text says what to install."""


@dataclass(frozen=True)
class Toolchain:
    """A compiler, its flags beside those of the build, and the runtime to be preloaded."""

    compiler: str
    flags: tuple[str, ...]
    runtime: tuple[Path, ...]
    unguided_because: str | None
    """Why inputs cannot be guided by coverage; None where they can."""


def find_toolchain() -> Toolchain:
    """The best toolchain there is. Raises NoToolchainError for none."""
    clang = next(filter(can_build, filter(None, map(shutil.which, CLANGS))), None)
    runtime = atheris_runtime()
    if clang is not None and runtime is not None:
        return Toolchain(clang, GUIDED_FLAGS, (runtime,), None)
    missing = [] if clang else ["no clang: apt-get install clang libclang-rt-dev"]
    missing += [] if runtime else ["atheris is not installed, or not for this Python"]
    libraries = gcc_runtime()
    if not libraries:
        missing.append("no gcc with libasan and libubsan: apt-get install gcc")
        raise NoToolchainError("; ".join(missing))
    return Toolchain("gcc", (), libraries, "; ".join(missing))


def can_build(clang: str) -> bool:
    """True when a clang is whole: its libraries are a package of their own."""
    options = ["-shared", "-fPIC", "-fsanitize=address,undefined", *GUIDED_FLAGS]
    command = [clang, *options, "-x", "c", "-", "-o", os.devnull]
    return subprocess.run(command, input=b"", capture_output=True, check=False).returncode == 0


def atheris_runtime() -> Path | None:
    """The library of atheris that holds libFuzzer and the sanitizers."""
    spec = importlib.util.find_spec("atheris")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).parent.with_name("asan_with_fuzzer.so")
    return library if library.is_file() else None


def gcc_runtime() -> tuple[Path, ...]:
    """The libraries of gcc's sanitizers; none where there is no gcc, or no such libraries."""
    if shutil.which("gcc") is None:
        return ()
    found = tuple(
        Path(_output("gcc", f"-print-file-name={name}")) for name in ("libasan.so", "libubsan.so")
    )
    return found if all(path.is_absolute() for path in found) else ()


def version_of(compiler: str) -> str:
    """The first line of what a compiler says of itself."""
    return _output(compiler, "--version").partition("\n")[0]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
