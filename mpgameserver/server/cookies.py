"""The cookies of protocol 2: a client that returns one receives at its address.

A cookie is a keyed hash of the epoch, the address and the client's key. The server keeps nothing
for a client that has yet to return one, and all workers of a port that share the secret accept each
other's.
"""

from __future__ import annotations

import hmac
import os
from hashlib import blake2s
from socket import AF_INET, inet_pton

from mpgameserver.transport.address import IpAddress, SocketAddress, host_of

__all__ = ["EPOCH_SECONDS", "Cookies", "cookie_address", "cookie_place"]

EPOCH_SECONDS = 10
"""A cookie holds for one to two of these: longer than any round trip, too short to hoard them."""
SECRET_SIZE = 32
_HASH_SIZE = 16
_COOKIE_SIZE = 1 + _HASH_SIZE


def cookie_address(host: IpAddress, port: int) -> bytes:
    """The address of a client as it goes into the hash: 4 or 16 bytes, and 2 of the port."""
    return host.packed + port.to_bytes(2, "big")


def cookie_place(address: SocketAddress) -> bytes:
    """The same for an address as a socket reports it, without an object where it is of IPv4."""
    try:
        packed = inet_pton(AF_INET, address[0])
    except OSError:
        return cookie_address(host_of(address), address[1])
    port: int = address[1]
    return packed + port.to_bytes(2, "big")


class Cookies:
    """Makes and checks cookies.

    `secret` is 1 to 32 bytes that all workers of a port share; by default it is random. `now` is,
    in each call, seconds of a clock that they share and that is never negative.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes | None = None) -> None:
        if secret is not None and not 1 <= len(secret) <= SECRET_SIZE:
            raise ValueError(f"secret must have 1...{SECRET_SIZE} bytes, not {len(secret)}")
        self._secret = os.urandom(SECRET_SIZE) if secret is None else secret

    def make(self, address: bytes, client_point: bytes, now: float) -> bytes:
        """Return the cookie for a client key, 65 bytes, at an address (see `cookie_address`)."""
        return self._of_epoch(_epoch_at(now), address, client_point)

    def holds(self, cookie: bytes, address: bytes, client_point: bytes, now: float) -> bool:
        """Return True for a cookie that was made for both in this epoch or the one before."""
        if len(cookie) != _COOKIE_SIZE:
            return False
        epoch = _epoch_at(now)
        age = (epoch - cookie[0]) % 256
        if age > min(1, epoch):
            return False
        made = self._of_epoch(epoch - age, address, client_point)
        return hmac.compare_digest(cookie, made)

    def _of_epoch(self, epoch: int, address: bytes, client_point: bytes) -> bytes:
        message = epoch.to_bytes(8, "big") + address + client_point
        digest = blake2s(message, key=self._secret).digest()
        return b"%c%b" % (epoch & 0xFF, digest[:_HASH_SIZE])


def _epoch_at(now: float) -> int:
    return int(now // EPOCH_SECONDS)
