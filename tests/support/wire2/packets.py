"""Sealed packets: numbers, nonces, masks, and which key opens what."""

from __future__ import annotations

from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.wire import WireError
from support.wire2.fields import MAX_VARINT
from support.wire2.keys import Keys, next_secret, packet_keys

SEALED = 8
TAG_SIZE, ID_SIZE = 16, 8
SMALLEST = {0: 19, ID_SIZE: 27}
"""By the size of the connection id: 0 to the client."""


# Packet numbers.


def number_size(number: int, newest_acked: int) -> int:
    """Return in how many bytes a number is sent."""
    for size in range(1, 5):
        if number - newest_acked <= 1 << 8 * size - 1:
            return size
    raise ValueError(f"{number} is too far from {newest_acked}")


def whole_number(low: int, size: int, newest: int) -> int:
    """Return the number that is nearest to the one behind the newest (RFC 9000, A.3)."""
    span = 1 << 8 * size
    expected = newest + 1
    number = expected - expected % span + low
    if number <= expected - span // 2 and number < MAX_VARINT + 1 - span:
        return number + span
    if number > expected + span // 2 and number >= span:
        return number - span
    return number


class ReceivedNumbers:
    """The numbers received in one direction, of which the last `window` are told apart."""

    def __init__(self, window: int) -> None:
        self.newest = 0
        self.had: set[int] = set()
        self._window = window

    def receive(self, number: int) -> None:
        if number in self.had or number <= self.newest - self._window:
            raise WireError("a number received before, or too old to tell")
        self.newest = max(self.newest, number)
        self.had = {each for each in self.had | {number} if each > self.newest - self._window}


# One packet.


def nonce(iv: bytes, number: int) -> bytes:
    return (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")


def mask(mask_key: bytes, tag: bytes) -> bytes:
    """Return the block that the header is masked with."""
    # One block under AES is what ECB does with it.
    encryptor = Cipher(algorithms.AES(mask_key), modes.ECB()).encryptor()
    return encryptor.update(tag) + encryptor.finalize()


def pack_header(keys: Keys, connection_id: bytes, number: int, size: int) -> bytes:
    """Return the header before it is masked; the connection id is empty to the client."""
    first = SEALED + 4 * keys.phase + size - 1
    return bytes([first]) + connection_id + (number % (1 << 8 * size)).to_bytes(size, "big")


def _masked(header: bytes, block: bytes, at: int) -> bytes:
    """Return the header with its first byte, and all from `at` on, masked or unmasked."""
    number = bytes(a ^ b for a, b in zip(header[at:], block[1:], strict=False))
    return bytes([header[0] ^ block[0] & 7]) + header[1:at] + number


def seal(
    keys: Keys,
    mask_key: bytes,
    connection_id: bytes,
    number: int,
    payload: bytes,
    newest_acked: int = 0,
) -> bytes:
    """Return the datagram that carries these frames."""
    header = pack_header(keys, connection_id, number, number_size(number, newest_acked))
    sealed = AESGCM(keys.key).encrypt(nonce(keys.iv, number), payload, header)
    block = mask(mask_key, sealed[-TAG_SIZE:])
    return _masked(header, block, 1 + len(connection_id)) + sealed


class Packet(NamedTuple):
    number: int
    keys: Keys
    payload: bytes


def unmask(datagram: bytes, mask_key: bytes, id_size: int) -> bytes:
    """Return the header of a sealed packet."""
    if len(datagram) < SMALLEST[id_size] or datagram[0] & 0xF8 != SEALED:
        raise WireError("not a sealed packet")
    block = mask(mask_key, datagram[-TAG_SIZE:])
    size = 1 + ((datagram[0] ^ block[0]) & 3)
    at = 1 + id_size
    return _masked(datagram[: at + size], block, at)


class ReceivingKeys:
    """The keys of one direction at its receiver, and which of them is to open a packet."""

    def __init__(self, secret_0: bytes) -> None:
        self.current = packet_keys(0, secret_0)
        self.previous: Keys | None = None
        self._next_secret = next_secret(secret_0)
        self._first: int | None = None
        """The lowest number opened under the current key."""

    def expect(self, secret_1: bytes) -> None:
        """Take another secret for the next phase: that of a late ML-KEM."""
        self._next_secret = secret_1

    def forget_previous(self) -> None:
        """Do what is to be done three probe timeouts after an update."""
        self.previous = None

    def of(self, phase: int, number: int) -> Keys:
        if phase == self.current.phase:
            return self.current
        if self._first is None or number >= self._first:
            return packet_keys(self.current.n + 1, self._next_secret)
        if self.previous is None:
            raise WireError("there is no previous key any more, or none yet")
        return self.previous

    def opened(self, packet: Packet) -> None:
        """Note which key has opened a packet."""
        if packet.keys.n > self.current.n:
            self.previous, self.current = self.current, packet.keys
            self._next_secret = next_secret(self._next_secret)
            self._first = packet.number
        elif packet.keys.n == self.current.n:
            self._first = min(packet.number, self._first or packet.number)


def open_packet(
    datagram: bytes,
    receiving: ReceivingKeys,
    mask_key: bytes,
    connection_id: bytes,
    newest: int = 0,
) -> Packet:
    """Return what a datagram holds, and take the key that opened it.

    The connection id is empty at the client; `newest` is the newest number received.
    """
    header = unmask(datagram, mask_key, len(connection_id))
    if header[1 : 1 + len(connection_id)] != connection_id:
        raise WireError("an unknown connection id")
    size = 1 + (header[0] & 3)
    number = whole_number(int.from_bytes(header[-size:], "big"), size, newest)
    if not 1 <= number <= MAX_VARINT:
        raise WireError("a packet number of 0 or above 2^62 - 1")
    keys = receiving.of(header[0] >> 2 & 1, number)
    sealed = datagram[len(header) :]
    try:
        payload = AESGCM(keys.key).decrypt(nonce(keys.iv, number), sealed, header)
    except InvalidTag:
        raise WireError("does not open") from None
    packet = Packet(number, keys, payload)
    receiving.opened(packet)
    return packet
