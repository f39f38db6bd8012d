"""The blocks of the pages under docs/ and of the README, and what it takes to run them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGE_PORTS = (1474, 1475, 1480, 9474)
"""The ports that the pages name; tests put free ones in their place, for these may be taken."""
HEADLESS = {
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "SDL_AUDIODRIVER": "dummy",
    "SDL_VIDEODRIVER": "dummy",
    "PYGLET_HEADLESS": "1",
}
"""Environment variables that keep a game from the screen and the loudspeakers."""

_FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
_NAME = re.compile(r"`(\w+\.py)`[^`\n]*:$")
_INDENTED = re.compile(r"(?:\A|\n)\n((?: {4}|\t)[^\n]*)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    name: str | None
    """The file that the paragraph before it says it is."""

    @property
    def commands(self) -> list[str]:
        """The lines of a block for the shell, without comments."""
        lines = [re.sub(r"\s+#.*", "", line) for line in self.text.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    found = []
    for match in _FENCED.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        name = _NAME.search(before)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page.name, line, match[1], match[2], name[1] if name else None))
    return found


def indented_blocks(page: Path) -> list[str]:
    """The first lines of blocks that are indented, and so of no language."""
    return _INDENTED.findall(_FENCED.sub("```", page.read_text()))


def listens(port: int) -> bool:
    """Tell whether somebody reads what is sent to a port: if not, the host says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.1)
        sock.connect(("127.0.0.1", port))
        sock.send(b"?")
        try:
            sock.recv(1)
        except ConnectionRefusedError:
            return False
        except TimeoutError:
            pass
    return True


def free_port() -> int:
    """A port that neither UDP nor TCP uses on loopback."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
        ):
            datagrams.bind(("127.0.0.1", 0))
            port = int(datagrams.getsockname()[1])
            with suppress(OSError):
                stream.bind(("127.0.0.1", port))
                return port


class Ports:
    """Free ports in the place of those that the pages name."""

    def __init__(self) -> None:
        self._free = {port: free_port() for port in PAGE_PORTS}

    def __getitem__(self, page_port: int) -> int:
        return self._free[page_port]

    def placed(self, text: str) -> str:
        """A program or a command of a page, with the free ports in it."""
        named = "|".join(map(str, PAGE_PORTS))
        text = re.sub(rf"\b({named})\b", lambda found: str(self[int(found[0])]), text)
        listen = f"--port {self[1474]} --monitor-listen 127.0.0.1:{self[1475]}"
        return re.sub(r"^mpgameserver serve\b", rf"\g<0> {listen}", text)


def wait_until_it_listens(port: int) -> None:
    """Wait until a port is taken."""
    end = time.monotonic() + PATIENCE
    while not listens(port):
        assert time.monotonic() < end, f"nothing listens on port {port}"
        time.sleep(0.05)


def environment(**extra: str) -> dict[str, str]:
    """That of a shell in which the tested package's environment is the active one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PYTHONUNBUFFERED": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return os.environ | {"PATH": path} | settings | HEADLESS | extra


@contextmanager
def running(
    folder: Path, *command: str, stdin: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A program in a folder, in a process group of its own, which is gone at the end."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def output(process: subprocess.Popen[str]) -> str:
    """All that a program has printed when it has ended, which it must do without an error."""
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, text
    return text
