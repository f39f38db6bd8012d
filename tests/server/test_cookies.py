"""Cookies: the golden ones, how long they hold, and for whom."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from support.wire2 import tokens

from mpgameserver.server.cookies import EPOCH_SECONDS, Cookies, cookie_address

VECTORS = json.loads(Path(__file__).parents[1].joinpath("protocol2.json").read_text())["cookies"]
SECRET, ADDRESS, KEY = bytes(range(32)), b"\xc0\0\2\1\x13\x88", b"\4" + bytes(64)
NOW = 1234.5
EPOCH = 123


@pytest.fixture
def cookies() -> Cookies:
    return Cookies(SECRET)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["epoch"])
def test_the_golden_cookies(vector):
    secret, address, key, cookie = (
        bytes.fromhex(vector[name]) for name in ("secret", "address", "key", "cookie")
    )
    now = vector["epoch"] * EPOCH_SECONDS
    cookies = Cookies(secret)
    assert cookies.make(address, key, now) == cookie
    assert cookies.holds(cookie, address, key, now)


@pytest.mark.parametrize(
    ("host", "packed"),
    [("192.0.2.1", "c0000201"), ("2001:db8::1", "20010db8" + "00" * 11 + "01")],
)
def test_an_address_is_that_of_the_ip_packet_and_the_port(host, packed):
    assert cookie_address(ip_address(host), 5000).hex() == packed + "1388"


def test_a_cookie_holds_in_its_epoch_and_the_next(cookies):
    cookie = cookies.make(ADDRESS, KEY, NOW)
    held = [cookies.holds(cookie, ADDRESS, KEY, 10.0 * epoch) for epoch in range(EPOCH - 2, 400)]
    assert held == [False, False, True, True] + [False] * (len(held) - 4)
    assert cookies.holds(cookie, ADDRESS, KEY, 10.0 * (EPOCH + 2) - 1e-3)


def test_the_second_codec_agrees(cookies):
    for epoch in (0, 1, 255, 256, 257):
        made = cookies.make(ADDRESS, KEY, 10.0 * epoch)
        assert made == tokens.cookie(SECRET, epoch, ADDRESS, KEY)
        assert tokens.cookie_holds(made, SECRET, epoch + 1, ADDRESS, KEY)


def test_it_is_good_for_one_address_one_key_and_one_secret(cookies):
    cookie = cookies.make(ADDRESS, KEY, NOW)
    assert not cookies.holds(cookie, ADDRESS[:-1] + b"\x89", KEY, NOW)
    assert not cookies.holds(cookie, ADDRESS, KEY[:-1] + b"\1", NOW)
    assert not Cookies().holds(cookie, ADDRESS, KEY, NOW)


def test_other_bytes_are_no_cookie(cookies):
    cookie = cookies.make(ADDRESS, KEY, NOW)
    for other in (b"", cookie[:-1], cookie + b"\0", bytes(17), bytes(32)):
        assert not cookies.holds(other, ADDRESS, KEY, NOW)
    for bit in range(8 * len(cookie)):
        damaged = bytearray(cookie)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not cookies.holds(bytes(damaged), ADDRESS, KEY, NOW)


def test_the_epoch_before_the_first_is_none(cookies):
    """A clock that began at 0: the byte of an epoch -1 is refused like any other."""
    assert not any(cookies.holds(bytes([age]) + bytes(16), ADDRESS, KEY, 0.0) for age in range(256))


@pytest.mark.parametrize("secret", [b"", bytes(33)])
def test_a_secret_that_blake2s_does_not_take_is_refused_at_once(secret):
    with pytest.raises(ValueError, match=f"not {len(secret)}"):
        Cookies(secret)
