"""Addresses as sockets report them, and what follows from them.

A server that is bound to "::" sees the IPv4 host 192.0.2.1 as ::ffff:192.0.2.1. Such a mapped
address counts as the IPv4 address that it contains, everywhere.

A link-local address such as fe80::1 is meaningful only together with its interface, the scope.
Sockets report the scope as a separate number; in text it follows a "%".
"""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from mpgameserver._core.packet import (
    IPV4_UDP_HEADER,
    IPV6_UDP_HEADER,
    SizeLimits,
    size_limits,
)
from mpgameserver.wire.packet import Packet
from mpgameserver.wire.protocol2.limits import LEAST_DATAGRAM

__all__ = [
    "IpAddress",
    "SocketAddress",
    "format_address",
    "hello_payload",
    "hello_payload_over",
    "host_and_port",
    "host_groups",
    "host_of",
    "largest_datagram",
    "limits_towards",
    "plain_address",
    "resolve",
]

IpAddress = IPv4Address | IPv6Address
SocketAddress = tuple[Any, ...]
"""An address of the socket module: (host, port), with two more fields over IPv6."""

IPV6_LEAST_MTU = 1280
"""Bytes of a packet that every path of IPv6 carries (RFC 8200 section 5)."""
_SUBSCRIBER_BYTES = 8  # the /64 that a subscriber has at least (RFC 6177)
SHARES_OF_A_56 = 2
"""A /56 has the limits of this many hosts: a home, or neighbours with a /64 each."""
SHARES_OF_A_48 = 4
"""A /48 has the limits of this many hosts: a company or a school."""
_IPV6_SHARES = ((_SUBSCRIBER_BYTES, 1), (7, SHARES_OF_A_56), (6, SHARES_OF_A_48))


def host_and_port(addr: object, least_port: int) -> tuple[str, int]:
    """Return `addr` if it is a pair of a host and a port of `least_port` to 65535.

    Raises TypeError or ValueError that says what was given.
    """
    if not isinstance(addr, (tuple, list)) or len(addr) != 2:
        raise TypeError(f"addr must be a pair (host, port), not {addr!r}")
    host, port = addr
    if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"addr must be a pair of a str and an int, not {addr!r}")
    if "\0" in host:  # the resolver would look up the part before it
        raise ValueError(f"addr must have a host without a NUL character, not {addr!r}")
    if not least_port <= port <= 65535:
        raise ValueError(f"addr must have a port of {least_port}...65535, not {addr!r}")
    return host, port


def resolve(
    host: str, port: int, flags: int = 0
) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Return a host's families and socket addresses for UDP; `flags` are those of `getaddrinfo`.

    Raises OSError if there are none, and nothing else.
    """
    try:
        found = _look_up(host, port, flags)
    except (LookupError, UnicodeError) as error:
        raise socket.gaierror(socket.EAI_NONAME, f"not a valid IDNA name: {error}") from error
    return [(family, address) for family, _, _, _, address in found]


def _look_up(host: str, port: int, flags: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    except LookupError:
        # A frozen program may lack the codec "idna", which every str passes through, even an
        # address. Bytes do not.
        name = host.encode("ascii")
        return socket.getaddrinfo(name, port, type=socket.SOCK_DGRAM, flags=flags)


def host_of(address: SocketAddress) -> IpAddress:
    """Return the host of a socket address."""
    try:
        return IPv4Address(socket.inet_pton(socket.AF_INET, address[0]))
    except OSError:  # the fast path, for floods, does not read every form
        host = ip_address(address[0])
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        return host.ipv4_mapped
    return host


def hello_payload(host: IpAddress) -> int:
    """Return the largest message of a server's MTU, which determines the size of a hello."""
    return hello_payload_over(isinstance(host, IPv6Address))


def hello_payload_over(is_ipv6: bool) -> int:
    """The same for a family."""
    return _payload_at(Packet.MTU, IPV6_UDP_HEADER if is_ipv6 else IPV4_UDP_HEADER)


@lru_cache(maxsize=8)
def _payload_at(mtu: int, header: int) -> int:
    return size_limits(mtu, header).payload


def host_groups(host: IpAddress) -> tuple[tuple[bytes, int], ...]:
    """Return the groups that a host counts in, the narrowest first, each with its shares.

    A subscriber may have a /56 or a /48 (RFC 6177), and so hundreds of /64s.
    """
    if isinstance(host, IPv4Address):
        return ((host.packed, 1),)
    return tuple((host.packed[:size], shares) for size, shares in _IPV6_SHARES)


def limits_towards(host: IpAddress) -> SizeLimits:
    """Return the sizes of what a session sends to a host.

    Over IPv4 they are those of the MTU: a datagram that a link cannot carry is fragmented on the
    way. Over IPv6 no router fragments and many paths drop fragments, so nothing is sent that might
    have to be fragmented.
    """
    if isinstance(host, IPv6Address):
        return size_limits(min(Packet.MTU, IPV6_LEAST_MTU), IPV6_UDP_HEADER)
    return size_limits(Packet.MTU, IPV4_UDP_HEADER)


def largest_datagram(host: IpAddress) -> int:
    """Return the largest datagram of protocol 2 to a host that an interface of the MTU takes.

    At least what every path has to carry. A session finds out how much of it its path carries.
    """
    header = IPV6_UDP_HEADER if isinstance(host, IPv6Address) else IPV4_UDP_HEADER
    return max(size_limits(Packet.MTU, header).datagram, LEAST_DATAGRAM)


def plain_address(address: SocketAddress) -> tuple[str, int]:
    """Return the (host, port) of a socket address, as `connect` takes it, with the scope if any."""
    host = str(host_of(address))
    scope = address[3] if len(address) > 3 and "%" not in host else 0
    return (f"{host}%{_interface(scope)}" if scope else host), address[1]


def _interface(scope: int) -> str:
    """Return the name of an interface, or its number if it is gone."""
    try:
        return socket.if_indextoname(scope)
    except OSError:
        return str(scope)


def format_address(address: tuple[str, int]) -> str:
    """Return an address as text: "192.0.2.1:5000", "[2001:db8::1]:5000", "[fe80::1%eth0]:5000".

    `address` is a pair (host, port), as the `addr` of a client and the `address` of a server are.
    """
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
