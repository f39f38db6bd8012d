"""The intervals of a connection, and which of them cannot work together."""

from __future__ import annotations

import pytest

from mpgameserver.timing import Timing


@pytest.mark.parametrize("interval", [5.0, 5.5])
def test_a_keep_alive_interval_must_be_shorter_than_the_idle_timeout(interval: float) -> None:
    timing = Timing(keep_alive=interval, silence=5.0)
    with pytest.raises(ValueError, match=rf"\({interval:g} s\).*\(5 s\)"):
        timing.check()


@pytest.mark.parametrize("timing", [Timing(), Timing(keep_alive=4.9), Timing(6.0, 1.0, 60.0)])
def test_others_are_accepted(timing: Timing) -> None:
    timing.check()
    assert timing.contradiction() is None
