"""The package built with sanitizers, in an environment of its own, and how to run things in it.

The environment lies in that of the interpreter that asks, and sees all that is installed there
but the package. What is built is the tree as it is, committed or not; only what has changed is
compiled again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from fuzz.toolchain import IGNORED, Toolchain, find_toolchain, version_of

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(sys.prefix) / "sanitized"
TRANSLATED = ROOT / "build" / "release" / "cython"
"""The C of the modules, of `make install`: sanitizers are a matter of its compiler."""
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "_core", "mpgameserver")
SOURCE_SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".h", ".typed"}
ASAN_OPTIONS = {
    # A leak of the interpreter is none of ours; see test_sanitized.py.
    "detect_leaks": "0",
    # Freed memory that is kept to be watched, and frames that are noted for each block.
    "quarantine_size_mb": "32",
    "malloc_context_size": "8",
}


class Sanitized:
    """The environment; made, or brought up to date, when an object is made.

    Raises NoToolchainError where nothing here can build it, and subprocess.CalledProcessError
    where the build fails.
    """

    def __init__(self) -> None:
        self.toolchain: Toolchain = find_toolchain()
        self.python = HOME / "venv" / "bin" / "python"
        self._begin()
        self._build()

    def environment(self, **asan_options: str) -> dict[str, str]:
        """The environment variables under which its Python runs.

        Every object is a block of its own, so that a byte behind it is seen to be touched.
        """
        options = {**ASAN_OPTIONS, **asan_options}
        return {
            **os.environ,
            "LD_PRELOAD": ":".join(map(str, self.toolchain.runtime)),
            "ASAN_OPTIONS": ":".join(f"{name}={value}" for name, value in options.items()),
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "PYTHONMALLOC": "malloc",
        }

    def _begin(self) -> None:
        """Make the environment anew, unless it is one of the same tools."""
        stamp = HOME / "made-with"
        made_with = "\n".join(
            (
                version_of(self.toolchain.compiler),
                *self.toolchain.flags,
                IGNORED.read_text(),
                *map(str, self.toolchain.runtime),
                sys.version,
            )
        )
        if stamp.is_file() and stamp.read_text() == made_with:
            return
        for name in ("tree", "venv"):
            shutil.rmtree(HOME / name, ignore_errors=True)
        (HOME / "built-from").unlink(missing_ok=True)
        venv.create(HOME / "venv")
        packages = Path(sysconfig.get_path("platlib", vars={"base": "", "platbase": ""}))
        place = HOME / "venv" / packages.relative_to("/")
        (place / "parent.pth").write_text(sysconfig.get_path("platlib"))
        stamp.write_text(made_with)

    def _build(self) -> None:
        tree, wheels, stamp = HOME / "tree", HOME / "wheels", HOME / "built-from"
        digest = digest_of(sources())
        if stamp.is_file() and stamp.read_text() == digest:
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(wheels, ignore_errors=True)
        self._copy_sources(tree)
        copy_translated(tree)
        build = {
            **os.environ,
            "MPGAMESERVER_SANITIZE": "1",
            "CC": self.toolchain.compiler,
            "CFLAGS": " ".join(self.toolchain.flags),
        }
        pip = [sys.executable, "-m", "pip", "--quiet"]
        options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
        subprocess.run([*pip, "wheel", *options, str(tree)], check=True, env=build)
        [wheel] = wheels.iterdir()
        install = ["install", "--no-deps", "--force-reinstall", str(wheel)]
        subprocess.run([*pip, "--python", str(self.python), *install], check=True)
        stamp.write_text(digest)

    def _copy_sources(self, tree: Path) -> None:
        """Bring the copy of what is built up to date; what was compiled before stays beside it.

        By content: a file that has not changed keeps its time, one that has is newer than before,
        even where it came from an older commit.
        """
        wanted = {path.relative_to(ROOT) for path in sources()}
        for folder in ("_core", "mpgameserver"):
            for old in (tree / folder).rglob("*"):
                if old.is_file() and old.relative_to(tree) not in wanted:
                    old.unlink()
        for name in wanted:
            content, copy = (ROOT / name).read_bytes(), tree / name
            if not copy.is_file() or copy.read_bytes() != content:
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content)
        # Whatever lies where setuptools builds would be packed: only what has a source may stay.
        for built in (tree / "build").glob("*/lib*/mpgameserver/**/*"):
            source = tree / "_core" / f"{built.name.partition('.')[0]}.pyx"
            if built.is_file() and not (built.suffix == ".so" and source.is_file()):
                built.unlink()


def digest_of(paths: list[Path]) -> str:
    """Return a digest of the names and contents of files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def copy_translated(tree: Path) -> None:
    """Copy the C of a release build that is newer than all that it is made of, where it differs."""
    made = sorted(TRANSLATED.rglob("*.c"))
    newest = max(path.stat().st_mtime for path in sources())
    if not made or min(path.stat().st_mtime for path in made) < newest:
        return
    for path in made:
        content = path.read_bytes()
        copy = tree / "build" / "sanitize" / path.relative_to(TRANSLATED.parent)
        if not copy.is_file() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)


def sources() -> list[Path]:
    """The files that the package is built from."""
    plain = [ROOT / name for name in SOURCES if (ROOT / name).is_file()]
    trees = [path for name in SOURCES for path in (ROOT / name).rglob("*")]
    return plain + [path for path in trees if path.suffix in SOURCE_SUFFIXES]
