"""The published package, mpgameserver 0.2.4 of PyPI: installed beside ours, run as a process.

It has an environment of its own, which stays from one run to the next inside the environment
that runs the tests, and goes with it. Its programs talk in JSON lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import venv
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from support.patience import PATIENCE

VERSION = "0.2.4"
REQUIREMENT = f"mpgameserver=={VERSION}"
ENVIRONMENT = Path(sys.prefix) / f"published-{VERSION}"
PROGRAMS = Path(__file__).resolve().parent
CHECK = f"""
from importlib.metadata import version
from mpgameserver import TwistedServer, UdpClient  # ours has these names, too
assert version("mpgameserver") == "{VERSION}"
"""

# Output of pip, since version 23, if it cannot reach the index at all.
NO_NETWORK = re.compile(r"Retrying|NewConnectionError|NameResolutionError|[Cc]onnection (to|time)")

Event = dict[str, object]


def published_python() -> Path:
    """The interpreter that has the published package; installs it if it is not there yet.

    Without a way to PyPI this skips the test, and fails it under CI.
    """
    interpreter = ENVIRONMENT / "bin" / "python"
    if is_usable(interpreter):
        return interpreter
    # Built aside and moved: what an interrupted run leaves must not look like an environment.
    # Where another run is first, its own is taken.
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=ENVIRONMENT.name, dir=ENVIRONMENT.parent))
    try:
        install(new_environment(aside))
        with contextlib.suppress(OSError):
            aside.rename(ENVIRONMENT)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    assert is_usable(interpreter), f"{REQUIREMENT} was installed and cannot be imported"
    return interpreter


def is_usable(interpreter: Path) -> bool:
    """Tell whether an interpreter is there, works, and has the published package."""
    if not interpreter.exists():
        return False
    return run(interpreter, "-c", CHECK).returncode == 0


def new_environment(folder: Path) -> Path:
    """Make an empty environment, without a pip of its own, and return its interpreter."""
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


def install(interpreter: Path) -> None:
    """Install the published package in the environment of an interpreter, or end the test."""
    pip = ("-m", "pip", "--python", str(interpreter), "install")
    done = run(Path(sys.executable), *pip, "--retries", "2", "--timeout", "15", REQUIREMENT)
    if done.returncode == 0:
        return
    if NO_NETWORK.search(done.stdout):
        no_network(f"PyPI cannot be reached to install {REQUIREMENT}")
    pytest.fail(f"{REQUIREMENT} cannot be installed:\n{done.stdout}")


def no_network(reason: str) -> None:
    """Skip the test, loudly; under CI fail it, for there nobody would see what was not tested."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"{reason}, and CI must not skip what needs it")
    pytest.skip(f"NOT TESTED WITH THE PUBLISHED PACKAGE: {reason}")


def run(interpreter: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an interpreter to its end, away from this process's settings for Python."""
    return subprocess.run(
        [str(interpreter), "-E", "-s", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tempfile.gettempdir(),
    )


class Program:
    """A running program of this folder, what it has said, and its commands.

    Any thread may wait for events and give commands.
    """

    def __init__(self, interpreter: Path, name: str, *arguments: str) -> None:
        self._events: defaultdict[tuple[str, object], list[Event]] = defaultdict(list)
        self._changed = threading.Condition()
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(interpreter), "-E", "-s", str(PROGRAMS / name), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith("{"):  # the package prints, too
                continue
            event = json.loads(line)
            with self._changed:
                self._events[event["event"], event.get("client")].append(event)
                self._changed.notify_all()

    def kill(self) -> None:
        """End the process as a crash would, without a word to anybody; safe to repeat."""
        if self._log.closed:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            assert pipe is not None
            pipe.close()

    def tell(self, client: object, do: str, *args: object) -> None:
        """Give a command for a client; what there is to do is up to the program."""
        assert self._process.stdin is not None
        line = json.dumps({"client": client, "do": do, "args": args})
        with self._changed:
            self._process.stdin.write(line + "\n")

    def said(self, event: str, client: object = None) -> list[Event]:
        """Return its events with that name about that client so far, the oldest first."""
        with self._changed:
            return list(self._events[event, client])

    def count(self, event: str, client: object = None) -> int:
        """Return the number of such events so far."""
        return len(self._events[event, client])

    def wait_for(
        self, event: str, client: object = None, count: int = 1, seconds: float = PATIENCE
    ) -> list[Event]:
        """Wait for `count` such events and return them; AssertionError if it takes too long."""
        events = self._events[event, client]
        with self._changed:
            if self._changed.wait_for(lambda: len(events) >= count, seconds):
                return list(events)
        raise AssertionError(
            f"{len(events)} of {count} {event!r} events of {client!r} after {seconds} s; "
            f"the last that the program wrote of errors: {self._last_error()!r}"
        )

    def _last_error(self) -> str:
        """The last line on its standard error: of a traceback, the error."""
        self._log.seek(0)
        return "".join(self._log.readlines()[-1:]).strip()


def at_the_same_time(
    behaviours: Sequence[Callable[..., None]], *args: object
) -> dict[Callable[..., None], Future[None]]:
    """Run each on a thread of its own, to the end; what it raised is in its future."""
    with ThreadPoolExecutor(len(behaviours)) as pool:
        return {behaviour: pool.submit(behaviour, *args) for behaviour in behaviours}
