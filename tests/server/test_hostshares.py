"""Shares of a party whose IPv6 network has many /64s."""

from __future__ import annotations

from support.serverworld import World

from mpgameserver.server.limits import Limits


def clients_of(world: World, hosts: list[str]) -> int:
    for number, host in enumerate(hosts):
        world.player(host, 5000 + number)
    world.run(1.0)
    return len(world.engine.clients)


def test_a_59_cannot_fill_a_server() -> None:
    world = World(limits=Limits(clients_per_host=3))
    assert clients_of(world, [f"2001:db8:0:{i % 32:x}::1" for i in range(96)]) == 6
    assert world.engine.drops["host full"] > 0
    world.join("2001:db8:0:100::1", 5000)


def test_a_48_has_four_shares_and_others_have_theirs() -> None:
    world = World(limits=Limits(clients_per_host=3))
    assert clients_of(world, [f"2001:db8:0:{i:x}00::1" for i in range(32)]) == 12
    world.join("2001:db8:1::1", 5000)
    world.join("192.0.2.1", 5000)


def test_shares_are_given_back() -> None:
    world = World(limits=Limits(clients_per_host=1))
    for _ in range(3):
        player = world.join("2001:db8::1", 5000)
        player.connection.disconnect(world.now)
        world.run(0.3)
        world.players.clear()
    assert not world.engine.sessions._per_host
