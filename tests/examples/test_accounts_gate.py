"""The example with accounts: the game server's gate, on a clock of its own."""

from __future__ import annotations

import pytest
from support.serverworld import PERFECT, ROOT_KEY, Player, World

from accounts.gate import ADMITTED, PATIENCE, REFUSED, Gate, GuardedHandler
from accounts.tokens import LIFETIME, TokenChecker, TokenMaker, game_of
from mpgameserver import EllipticCurvePrivateKey, ServerClient
from mpgameserver.netsim import LinkConditions

WALL = 1_700_000_000.0
SERVICE_KEY = EllipticCurvePrivateKey.new()
GAME = game_of(ROOT_KEY.getPublicKey())
BAD = LinkConditions(loss=0.2, latency=0.05, jitter=0.05)


class Game(GuardedHandler):
    """Writes down what gets through the gate; `now` is the world's clock."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.events: list[tuple[str, ...]] = []
        checker = TokenChecker(SERVICE_KEY.getPublicKey(), GAME, WALL)
        super().__init__(Gate(checker), self.clock, lambda: WALL + self.clock())

    def clock(self) -> float:
        return self.world.now if self.world else 0.0

    def joined(self, client: ServerClient, player: str) -> None:
        self.events.append(("joined", player))

    def said(self, client: ServerClient, player: str, message: bytes) -> None:
        self.events.append(("said", player, message.decode()))

    def left(self, client: ServerClient, player: str) -> None:
        self.events.append(("left", player))


def new_world(conditions: LinkConditions = PERFECT, seed: int = 0) -> tuple[World, Game]:
    game = Game()
    world = World(game, conditions, seed)
    game.world = world
    return world, game


def token(world: World, player: str, age: float = 0.0) -> bytes:
    return TokenMaker(SERVICE_KEY, GAME).issue(player, WALL + world.now - age)


def connected(world: World) -> list[int]:
    return [client.token for client in world.clients]


def refused(player: Player) -> str:
    """Why a player was refused, which must be all that it was told."""
    [message] = player.messages
    assert message.startswith(REFUSED)
    return message.removeprefix(REFUSED).decode()


@pytest.mark.parametrize("conditions", [PERFECT, BAD], ids=["perfect", "bad"])
def test_who_has_a_good_token_is_in_the_game(conditions: LinkConditions, seed: int) -> None:
    world, game = new_world(conditions, seed)
    player = world.join()
    player.send(token(world, "Ada"))
    world.run(3.0)
    assert player.messages == [ADMITTED]
    player.send(b"hello")
    world.run(PATIENCE)
    assert game.events == [("joined", "Ada"), ("said", "Ada", "hello")]
    assert connected(world) == [player.token]


def test_who_leaves_has_left_the_game() -> None:
    world, game = new_world()
    player = world.join()
    player.send(token(world, "Ada"))
    world.run(0.5)
    assert player.connection is not None
    player.connection.disconnect(world.now)
    world.run(0.5)
    assert game.events == [("joined", "Ada"), ("left", "Ada")]


def test_a_forged_token_leads_out() -> None:
    world, game = new_world()
    player = world.join()
    forger = TokenMaker(EllipticCurvePrivateKey.new(), GAME)
    player.send(forger.issue("Ada", WALL + world.now))
    world.run(1.5)
    assert refused(player) == "forged"
    assert (game.events, connected(world)) == ([], [])


def test_an_expired_token_leads_out() -> None:
    world, game = new_world()
    player = world.join()
    player.send(token(world, "Ada", age=LIFETIME))
    world.run(1.5)
    assert refused(player) == "expired"
    assert (game.events, connected(world)) == ([], [])


def test_a_token_that_was_used_leads_out_and_harms_nobody_who_is_in() -> None:
    world, game = new_world()
    good = token(world, "Ada")
    player, thief = world.join(), world.join()
    player.send(good)
    world.run(0.2)
    thief.send(good)
    world.run(1.5)
    assert refused(thief) == "used before"
    assert game.events == [("joined", "Ada")]
    assert connected(world) == [player.token]


def test_a_client_that_says_nothing_is_sent_away_in_time() -> None:
    world, game = new_world()
    player = world.join()
    world.run(PATIENCE - 0.5)
    assert connected(world) == [player.token]
    world.run(2.0)
    assert refused(player) == "too late"
    assert (game.events, connected(world)) == ([], [])


def test_a_token_that_comes_too_late_opens_nothing() -> None:
    world, game = new_world()
    player = world.join()
    player.relink(LinkConditions(latency=0.5))
    world.run(PATIENCE - 0.2)
    player.send(token(world, "Ada"))
    world.run(3.0)
    assert refused(player) == "too late"
    assert (game.events, connected(world)) == ([], [])


def test_a_client_has_one_try() -> None:
    world, game = new_world()
    player = world.join()
    player.send(b"nonsense")
    player.send(token(world, "Ada"))
    world.run(1.5)
    assert refused(player) == "not a token"
    assert (game.events, connected(world)) == ([], [])


def test_the_newer_connection_of_a_player_ends_the_older_one() -> None:
    world, game = new_world()
    old, new = world.join(), world.join()
    old.send(token(world, "Ada"))
    world.run(0.5)
    new.send(token(world, "Ada"))
    world.run(1.5)
    assert game.events == [("joined", "Ada"), ("left", "Ada"), ("joined", "Ada")]
    assert connected(world) == [new.token]


def test_who_waits_at_the_gate_and_leaves_was_never_in_the_game() -> None:
    world, game = new_world()
    player = world.join()
    assert player.connection is not None
    player.connection.disconnect(world.now)
    world.run(PATIENCE + 1)
    assert game.events == []
