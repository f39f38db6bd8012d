"""Which hello is answered first while more come than can be."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from mpgameserver.server.hello_queue import TURNS_PER_NEW_HELLO, WaitingHello, WaitingHellos
from mpgameserver.server.limits import Limits
from mpgameserver.wire.handshake import ClientHello


def hello(host: str = "192.0.2.1", port: int = 5000, key: bytes = b"key") -> WaitingHello:
    return WaitingHello(ClientHello(key), 1, (host, port), ip_address(host), 0.0, 0.0)


def crowd(count: int, first: int = 0) -> list[WaitingHello]:
    """Hellos of so many hosts."""
    return [hello(f"198.51.{i // 250}.{i % 250}") for i in range(first, first + count)]


def add_all(waiting: WaitingHellos, hellos: list[WaitingHello]) -> list[bool]:
    return [waiting.add(each) for each in hellos]


def test_they_are_taken_in_their_order() -> None:
    waiting, hellos = WaitingHellos(Limits()), crowd(5)
    assert all(add_all(waiting, hellos))
    assert len(waiting) == 5
    assert [waiting.pop() for _ in hellos] == hellos
    with pytest.raises(IndexError):
        waiting.pop()


def test_one_that_waits_already_waits_once() -> None:
    waiting = WaitingHellos(Limits())
    assert all(add_all(waiting, [hello()] * 5))
    assert len(waiting) == 1


def test_one_that_is_repeated_while_it_waits_overtakes_the_others() -> None:
    waiting, hellos = WaitingHellos(Limits()), crowd(5)
    add_all(waiting, hellos)
    waiting.add(hellos[3])
    assert waiting.pop() is hellos[3]


def test_one_without_room_is_remembered_and_preferred_when_it_is_repeated() -> None:
    waiting = WaitingHellos(Limits(waiting_hellos=4))
    add_all(waiting, crowd(10))
    assert waiting.put_off == 6
    again = crowd(10)[9]
    assert waiting.add(again)
    assert waiting.put_off == 5
    assert waiting.pop() is again


@pytest.mark.parametrize(
    "other",
    [hello(port=5001), hello(host="192.0.2.2"), hello(key=b"another")],
    ids=["port", "host", "key"],
)
def test_it_is_repeated_only_by_the_same_key_from_the_same_address(other: WaitingHello) -> None:
    waiting = WaitingHellos(Limits(waiting_hellos=1))
    add_all(waiting, crowd(1))
    assert not waiting.add(hello())
    assert not waiting.add(other)
    assert waiting.add(hello())


def test_how_many_are_remembered_is_bounded_and_random_ones_are_forgotten(seed: int) -> None:
    limits, survived = Limits(waiting_hellos=1, hellos_put_off=20), 0
    for each in range(100):
        waiting = WaitingHellos(limits, random.Random(seed + each))
        add_all(waiting, crowd(41))
        assert waiting.put_off == 20
        survived += waiting.add(crowd(2)[1])
    assert 20 < survived < 60


def test_new_ones_have_a_share_whoever_repeats() -> None:
    limits = Limits(waiting_hellos=100)
    waiting = WaitingHellos(limits)
    repeated, new = crowd(80), crowd(20, first=500)
    add_all(waiting, repeated)
    add_all(waiting, repeated)
    add_all(waiting, new)
    first = [waiting.pop() for _ in range(40)]
    assert len([each for each in first if each in new]) == 40 // TURNS_PER_NEW_HELLO


def test_a_host_that_floods_delays_only_itself() -> None:
    waiting = WaitingHellos(Limits(waiting_hellos=256, waiting_hellos_per_host=64))
    for _ in range(2):
        taken = add_all(waiting, [hello(port=1 + i) for i in range(1000)])
        assert taken.count(True) == 64
    guest = hello("203.0.113.1")
    assert waiting.add(guest)
    assert guest in [waiting.pop() for _ in range(TURNS_PER_NEW_HELLO * 2)]


def test_the_hosts_of_an_ipv6_64_count_as_one() -> None:
    waiting = WaitingHellos(Limits(waiting_hellos_per_host=2))
    assert add_all(waiting, [hello(f"2001:db8::{i}") for i in range(3)]) == [True, True, False]
    assert waiting.add(hello("2001:db8:0:1::1"))


def test_those_of_a_56_and_of_a_48_have_a_few_shares() -> None:
    waiting = WaitingHellos(Limits(waiting_hellos_per_host=2))
    assert add_all(waiting, [hello(f"2001:db8:0:{i:x}::1") for i in range(32)]).count(True) == 4
    assert add_all(waiting, [hello(f"2001:db8:0:{i:x}00::1") for i in range(32)]).count(True) == 4
    assert waiting.add(hello("2001:db8:1::1"))
    while waiting:
        waiting.pop()
    others = [hello(f"2001:db8:0:{i:x}::1") for i in range(32, 64)]
    assert add_all(waiting, others).count(True) == 4


def test_hosts_that_fill_the_queue_give_way_to_one_that_has_fewer() -> None:
    waiting = WaitingHellos(Limits(waiting_hellos=8, waiting_hellos_per_host=4))
    flood = [hello(f"198.51.100.{host}", port=1 + i) for i in range(4) for host in (1, 2)]
    guest = hello("203.0.113.1")
    for _ in range(2):  # new ones, and repeated ones
        add_all(waiting, flood)
        assert waiting.add(guest)
    assert waiting.evicted == 2
    assert guest in [waiting.pop() for _ in range(4)]


def test_one_that_has_given_way_is_remembered_and_preferred_when_it_is_repeated() -> None:
    waiting = WaitingHellos(Limits(waiting_hellos=2))
    first, second = hello(port=1), hello(port=2)
    add_all(waiting, [first, second])
    assert waiting.add(hello("203.0.113.1"))
    assert waiting.put_off == 1
    assert waiting.add(second)
    assert waiting.pop() is second


def test_one_hello_of_a_host_never_gives_way(seed: int) -> None:
    limits = Limits(waiting_hellos=16, waiting_hellos_per_host=8)
    chance, waiting, guest = random.Random(seed), WaitingHellos(limits), hello("203.0.113.1")
    assert waiting.add(guest)
    for number in range(2000):
        host = chance.choice((f"198.51.100.{number % 250}", "198.51.100.1", "2001:db8::1"))
        waiting.add(hello(host, port=1 + chance.randrange(100)))
    assert guest in [waiting.pop() for _ in range(len(waiting))]


def test_the_64s_of_one_48_give_way_to_another_host() -> None:
    waiting = WaitingHellos(Limits(waiting_hellos=8, waiting_hellos_per_host=2))
    flood = [hello(f"2001:db8:0:{i:x}00::1") for i in range(8)]
    assert all(add_all(waiting, flood))
    assert add_all(waiting, [hello("203.0.113.1"), hello("2001:db8:1::1")]) == [True, True]
    assert not waiting.add(hello("2001:db8:0:900::1"))


def test_nothing_is_left_when_it_is_cleared() -> None:
    waiting = WaitingHellos(Limits(waiting_hellos=4))
    for _ in range(2):
        add_all(waiting, crowd(10))
    waiting.clear()
    assert (len(waiting), waiting.put_off) == (0, 0)


def test_the_repr_tells_no_secret() -> None:
    assert "wall_now" not in repr(hello())
