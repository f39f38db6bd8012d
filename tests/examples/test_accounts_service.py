"""The example with accounts: passwords, accounts, and what the service answers."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import pytest

from accounts.attempts import MAX_ATTEMPTS, MAX_HOSTS, WINDOW, Attempts
from accounts.passwords import Cost, hashed, is_right
from accounts.service import GameAddress, Service
from accounts.store import Accounts, NameTakenError
from accounts.tokens import TokenChecker, TokenMaker, game_of
from mpgameserver import EllipticCurvePrivateKey, EllipticCurvePublicKey

CHEAP = Cost(log_n=4, p=1)
NOW = 1_700_000_000.0
PASSWORD = "correct horse"
HOST = "192.0.2.1"
ADA = {"name": "Ada", "password": PASSWORD}


class TestPasswords:
    def test_the_right_one_is_right_and_others_are_not(self) -> None:
        kept = hashed(PASSWORD, CHEAP)
        assert is_right(PASSWORD, kept)
        for other in ("", "correct hors", "correct horse ", "Correct horse"):
            assert not is_right(other, kept)

    def test_nothing_of_it_is_kept_and_nothing_tells_two_that_are_the_same(self) -> None:
        kept = [hashed(PASSWORD, CHEAP) for _ in range(2)]
        assert kept[0] != kept[1]
        assert PASSWORD not in kept[0]

    def test_what_it_costs_is_kept_with_it_so_that_it_can_be_raised(self) -> None:
        assert hashed(PASSWORD, CHEAP).startswith("4$8$1$")
        assert is_right(PASSWORD, hashed(PASSWORD))

    def test_any_characters_can_be_in_it(self) -> None:
        assert is_right("пароль ☃", hashed("пароль ☃", CHEAP))


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path / "accounts.db", CHEAP)


class TestAccounts:
    def test_who_knows_the_password_has_the_account(self, accounts: Accounts) -> None:
        accounts.add("Ada", PASSWORD)
        assert accounts.name_of("Ada", PASSWORD) == "Ada"
        assert accounts.name_of("Ada", "wrong horse") is None
        assert accounts.name_of("Bob", PASSWORD) is None

    def test_the_password_of_nobody_opens_nothing(self, accounts: Accounts) -> None:
        assert accounts.name_of("Bob", "") is None

    def test_they_outlive_the_program(self, accounts: Accounts, tmp_path: Path) -> None:
        accounts.add("Ada", PASSWORD)
        assert Accounts(tmp_path / "accounts.db", CHEAP).name_of("Ada", PASSWORD) == "Ada"

    def test_a_name_is_had_once_however_it_is_written(self, accounts: Accounts) -> None:
        accounts.add("Ada", PASSWORD)
        with pytest.raises(NameTakenError):
            accounts.add("ADA", "another horse")
        assert accounts.name_of("aDa", PASSWORD) == "Ada"

    @pytest.mark.parametrize(
        "name", ["", "x" * 17, "Ada B", "Ada\n", "\N{CYRILLIC CAPITAL LETTER A}da", "<b>"]
    )
    def test_names_that_could_be_taken_for_others_cannot_be_had(
        self, accounts: Accounts, name: str
    ) -> None:
        with pytest.raises(ValueError, match="a name has"):
            accounts.add(name, PASSWORD)

    @pytest.mark.parametrize("password", ["", "x" * 7, "x" * 129])
    def test_a_password_is_neither_short_nor_endless(
        self, accounts: Accounts, password: str
    ) -> None:
        with pytest.raises(ValueError, match="a password has"):
            accounts.add("Ada", password)


class TestAttempts:
    def test_a_host_has_so_many_in_a_minute(self) -> None:
        attempts = Attempts()
        assert all(attempts.allow(HOST, NOW + second) for second in range(MAX_ATTEMPTS))
        assert not attempts.allow(HOST, NOW + WINDOW - 0.1)
        assert attempts.allow(HOST, NOW + WINDOW)
        assert not attempts.allow(HOST, NOW + WINDOW + 0.5)
        assert attempts.allow(HOST, NOW + WINDOW + 1)

    def test_one_host_takes_none_from_another(self) -> None:
        attempts = Attempts()
        for _ in range(2 * MAX_ATTEMPTS):
            attempts.allow(HOST, NOW)
        assert attempts.allow("192.0.2.2", NOW)

    def test_no_more_hosts_are_remembered_than_that(self) -> None:
        attempts = Attempts()
        for number in range(MAX_HOSTS + 50):
            attempts.allow(str(number), NOW)
        assert len(attempts._times) == MAX_HOSTS


class TestService:
    @pytest.fixture
    def service(self, accounts: Accounts) -> Service:
        self.key = EllipticCurvePrivateKey.new()
        self.game_key = EllipticCurvePrivateKey.new().getPublicKey()
        maker = TokenMaker(self.key, game_of(self.game_key))
        return Service(accounts, maker, GameAddress("game.example", 1474, self.game_key))

    def test_gives_a_token_to_who_knows_the_password(self, service: Service) -> None:
        assert service.answer("/accounts", ADA, HOST, NOW).status == HTTPStatus.CREATED
        answer = service.answer("/tokens", ADA | {"name": "ada"}, HOST, NOW)
        assert answer.status == HTTPStatus.OK
        checker = TokenChecker(self.key.getPublicKey(), game_of(self.game_key), NOW)
        assert checker.use(str(answer.body["token"]).encode(), NOW) == "Ada"

    def test_says_where_the_game_is_and_how_it_is_known(self, service: Service) -> None:
        service.answer("/accounts", ADA, HOST, NOW)
        game = service.answer("/tokens", ADA, HOST, NOW).body["game"]
        assert isinstance(game, dict)
        assert (game["host"], game["port"]) == ("game.example", 1474)
        assert EllipticCurvePublicKey.fromPEM(game["key"]) == self.game_key

    def test_does_not_tell_whether_a_name_is_known(self, service: Service) -> None:
        service.answer("/accounts", ADA, HOST, NOW)
        wrong = service.answer("/tokens", ADA | {"password": "wrong horse"}, HOST, NOW)
        unknown = service.answer("/tokens", ADA | {"name": "Bob"}, HOST, NOW)
        assert wrong == unknown
        assert wrong.status == HTTPStatus.UNAUTHORIZED

    def test_gives_a_name_away_once(self, service: Service) -> None:
        service.answer("/accounts", ADA, HOST, NOW)
        assert service.answer("/accounts", ADA, HOST, NOW).status == HTTPStatus.CONFLICT

    def test_tires_of_who_guesses(self, service: Service) -> None:
        service.answer("/accounts", ADA, "192.0.2.2", NOW)
        for _ in range(MAX_ATTEMPTS):
            service.answer("/tokens", ADA | {"password": "guess"}, HOST, NOW)
        answer = service.answer("/tokens", ADA, HOST, NOW)
        assert answer.status == HTTPStatus.TOO_MANY_REQUESTS
        assert "token" not in answer.body

    @pytest.mark.parametrize(
        "request_", [None, [], "Ada", {}, {"name": "Ada"}, {"name": 1, "password": None}]
    )
    def test_refuses_what_makes_no_sense(self, service: Service, request_: object) -> None:
        for path in ("/accounts", "/tokens"):
            status = service.answer(path, request_, HOST, NOW).status
            assert status == HTTPStatus.BAD_REQUEST

    def test_has_two_pages(self, service: Service) -> None:
        assert service.answer("/", ADA, HOST, NOW).status == HTTPStatus.NOT_FOUND
