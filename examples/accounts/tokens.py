"""Tokens: the account service's word that somebody is who they say, good for one entrance.

A token holds the player's name, which game it is for, when it ends, and a number of its own. The
service signs it; a game server has the public half of the key only, so who breaks into it can
make no tokens. It is

    base64url(body) "." base64url(signature of CONTEXT + body)

A token is used once: the game server remembers its number until it has ended. What was issued
before the server started is refused, because what was used then is forgotten.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from dataclasses import dataclass

from mpgameserver import EllipticCurvePrivateKey, EllipticCurvePublicKey, InvalidSignature

LIFETIME = 30.0
"""Seconds from issue to end: what a slow connection needs, and little for a thief."""
MAX_SKEW = 5.0
"""Seconds by which the clock of the service may be ahead of that of the game server."""
MAX_TOKEN_BYTES = 512

_CONTEXT = b"mpgameserver example: token for a game, version 1\0"
_BODY = struct.Struct("!32s16sQ")  # game, number, end in milliseconds; then the name


class TokenError(Exception):
    """A token that is not accepted, and why."""


@dataclass(frozen=True)
class Token:
    """The content of a token."""

    player: str
    game: bytes
    number: bytes
    end: float
    """In seconds since the epoch, as all times here."""

    def encode(self) -> bytes:
        """The bytes that are signed, but for the context."""
        return _BODY.pack(self.game, self.number, round(self.end * 1000)) + self.player.encode()

    @classmethod
    def decode(cls, body: bytes) -> Token:
        """Decode the signed part of a token."""
        game, number, end = _BODY.unpack(body[: _BODY.size])
        return cls(body[_BODY.size :].decode(), game, number, end / 1000)


def game_of(key: EllipticCurvePublicKey) -> bytes:
    """Return a game's identifier in tokens: the fingerprint of its server's public key."""
    return hashlib.sha256(key.getBytes()).digest()


class TokenMaker:
    """The service's side."""

    def __init__(self, key: EllipticCurvePrivateKey, game: bytes) -> None:
        self._key, self._game = key, game

    def issue(self, player: str, now: float) -> bytes:
        """A new token for a player who has just proved who they are."""
        body = Token(player, self._game, os.urandom(16), now + LIFETIME).encode()
        signature = self._key.sign(_CONTEXT + body)
        return base64.urlsafe_b64encode(body) + b"." + base64.urlsafe_b64encode(signature)


class TokenChecker:
    """The game server's side."""

    def __init__(self, key: EllipticCurvePublicKey, game: bytes, now: float) -> None:
        self._key, self._game, self._start = key, game, now
        self._used: dict[bytes, float] = {}
        """The end of each token that was used, by number; the first used first."""

    def use(self, data: bytes, now: float) -> str:
        """The player whose token it is. TokenError unless it is good, and used for the first time.

        What counts as used is the number in what was signed: the same token can be written in
        other bytes, for neither base64 nor the signature has only one form.
        """
        token = self._opened(data)
        if token.game != self._game:
            raise TokenError("for another game")
        if token.end <= now:
            raise TokenError("expired")
        if token.end > now + LIFETIME + MAX_SKEW:
            raise TokenError("from the future")
        if token.end - LIFETIME < self._start:
            raise TokenError("older than this server")
        self._forget(now)
        if token.number in self._used:
            raise TokenError("used before")
        self._used[token.number] = token.end
        return token.player

    def _opened(self, data: bytes) -> Token:
        """Return the content of a token that the service has signed."""
        try:
            if len(data) > MAX_TOKEN_BYTES:
                raise ValueError("too long")
            body, signature = map(_base64_decoded, data.split(b"."))
            self._key.verify(signature, _CONTEXT + body)
            return Token.decode(body)
        except InvalidSignature:
            raise TokenError("forged") from None
        except (ValueError, struct.error):
            raise TokenError("not a token") from None

    def _forget(self, now: float) -> None:
        """Forget numbers whose tokens have ended; it is enough to look at the first ones."""
        while self._used:
            number, end = next(iter(self._used.items()))
            if end > now:
                return
            del self._used[number]


def _base64_decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
