"""Addresses: mapped ones, groups, sizes, text."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

import mpgameserver
from mpgameserver.transport.address import (
    format_address,
    hello_payload,
    host_groups,
    host_of,
    limits_towards,
    plain_address,
)
from mpgameserver.wire.packet import Packet


def test_a_mapped_address_counts_as_the_ipv4_one() -> None:
    mapped = ("::ffff:192.0.2.1", 5000, 0, 0)
    assert host_of(mapped) == ip_address("192.0.2.1")
    assert plain_address(mapped) == ("192.0.2.1", 5000)
    assert limits_towards(host_of(mapped)).datagram == 1472


def test_over_ipv6_a_packet_is_no_larger_than_what_every_path_carries() -> None:
    host = host_of(("2001:db8::1", 5000, 0, 0))
    assert limits_towards(host).datagram == 1280 - 48


def test_a_hello_is_as_long_as_the_mtu_asks_for_over_either() -> None:
    assert hello_payload(ip_address("192.0.2.1")) == 1500 - 28 - 38
    assert hello_payload(ip_address("2001:db8::1")) == 1500 - 48 - 38


def test_the_sizes_follow_the_mtu() -> None:
    Packet.setMTU(1400)
    try:
        assert limits_towards(ip_address("192.0.2.1")).datagram == 1372
        Packet.setMTU(1000)
        assert limits_towards(ip_address("2001:db8::1")).datagram == 952
    finally:
        Packet.setMTU(1500)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
def test_groups_are_ipv4_hosts_and_ipv6_subnets(one: str, other: str, together: bool) -> None:
    (narrowest, _), (others, _) = (host_groups(ip_address(each))[0] for each in (one, other))
    assert (narrowest == others) is together


def test_an_ipv6_host_counts_in_its_56_and_48_too() -> None:
    groups = host_groups(ip_address("2001:db8:aaaa:bbcc::1"))
    assert [(group.hex(), shares) for group, shares in groups] == [
        ("20010db8aaaabbcc", 1),
        ("20010db8aaaabb", 2),
        ("20010db8aaaa", 4),
    ]
    assert host_groups(ip_address("192.0.2.1")) == ((b"\xc0\x00\x02\x01", 1),)


def test_a_link_local_address_keeps_its_scope() -> None:
    [(index, name), *_] = socket.if_nameindex()
    assert plain_address(("fe80::1", 5000, 0, index)) == (f"fe80::1%{name}", 5000)
    assert plain_address((f"fe80::1%{name}", 5000, 0, index)) == (f"fe80::1%{name}", 5000)
    assert plain_address(("fe80::1", 5000, 0, 2**31 - 1)) == (f"fe80::1%{2**31 - 1}", 5000)
    assert plain_address(("2001:db8::1", 5000, 0, 0)) == ("2001:db8::1", 5000)


def test_as_text_an_ipv6_host_has_brackets() -> None:
    assert mpgameserver.format_address is format_address
    assert format_address(("fe80::1%eth0", 5000)) == "[fe80::1%eth0]:5000"
    assert format_address(("192.0.2.1", 5000)) == "192.0.2.1:5000"
    assert format_address(("2001:db8::1", 5000)) == "[2001:db8::1]:5000"
