"""Log lines at a limited rate, and the number of those that were left out."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from mpgameserver.transport.ratelog import LOG_INTERVAL, LimitedLog

LOGGER = logging.getLogger("test of limited logs")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Tells what was logged in the test."""
    caplog.set_level(logging.INFO, LOGGER.name)
    return lambda: [record.getMessage() for record in caplog.records]


def test_one_line_per_interval_is_logged_and_the_next_says_what_was_left_out(
    logged: Callable[[], list[str]],
) -> None:
    log = LimitedLog(LOGGER)
    for number in range(3):
        log.warning(100.0, "line %d", number)
    log.warning(100.0 + LOG_INTERVAL, "line %d", 3)
    log.warning(100.0 + 2 * LOG_INTERVAL, "line %d", 4)
    assert logged() == [
        "line 0",
        "line 3 (and 2 more like it)",
        "line 4",
    ]


def test_there_may_be_more_lines_per_interval(logged: Callable[[], list[str]]) -> None:
    log = LimitedLog(LOGGER, lines=2)
    for number in range(5):
        log.info(100.0, "line %d", number)
    log.info(100.0 + LOG_INTERVAL, "line %d", 5)
    assert logged() == [
        "line 0",
        "line 1",
        "line 5 (and 3 more like it)",
    ]


def test_what_was_left_out_can_be_told_at_the_end(logged: Callable[[], list[str]]) -> None:
    log = LimitedLog(LOGGER)
    for _ in range(3):
        log.info(100.0, "line")
    log.finish()
    log.finish()
    assert logged() == ["line", "2 more like the last line"]
