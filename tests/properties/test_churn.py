"""Clients that come, play, vanish and return while servers stop and start, on real sockets."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from churn import churning, words
from churn.churning import Churn
from churn.room import Room
from churn.words import NOBODY, Word

from mpgameserver import DisconnectReason, EllipticCurvePrivateKey, UdpClient

MAX_TRACED_GROWTH = 64 * 1024
"""Bytes that Python may hold more at the last rest than at the first: free lists and counters.
Some 800 sessions come and go in between, so that 100 bytes of each would be found."""
MAX_HEAP_GROWTH = 1024 * 1024
"""Bytes that C code may hold more: a kilobyte of each session would be found."""
MAX_RESIDENT_GROWTH = 16 * 1024 * 1024
"""Bytes that the process may grow from the first rest on: the allocator's fragments."""


def check(churn: Churn) -> None:
    """All is well, and nothing has grown from rest to rest.

    The first round is left out: what is made once may be made in it.
    """
    assert churn.breaches == []
    first, last = churn.rests[1], churn.rests[-1]
    assert {(rest.files, rest.threads) for rest in churn.rests} == {(first.files, first.threads)}
    assert last.traced - first.traced < MAX_TRACED_GROWTH
    assert last.heap - first.heap < MAX_HEAP_GROWTH
    assert last.resident - first.resident < MAX_RESIDENT_GROWTH


def test_a_few_clients_leave_nothing_behind(seed: int) -> None:
    with Churn(clients=12, seed=seed) as churn:
        for _ in range(3):
            churn.run(seconds=1.0)
        print(churn.report())
    check(churn)
    assert churn.player_events["connected"] >= 6
    assert churn.player_events["answer"] >= 6


@pytest.mark.extra
def test_64_clients_leave_nothing_behind(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    with Churn(clients=64, seed=seed) as churn:
        for _ in range(5):
            churn.run(seconds=12.0)
        with capsys.disabled():
            print(f"\n64 clients, two servers, 5 rounds of 12 s\n{churn.report()}")
    check(churn)
    assert churn.player_events["connected"] >= 320
    assert churn.room_events["stop"] >= 3
    assert churn.room_events["crash"] >= 1
    # Every way for a session to end has happened, but those that take a hostile client, another
    # game, or protocol 1, in which a session ends when another one begins at its address.
    hostile = {
        DisconnectReason.STALLED,
        DisconnectReason.EVICTED,
        DisconnectReason.PROTOCOL,
        DisconnectReason.CHANNELS,
        DisconnectReason.REFUSED,
        DisconnectReason.REPLACED,
    }
    rare = {DisconnectReason.KEY_LIMIT, DisconnectReason.PATH_MTU}
    happened = {DisconnectReason(reason) for reason, n in churn.reasons.items() if n}
    assert happened == {*DisconnectReason} - hostile - rare


class TestTheChecks:
    """Each breach, made by hand, is found."""

    TOKEN = 0x4000_0001

    @pytest.fixture
    def breaches(self) -> list[str]:
        return []

    def say(self, breaches: list[str], *said: bytes) -> None:
        """Have a room hear this from one client."""
        client = SimpleNamespace(token=self.TOKEN, speaker=None, heard=set())
        client.send = lambda *args: None
        room = Room(EllipticCurvePrivateKey.new(), 1, "checks", breaches)
        try:
            for message in said:
                room.handle_message(client, 1, message)  # type: ignore[arg-type]
        finally:
            room.close()

    def word(self, token: int = TOKEN, player: int = 1, life: int = 1, number: int = 1) -> bytes:
        return words.write(Word(token, player, life, number), 10)

    def test_a_session_of_its_own_is_no_breach(self, breaches: list[str]) -> None:
        self.say(breaches, self.word(), self.word(number=2))
        assert breaches == []

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"token": TOKEN + 1}, "in the session of"),
            ({"player": 2}, "in the session of"),
            ({"life": 2}, "in the session of"),
            ({}, "comes twice"),
        ],
    )
    def test_an_outsider_on_the_server(
        self, breaches: list[str], change: dict[str, int], expected: str
    ) -> None:
        self.say(breaches, self.word(), self.word(**change))
        assert expected in breaches[0]

    @pytest.mark.parametrize("at", [0, 5, 9, 20])
    def test_an_altered_byte(self, breaches: list[str], at: int) -> None:
        message = bytearray(self.word())
        message[at] ^= 1
        self.say(breaches, bytes(message))
        assert "nobody wrote" in breaches[0]

    @pytest.mark.parametrize(
        "message",
        [
            words.write(Word(TOKEN + 1, NOBODY, 0, 1), 10),
            words.write(Word(TOKEN, 4, 1, 1), 10),
            b"whatever",
        ],
        ids=["another session", "another player", "nobody's word"],
    )
    def test_an_outsider_on_a_client(self, seed: int, message: bytes) -> None:
        client = SimpleNamespace(getMessages=lambda: [(1, message)])
        with Churn(clients=2, seed=seed) as churn:
            player = churn._players[0]
            player._token = self.TOKEN
            player._listen(client)  # type: ignore[arg-type]
        assert "player 0 hears" in churn.breaches[0]

    @pytest.mark.parametrize(
        ("level", "line"),
        [(logging.ERROR, "raised"), (logging.INFO, "token 1073741825"), (logging.INFO, "b'\\x01'")],
    )
    def test_what_must_not_be_logged(self, seed: int, level: int, line: str) -> None:
        with Churn(clients=2, seed=seed) as churn:
            logging.getLogger("mpgameserver.server").log(level, line)
        assert line in churn.breaches[0]

    def test_a_client_that_is_not_let_go(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(churning, "REST_LIMIT", 0.0)
        with Churn(clients=2, seed=seed) as churn:
            kept = UdpClient()
            churn.run(seconds=0.0)
            assert kept.token() == 0
        assert any("'UdpClient': 1" in breach for breach in churn.breaches)
