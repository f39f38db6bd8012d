"""The programs of the pages under docs/ run as they stand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mpgameserver import ConnectionStatus, UdpClient

DOCS = Path(__file__).resolve().parent.parent / "docs"
PROGRAM = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
NAMED_PROGRAM = re.compile(r"^`(\w+\.py)`.*?^```python\n(.*?)^```", re.M | re.S)
PATIENCE = 20.0
SHORT = ("asyncio.md", "frame-loop.md", "reliability.md", "server.md")
"""Pages whose programs are whole: they import what they use, and come to an end."""
NOT_RUN_HERE = {
    "getting-started.md": "its programs play with each other, below",
}


def programs() -> list[tuple[str, str]]:
    return [(page, text) for page in SHORT for text in PROGRAM.findall((DOCS / page).read_text())]


def test_no_page_with_programs_is_left_out() -> None:
    with_programs = {page.name for page in DOCS.glob("*.md") if PROGRAM.search(page.read_text())}
    assert with_programs <= {*SHORT, *NOT_RUN_HERE}


@pytest.mark.parametrize(("page", "text"), programs())
def test_a_program_runs_as_it_stands(page: str, text: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if "print(" in text:
        assert done.stdout


@contextmanager
def running(folder: Path, program: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, program],
        cwd=folder,
        env=os.environ | {"SDL_VIDEODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


class TestGettingStarted:
    """The guide, followed word for word in an empty folder, gives a working game."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        pytest.importorskip("pygame")
        page = (DOCS / "getting-started.md").read_text()
        found = NAMED_PROGRAM.findall(page)
        assert [name for name, _ in found] == ["server.py", "player.py"]
        for name, text in found:
            (tmp_path / name).write_text(text)
        (genkey,) = re.findall(r"^    env/bin/python (-m mpgameserver genkey .*)$", page, re.M)
        subprocess.run([sys.executable, *genkey.split()], cwd=tmp_path, check=True)
        return tmp_path

    def test_two_players_see_each_other(self, folder: Path) -> None:
        with ExitStack() as stack:
            server = stack.enter_context(running(folder, "server.py"))
            watcher = stack.enter_context(UdpClient(folder / "server.pem.pub"))
            self._join(watcher)
            for _ in range(2):
                stack.enter_context(running(folder, "player.py"))
            places = self._watch(watcher, wanted=2)
            assert places == b"P" + 2 * bytes.fromhex("43a00000 43700000")  # 320.0, 240.0
            server.send_signal(signal.SIGTERM)
            heard, _ = server.communicate(timeout=PATIENCE)
            assert heard.count("joined: ('127.0.0.1', ") == 3
            assert heard.count(" shutdown\n") == 3
            assert "Traceback" not in heard

    @staticmethod
    def _join(client: UdpClient) -> None:
        end = time.monotonic() + PATIENCE
        while not client.connected():
            assert time.monotonic() < end, client.failure
            if client.status() == ConnectionStatus.DISCONNECTED:  # nothing listens yet
                client.connect(("127.0.0.1", 1474))
            client.update()
            time.sleep(0.01)

    @staticmethod
    def _watch(client: UdpClient, wanted: int) -> bytes:
        """What a third player is told of so many others."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            client.update()
            for _, message in client.getMessages():
                if message[:1] == b"P" and len(message) == 1 + 8 * wanted:
                    return message
            time.sleep(0.01)
        raise AssertionError(f"{client!r} was never told of {wanted} others")
