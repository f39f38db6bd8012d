"""Sealed packets of protocol 2: the golden bytes, every damage refused, and the key phases."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st
from support.damage import prefixes, single_bit_flips
from support.wire2 import keys, packets

from mpgameserver._core.aesgcm import UNAVAILABLE, NativeAesGcm, NativeBlockCipher
from mpgameserver._core.packet_protection import (
    MAX_PHASE_PACKETS,
    PacketMask,
    PacketOpener,
    PacketSealer,
)
from mpgameserver.errors import PacketError
from mpgameserver.wire.protocol2.keys import TrafficSecret

VECTORS = json.loads(Path(__file__).parents[1].joinpath("protocol2.json").read_text())
SECRET = TrafficSecret(bytes(range(32)))
CONNECTION_ID = bytes.fromhex("00a1a2a3a4a5a6a7")
PING = b"\x01"


class WithCryptography:
    """A secret whose ciphers are those of `cryptography`."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    @property
    def iv(self) -> bytes:
        return keys.expand(self.secret, b"iv", 12)

    def cipher(self) -> AESGCM:
        return AESGCM(keys.expand(self.secret, b"key", 16))

    def mask(self) -> PacketMask:
        key = keys.expand(self.secret, b"mask", 16)
        return PacketMask(Cipher(AES(key), ECB()).encryptor())

    def next(self) -> WithCryptography:
        return WithCryptography(keys.next_secret(self.secret))


class WithOpenSSL(WithCryptography):
    """A secret whose ciphers are called in C."""

    def cipher(self) -> NativeAesGcm:
        return NativeAesGcm(keys.expand(self.secret, b"key", 16))

    def mask(self) -> PacketMask:
        return PacketMask(NativeBlockCipher(keys.expand(self.secret, b"mask", 16)))

    def next(self) -> WithOpenSSL:
        return WithOpenSSL(keys.next_secret(self.secret))


libraries = pytest.mark.parametrize(
    "library", [WithCryptography] + [WithOpenSSL] * (UNAVAILABLE is None), ids=lambda c: c.__name__
)
each_sealed = pytest.mark.parametrize(
    "vector", VECTORS["sealed"], ids=lambda v: f"{v['sender']} {v['n']} {v['number']}"
)


def pair(secret=SECRET) -> tuple[PacketSealer, PacketOpener]:
    """The two ends of one direction."""
    return PacketSealer(secret, secret.mask()), PacketOpener(secret, secret.mask())


def opened(opener: PacketOpener, datagram: bytes, newest: int = 0, id_size: int = 8):
    """The packet number and the frames; None if it is refused."""
    try:
        return opener.open(datagram, id_size, newest)
    except PacketError:
        return None


class TestTheGoldenPackets:
    @libraries
    @each_sealed
    def test_are_sealed_and_opened(self, library, vector):
        sealer, opener = pair(library(bytes.fromhex(vector["secret_0"])))
        connection_id = bytes.fromhex(vector["connection_id"])
        payload = bytes.fromhex(vector["payload"])
        newest = vector["number"] - 1
        for number in range(1, vector["n"] + 1):
            sealer.update()
            # The phases in between are walked by packets that open.
            assert opened(opener, sealer.seal(b"", number, 0, PING), number - 1, 0)
        datagram = sealer.seal(connection_id, vector["number"], vector["newest_acked"], payload)
        assert datagram.hex() == vector["datagram"]
        assert opener.open(datagram, len(connection_id), newest) == (vector["number"], payload)

    @pytest.mark.parametrize(("newest", "low", "number"), VECTORS["numbers_read"])
    def test_have_the_numbers_that_the_page_says(self, newest, low, number):
        """A packet of that number, truncated so, opens where `newest` was the newest before it."""
        if not 0 < number < 1 << 62:
            return
        size = len(low) // 2
        datagram = packets.seal(
            keys.packet_keys(0, SECRET.secret),
            keys.mask_key(SECRET.secret),
            CONNECTION_ID,
            number,
            PING,
            newest_acked=number - (1 << (8 * size - 1)),
        )
        assert len(datagram) == 1 + 8 + size + len(PING) + 16
        assert opened(pair()[1], datagram, newest) == (number, PING)


class TestDamage:
    def test_no_flipped_bit_opens(self):
        sealer, opener = pair()
        datagram = sealer.seal(CONNECTION_ID, 300, 0, b"\x80\x05hello")
        for flipped in single_bit_flips(datagram):
            # The owner compares the connection id; its bits are authenticated all the same.
            assert opened(opener, flipped) is None
        assert opened(opener, datagram)

    def test_no_prefix_opens(self):
        sealer, opener = pair()
        for prefix in prefixes(sealer.seal(b"", 1, 0, b"\x80\x05hello")):
            assert opened(opener, prefix, id_size=0) is None

    @given(st.binary(max_size=60), st.integers(0, (1 << 62) - 2))
    def test_any_bytes_give_one_error_and_change_nothing(self, data, newest):
        sealer, opener = pair()
        for id_size in (0, 8):
            assert opened(opener, data, newest, id_size) is None
        assert opener.phase == 0
        assert opened(opener, sealer.seal(CONNECTION_ID, 1, 0, PING)) == (1, PING)

    def test_a_packet_of_the_other_direction_does_not_open(self):
        other = PacketSealer(TrafficSecret(bytes(32)), TrafficSecret(bytes(32)).mask())
        assert opened(pair()[1], other.seal(CONNECTION_ID, 1, 0, PING)) is None


class TestNumbers:
    @pytest.mark.parametrize(("number", "acked", "size"), VECTORS["numbers_written"])
    def test_take_the_bytes_that_the_page_says(self, number, acked, size):
        sealer, _ = pair()
        datagram = sealer.seal(CONNECTION_ID, number, acked, PING)
        assert len(datagram) == 1 + 8 + len(size) // 2 + len(PING) + 16

    @pytest.mark.parametrize(
        ("number", "acked"), [(0, 0), (1 << 62, (1 << 62) - 1), (5, 5), (5, 6), ((1 << 31) + 1, 0)]
    )
    def test_that_the_peer_could_not_tell_are_refused(self, number, acked):
        with pytest.raises(ValueError, match="a packet number of"):
            pair()[0].seal(CONNECTION_ID, number, acked, PING)

    def test_nothing_on_the_wire_counts(self):
        """No byte of the headers of consecutive packets is the same, or one more, throughout."""
        sealer, _ = pair()
        packets = [sealer.seal(b"", number, number - 1, PING) for number in range(1, 65)]
        for place in (0, 1):
            steps = {(b[place] - a[place]) % 256 for a, b in pairwise(packets)}
            assert len(steps) > 4


class TestKeyPhases:
    def test_a_receiver_follows_a_packet_that_opens_and_no_other(self):
        sealer, opener = pair()
        assert opened(opener, sealer.seal(CONNECTION_ID, 1, 0, PING))
        sealer.update()
        forged = bytearray(sealer.seal(CONNECTION_ID, 2, 1, PING))
        forged[10] ^= 1
        assert opened(opener, bytes(forged), 1) is None
        assert opener.phase == 0
        assert opened(opener, sealer.seal(CONNECTION_ID, 3, 1, PING), 1)
        assert opener.phase == 1

    def test_what_an_update_overtook_opens_until_it_is_forgotten(self):
        sealer, opener = pair()
        assert opened(opener, sealer.seal(CONNECTION_ID, 1, 0, PING))
        late, later = (sealer.seal(CONNECTION_ID, number, 1, PING) for number in (2, 3))
        sealer.update()
        assert opened(opener, sealer.seal(CONNECTION_ID, 4, 1, PING), 1)
        assert opened(opener, late, 4) == (2, PING)
        opener.forget_previous()
        assert opened(opener, later, 4) is None
        assert opened(opener, sealer.seal(CONNECTION_ID, 5, 4, PING), 4)

    def test_the_first_packet_of_a_phase_may_be_overtaken_too(self):
        sealer, opener = pair()
        assert opened(opener, sealer.seal(CONNECTION_ID, 1, 0, PING))
        sealer.update()
        first, second = (sealer.seal(CONNECTION_ID, number, 1, PING) for number in (2, 3))
        assert opened(opener, second, 1)
        assert opened(opener, first, 3) == (2, PING)
        assert opener.phase == 1

    def test_a_number_from_before_a_phase_is_not_of_the_next(self):
        sealer, opener = pair()
        assert opened(opener, sealer.seal(CONNECTION_ID, 5, 0, PING))
        sealer.update()
        assert opened(opener, sealer.seal(CONNECTION_ID, 4, 0, PING), 5) is None
        assert opener.phase == 0

    def test_a_packet_of_an_older_phase_opens_no_more(self):
        sealer, opener = pair()
        old = sealer.seal(CONNECTION_ID, 1, 0, PING)
        for number in (2, 3):
            sealer.update()
            assert opened(opener, sealer.seal(CONNECTION_ID, number, 1, PING), number - 1)
        assert opener.phase == 2
        assert opened(opener, old, 3) is None

    def test_updates_may_follow_each_other_for_long(self):
        sealer, opener = pair()
        for number in range(1, 300):
            assert opened(opener, sealer.seal(CONNECTION_ID, number, number - 1, PING), number - 1)
            sealer.update()
        assert (sealer.phase, opener.phase) == (299, 298)

    @pytest.mark.extra
    def test_a_key_seals_no_more_than_its_limit(self):
        sealer, _ = pair()
        for number in range(1, MAX_PHASE_PACKETS + 1):
            sealer.seal(b"", number, number - 1, PING)
        assert sealer.seal(b"", number + 1, number, PING) is None
        sealer.update()
        assert sealer.seal(b"", number + 2, number, PING) is not None

    @given(st.lists(st.sampled_from(["send", "update", "late"]), max_size=60), st.randoms())
    def test_every_honest_packet_of_this_phase_and_the_last_opens(self, steps, rng):
        """Whatever the order, as long as no update is begun before one of its packets arrived."""
        sealer, opener = pair()
        number = newest = 0
        waiting: list[tuple[int, bytes]] = []
        for step in steps:
            if step == "send":
                number += 1
                waiting.append((number, sealer.seal(CONNECTION_ID, number, newest, PING)))
            elif step == "update" and opener.phase == sealer.phase and newest:
                sealer.update()
            elif waiting:
                sent, datagram = waiting.pop(rng.randrange(len(waiting)))
                phase_then = opener.phase
                if opened(opener, datagram, newest) is None:
                    assert phase_then >= 2, "a packet of this phase or the last was refused"
                else:
                    newest = max(newest, sent)


class TestMistakesOfTheCaller:
    @pytest.mark.parametrize("connection_id", [b"x", bytes(7), bytes(9)])
    def test_a_connection_id_of_another_size(self, connection_id):
        with pytest.raises(ValueError, match="a connection id of"):
            pair()[0].seal(connection_id, 1, 0, PING)

    @pytest.mark.parametrize("frames", [b"", bytes(1 << 17)], ids=len)
    def test_no_frames_and_too_many(self, frames):
        with pytest.raises(ValueError, match="bytes of frames"):
            pair()[0].seal(b"", 1, 0, frames)

    @pytest.mark.parametrize("id_size", [-1, 1, 9])
    def test_an_id_size_that_no_packet_has(self, id_size):
        with pytest.raises(ValueError, match="an id of"):
            pair()[1].open(bytes(40), id_size, 0)

    @pytest.mark.parametrize("newest", [-1, 1 << 62])
    def test_a_newest_number_that_no_packet_has(self, newest):
        with pytest.raises(ValueError, match="as the newest number"):
            pair()[1].open(bytes(40), 0, newest)

    def test_an_iv_of_another_size(self):
        class Odd(WithCryptography):
            iv = bytes(11)

        with pytest.raises(ValueError, match="an IV of 12 bytes"):
            PacketSealer(Odd(bytes(32)), Odd(bytes(32)).mask())
