"""The access log: lines appended to a file."""

from __future__ import annotations

import os
import re
import stat
from ipaddress import ip_address
from pathlib import Path

import pytest

from mpgameserver.server import accesslog
from mpgameserver.server.accesslog import (
    HOST_LINES_AT_ONCE,
    LINES_PER_SECOND,
    AccessLog,
)

HOST, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def test_lines_have_the_time_in_utc(path: Path) -> None:
    log = AccessLog(path)
    log.write("192.0.2.1:5000 connect", HOST, 0.0)
    [line] = lines(path)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 192.0.2.1:5000 connect", line
    )


def test_it_appends_and_survives_being_moved_away(path: Path, tmp_path: Path) -> None:
    path.write_text("before\n")
    log = AccessLog(str(path))
    log.write("first", HOST, 0.0)
    path.rename(tmp_path / "access.log.1")
    log.write("second", HOST, 0.0)
    assert (tmp_path / "access.log.1").read_text().startswith("before\n")
    assert path.read_text().endswith(" second\n")


def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        AccessLog(tmp_path / "nowhere" / "access.log")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(("mask", "mode"), [(0o000, 0o640), (0o022, 0o640), (0o077, 0o600)])
def test_not_everybody_may_read_it(path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        AccessLog(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_host_has_a_rate_of_lines_and_the_next_line_tells_what_is_missing(path: Path) -> None:
    log = AccessLog(path)
    for number in range(HOST_LINES_AT_ONCE + 100):
        log.write(f"line {number}", HOST, 0.0)
    assert len(lines(path)) == HOST_LINES_AT_ONCE
    assert log.left_out == 100
    log.write("another host", OTHER, 0.0)
    log.write("a line of the next second", HOST, 1.0)
    assert lines(path)[-2].endswith(" another host (100 lines before were omitted)")
    assert lines(path)[-1].endswith(" a line of the next second")


@pytest.mark.parametrize(
    ("network", "shares"), [("2001:db8:0:{:x}::1", 2), ("2001:db8:0:{:x}00::1", 4)]
)
def test_the_hosts_of_an_ipv6_network_share_its_rate(path: Path, network: str, shares: int) -> None:
    log = AccessLog(path)
    hosts = [ip_address(network.format(number)) for number in range(16)]
    for _ in range(HOST_LINES_AT_ONCE):
        for host in hosts:
            log.write("a client that comes or goes", host, 0.0)
    assert len(lines(path)) == HOST_LINES_AT_ONCE * shares
    log.write("another host", HOST, 0.0)
    assert "another host" in lines(path)[-1]


def test_all_hosts_together_have_a_rate_of_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accesslog, "LINES_AT_ONCE", 100)
    log, hosts = AccessLog(path), [ip_address(f"198.51.100.{number}") for number in range(250)]
    for second in range(10):
        for host in hosts:
            log.write("a client that comes or goes", host, float(second))
    assert len(lines(path)) == 100 + 9 * LINES_PER_SECOND
    assert log.left_out == 2500 - len(lines(path))


def test_a_day_of_the_longest_lines_is_less_than_it_is_said_to_be() -> None:
    address = "[fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff%interface123456]:65535"
    line = f"2026-01-01T00:00:00.000+00:00 {address} disconnect key limit after 1234567.123 s\n"
    longest = len(line) + len(" (123456 lines before were omitted)")
    assert longest <= 180
    assert LINES_PER_SECOND * 86400 * 180 < 0.8e9


def test_a_host_that_comes_and_goes_all_the_time_writes_a_few_lines_a_second(path: Path) -> None:
    log = AccessLog(path)
    for second in range(30):
        for _ in range(100):
            log.write("a client that comes or goes", HOST, float(second))
    assert HOST_LINES_AT_ONCE < len(lines(path)) <= HOST_LINES_AT_ONCE + 2 * 30


def test_the_file_has_a_bound_whoever_wrote_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accesslog, "MAX_LOG_BYTES", 500)
    logs = [AccessLog(path), AccessLog(path)]
    for number in range(20):
        logs[number % 2].write(f"line {number}", HOST, 0.0)
    assert 400 < path.stat().st_size <= 500
    assert sum(log.left_out for log in logs) == 20 - len(lines(path))
    path.rename(tmp_path / "access.log.1")
    logs[0].write("after it was moved away", HOST, 0.0)
    assert re.search(r"after it was moved away \(\d+ lines before were omitted\)$", lines(path)[0])


def test_how_many_hosts_are_known_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog, "MAX_LOG_HOSTS", 4)
    log = AccessLog(path)
    for number in range(20):
        log.write("connect", ip_address(f"192.0.2.{number}"), 0.0)
    assert len(log._rates) == 4
