"""Half-open sessions of protocol 2: how they are found, and what goes when there are too many."""

from __future__ import annotations

import random

import pytest

from mpgameserver.server.half_open2 import (
    MAX_PER_ADDRESS,
    MAX_PER_ADDRESS_WITHOUT_COOKIE,
    HalfOpenSession2,
    HalfOpenTable2,
)
from mpgameserver.server.limits import Limits
from mpgameserver.transport.address import host_of
from mpgameserver.wire.protocol2.keys import SessionSecrets, TrafficSecret

SECRETS = SessionSecrets(TrafficSecret(bytes(32)), TrafficSecret(bytes(32)), bytes(32))
ADDRESS = ("192.0.2.1", 5000)


class Opener:
    """Opens half-open sessions in a table, each with a transcript and an id of its own."""

    def __init__(self, limits: Limits | None = None, seed: int = 0) -> None:
        self.table = HalfOpenTable2(limits or Limits(), random.Random(seed))
        self.count = 0

    def open(self, address=ADDRESS, *, has_cookie=False, client=b"key", now=0.0):
        self.count += 1
        name = self.count.to_bytes(8, "big")
        host = host_of(address)
        one = HalfOpenSession2(
            address, host, client, name, name, SECRETS, False, b"answer", has_cookie, now
        )
        self.table.add(one)
        return one

    def has_room(self, address=ADDRESS) -> bool:
        return self.table.has_room(address, host_of(address))


@pytest.fixture
def opener(seed: int) -> Opener:
    return Opener(seed=seed)


def is_empty(table: HalfOpenTable2) -> bool:
    indexes = (table._all, table._by_id, table._by_client, table._by_address, table._by_host)
    return not any(indexes)


def test_it_is_found_by_transcript_and_by_id(opener):
    one, other = opener.open(), opener.open()
    assert opener.table.get(one.transcript) is one
    assert opener.table.with_id(other.connection_id) is other
    assert opener.table.get(b"") is opener.table.with_id(b"") is None
    assert opener.table.all() == (one, other)


def test_all_of_a_client_go_together(opener):
    kept = opener.open(client=b"another")
    for port in range(5):
        opener.open(("192.0.2.1", port))
    opener.table.remove_client(b"key")
    assert opener.table.all() == (kept,)
    opener.table.remove_client(b"another")
    opener.table.remove_client(b"another")
    assert is_empty(opener.table)


def test_the_oldest_expire_first(opener):
    ones = [opener.open(now=now) for now in (1.0, 2.0, 2.0, 3.0)]
    opener.table.expire(2.0)
    assert opener.table.all() == tuple(ones[1:])
    opener.table.expire(4.0)
    assert is_empty(opener.table)


class TestWithoutCookie:
    def test_an_address_has_room_for_a_few(self, opener):
        for _ in range(MAX_PER_ADDRESS_WITHOUT_COOKIE):
            assert opener.has_room()
            opener.open()
        assert not opener.has_room()
        assert opener.has_room(("192.0.2.1", 5001))
        assert opener.table.evicted == 0

    def test_those_with_a_cookie_do_not_count_among_the_few(self, opener):
        for _ in range(MAX_PER_ADDRESS - 1):
            opener.open(has_cookie=True)
        assert opener.has_room()
        opener.open(has_cookie=True)
        assert not opener.has_room(), "none with a cookie goes for one without"

    @pytest.mark.parametrize(
        ("limits", "free"),
        [
            (Limits(half_open=20), None),
            (Limits(half_open_per_host=20), ("192.0.2.2", 5000)),
        ],
        ids=["in all", "per host"],
    )
    def test_there_is_none_where_all_room_is_taken(self, limits, free):
        opener = Opener(limits)
        for port in range(20):
            assert opener.has_room()
            opener.open(("192.0.2.1", port))
        assert not opener.has_room(("192.0.2.1", 6000))
        assert free is None or opener.has_room(free)

    def test_a_48_of_ipv6_has_the_room_of_four_hosts(self):
        opener = Opener(Limits(half_open_per_host=5))
        for net in range(20):
            assert opener.has_room((f"2001:db8:1:{net << 8:x}::1", 5000))
            opener.open((f"2001:db8:1:{net << 8:x}::1", 5000))
        assert not opener.has_room(("2001:db8:1:ffff::1", 5000))
        assert opener.has_room(("2001:db8:2::1", 5000))


class TestWithCookie:
    @pytest.mark.parametrize(
        "limits", [Limits(half_open=20), Limits(half_open_per_host=20)], ids=["in all", "per host"]
    )
    def test_those_without_one_go_first(self, limits, seed):
        opener = Opener(limits, seed)
        with_cookie = [opener.open(("192.0.2.1", port), has_cookie=True) for port in range(10)]
        for port in range(10):
            opener.open(("192.0.2.1", 100 + port))
        with_cookie += [opener.open(("192.0.2.1", 200 + p), has_cookie=True) for p in range(10)]
        assert opener.table.all() == tuple(with_cookie)
        assert opener.table.evicted == 10

    def test_an_address_has_64_and_then_a_random_one_goes(self, opener):
        ones = [opener.open(has_cookie=True) for _ in range(2 * MAX_PER_ADDRESS)]
        assert len(opener.table) == MAX_PER_ADDRESS == opener.table.evicted
        assert opener.table.all() != tuple(ones[MAX_PER_ADDRESS:]), "not the oldest ones"
        assert ones[-1] in opener.table.all()

    def test_one_that_was_repeated_goes_less_often(self, seed):
        survived = 0
        for each in range(40):
            opener = Opener(Limits(half_open=2), seed + each)
            one = opener.open(has_cookie=True)
            opener.open(("192.0.2.2", 1), has_cookie=True)
            one.answers = 2
            opener.open(("192.0.2.3", 1), has_cookie=True)
            survived += one in opener.table.all()
        assert survived > 23
