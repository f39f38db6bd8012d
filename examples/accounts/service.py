"""The account service: accounts, and tokens for those who know a password. Without HTTP.

    POST /accounts   {"name": …, "password": …}   -> 201 {"name": …}
    POST /tokens     {"name": …, "password": …}   -> 200 {"name": …, "token": …, "game": …}

`game` says where the game server is, and by which public key it is known: what comes over HTTPS
can be trusted, so players need to have nothing but the certificate's authority.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from accounts.attempts import Attempts
from accounts.store import Accounts, NameTakenError
from accounts.tokens import TokenMaker
from mpgameserver import EllipticCurvePublicKey


@dataclass(frozen=True)
class GameAddress:
    """The game server's address and public key, as a player needs them."""

    host: str
    port: int
    key: EllipticCurvePublicKey

    def as_json(self) -> dict[str, object]:
        """For the json module."""
        return {"host": self.host, "port": self.port, "key": self.key.getPublicKeyPEM()}


@dataclass(frozen=True)
class Answer:
    """The response to a request."""

    status: HTTPStatus
    body: Mapping[str, object]


class Service:
    """Answers requests. May be used from any thread; times are those of the wall clock."""

    def __init__(self, accounts: Accounts, tokens: TokenMaker, game: GameAddress) -> None:
        self._accounts, self._tokens, self._game = accounts, tokens, game
        self._attempts = Attempts()

    def answer(self, path: str, request: object, host: str, now: float) -> Answer:
        """The answer to what a host has posted; `request` is what its JSON says."""
        handlers = {"/accounts": self._register, "/tokens": self._log_in}
        if path not in handlers:
            return _refusal(HTTPStatus.NOT_FOUND, "no such page")
        match request:
            case {"name": str(name), "password": str(password)}:
                if self._attempts.allow(host, now):
                    return handlers[path](name, password, now)
                return _refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many attempts")
        return _refusal(HTTPStatus.BAD_REQUEST, "a name and a password are wanted")

    def _register(self, name: str, password: str, now: float) -> Answer:
        try:
            self._accounts.add(name, password)
        except ValueError as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
        except NameTakenError:
            return _refusal(HTTPStatus.CONFLICT, "that name is taken")
        return Answer(HTTPStatus.CREATED, {"name": name})

    def _log_in(self, name: str, password: str, now: float) -> Answer:
        player = self._accounts.name_of(name, password)
        if player is None:
            return _refusal(HTTPStatus.UNAUTHORIZED, "no such name, or another password")
        token = self._tokens.issue(player, now).decode()
        body = {"name": player, "token": token, "game": self._game.as_json()}
        return Answer(HTTPStatus.OK, body)


def _refusal(status: HTTPStatus, reason: str) -> Answer:
    return Answer(status, {"error": reason})
