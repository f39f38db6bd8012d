"""Hold the star: the server and its players on a clock of their own, over seeded links."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest

from mpgameserver.netsim import LinkConditions
from mpgameserver.testing import World
from star.game import Game, View
from star.protocol import MAX_PLAYERS, Join, Moves, scores
from star.rules import TICK, Direction
from star.server import StarServer
from star.session import Session

PERFECT = LinkConditions()
BAD = LinkConditions(loss=0.15, latency=0.05, jitter=0.03)
HAIR = 1e-9
"""Seconds by which a frame comes later than its step is due, so that rounding decides nothing."""
STILL, EAST, WEST = (0, 0), (1, 0), (-1, 0)
TO_THE_STAR = (1, 1)


class Seat:
    """One player's computer, over a link."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.client = world.client()
        self._session = Session(self.client, Game(name))
        self._session.connect(world.address)
        world.run_until(self.client.connected)
        self.direction: Direction = STILL
        self.views: list[View] = []

    def frame(self) -> None:
        now = self._world.now + HAIR
        self._session.say(now, self.direction)
        self._session.hear(now)
        self.views.append(self._session.game.view(now))

    @property
    def view(self) -> View:
        return self.views[-1]

    def track(self, number: int) -> list[float]:
        """The x of a player in each frame, since it was first seen."""
        return [view.players[number][0] for view in self.views if number in view.players]


def play(world: World, seats: Iterable[Seat], seconds: float) -> None:
    """Let time pass, 60 frames a second."""
    for _ in range(round(seconds / TICK)):
        world.run(TICK)
        for seat in seats:
            seat.frame()


def start(conditions: LinkConditions = PERFECT, seed: int = 0) -> tuple[World, Seat, Seat]:
    world = World(StarServer().context, conditions, seed)
    seats = Seat(world, "Ada"), Seat(world, "Bob")
    play(world, seats, 1.0)
    return world, *seats


def leaps(track: list[float]) -> float:
    """The longest way in one frame."""
    return max(abs(b - a) for a, b in pairwise(track))


@pytest.mark.parametrize("conditions", [PERFECT, BAD], ids=["perfect", "bad"])
class TestTwoPlayers:
    def test_see_each_other_and_the_same_scoreboard(
        self, conditions: LinkConditions, seed: int
    ) -> None:
        _, ada, bob = start(conditions, seed)
        assert {ada.view.number, bob.view.number} == {1, 2}
        assert ada.view.players == bob.view.players
        assert set(ada.view.players) == {1, 2}
        assert ada.view.scores == bob.view.scores
        assert {(line.name, line.points) for line in ada.view.scores} == {("Ada", 0), ("Bob", 0)}

    def test_the_own_player_moves_at_once(self, conditions: LinkConditions, seed: int) -> None:
        world, ada, bob = start(conditions, seed)
        before = ada.view.players[ada.view.number]
        ada.direction = EAST
        play(world, (ada, bob), 0.05)
        assert ada.view.players[ada.view.number][0] > before[0] + 4

    def test_move_evenly_in_both_windows(self, conditions: LinkConditions, seed: int) -> None:
        world, ada, bob = start(conditions, seed)
        number = ada.view.number
        ada.direction = EAST if ada.view.players[number][0] < 400 else WEST
        play(world, (ada, bob), 1.5)
        for seat in (ada, bob):
            track = seat.track(number)
            assert track == sorted(track, reverse=ada.direction == WEST)
            assert abs(track[-1] - track[0]) > 200
        assert leaps(ada.track(number)) < 9  # two steps

    def test_come_to_rest_at_the_same_place(self, conditions: LinkConditions, seed: int) -> None:
        world, ada, bob = start(conditions, seed)
        for direction in (EAST, (0, -1), WEST, (1, 1), STILL):
            ada.direction = direction
            play(world, (ada, bob), 0.7)
        play(world, (ada, bob), 1.0)
        number = ada.view.number
        assert ada.view.players[number] == pytest.approx(bob.view.players[number], abs=1e-3)

    def test_agree_on_who_has_had_the_star_for_how_long(
        self, conditions: LinkConditions, seed: int
    ) -> None:
        world, ada, bob = start(conditions, seed)
        for seat in (ada, bob):
            x, y = seat.view.players[seat.view.number]
            seat.direction = (1 if x < 400 else -1, 1 if y < 300 else -1)
        bob.direction = STILL
        play(world, (ada, bob), 1.0)
        ada.direction = (ada.direction[0], 0)  # the star is further away across than down
        play(world, (ada, bob), 0.3)
        ada.direction = STILL
        play(world, (ada, bob), 4.0)
        assert ada.view.scores == bob.view.scores
        assert [line.name for line in ada.view.scores] == ["Ada", "Bob"]
        assert ada.view.scores[0].points >= 3
        assert ada.view.star == ada.view.players[ada.view.number]


def test_others_are_drawn_between_the_places_that_snapshots_have() -> None:
    world, ada, bob = start()
    ada.direction = WEST
    play(world, (ada, bob), 1.0)
    number = ada.view.number
    assert leaps([view.heard[number][0] for view in bob.views[30:]]) >= 12  # three steps
    assert leaps(bob.track(number)) < 6


def test_who_leaves_is_gone_from_field_and_scoreboard() -> None:
    world, ada, bob = start()
    bob.client.disconnect()
    play(world, [ada], 1.0)
    assert set(ada.view.players) == {ada.view.number}
    assert [line.name for line in ada.view.scores] == ["Ada"]


def test_a_number_that_is_free_again_is_given_to_the_next_player() -> None:
    world, ada, bob = start()
    ada.client.disconnect()
    play(world, [bob], 0.5)
    cy = Seat(world, "Cy")
    play(world, (bob, cy), 0.5)
    assert cy.view.number == ada.view.number
    assert set(bob.view.players) == {1, 2}


def test_who_finds_no_room_is_disconnected() -> None:
    world = World(StarServer().context)
    seats = [Seat(world, f"player {number}") for number in range(MAX_PLAYERS + 1)]
    play(world, seats, 1.0)
    tokens = [seat.client.token() for seat in seats]
    assert [client.token for client in world.clients] == tokens[:-1]


@pytest.mark.parametrize("nonsense", [b"", b"?", b"M", b"J\xff", b"P" + bytes(22)])
def test_what_makes_no_sense_harms_nobody_else(nonsense: bytes) -> None:
    world, ada, bob = start()
    bob.client.send(nonsense)
    play(world, [ada], 1.0)
    assert ada.client.token() in [client.token for client in world.clients]
    assert ada.view.number in ada.view.players


def test_who_says_nonsense_is_disconnected() -> None:
    world, ada, bob = start()
    bob.client.send(b"nonsense")
    play(world, [ada], 1.0)
    assert [client.token for client in world.clients] == [ada.client.token()]
    assert [line.name for line in ada.view.scores] == ["Ada"]


def test_others_hear_while_somebody_is_leaving() -> None:
    world, leaving, staying = start()
    world.set_conditions(leaving.client, LinkConditions(latency=0.2))
    leaving.client.send(b"nonsense")
    play(world, [staying], 0.22)
    cy = Seat(world, "Cy")
    play(world, [staying, cy], 0.1)
    assert leaving.client.connected()  # has not heard it yet
    assert "Cy" in [line.name for line in staying.view.scores]
    assert cy.view.scores == staying.view.scores


def test_nobody_moves_before_they_have_joined() -> None:
    world = World(StarServer().context)
    client = world.connect()
    client.send(Moves(1, (EAST,)).encode())
    world.run(0.5)
    assert client.getMessages() == []


def test_a_scoreboard_that_comes_late_does_not_replace_a_newer_one() -> None:
    game = Game("Ada")
    for version, points in ((3, 2), (2, 1)):
        game.receive(scores(version, [(1, "Ada", points)]).encode())
    assert [line.points for line in game.view(10.0).scores] == [2]


def test_who_joins_twice_is_one_player() -> None:
    world, ada, bob = start()
    ada.client.send(Join("Ada again").encode())
    play(world, (ada, bob), 0.5)
    assert {line.name for line in bob.view.scores} == {"Ada", "Bob"}


def test_who_sends_more_steps_than_time_allows_gains_nothing() -> None:
    world, ada, bob = start()
    number = ada.view.number
    before = bob.view.players[number]
    for first in range(1, 2000, 20):
        ada.client.send(Moves(first + 1000, (EAST,) * 20).encode())
    play(world, [bob], 1.0)
    assert bob.view.players[number][0] - before[0] <= (60 + 15) * 4
