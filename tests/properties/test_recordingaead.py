"""The checks bite: what other tests rely on to find a repeated nonce does find one."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from support import wire
from support.recordingaead import Seals

KEY, OTHER_KEY = bytes(16), bytes(range(16))
TIME = 1_700_000_000


def header(number: int, ack: int = 0, time: int = TIME, identifier: bytes = b"FSOS") -> bytes:
    return wire.pack_header(wire.Header(identifier, time, number, ack, wire.APP, 4, 1, 0))


def seal(aead, *fields, **more) -> tuple[bytes, bytes, bytes]:
    """Seal a packet; what it takes to open it."""
    head = header(*fields, **more)
    return head[:12], aead.encrypt(head[:12], b"data", head), head


@pytest.fixture
def seals() -> Seals:
    return Seals()


@pytest.mark.parametrize("ack", [0, 7])
@pytest.mark.parametrize("number", [1, 2, 40_000, 65_535])
def test_a_number_that_repeats_under_one_second_is_found_whatever_it_acks(seals, number, ack):
    for other in (2, 65_535, 1, 40_000):
        seal(seals.aead(KEY), other)
    with pytest.raises(AssertionError, match=f"packet {number} .* was sealed a second time"):
        seal(seals.aead(KEY), number, ack)


def test_another_second_key_or_direction_is_no_repetition(seals):
    seal(seals.aead(KEY), 1)
    seal(seals.aead(KEY), 1, time=TIME + 1)
    seal(seals.aead(KEY), 1, identifier=b"FSOC")
    seal(seals.aead(OTHER_KEY), 1)
    assert (seals.sealed, seals.keys) == (4, 2)


def test_a_nonce_that_is_not_the_start_of_the_header_is_found(seals):
    with pytest.raises(AssertionError):
        seals.aead(KEY).encrypt(bytes(12), b"data", header(1))


def test_a_packet_that_is_opened_twice_is_found(seals):
    packet = seal(seals.aead(KEY), 1)
    assert seals.aead(KEY).decrypt(*packet) == b"data"
    with pytest.raises(AssertionError, match="opened a second time"):
        seals.aead(KEY).decrypt(*packet)


def test_what_does_not_open_is_counted_and_not_remembered(seals):
    nonce, sealed, head = seal(seals.aead(KEY), 1)
    for _ in range(2):
        with pytest.raises(InvalidTag):
            seals.aead(KEY).decrypt(nonce, sealed[:-1] + bytes([sealed[-1] ^ 1]), head)
    assert (seals.opened, seals.refused, seals.attempts) == (0, 2, 2)
    assert seals.aead(KEY).decrypt(nonce, sealed, head) == b"data"
