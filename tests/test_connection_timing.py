"""The intervals of a connection, and which of them cannot work together."""

from __future__ import annotations

import pytest
from support.serverworld import World

from mpgameserver.connection import Timing
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import LinkConditions


@pytest.mark.parametrize("interval", [5.0, 5.5])
def test_a_keep_alive_interval_must_be_shorter_than_the_idle_timeout(interval: float) -> None:
    timing = Timing(keep_alive=interval, idle_timeout=5.0)
    with pytest.raises(ValueError, match=rf"\({interval:g} s\).*\(5 s\)"):
        timing.check()


def test_nor_may_that_of_a_server_reach_the_idle_timeout_of_its_clients() -> None:
    with pytest.raises(ValueError, match=r"\(6 s\).*idle timeout of clients \(5 s\)"):
        Timing(keep_alive=6.0, idle_timeout=60.0).check()


@pytest.mark.parametrize(
    "timing", [Timing(), Timing(keep_alive=4.9), Timing(4.9, 1.0, 60.0), Timing(2.0, 0.5)]
)
def test_others_are_accepted(timing: Timing) -> None:
    timing.check()
    assert timing.contradiction() is None


@pytest.mark.parametrize("mode", list(RetryMode))
def test_messages_are_acked_where_the_message_timeout_is_below_the_keep_alive_interval(
    mode: RetryMode,
) -> None:
    world = World()
    player = world.join(
        timing=Timing(keep_alive=2.0, message=0.5), conditions=LinkConditions(latency=0.05)
    )
    world.run(0.5)
    outcomes: list[bool] = []
    for number in range(20):
        player.connection.send(b"%d" % number, mode, outcomes.append)
        world.run(0.1)
    world.run(0.5)
    settled = player.connection.take_completed()
    for callback, acked in settled:
        callback(acked)
    assert outcomes == [True] * 20
