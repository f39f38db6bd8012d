"""The programs of the pages under docs/ run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
PROGRAM = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PATIENCE = 20.0
PAGES = ("asyncio.md", "server.md")
"""Those whose programs are whole: they import what they use, and come to an end."""


def programs() -> list[tuple[str, str]]:
    return [
        (page, text)
        for page in PAGES
        for text in PROGRAM.findall((DOCS / page).read_text())
        if "import" in text
    ]


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
