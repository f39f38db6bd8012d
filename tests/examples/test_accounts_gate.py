"""The example with accounts: the game server's gate, on a clock of its own."""

from __future__ import annotations

import pytest

from accounts.gate import ELSEWHERE, GuardedHandler
from accounts.tokens import LIFETIME, TokenChecker, TokenMaker, game_of
from mpgameserver import (
    CloseCode,
    ConnectFailure,
    EllipticCurvePrivateKey,
    ServerClient,
    ServerContext,
    UdpClient,
)
from mpgameserver.netsim import LinkConditions
from mpgameserver.testing import World

WALL = 1_700_000_000.0
SERVICE_KEY = EllipticCurvePrivateKey.new()
GAME_KEY = EllipticCurvePrivateKey.new()
GAME = game_of(GAME_KEY.getPublicKey())
PERFECT = LinkConditions()
BAD = LinkConditions(loss=0.2, latency=0.05, jitter=0.05)


class Game(GuardedHandler):
    """Writes down what gets through the gate; the time is the world's."""

    def __init__(self, conditions: LinkConditions = PERFECT, seed: int = 0) -> None:
        self.events: list[tuple[str, ...]] = []
        checker = TokenChecker(SERVICE_KEY.getPublicKey(), GAME, WALL)
        super().__init__(checker, self.wall_clock)
        self.world = World(ServerContext(self, GAME_KEY), conditions, seed)

    def wall_clock(self) -> float:
        return WALL + self.world.now

    def token(self, player: str = "Ada", age: float = 0.0) -> bytes:
        return TokenMaker(SERVICE_KEY, GAME).issue(player, self.wall_clock() - age)

    def refusal(self, token: bytes) -> str:
        """Why a player with that token does not get in."""
        client = self.world.client(credential=token)
        client.connect(self.world.address)
        self.world.run(1.5)
        assert client.failure is ConnectFailure.REJECTED
        assert client.reason is not None
        assert client.reason.code == CloseCode.REFUSED
        return client.reason.text

    def is_in(self, client: UdpClient) -> bool:
        return self.players == [self.world.server_client(client)]

    def joined(self, client: ServerClient) -> None:
        self.events.append(("joined", client.identity))

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        self.events.append(("said", client.identity, msg.decode()))

    def left(self, client: ServerClient) -> None:
        self.events.append(("left", client.identity))


@pytest.mark.parametrize("conditions", [PERFECT, BAD], ids=["perfect", "bad"])
def test_who_has_a_good_token_is_in_the_game(conditions: LinkConditions, seed: int) -> None:
    game = Game(conditions, seed)
    player = game.world.connect(credential=game.token())
    player.send(b"hello")
    game.world.run(3.0)
    assert game.events == [("joined", "Ada"), ("said", "Ada", "hello")]
    assert game.is_in(player)


def test_who_leaves_has_left_the_game() -> None:
    game = Game()
    game.world.connect(credential=game.token()).waitForDisconnect()
    game.world.run(0.5)
    assert game.events == [("joined", "Ada"), ("left", "Ada")]
    assert game.players == []


def test_a_forged_token_is_refused() -> None:
    game = Game()
    forger = TokenMaker(EllipticCurvePrivateKey.new(), GAME)
    assert game.refusal(forger.issue("Ada", game.wall_clock())) == "refused: forged"
    assert game.events == []


def test_an_expired_token_is_refused() -> None:
    game = Game()
    assert game.refusal(game.token(age=LIFETIME)) == "refused: expired"


@pytest.mark.parametrize("token", [b"", b"nonsense"])
def test_what_is_no_token_is_refused(token: bytes) -> None:
    game = Game()
    assert game.refusal(token) == "refused: not a token"
    assert game.events == []


def test_a_token_that_was_used_is_refused_and_harms_nobody_who_is_in() -> None:
    game = Game()
    token = game.token()
    player = game.world.connect(credential=token)
    assert game.refusal(token) == "refused: used before"
    assert game.events == [("joined", "Ada")]
    assert game.is_in(player)


def test_the_newer_connection_of_a_player_ends_the_older_one() -> None:
    game = Game()
    old, new = (game.world.connect(credential=game.token()) for _ in range(2))
    game.world.run(1.5)
    assert game.events == [("joined", "Ada"), ("left", "Ada"), ("joined", "Ada")]
    assert old.reason == (ELSEWHERE, "logged in elsewhere")
    assert game.is_in(new)
