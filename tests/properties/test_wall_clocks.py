"""Sessions whose wall clocks stand before 1970, after 2106, or pass the end of the 32 bits."""

from __future__ import annotations

import pytest
from support.serverworld import World

from mpgameserver.enums import ConnectionStatus, RetryMode
from mpgameserver.stats import ConnectionStats
from mpgameserver.wire.handshake import wire_time

ORDINARY = 1_700_000_000.0
CLOCKS = [-10.0, 0.0, 2.0**32 - 5, 2.0**33]


class ClockedWorld(World):
    """A world whose wall clock began at `wall_start`."""

    wall_start = ORDINARY

    @property
    def wall_now(self) -> float:
        return self.wall_start + self.now - 100.0


@pytest.mark.parametrize("strange", CLOCKS)
@pytest.mark.parametrize("sides", ["both", "client", "server"])
def test_a_session_begins_lasts_and_ends(strange: float, sides: str) -> None:
    world = ClockedWorld()
    world.wall_start = ORDINARY if sides == "server" else strange
    player = world.player("192.0.2.1", 5000)
    world.wall_start = ORDINARY if sides == "client" else strange
    for second in range(12):
        world.run(1.0)
        [client] = world.engine.clients
        player.send(b"up %d" % second, RetryMode.RETRY_ON_TIMEOUT)
        client.send(b"down %d" % second, RetryMode.RETRY_ON_TIMEOUT)
    world.run(0.2)
    assert world.handler.messages == [b"up %d" % second for second in range(12)]
    assert player.messages == [b"down %d" % second for second in range(12)]
    assert client.stats.drops["out of window"] == 0
    assert ConnectionStats.of(player.connection.endpoint, world.now).drops["out of window"] == 0
    player.connection.disconnect(world.now)
    world.run(0.2)
    assert player.connection.status == ConnectionStatus.DISCONNECTED
    assert not world.engine.clients


def test_a_server_goes_on_while_its_clock_is_set_there() -> None:
    """It is read for each handshake."""
    world = ClockedWorld()
    for number, strange in enumerate([ORDINARY, *CLOCKS, ORDINARY]):
        world.wall_start = strange
        world.join("192.0.2.1", 5000 + number)
    assert len(world.engine.clients) == 6


@pytest.mark.parametrize(
    ("wall", "time"),
    [(-10.0, 2**32 - 10), (-0.5, 2**32 - 1), (0.9, 0), (2.0**32 - 0.5, 2**32 - 1), (2.0**33, 0)],
)
def test_times_are_whole_seconds_modulo_2_to_the_32(wall: float, time: int) -> None:
    assert wire_time(wall) == time
