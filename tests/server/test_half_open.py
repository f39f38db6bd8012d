"""Half-open sessions: what they take, and what goes when there are too many."""

from __future__ import annotations

import gc
import random

import pytest

from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.server.half_open import HalfOpenSession, HalfOpenTable
from mpgameserver.server.limits import Limits
from mpgameserver.wire.handshake import ServerHello

KEY = EllipticCurvePrivateKey.new()
PUBLIC_KEY = KEY.getPublicKey()
FIRST_TOKEN = 1 << 30


class Opener:
    """Opens half-open sessions, one after the other, with client keys and tokens of their own."""

    def __init__(self) -> None:
        self.count = 0

    def open(self, host: str = "192.0.2.1", port: int = 5000, now: float = 0.0) -> HalfOpenSession:
        self.count += 1
        hello = ServerHello.create(KEY, PUBLIC_KEY, bytes(16), FIRST_TOKEN + self.count)
        return HalfOpenSession((host, port), b"%d" % self.count, KEY, hello, now, 1e9)


@pytest.fixture
def opener() -> Opener:
    return Opener()


def filled(opener: Opener, count: int, limits: Limits, **where: object) -> HalfOpenTable:
    table = HalfOpenTable(limits)
    for i in range(count):
        table.add(opener.open(**{"host": f"192.0.2.{i}", "port": i, **where}))
    return table


def test_it_is_found_by_address_and_client_key(opener: Opener) -> None:
    table = HalfOpenTable(Limits())
    first, second = opener.open(), opener.open()
    table.add(first)
    table.add(second)
    table.add(opener.open(port=5001))
    assert table.get(("192.0.2.1", 5000), b"1") is first
    assert table.get(("192.0.2.1", 5001), b"1") is None
    assert table.at(("192.0.2.1", 5000)) == (first, second)
    assert table.at(("192.0.2.9", 5000)) == ()
    assert table.has_token(FIRST_TOKEN + 1)


def test_nothing_is_left_of_one_that_was_removed(opener: Opener) -> None:
    table = HalfOpenTable(Limits())
    half_open = opener.open()
    table.add(half_open)
    table.remove(half_open)
    assert len(table) == 0
    assert table.at(half_open.address) == ()
    assert not table.has_token(half_open.token)
    assert not table._by_host
    assert not table._by_address


def test_where_there_are_too_many_random_ones_are_evicted(opener: Opener, seed: int) -> None:
    survived = 0
    for each in range(40):
        table = HalfOpenTable(Limits(half_open=20), random.Random(seed + each))
        first = opener.open()
        table.add(first)
        for i in range(39):
            table.add(opener.open(f"192.0.2.{i}", i))
        assert (len(table), table.evicted) == (20, 20)
        survived += table.get(first.address, first.client_key_der) is first
    assert 6 < survived < 26


def test_one_whose_hello_was_repeated_is_seldom_evicted(opener: Opener, seed: int) -> None:
    survived = 0
    for each in range(20):
        table = HalfOpenTable(Limits(half_open_per_address=20), random.Random(seed + each))
        repeated = opener.open()
        for now in (0.0, 0.25):
            repeated.answer(1, now)
        table.add(repeated)
        for _ in range(39):
            table.add(opener.open())
        survived += table.get(repeated.address, repeated.client_key_der) is repeated
    assert survived > 15


def test_one_host_pushes_out_only_its_own(opener: Opener) -> None:
    limits = Limits(half_open_per_host=3)
    table = filled(opener, 2, limits)
    for port in range(50):
        table.add(opener.open("198.51.100.1", port))
    assert len(table) == 5
    assert table.at(("192.0.2.0", 0)) != ()


def test_the_ipv6_hosts_of_a_64_count_as_one(opener: Opener) -> None:
    table = HalfOpenTable(Limits(half_open_per_host=3))
    for i in range(10):
        table.add(opener.open(f"2001:db8:0:1::{i}"))
    table.add(opener.open("2001:db8:0:2::1"))
    assert len(table) == 4


def test_a_56_and_a_48_have_a_few_shares(opener: Opener) -> None:
    table = HalfOpenTable(Limits(half_open_per_host=3))
    for i in range(32):
        for j in range(3):
            table.add(opener.open(f"2001:db8:0:{i:x}::{j}"))
    assert len(table) == 2 * 3
    for i in range(64):
        table.add(opener.open(f"2001:db8:0:{i:x}00::1"))
    assert len(table) == 4 * 3
    while table.all():
        table.remove(table.all()[0])
    assert not table._by_host


def test_one_address_pushes_out_only_its_own(opener: Opener) -> None:
    table = HalfOpenTable(Limits(half_open_per_address=2))
    neighbour = opener.open(port=1)
    table.add(neighbour)
    for _ in range(10):
        table.add(opener.open(port=2))
    assert len(table.at(("192.0.2.1", 2))) == 2
    assert table.at(("192.0.2.1", 1)) == (neighbour,)


def test_a_cap_that_is_lowered_holds_for_the_next_that_is_added(opener: Opener) -> None:
    table = filled(opener, 10, Limits())
    table.limits = Limits(half_open=3)
    assert len(table) == 10
    table.add(opener.open())
    assert len(table) == 3
    assert table.evicted == 8


def test_without_a_key_nothing_proves_it(opener: Opener) -> None:
    answer = ServerHello.create(KEY, PUBLIC_KEY, bytes(16), FIRST_TOKEN)
    address = ("192.0.2.1", 5000)
    half_open = HalfOpenSession(address, PUBLIC_KEY.getBytes(), KEY, answer, 0.0, 1e9)
    assert not half_open.has_key
    assert half_open.establish(b"FSOS" + bytes(40), 0.0) is None
    half_open.exchange()
    assert half_open.has_key


def test_a_flood_of_them_leaves_little_for_the_garbage_collector_to_visit() -> None:
    """A pause of all sessions is as long as there are tracked objects, so each of them counts."""

    def opened(number: int) -> HalfOpenSession:
        key = EllipticCurvePrivateKey.new()
        hello = ServerHello.create(KEY, key.getPublicKey(), bytes(16), FIRST_TOKEN + number)
        address = (f"192.0.2.{number}", 5000)
        return HalfOpenSession(address, key.getPublicKey().getBytes(), key, hello, 0.0, 1e9)

    table = HalfOpenTable(Limits())
    table.add(opened(0))
    gc.disable()
    try:
        before = len(gc.get_objects())
        for number in range(1, 101):
            table.add(opened(number))
        assert len(gc.get_objects()) - before <= 5 * 100
    finally:
        gc.enable()


def test_they_expire(opener: Opener) -> None:
    table = HalfOpenTable(Limits())
    for now in (1.0, 2.0, 3.0):
        table.add(opener.open(now=now))
    table.expire(2.0)
    assert [half_open.now for half_open in table.all()] == [2.0, 3.0]
    table.expire(10.0)
    assert len(table) == 0


def test_the_repr_shows_no_key_and_no_token(opener: Opener) -> None:
    half_open = opener.open()
    assert str(half_open.token) not in repr(half_open)
    assert "PrivateKey" not in repr(half_open)
