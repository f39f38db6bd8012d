"""The README's programs run as they stand, and its links and commands lead somewhere."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest
from support.documents import (
    PAGES,
    ROOT,
    Ports,
    blocks,
    output,
    running,
    wait_until_it_listens,
)

from mpgameserver import EllipticCurvePrivateKey

README = ROOT / "README.md"
LINKED = sorted({*PAGES, *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")})
MAX_PROGRAM_LINES = 20

LINK = re.compile(r"\]\(([^)\s]+)\)")
FIGURE = re.compile(r"\d[\d,.]*\d(?: (?:µs|/s|MB/s|kB))?")
MEASURED = {"make bench": "performance.md", "make soak": "reliability.md"}
"""The pages that the commands of the table write, or whose output they hold."""


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def programs(tmp_path: Path, ports: Ports) -> dict[str, Path]:
    """The programs of the README, pasted into files of one folder."""
    paths = {}
    for block in blocks(README):
        if block.language == "python":
            assert block.name is not None
            paths[block.name] = tmp_path / block.name
            paths[block.name].write_text(ports.placed(block.text))
    return paths


def run(program: Path):
    """Run a program of the README, in its folder."""
    return running(program.parent, sys.executable, program.name)


def test_the_client_and_the_server_run_as_they_stand(programs, ports):
    with run(programs["server.py"]) as server:
        wait_until_it_listens(ports[1474])
        with run(programs["client.py"]) as client:
            assert sorted(output(client).splitlines()) == ["acked: True", "you said: hello"]
        server.send_signal(signal.SIGINT)
        heard = output(server)
    assert re.fullmatch(r"\('127\.0\.0\.1', \d+\) has left: closed by client\n", heard)


def test_the_client_says_when_there_is_no_server(programs):
    key = EllipticCurvePrivateKey.new().getPublicKey()
    key.savePEM(programs["client.py"].parent / "server.pem.pub")
    with run(programs["client.py"]) as client:
        assert output(client) == "no server: ConnectFailure.REFUSED\n"


def test_the_programs_are_short(programs):
    assert set(programs) == {"server.py", "client.py"}
    lines = {name: len(path.read_text().splitlines()) for name, path in programs.items()}
    assert {name: n for name, n in lines.items() if n > MAX_PROGRAM_LINES} == {}


def test_its_commands_are_those_of_the_makefile_and_the_installation_of_the_wheel():
    commands = [c for block in blocks(README) if block.language == "sh" for c in block.commands]
    install = "python -m pip install --only-binary :all: dist/mpgameserver-*.whl"
    assert commands == ["make demo", "make test", "make wheel", install]


def test_its_figures_are_those_of_the_pages_that_their_commands_make():
    rows = re.findall(r"^\| (.*) \| (.*) \| (.*?) ?\| `(make \w+)` \|$", README.read_text(), re.M)
    assert len(rows) == 6
    missing = []
    for what, here, there, command in rows:
        page = (ROOT / "docs" / MEASURED[command]).read_text().replace(",", "")
        page = re.sub(r"\.0+(?= players)", "", page)
        figures = [figure.replace(",", "") for figure in FIGURE.findall(f"{here} {there}")]
        assert figures, what
        missing += [f for f in figures if not re.search(rf"(?<![\d.]){re.escape(f)}\b", page)]
    assert missing == []


def anchors(page: Path) -> set[str]:
    """The names that the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=[str(page.relative_to(ROOT)) for page in LINKED])
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
