"""The record of what protocol 2 seals and opens finds every nonce that repeats."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from support.endpoints2 import accepted
from support.recordingaead2 import Seals2, recorded_sessions2

KEY, OTHER = bytes(16), bytes(15) + b"\1"


def nonce(number: int) -> bytes:
    return (0xA5A5A5A5_A5A5A5A5_A5A5A5A5 ^ number).to_bytes(12, "big")


def test_numbers_under_two_keys_may_be_the_same():
    seals = Seals2()
    for key in (KEY, OTHER):
        for number in (*range(1, 5000), 1 << 40, (1 << 62) - 1):
            seals.aead(key).encrypt(nonce(number), b"x", b"header")
    assert (seals.sealed, seals.keys) == (2 * 5001, 2)


@pytest.mark.parametrize("number", [1, 4999, 1 << 61])
def test_a_number_is_sealed_once_whichever_object_has_the_key(number):
    seals = Seals2()
    seals.aead(KEY).encrypt(nonce(number), b"x", b"")
    with pytest.raises(AssertionError, match="sealed a packet number a second time"):
        seals.aead(KEY).encrypt(nonce(number), b"y", b"")


def test_a_packet_is_opened_once():
    seals = Seals2()
    sealed = seals.aead(KEY).encrypt(nonce(7), b"x", b"head")
    assert seals.aead(KEY).decrypt(nonce(7), sealed, b"head") == b"x"
    with pytest.raises(AssertionError, match="opened twice"):
        seals.aead(KEY).decrypt(nonce(7), sealed, b"head")
    assert (seals.opened, seals.refused) == (1, 0)


def test_what_does_not_open_counts_as_refused():
    seals = Seals2()
    with pytest.raises(InvalidTag):
        seals.aead(KEY).decrypt(nonce(7), bytes(20), b"")
    assert (seals.opened, seals.refused) == (0, 1)


def test_sessions_that_begin_inside_are_recorded():
    with recorded_sessions2() as seals:
        side, hand = accepted()
        side.say(0, b"hello")
        hand.take(side.datagrams(1.0))
        side.receive(hand.make(hand.ack()), 1.0)
        side.endpoint.request_key_update()
        side.say(0, b"again")
        hand.take(side.datagrams(2.0))
    assert side.endpoint.key_phase == (1, 0)
    assert seals.sealed == side.endpoint.assembled
    assert seals.opened == side.endpoint.received
    assert seals.keys == 2
