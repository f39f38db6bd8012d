"""The hosts and networks that a server does not reply to."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from mpgameserver.transport.address import IpAddress

__all__ = ["BlockEntry", "BlockList"]

BlockEntry = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network

_Network = IPv4Network | IPv6Network
_MAPPED = IPv6Network("::ffff:0:0/96")


class BlockList:
    """An immutable set of addresses and networks, IPv4 and IPv6.

    An entry is an address ("192.0.2.1", "2001:db8::1"), a network in CIDR form ("192.0.2.0/24")
    or an object of `ipaddress`. An IPv4-mapped entry counts as its IPv4 address or network.

    Raises TypeError for anything but a collection of these, ValueError for text that is neither,
    for a network with host bits set, and for an address with a scope ("fe80::1%eth0"), because an
    entry applies to every interface.
    """

    def __init__(self, entries: Iterable[BlockEntry] = ()) -> None:
        if isinstance(entries, (str, bytes)) or not isinstance(entries, Iterable):
            raise TypeError(f"a block list must be a collection of addresses, not {entries!r}")
        # By version and prefix length: the prefixes of the networks.
        self._prefixes: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for entry in entries:
            network = _as_network(entry)
            host_bits = network.max_prefixlen - network.prefixlen
            prefixes = self._prefixes[network.version].setdefault(host_bits, set())
            prefixes.add(int(network.network_address) >> host_bits)

    def __contains__(self, host: IpAddress) -> bool:
        number = int(host)
        return any(
            number >> host_bits in prefixes
            for host_bits, prefixes in self._prefixes[host.version].items()
        )

    def __bool__(self) -> bool:
        return any(self._prefixes.values())


def _as_network(entry: BlockEntry) -> _Network:
    if not isinstance(entry, (str, IPv4Address, IPv6Address, IPv4Network, IPv6Network)):
        raise TypeError(f"an entry of a block list must be an address or a network, not {entry!r}")
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise ValueError(f"not an entry of a block list: {error}") from None
    if "%" in str(entry):
        raise ValueError(f"an entry of a block list must not have a scope: {entry!s}")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        first = IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return IPv4Network((first, network.prefixlen - _MAPPED.prefixlen))
    return network
