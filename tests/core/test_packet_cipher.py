"""The seal gives the same bytes whether it calls an AEAD in C, has it write into a buffer, or takes
bytes that it made."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support import wire
from support.endpoints import KEY, WALL_START, flush, messages_of

from mpgameserver import build_info
from mpgameserver._core.aesgcm import UNAVAILABLE, NativeAesGcm
from mpgameserver._core.endpoint1 import Endpoint1

SIZES = (0, 1, 64, 1024, 1434)


class MakesBytes:
    """AES-GCM as every release of `cryptography` has it."""

    def __init__(self, key: bytes) -> None:
        aead = AESGCM(key)
        self.encrypt, self.decrypt = aead.encrypt, aead.decrypt


AEADS = [AESGCM, MakesBytes] + [NativeAesGcm] * (UNAVAILABLE is None)

aeads = pytest.mark.parametrize("aead", AEADS, ids=lambda aead: aead.__name__)


def endpoint(aead: object, is_server: bool = False) -> Endpoint1:
    made = Endpoint1(aead, is_server, 0.0, WALL_START)
    made.established = True
    return made


@aeads
@pytest.mark.parametrize("size", SIZES)
def test_a_packet_is_what_the_second_codec_writes(aead, size):
    sender = endpoint(aead(KEY))
    message = bytes(range(256)) * 6
    sender.send_queue.add(message[:size])
    expected = [wire.Message(1, wire.APP, message[:size])]
    assert flush(sender, 0.0) == [wire.seal(wire.TO_SERVER, WALL_START, 1, 0, 0, expected, KEY)]


@aeads
@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_opens_once_and_nothing_else_does(aead, size):
    sender, receiver = endpoint(aead(KEY)), endpoint(aead(KEY), is_server=True)
    sender.send_queue.add(bytes(size))
    (datagram,) = flush(sender, 0.0)
    forged = datagram[:-1] + bytes([datagram[-1] ^ 1])
    assert [receiver.receive(d, 0.0) for d in (forged, datagram)] == [7, 0]
    assert receiver.drops["authentication failed"] == 1
    assert messages_of(receiver) == [bytes(size)]


@aeads
def test_a_message_keeps_its_bytes_while_others_come_and_go(aead):
    sender, receiver = endpoint(aead(KEY)), endpoint(aead(KEY), is_server=True)
    messages = [bytes([n]) * (n + 1) for n in range(100)]
    for message in messages:
        sender.send_queue.add(message)
    for datagram in flush(sender, 0.0):
        assert receiver.receive(datagram, 0.0) == 0
    assert messages_of(receiver) == messages


# The search has the marker in two halves, so that it does not find its own.
LEFTOVERS = """
import sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mpgameserver._core.endpoint1 import Endpoint1

datagram, first, second = map(bytes.fromhex, sys.argv[1:])
endpoint = Endpoint1(AESGCM(bytes(range(16))), True, 0.0, 1_700_000_000)
endpoint.established = True
endpoint.receive(datagram, 0.0)
found = 0
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
    for line in maps:
        where, modes, *_ = line.split()
        start, end = (int(address, 16) for address in where.split("-"))
        if modes.startswith("rw"):
            memory.seek(start)
            pieces = memory.read(end - start).split(first)
            found += sum(piece.startswith(second) for piece in pieces)
print(endpoint.received, found)
"""


@pytest.mark.skipif(not hasattr(AESGCM, "decrypt_into"), reason="it writes into no buffer")
@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="memory cannot be read here")
@pytest.mark.skipif(build_info().kind == "sanitize", reason="the sanitizers map terabytes")
def test_what_was_decrypted_before_the_tag_failed_is_overwritten():
    halves = [random.Random(seed).randbytes(20) for seed in ("first", "second")]
    client = endpoint(AESGCM(KEY))
    client.send_queue.add(b"".join(halves) * 20)
    datagram = client.next_datagram(0.0)
    forged = datagram[:-1] + bytes([datagram[-1] ^ 1])

    def left_by(datagram):
        command = [sys.executable, "-c", LEFTOVERS, *(each.hex() for each in (datagram, *halves))]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
        received, found = map(int, done.stdout.split())
        return received, found > 0

    assert left_by(datagram) == (1, True)  # so this is how it is found
    assert left_by(forged) == (0, False)


def test_an_endpoint_can_be_used_while_another_one_seals():
    other = endpoint(AESGCM(KEY[::-1]))

    class Interrupted(MakesBytes):
        """Calls that a garbage collection, or another thread, could make in the middle of one."""

        def __init__(self, key: bytes) -> None:
            super().__init__(key)
            aead = AESGCM(key)
            self.encrypt = self.interrupt(aead.encrypt)
            self.decrypt = self.interrupt(aead.decrypt)

        @staticmethod
        def interrupt(call):
            def interrupted(*arguments):
                # Before the AEAD looks at any of them, which it does in Python, one by one.
                other.send_queue.add(bytes(900))
                assert other.next_datagram(0.0) is not None
                gc.collect()
                return call(*arguments)

            return interrupted

    sender, receiver = endpoint(Interrupted(KEY)), endpoint(Interrupted(KEY), is_server=True)
    sender.send_queue.add(b"first")
    sender.send_queue.add(b"second")
    for datagram in flush(sender, 0.0):
        assert receiver.receive(datagram, 0.0) == 0
    assert messages_of(receiver) == [b"first", b"second"]


class TestWhatAnAeadReturns:
    @pytest.mark.parametrize("returned", [None, b"", bytes(1000)])
    def test_of_another_length_is_an_error_when_sealed(self, returned):
        aead = MakesBytes(KEY)
        aead.encrypt = lambda *_: returned
        sender = endpoint(aead)
        sender.send_queue.add(b"message")
        with pytest.raises(ValueError, match="expected 25 bytes"):
            sender.next_datagram(0.0)

    @pytest.mark.parametrize("returned", [None, b"", bytes(1 << 20)])
    def test_of_another_length_is_an_error_when_opened(self, returned):
        sender = endpoint(AESGCM(KEY))
        sender.send_queue.add(b"message")
        aead = MakesBytes(KEY)
        aead.decrypt = lambda *_: returned
        receiver = endpoint(aead, is_server=True)
        with pytest.raises(ValueError, match="expected 9 bytes"):
            receiver.receive(sender.next_datagram(0.0), 0.0)
