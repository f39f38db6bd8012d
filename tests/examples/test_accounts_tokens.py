"""The example with accounts: which tokens open the gate."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given
from hypothesis import strategies as st

from accounts.tokens import (
    LIFETIME,
    MAX_SKEW,
    MAX_TOKEN_BYTES,
    Token,
    TokenChecker,
    TokenError,
    TokenMaker,
    game_of,
)
from mpgameserver import EllipticCurvePrivateKey

START = 1_700_000_000.0
NOW = START + 100
SERVICE_KEY = EllipticCurvePrivateKey.new()
GAME = game_of(EllipticCurvePrivateKey.new().getPublicKey())
OTHER_GAME = game_of(EllipticCurvePrivateKey.new().getPublicKey())
ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def checker() -> TokenChecker:
    return TokenChecker(SERVICE_KEY.getPublicKey(), GAME, START)


def token(player: str = "Ada", issued: float = NOW, game: bytes = GAME) -> bytes:
    return TokenMaker(SERVICE_KEY, game).issue(player, issued)


def refusal(checker: TokenChecker, data: bytes, now: float = NOW) -> str:
    """Why a token is refused, which it must be."""
    with pytest.raises(TokenError) as refused:
        checker.use(data, now)
    return str(refused.value)


def test_a_good_token_says_whose_it_is(checker: TokenChecker) -> None:
    assert checker.use(token("Ada"), NOW) == "Ada"
    assert checker.use(token("Bob"), NOW + LIFETIME / 2) == "Bob"


def test_it_is_good_until_its_last_moment(checker: TokenChecker) -> None:
    assert checker.use(token(), NOW + LIFETIME - 0.01) == "Ada"


def test_then_it_has_expired(checker: TokenChecker) -> None:
    assert refusal(checker, token(), NOW + LIFETIME) == "expired"


def test_it_is_good_once(checker: TokenChecker) -> None:
    data = token()
    checker.use(data, NOW)
    assert refusal(checker, data) == "used before"
    assert refusal(checker, data, NOW + LIFETIME - 0.01) == "used before"
    assert refusal(checker, data, NOW + LIFETIME) == "expired"


def test_two_tokens_of_one_player_are_good_once_each(checker: TokenChecker) -> None:
    assert [checker.use(token(), NOW), checker.use(token(), NOW)] == ["Ada", "Ada"]


def test_the_same_token_in_other_bytes_is_the_same_token(checker: TokenChecker) -> None:
    data = token()
    checker.use(data, NOW)
    body, signature = data.split(b".")
    r, s = decode_dss_signature(base64.urlsafe_b64decode(signature))
    twin = base64.urlsafe_b64encode(encode_dss_signature(r, ORDER_OF_P256 - s))
    assert twin != signature
    assert refusal(checker, body + b"." + twin) == "used before"


def test_a_token_that_was_refused_is_not_used_up(checker: TokenChecker) -> None:
    data = token(issued=NOW + 2 * LIFETIME)
    assert refusal(checker, data) == "from the future"
    assert checker.use(data, NOW + 2 * LIFETIME) == "Ada"


def test_it_is_good_for_one_game_server_only(checker: TokenChecker) -> None:
    assert refusal(checker, token(game=OTHER_GAME)) == "for another game"


def test_a_clock_that_is_a_little_ahead_does_no_harm(checker: TokenChecker) -> None:
    assert checker.use(token(issued=NOW + MAX_SKEW - 0.01), NOW) == "Ada"
    assert refusal(checker, token(issued=NOW + MAX_SKEW + 0.01)) == "from the future"


def test_what_was_issued_before_the_server_started_is_refused(checker: TokenChecker) -> None:
    data = token(issued=START - 1)
    assert refusal(checker, data, START + 1) == "older than this server"


def test_numbers_are_forgotten_when_their_tokens_have_ended(checker: TokenChecker) -> None:
    for second in range(100):
        checker.use(token(issued=NOW + second), NOW + second)
    assert len(checker._used) == LIFETIME


class TestForgery:
    def test_a_token_of_another_key_is_forged(self, checker: TokenChecker) -> None:
        other = TokenMaker(EllipticCurvePrivateKey.new(), GAME)
        assert refusal(checker, other.issue("Ada", NOW)) == "forged"

    def test_another_name_under_a_signature_is_forged(self, checker: TokenChecker) -> None:
        body, signature = token("Bob").split(b".")
        renamed = base64.urlsafe_b64decode(body).replace(b"Bob", b"Ada")
        assert refusal(checker, base64.urlsafe_b64encode(renamed) + b"." + signature) == "forged"

    def test_what_the_key_has_signed_for_something_else_is_forged(
        self, checker: TokenChecker
    ) -> None:
        body = Token("Ada", GAME, bytes(16), NOW + LIFETIME).encode()
        parts = [base64.urlsafe_b64encode(part) for part in (body, SERVICE_KEY.sign(body))]
        assert refusal(checker, b".".join(parts)) == "forged"

    @given(place=st.integers(0, 1000), bit=st.integers(0, 7))
    def test_one_flipped_bit_opens_nothing(self, place: int, bit: int) -> None:
        checker = TokenChecker(SERVICE_KEY.getPublicKey(), GAME, START)
        parts = [bytearray(base64.urlsafe_b64decode(part)) for part in token().split(b".")]
        where = place % sum(map(len, parts))
        part = parts[0] if where < len(parts[0]) else parts[1]
        part[where % len(parts[0]) if part is parts[0] else where - len(parts[0])] ^= 1 << bit
        refusal(checker, b".".join(base64.urlsafe_b64encode(bytes(part)) for part in parts))

    @pytest.mark.parametrize(
        "data",
        [b"", b".", b"..", b"Ada", b"\x00\xff.\xff", token()[:-3], token() + b"." + token()],
    )
    def test_what_is_no_token_is_refused(self, checker: TokenChecker, data: bytes) -> None:
        assert refusal(checker, data) in ("not a token", "forged")

    def test_what_is_too_long_is_not_looked_at(self, checker: TokenChecker) -> None:
        assert refusal(checker, token("x" * MAX_TOKEN_BYTES)) == "not a token"

    @given(data=st.binary(max_size=200))
    def test_any_bytes_are_a_token_error(self, data: bytes) -> None:
        checker = TokenChecker(SERVICE_KEY.getPublicKey(), GAME, START)
        refusal(checker, data)
