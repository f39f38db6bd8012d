"""Which hosts a block list holds."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

import pytest

from mpgameserver.server.blocklist import BlockEntry, BlockList


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("192.0.2.1", ["192.0.2.1"], ["192.0.2.2", "::c000:201"]),
        ("192.0.2.0/25", ["192.0.2.0", "192.0.2.127"], ["192.0.2.128", "192.0.1.255"]),
        ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::1"]),
        ("2001:db8::1", ["2001:db8::1"], ["2001:db8::2", "32.1.13.184"]),
        ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff::1"], ["2001:db9::"]),
        ("::/0", ["::", "2001:db8::1"], ["192.0.2.1"]),
        ("::ffff:192.0.2.1", ["192.0.2.1"], ["192.0.2.2"]),
        ("::ffff:192.0.2.0/120", ["192.0.2.255"], ["192.0.3.0"]),
        (IPv4Address("192.0.2.1"), ["192.0.2.1"], ["192.0.2.2"]),
        (IPv6Network("2001:db8::/32"), ["2001:db8::5"], ["2001:db9::5"]),
    ],
)
def test_an_entry_holds(entry, inside: list[str], outside: list[str]) -> None:
    blocklist = BlockList([entry])
    assert all(ip_address(host) in blocklist for host in inside)
    assert not any(ip_address(host) in blocklist for host in outside)


def test_entries_of_all_kinds_go_together() -> None:
    blocklist = BlockList({"192.0.2.0/24", "10.0.0.0/8", "198.51.100.7", "2001:db8::/48"})
    for host in ("192.0.2.9", "10.1.2.3", "198.51.100.7", "2001:db8::9"):
        assert ip_address(host) in blocklist
    assert ip_address("198.51.100.8") not in blocklist


def test_an_empty_one_is_false_and_holds_nobody() -> None:
    assert not BlockList()
    assert BlockList(["192.0.2.1"])
    assert ip_address("192.0.2.1") not in BlockList()


@pytest.mark.parametrize("entries", ["192.0.2.1", b"192.0.2.1", None, 5])
def test_what_is_no_collection_is_refused(entries) -> None:
    with pytest.raises(TypeError, match="collection of addresses"):
        BlockList(entries)


@pytest.mark.parametrize("entry", [3232235777, b"\xc0\x00\x02\x01", None, ("192.0.2.0", 24)])
def test_what_is_neither_text_nor_an_address_is_refused(entry) -> None:
    with pytest.raises(TypeError, match="an address or a network"):
        BlockList([entry])


@pytest.mark.parametrize(
    "entry", ["192.0.2.1/24", "192.0.2", "example.org", "", "192.0.2.0/33", "192.0.2.1\0"]
)
def test_text_that_is_no_address_and_no_network_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="not an entry of a block list"):
        BlockList([entry])


@pytest.mark.parametrize(
    "entry", ["fe80::1%eth0", "fe80::%1/64", ip_address("fe80::1%eth0")], ids=str
)
def test_a_scope_is_refused_for_an_entry_holds_on_every_interface(entry: BlockEntry) -> None:
    with pytest.raises(ValueError, match=r"scope|entry of a block list"):
        BlockList([entry])
    assert ip_address("fe80::1") in BlockList(["fe80::1"])
