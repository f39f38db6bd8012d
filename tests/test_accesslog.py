"""The access log: lines appended to a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mpgameserver.accesslog import AccessLog


def test_lines_have_the_time_in_utc(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log")
    log.write("192.0.2.1:5000 connect")
    [line] = (tmp_path / "access.log").read_text().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 192.0.2.1:5000 connect", line
    )


def test_it_appends_and_survives_being_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("before\n")
    log = AccessLog(str(path))
    log.write("first")
    path.rename(tmp_path / "access.log.1")
    log.write("second")
    assert (tmp_path / "access.log.1").read_text().startswith("before\n")
    assert path.read_text().endswith(" second\n")


def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        AccessLog(tmp_path / "nowhere" / "access.log")
