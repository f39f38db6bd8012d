"""A wheel for every CPython of this machine, made as a release makes them, and tested.

The sdist is built first, and every wheel from it. A wheel for Linux goes through auditwheel,
which finds the oldest system that it runs on, and names it so. It is then installed in an empty
environment without compiling anything, and the tests that are run on every platform are run
there, in a folder that has nothing else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interpreters import Interpreter, candidates, find_interpreters
from rich.console import Console
from rich.table import Table

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "wheelhouse"
TESTS = "@tests/on-every-platform.txt"
SWITCHES = ("MPGAMESERVER_", "PYTHONPATH")
"""Beginnings of variables that would have something else built or tested."""
STEP_LIMIT = 900.0
"""Seconds for one command: an index that does not answer must not hold everything up."""
SHOWN_LINES = 40
"""Of what a command has printed that failed."""


class StepError(Exception):
    """A command has failed; the text is the end of what it printed."""


@dataclass
class Outcome:
    """The progress with one interpreter."""

    interpreter: Interpreter
    wheel: Path | None = None
    tests: str = ""
    seconds: float = 0.0
    is_ok: bool = False


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Build and test; 0 only when there was an interpreter, and all went well with each."""
    wanted = _parser().parse_args(arguments).python
    console = Console() if console is None else console
    interpreters, refused = find_interpreters(candidates())
    for _, reason in sorted(refused.items()):
        console.print(f"passed over: {reason}", soft_wrap=True)
    here = {interpreter.name for interpreter in interpreters}
    missing = [name for name in wanted or () if name not in here]
    chosen = [i for i in interpreters if not wanted or i.name in wanted]
    if missing or not chosen:
        names = ", ".join(missing) or "a version that a wheel can be built for"
        console.print(f"no CPython here is {names}", soft_wrap=True)
        return 1
    with tempfile.TemporaryDirectory(prefix="wheels-") as folder:
        sdist, source = build_sdist(Path(folder))
        outcomes = [make_and_test(i, sdist, source, console) for i in chosen]
    console.print(as_table(outcomes))
    return 0 if all(outcome.is_ok for outcome in outcomes) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--python", action="append", metavar="X.Y", help="only this version; may be repeated"
    )
    return parser


def build_sdist(folder: Path) -> tuple[Path, Path]:
    """The sdist, new in `OUT`, and the folder into which it was unpacked."""
    shutil.rmtree(OUT, ignore_errors=True)
    run(sys.executable, "-m", "build", "--sdist", "--outdir", OUT, ROOT)
    [sdist] = OUT.iterdir()
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [source] = folder.iterdir()
    return sdist, source


def make_and_test(interpreter: Interpreter, sdist: Path, source: Path, console: Console) -> Outcome:
    """Build the wheel for an interpreter, put it into `OUT`, and test it there."""
    outcome, began = Outcome(interpreter), time.perf_counter()
    folder = source.parent / interpreter.name
    console.print(f"Python {interpreter.name}: {interpreter.path}", soft_wrap=True)
    try:
        outcome.wheel = build_wheel(interpreter, sdist, folder)
        outcome.tests = try_wheel(interpreter, outcome.wheel, source, folder)
        outcome.is_ok = True
    except StepError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
    outcome.seconds = time.perf_counter() - began
    return outcome


def build_wheel(interpreter: Interpreter, sdist: Path, folder: Path) -> Path:
    """The wheel, named for the oldest systems that it runs on, without what debuggers need."""
    python = new_environment(interpreter, folder / "build")
    pip(python, "wheel", "--no-deps", "--wheel-dir", folder / "built", sdist)
    [built] = (folder / "built").iterdir()
    audited = folder / "audited"
    if sys.platform == "linux":
        options = ("--strip", "--wheel-dir", audited)
        run(sys.executable, "-m", "auditwheel", "repair", *options, built)
        [built] = audited.iterdir()
    return Path(shutil.move(built, OUT / built.name))


def try_wheel(interpreter: Interpreter, wheel: Path, source: Path, folder: Path) -> str:
    """Install a wheel, run what is tested on every platform; how pytest sums that up."""
    python = new_environment(interpreter, folder / "test")
    pip(python, "install", "--only-binary", ":all:", wheel)
    pip(python, "install", "--group", f"{source / 'pyproject.toml'}:wheel-test")
    elsewhere = folder / "elsewhere"
    shutil.copytree(source / "tests", elsewhere / "tests")
    shutil.copy(source / "pyproject.toml", elsewhere)
    in_parallel = ("--numprocesses", "auto", "--dist", "worksteal")
    tested = run(python.parent / "pytest", "--quiet", *in_parallel, TESTS, folder=elsewhere)
    return tested.splitlines()[-1].partition(" in ")[0]


def new_environment(interpreter: Interpreter, folder: Path) -> Path:
    """The Python of a new environment that has nothing installed, not even pip."""
    run(interpreter.path, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


def pip(python: Path, *command: object) -> None:
    """Let the pip of this environment work in another one."""
    run(sys.executable, "-m", "pip", "--quiet", "--python", python, *command)


def run(*command: object, folder: Path | None = None) -> str:
    """Return the output of a command. Raises StepError if it fails.

    Its tools are those of this environment, and no switch asks for another build.
    """
    words = [str(word) for word in command]
    tools = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    kept = {name: text for name, text in os.environ.items() if not name.startswith(SWITCHES)}
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=kept | {"PATH": tools},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_LIMIT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        printed = getattr(error, "stdout", None) or ""
        if isinstance(printed, bytes):  # which it is when the time is over
            printed = printed.decode(errors="replace")
        shown = printed.splitlines()[-SHOWN_LINES:]
        raise StepError("\n".join([" ".join(words), *shown, str(error)])) from error
    return done.stdout


def as_table(outcomes: Sequence[Outcome]) -> Table:
    """Return the outcome for each interpreter."""
    table = Table("Python", "wheel for", "kB", "tests", "s", "")
    for outcome in outcomes:
        wheel = outcome.wheel
        table.add_row(
            "{}.{}.{}".format(*outcome.interpreter.version),
            "" if wheel is None else wheel.stem.rpartition("-")[2].replace(".", "\n"),
            "" if wheel is None else f"{wheel.stat().st_size / 1000:,.0f}",
            outcome.tests,
            f"{outcome.seconds:.0f}",
            "ok" if outcome.is_ok else "failed",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
