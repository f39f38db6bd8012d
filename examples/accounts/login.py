"""The player's side of the account service: a password in, a ticket for the game out."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from accounts.files import Files
from mpgameserver import EllipticCurvePublicKey

TIMEOUT = 10.0


class LoginError(Exception):
    """The service has refused, or cannot be reached."""


@dataclass(frozen=True)
class Ticket:
    """Everything that it takes to get into the game."""

    name: str
    token: bytes
    server: tuple[str, int]
    key: EllipticCurvePublicKey


class AccountService:
    """The service at a URL, whose certificate must be the one that is given."""

    def __init__(self, url: str, files: Files) -> None:
        self.url = url
        self._tls = ssl.create_default_context(cafile=files.certificate)

    def register(self, name: str, password: str) -> None:
        """Make an account. LoginError if that cannot be."""
        self._post("/accounts", name, password)

    def log_in(self, name: str, password: str) -> Ticket:
        """A ticket, to be used at once. LoginError if there is none to be had."""
        answer = self._post("/tokens", name, password)
        game = answer["game"]
        key = EllipticCurvePublicKey.fromPEM(game["key"])
        return Ticket(answer["name"], answer["token"].encode(), (game["host"], game["port"]), key)

    def _post(self, path: str, name: str, password: str) -> Any:
        body = json.dumps({"name": name, "password": password}).encode()
        request = urllib.request.Request(self.url + path, body)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT, context=self._tls) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise LoginError(_reason_of(error)) from None
        except OSError as error:  # an URLError, or what reading the answer raises
            reason = getattr(error, "reason", error)
            raise LoginError(f"no account service: {reason}") from None


def _reason_of(error: urllib.error.HTTPError) -> str:
    """Return the service's reason; something else may have replied in its place."""
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
