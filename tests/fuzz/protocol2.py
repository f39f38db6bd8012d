"""Fuzz protocol 2: whatever the bytes, a value or the one error, and the second codec agrees.

Messages begin as the golden ones, which the script then edits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fuzz.inputs import Script
from fuzz.parsers import edited, ours, second
from support.wire2 import frames as frames2
from support.wire2 import handshake as handshake2
from support.wire2 import keys as keys2
from support.wire2 import packets as packets2
from support.wire2 import tables as tables2

from mpgameserver._core.frames import decode_frames, encode_frames
from mpgameserver._core.packet_protection import PacketOpener
from mpgameserver.errors import HandshakeError, PacketError
from mpgameserver.wire.protocol2.hello import (
    ClientHello2,
    Offer,
    Retry,
    ServerHello2,
    StatelessReset,
    find_offer,
    offer_filler,
    point_of,
    public_key_of,
)
from mpgameserver.wire.protocol2.keys import TrafficSecret
from mpgameserver.wire.protocol2.setup import AcceptData, ConnectData

GOLDEN = json.loads(Path(__file__).parent.with_name("protocol2.json").read_text())
SECRET = bytes(range(32))
CONNECTION_ID = bytes(8)
ORDERED_CHANNELS = [tables2.Channel(n, tables2.ORDERED, (0, 0), f"{n}") for n in (1, 2)]


def run(data: bytes) -> None:
    """Give one parser its bytes; an AssertionError says what it should have done."""
    script = Script(data)
    script.pick(PARSERS)(script)


def golden(script: Script, section: str, field: str) -> bytes:
    """One of the golden byte strings, edited."""
    return edited(script, bytes.fromhex(script.pick(GOLDEN[section])[field]))


def frames(script: Script) -> None:
    """The payload of a packet."""
    data = b"".join(golden(script, "frames", "bytes")[:300] for _ in script.turns(4))
    data += script.rest()
    found = ours(lambda: decode_frames(data), PacketError)
    expected = second(lambda: frames2.unpack_all(data))
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert len(found) == len(expected)
        assert ours(lambda: decode_frames(encode_frames(found)), PacketError) == found


def sealed(script: Script) -> None:
    """Datagrams in a row, of up to four key phases, some of them damaged."""
    receiver = BothReceivers()
    for _ in script.turns(20):
        secret, phase = SECRET, script.below(4)
        for _ in range(phase):
            secret = keys2.next_secret(secret)
        number = max(receiver.newest + script.below(9) - 4, 1)
        datagram = packets2.seal(
            keys2.packet_keys(phase, secret),
            receiver.mask_key,
            CONNECTION_ID,
            number,
            b"\1",
            newest_acked=max(number - 9, 0),
        )
        if script.chance(4):
            # The owner compares the connection id before.
            datagram = edited(script, datagram)
            datagram = datagram[:1] + CONNECTION_ID + datagram[9:]
        receiver.receive(datagram)


class BothReceivers:
    """The receiver of one direction twice: the package's, and the second codec's."""

    def __init__(self) -> None:
        self.newest = 0
        self.mask_key = keys2.mask_key(SECRET)
        self._opener = PacketOpener(TrafficSecret(SECRET), TrafficSecret(SECRET).mask())
        self._receiving = packets2.ReceivingKeys(SECRET)

    def receive(self, datagram: bytes) -> None:
        """Open a datagram with both, which must agree."""
        found = ours(lambda: self._opener.open(datagram, 8, self.newest), PacketError)
        packet = second(
            lambda: packets2.open_packet(
                datagram, self._receiving, self.mask_key, CONNECTION_ID, self.newest
            )
        )
        assert found == (packet and (packet.number, packet.payload))
        assert self._opener.phase == self._receiving.current.n
        if found is not None:
            self.newest = max(self.newest, found[0])


def offer(script: Script) -> None:
    """The offer in the filler of a hello of version 1."""
    filler = golden(script, "hellos", "datagram")
    start = filler.find(b"MPGOFFER")
    filler = filler[start:] if start >= 0 else filler
    found = ours(lambda: find_offer(filler), HandshakeError)
    expected = second(lambda: handshake2.hello_in_filler(filler, _a_point()))
    if expected is not None:
        assert found is not None
        assert found[1].encode() == expected.offer
        assert filler.startswith(offer_filler(found[1], found[0]))


def _a_point() -> bytes:
    return bytes.fromhex(GOLDEN["hellos"][0]["key"])


def hello2(script: Script) -> None:
    """A CLIENT_HELLO2, as long as it must be."""
    whole = golden(script, "hellos", "datagram").ljust(1200, b"\0")[:1200]
    found = ours(lambda: _on_the_curve(ClientHello2.decode(whole)), HandshakeError)
    expected = second(lambda: handshake2.unpack_hello2(whole))
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert (found.client_point, found.cookie, found.routing) == (
            expected.key, expected.cookie, expected.routing,
        )  # fmt: skip
        assert whole.startswith(found.encode().rstrip(b"\0"))


def _on_the_curve(hello: ClientHello2) -> ClientHello2:
    assert point_of(public_key_of(hello.client_point)) == hello.client_point
    return hello


def to_client(script: Script) -> None:
    """A RETRY, SERVER_HELLO2 or stateless reset."""
    section, kind = script.pick(
        (("retries", Retry), ("server_hellos", ServerHello2), ("resets", StatelessReset))
    )
    data = golden(script, section, "datagram")
    found: Any = ours(lambda: kind.decode(data), HandshakeError)
    if found is not None:
        assert found.encode() == data
    for hello in GOLDEN["hellos"]:
        sent = handshake2.Hello(
            hello["form"], *(bytes.fromhex(hello[name]) for name in ("key", "cookie")),
            bytes.fromhex(hello["offer"]["bytes"]),
        )  # fmt: skip
        if second(lambda sent=sent: handshake2.at_client(data, [sent])) is not None:
            assert found is not None
            if isinstance(found, ServerHello2):
                found.verify(Offer.decode(sent.offer), sent.key, None)


def setup(script: Script) -> None:
    """Connect data and accept data."""
    data = golden(script, "connect_data", "bytes")
    found: Any = ours(lambda: ConnectData.decode(data), HandshakeError)
    expected: Any = second(lambda: tables2.unpack_connect_data(data))
    assert (found is None) == (expected is None)
    if found is not None:
        assert found.credential == expected.credential
        assert [c.name for c in found.channels] == [c.name for c in expected.channels]
    data = golden(script, "accept_data", "bytes")
    found = ours(lambda: AcceptData.decode(data, len(ORDERED_CHANNELS)), HandshakeError)
    expected = second(lambda: tables2.unpack_accept_data(data, ORDERED_CHANNELS))
    assert (found is None) == (expected is None)
    if found is not None:
        assert [(w.number, w.total) for w in found.windows] == expected.windows


PARSERS = (frames, sealed, offer, hello2, to_client, setup)
