"""Programs of the tree, run as their README says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from support import documents

EXAMPLES = documents.ROOT / "examples"
COMMAND = re.compile(r"^    python (.*)$", re.M)


def copied_examples(folder: Path) -> Path:
    """A copy of the examples, for the files that they write."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pem*")
    return Path(shutil.copytree(EXAMPLES, folder / "examples", ignore=ignored))


def readme_commands(name: str) -> list[list[str]]:
    """The arguments of each `python` that the README of an example tells to run, pip left out."""
    found = COMMAND.findall((EXAMPLES / name / "README.md").read_text())
    return [shlex.split(line) for line in found if not line.startswith("-m pip ")]


def running(
    folder: Path, *arguments: str, stdin: int | None = None
) -> AbstractContextManager[subprocess.Popen[str]]:
    """A Python program that runs in a folder, and has no terminal, until the block is left."""
    return documents.running(folder, sys.executable, "-W", "error", *arguments, stdin=stdin)


def port_of(process: subprocess.Popen[str]) -> str:
    """The port that a program says it listens on, in the first line that it prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    assert found, line
    return found[1]


def port_named(argument: str, port: str) -> str:
    """An argument of the README with the port of this test's server, and a free one to listen."""
    return {"127.0.0.1:1474": f"127.0.0.1:{port}", "127.0.0.1:1475": "127.0.0.1:0"}.get(
        argument, argument
    )
