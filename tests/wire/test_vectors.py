"""The golden bytes, both ways, by the package and by the second codec.

Every vector is reproduced byte for byte and read back; signatures, which differ each time, are
verified instead. Then each golden datagram is damaged in every place.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st
from support import wire
from support.damage import mutated, prefixes, single_bit_flips
from support.endpoints import fragments_of
from support.packetwindows import receive
from support.serverworld import World
from support.visible import state

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.packet import size_limits
from mpgameserver._core.packet_header import decode_header, encode_header
from mpgameserver._core.receive_window import ReceiveWindow
from mpgameserver.client.handshake import ClientHandshake
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import PacketType, RetryMode
from mpgameserver.errors import DuplicationError, PacketError
from mpgameserver.wire.handshake import (
    ClientHello,
    ServerHello,
    decode_challenge_response,
    decode_clear_packet,
    encode_challenge_response,
    encode_clear_packet,
    hello_size,
    session_key,
)
from mpgameserver.wire.packet import BitField, Packet, PacketHeader, PendingMessage, SeqNum

VECTORS = json.loads(Path(__file__).parents[1].joinpath("vectors.json").read_text())
HANDSHAKE = VECTORS["handshake"]
HANDSHAKE_TIME = 0x6553F100
MTU = 1500


def each(name):
    cases = VECTORS[name]
    return pytest.mark.parametrize("vector", cases, ids=[str(i) for i in range(len(cases))])


def hexed(name):
    return bytes.fromhex(HANDSHAKE[name])


class TestSequenceNumbers:
    @pytest.mark.parametrize(("a", "b", "step"), VECTORS["seqnum_diff"])
    def test_the_step_from_b_to_a(self, a, b, step):
        assert SeqNum(a).diff(SeqNum(b)) == wire.diff(a, b) == step
        assert SeqNum(a).newer_than(SeqNum(b)) is (step > 0)

    @pytest.mark.parametrize(("a", "step", "result"), VECTORS["seqnum_add"])
    def test_the_number_so_many_places_after(self, a, step, result):
        assert SeqNum(a) + step == SeqNum(a) - -step == wire.add(a, step) == result


class TestAckFields:
    @each("ack_fields")
    def test_by_the_bit_field(self, vector):
        field = BitField(vector["nbits"])
        for number, new, ack, bits in vector["steps"]:
            if new:
                assert not field.contains(number)
                field.insert(number)
            else:
                with pytest.raises(DuplicationError):
                    field.insert(number)
            assert (field.current_seqnum, field.bits) == (ack, int(bits, 16))

    @pytest.mark.parametrize("vector", [v for v in VECTORS["ack_fields"] if v["nbits"] == 32])
    def test_by_the_receive_window(self, vector):
        window = ReceiveWindow()
        for number, new, ack, bits in vector["steps"]:
            assert receive(window, number, 0) is new
            assert (window.ack(), window.ack_bits()) == (ack, int(bits, 16))

    @each("ack_fields")
    def test_by_the_second_codec(self, vector):
        field = wire.AckField(vector["nbits"])
        for number, new, ack, bits in vector["steps"]:
            assert field.receive(number) is new
            assert (field.ack, field.bits) == (ack, int(bits, 16))


@each("headers")
class TestHeaders:
    def test_by_the_core(self, vector):
        values = (
            vector["is_server"], vector["ctime"], vector["type"], vector["seq"],
            vector["ack"], vector["ack_bits"], vector["length"], vector["count"],
        )  # fmt: skip
        data = bytes.fromhex(vector["bytes"])
        assert encode_header(*values) == data
        assert decode_header(data) == values

    def test_by_the_header_class(self, vector):
        data = bytes.fromhex(vector["bytes"])
        header = made_header(vector, PacketType(vector["type"]))
        header.length, header.count = vector["length"], vector["count"]
        assert header.to_bytes() == data
        assert PacketHeader.from_bytes(not vector["is_server"], data) == header

    def test_by_the_second_codec(self, vector):
        data = bytes.fromhex(vector["bytes"])
        header = wire.Header(
            wire.TO_CLIENT if vector["is_server"] else wire.TO_SERVER,
            vector["ctime"], vector["seq"], vector["ack"],
            vector["type"], vector["length"], vector["count"], vector["ack_bits"],
        )  # fmt: skip
        assert wire.pack_header(header) == data
        assert wire.unpack_header(data) == header


def made_header(vector, kind):
    return PacketHeader.create(
        vector["is_server"], vector["ctime"], kind, vector["seq"], vector["ack"], vector["ack_bits"]
    )


def messages_of(vector):
    return [wire.Message(seq, kind, bytes.fromhex(data)) for seq, kind, data in vector["messages"]]


@each("sealed_packets")
class TestSealedPackets:
    def test_by_the_packet_class(self, vector):
        key, datagram = bytes.fromhex(vector["key"]), bytes.fromhex(vector["datagram"])
        messages = [
            PendingMessage(SeqNum(m.seq), PacketType(m.type), m.payload, None, RetryMode.NONE)
            for m in messages_of(vector)
        ]
        packet = Packet.create(made_header(vector, PacketType(vector["type"])), messages)
        assert packet.to_bytes(key) == datagram
        header = PacketHeader.from_bytes(not vector["is_server"], datagram)
        read = Packet.from_bytes(header, key, datagram)
        assert (read.hdr, read.msgs, read.msg) == (packet.hdr, messages, packet.msg)

    def test_by_the_second_codec(self, vector):
        key, datagram = bytes.fromhex(vector["key"]), bytes.fromhex(vector["datagram"])
        identifier = wire.TO_CLIENT if vector["is_server"] else wire.TO_SERVER
        numbers = (vector["ctime"], vector["seq"], vector["ack"], vector["ack_bits"])
        assert wire.seal(identifier, *numbers, messages_of(vector), key) == datagram
        header, messages = wire.unseal(datagram, key)
        assert (header.type, messages) == (vector["type"], messages_of(vector))


class TestFragments:
    @each("fragment_splits")
    def test_the_splits_at_the_default_mtu(self, vector):
        self.check(vector, MTU)

    @each("fragment_splits_small_mtu")
    def test_the_splits_at_smaller_ones(self, vector):
        self.check(vector, vector["mtu"])

    def check(self, vector, mtu):
        message = bytes(range(256)) * (vector["length"] // 256 + 1)
        message = message[: vector["length"]]
        pieces = wire.split(7, message, mtu)
        assert fragments_of(message, mtu) == [b"\0\1" + piece[2:] for piece in pieces]
        assert [len(piece) for piece in pieces] == vector["sizes_with_header"]
        assert wire.join(pieces[::-1]) == message
        for name, piece in (("first_header", pieces[0]), ("last_header", pieces[-1])):
            assert piece[:6].hex() == vector.get(name, piece[:6].hex())


@each("mtu_sizes")
def test_the_sizes_that_follow_from_an_mtu(vector):
    mtu, expected = vector["mtu"], tuple(vector.values())[1:]
    limits = size_limits(mtu)
    ours = (limits.datagram, limits.payload, limits.fragment, hello_size(limits.payload))
    assert ours == wire.sizes(mtu) == expected


class TestHandshake:
    token = HANDSHAKE["token"]
    root, client, server = (
        EllipticCurvePrivateKey.fromPEM(HANDSHAKE[f"{name}_private_key_pem"])
        for name in ("root", "client", "server_session")
    )
    trusted = EllipticCurvePublicKey.fromPEM(HANDSHAKE["root_public_key_pem"])
    client_der, server_der = client.getPublicKey().getBytes(), server.getPublicKey().getBytes()

    def test_the_pem_texts_of_the_keys(self):
        assert self.root.getPublicKey() == self.trusted
        assert self.trusted.getPublicKeyPEM() == HANDSHAKE["root_public_key_pem"]
        assert self.root.getPrivateKeyPEM() == HANDSHAKE["root_private_key_pem"]

    def test_the_client_hello(self):
        message = hexed("client_hello_payload")
        padding = message[101:]
        hello = ClientHello(self.client_der)
        assert hello.encode(len(message), lambda size: padding[:size]) == message
        assert ClientHello.decode(message, 1412) == hello
        assert wire.pack_client_hello(self.client_der, padding) == message
        assert wire.unpack_client_hello(message, MTU) == self.client_der

    def test_the_server_hello(self):
        message = hexed("server_hello_payload")
        hello = ServerHello.decode(message)
        hello.verify(self.trusted)
        hello.verify(None)
        assert hello.encode() == message
        assert (hello.salt, hello.token) == (hexed("salt"), self.token)
        assert hello.ephemeral_key() == self.server.getPublicKey()
        read = wire.unpack_server_hello(message, self.trusted.getBytes())
        assert read[1:4] == (self.server_der, hello.salt, hello.token)

    def test_a_server_hello_of_the_same_values_differs_in_the_signature_alone(self):
        golden = ServerHello.decode(hexed("server_hello_payload"))
        made = ServerHello.create(self.root, self.server.getPublicKey(), hexed("salt"), self.token)
        made.verify(self.trusted)
        assert made.signed == golden.signed
        assert made.encode()[: -len(made.signature)][:224] == golden.encode()[:224]

    def test_the_session_key(self):
        salt, key = hexed("salt"), hexed("session_key")
        assert session_key(self.client, self.server.getPublicKey(), salt) == key
        assert session_key(self.server, self.client.getPublicKey(), salt) == key
        private = load_pem_private_key(HANDSHAKE["client_private_key_pem"].encode(), None)
        assert wire.session_key(private, self.server_der, salt) == key

    def test_the_challenge_response(self):
        message = hexed("challenge_response_payload")
        assert encode_challenge_response(self.token) == message
        assert decode_challenge_response(message) == self.token
        assert wire.pack_challenge_response(self.token) == message
        assert wire.unpack_challenge_response(message) == self.token

    @pytest.mark.parametrize(
        ("name", "kind", "ack", "ack_bits"),
        [("client", PacketType.CLIENT_HELLO, 0, 0), ("server", PacketType.SERVER_HELLO, 1, 0)],
    )
    def test_the_datagrams_in_the_clear(self, name, kind, ack, ack_bits):
        datagram, message = hexed(f"{name}_hello_datagram"), hexed(f"{name}_hello_payload")
        fields, read = wire.unpack_clear(datagram)
        assert read == (1, kind, message)
        assert wire.pack_clear(fields, read) == datagram
        numbers = (fields.time, fields.ack, fields.ack_bits)
        assert encode_clear_packet(kind, 1, 1, message, *numbers) == datagram
        packet = decode_clear_packet(datagram, kind)
        assert (packet.header.seq, packet.message_seq, packet.message) == (1, 1, message)

    def test_the_datagram_of_the_challenge_response(self):
        datagram, key = hexed("challenge_response_datagram"), hexed("session_key")
        header, messages = wire.unseal(datagram, key)
        assert (header.seq, header.time) == (2, HANDSHAKE_TIME)
        assert messages == [(2, wire.CHALLENGE_RESP, hexed("challenge_response_payload"))]
        assert wire.seal(*header[:4], header.ack_bits, messages, key) == datagram
        ours = Packet.from_bytes(PacketHeader.from_bytes(True, datagram), key, datagram)
        assert ours.to_bytes(key) == datagram
        assert [m.payload for m in ours.msgs] == [hexed("challenge_response_payload")]


def golden_datagrams():
    """Return every golden datagram with its key (None in the clear) and who receives it."""
    golden = {
        f"sealed {number}": (v["datagram"], v["key"], not v["is_server"])
        for number, v in enumerate(VECTORS["sealed_packets"])
    }
    golden["client hello"] = (HANDSHAKE["client_hello_datagram"], "", True)
    golden["server hello"] = (HANDSHAKE["server_hello_datagram"], "", False)
    answer = (HANDSHAKE["challenge_response_datagram"], HANDSHAKE["session_key"], True)
    golden["challenge response"] = answer
    return {
        name: (bytes.fromhex(datagram), bytes.fromhex(key) or None, to_server)
        for name, (datagram, key, to_server) in golden.items()
    }


GOLDEN = golden_datagrams()
each_datagram = pytest.mark.parametrize(
    ("datagram", "key", "to_server"), GOLDEN.values(), ids=GOLDEN
)


def read_ours(datagram, key, to_server):
    header = PacketHeader.from_bytes(to_server, datagram)
    # A hello needs no key; where damage makes another type of it, any key will do.
    return Packet.from_bytes(header, key or bytes(16), datagram)


def read_second(datagram, key):
    return wire.unseal(datagram, key) if key else wire.unpack_clear(datagram)


class TestDamage:
    """The seal covers every byte, and the CRC-32 finds every single bit: nothing gets by."""

    @each_datagram
    def test_every_prefix_is_refused(self, datagram, key, to_server):
        assert read_ours(datagram, key, to_server)
        for wrong in [*prefixes(datagram), datagram + b"\0"]:
            with pytest.raises(PacketError):
                read_ours(wrong, key, to_server)
            with pytest.raises(wire.WireError):
                read_second(wrong, key)

    @each_datagram
    def test_every_flipped_bit_is_refused(self, datagram, key, to_server):
        for wrong in single_bit_flips(datagram):
            with pytest.raises(PacketError):
                read_ours(wrong, key, to_server)

    @each_datagram
    def test_every_flipped_bit_is_refused_by_the_second_codec(self, datagram, key, to_server):
        for wrong in single_bit_flips(datagram):
            with pytest.raises(wire.WireError):
                read_second(wrong, key)

    @given(st.sampled_from(sorted(GOLDEN)), st.randoms(use_true_random=False))
    def test_a_mutated_datagram_is_a_packet_or_an_error(self, name, rng):
        datagram, key, to_server = GOLDEN[name]
        wrong = mutated(rng, datagram)
        try:
            packet = read_ours(wrong, key, to_server)
        except PacketError:
            return
        assert packet.to_bytes(key) == wrong


class TestDamageToWhatListens:
    """The same damage, given to what receives such a datagram in earnest: it changes nothing."""

    @staticmethod
    def damaged(datagram):
        return [*prefixes(datagram), datagram + b"\0", *single_bit_flips(datagram)]

    @pytest.mark.parametrize(
        ("datagram", "key", "to_server"),
        [case for case in GOLDEN.values() if case[1] is not None],
        ids=[name for name, case in GOLDEN.items() if case[1] is not None],
    )
    def test_an_endpoint_that_holds_the_key(self, datagram, key, to_server):
        endpoint = Endpoint1(AESGCM(key), to_server, 0.0, HANDSHAKE_TIME)
        endpoint.established = True
        untouched = state(endpoint)
        for wrong in self.damaged(datagram):
            assert endpoint.receive(wrong, 0.0) > 0
            assert state(endpoint) == untouched
        assert endpoint.dropped == len(self.damaged(datagram))
        assert endpoint.receive(datagram, 0.0) == 0

    def test_a_client_that_waits_for_its_server_hello(self):
        datagram, _, _ = GOLDEN["server hello"]
        handshake = ClientHandshake(TestHandshake.trusted, 0.0, HANDSHAKE_TIME)
        handshake.add_path("path", 0.0, 1434, 1472)
        assert len(handshake.datagrams(0.0)) == 1
        for wrong in self.damaged(datagram):
            assert handshake.receive("path", wrong, 0.0) is None
            assert handshake.datagrams(0.0) == []
        handshake.receive("path", datagram, 0.0)
        [(_, response)] = handshake.datagrams(0.0)
        assert response[12] == PacketType.CHALLENGE_RESP

    def test_a_server_that_waits_for_a_client_hello(self):
        datagram, _, _ = GOLDEN["client hello"]
        world, address = World(), ("192.0.2.1", 5000)
        for wrong in self.damaged(datagram):
            world.serve([(wrong, address)])
        assert world.sent == []
        assert world.engine.half_open == 0
        world.serve([(datagram, address)])
        world.run(0.1)
        [(answer, to)] = world.sent
        assert (answer[12], to) == (PacketType.SERVER_HELLO, address)
