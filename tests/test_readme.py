"""The README's programs run as they stand, and its links and commands lead somewhere."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpgameserver import EllipticCurvePrivateKey

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
PORT = 1474
PATIENCE = 10.0
MAX_PROGRAM_LINES = 20

LINK = re.compile(r"\]\(([^)\s]+)\)")
PROGRAM = re.compile(r"^`(\w+\.py)`.*?^```python\n(.*?)^```", re.M | re.S)


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


def wait_until_it_listens(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while not listens(port):
        assert time.monotonic() < end, f"nothing listens on port {port}"
        time.sleep(0.05)


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Path]:
    """The programs of the README, pasted into files of one folder."""
    paths = {}
    for name, text in PROGRAM.findall(README):
        paths[name] = tmp_path / name
        paths[name].write_text(text)
    return paths


@contextmanager
def running(program: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, program.name],
        cwd=program.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def output(process: subprocess.Popen[str]) -> str:
    """All that a program has printed when it has ended, which it must do without an error."""
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, text
    return text


def test_the_client_and_the_server_run_as_they_stand(programs):
    assert not listens(PORT), f"port {PORT}, which the README's programs use, is taken"
    with running(programs["server.py"]) as server:
        wait_until_it_listens(PORT)
        with running(programs["client.py"]) as client:
            assert sorted(output(client).splitlines()) == ["acked: True", "you said: hello"]
        server.send_signal(signal.SIGINT)
        heard = output(server)
    assert re.fullmatch(r"\('127\.0\.0\.1', \d+\) has left: goodbye\n", heard)


def test_the_client_says_when_there_is_no_server(programs):
    assert not listens(PORT), f"port {PORT}, which the README's programs use, is taken"
    key = EllipticCurvePrivateKey.new().getPublicKey()
    key.savePEM(programs["client.py"].parent / "server.pem.pub")
    with running(programs["client.py"]) as client:
        assert output(client) == "no server: ConnectFailure.REFUSED\n"


def test_the_programs_are_short(programs):
    assert set(programs) == {"server.py", "client.py"}
    lines = {name: len(path.read_text().splitlines()) for name, path in programs.items()}
    assert {name: n for name, n in lines.items() if n > MAX_PROGRAM_LINES} == {}


def test_the_commands_are_targets_of_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = re.findall(r"^    make (\w+)", README, re.M)
    assert {"demo", "test"} <= set(commands) <= targets


def anchors(page: Path) -> set[str]:
    """The names that the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_to_a_file_and_a_heading(page):
    broken = []
    for target in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []
