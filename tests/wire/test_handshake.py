"""The handshake as bytes: what is written, what is read back, and every other byte refused."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from support import wire
from support.damage import mutated, prefixes, single_bit_flips

from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import HandshakeError, PacketError, ProtocolError
from mpgameserver.wire.handshake import (
    SALT_SIZE,
    ClientHello,
    ServerHello,
    WrongKeyError,
    decode_challenge_response,
    decode_clear_packet,
    encode_challenge_response,
    encode_clear_packet,
    hello_size,
    new_token,
    session_key,
)

MTU = 1500
SIZE = wire.sizes(MTU).client_hello


def fixed_key(number):
    return EllipticCurvePrivateKey(ec.derive_private_key(number, ec.SECP256R1()))


ROOT, OTHER_ROOT, CLIENT, SERVER = (fixed_key(number) for number in (11, 22, 33, 44))
ROOT_DER = ROOT.getPublicKey().getBytes()
CLIENT_DER = CLIENT.getPublicKey().getBytes()
SERVER_DER = SERVER.getPublicKey().getBytes()
OFF_CURVE = CLIENT_DER[:-1] + bytes([CLIENT_DER[-1] ^ 1])
SALT = bytes(range(16))
TOKEN = 0x51A2B3C4
SIGNATURE = ROOT.sign(b"any")


def server_hello():
    return ServerHello.create(ROOT, SERVER.getPublicKey(), SALT, TOKEN)


class TestClientHello:
    def test_it_is_padded_to_the_size_that_is_asked_for(self):
        message = ClientHello(CLIENT_DER).encode(SIZE)
        assert len(message) == SIZE == hello_size(1434) == 1412

    def test_the_padding_is_random(self):
        hello = ClientHello(CLIENT_DER)
        assert hello.encode(SIZE) != hello.encode(SIZE)

    def test_the_padding_comes_from_the_source_that_is_given(self):
        message = ClientHello(CLIENT_DER).encode(SIZE, lambda size: b"\xaa" * size)
        assert message == wire.pack_client_hello(CLIENT_DER, b"\xaa" * (SIZE - 101))

    def test_it_is_read_back(self):
        hello = ClientHello.decode(ClientHello(CLIENT_DER).encode(SIZE), SIZE)
        assert hello == ClientHello(CLIENT_DER)
        assert hello.public_key() == CLIENT.getPublicKey()

    def test_the_second_decoder_reads_it(self):
        assert wire.unpack_client_hello(ClientHello(CLIENT_DER).encode(SIZE), MTU) == CLIENT_DER

    def test_a_size_that_does_not_hold_the_key_is_refused(self):
        assert len(ClientHello(CLIENT_DER).encode(101)) == 101
        with pytest.raises(ValueError, match="at least 101 bytes, not 100"):
            ClientHello(CLIENT_DER).encode(100)

    def test_one_that_is_shorter_than_its_answer_may_be_gets_none(self):
        message = ClientHello(CLIENT_DER).encode(SIZE)
        with pytest.raises(HandshakeError, match="1412 are needed"):
            ClientHello.decode(message[:-1], SIZE)

    def test_a_longer_one_is_taken(self):
        assert ClientHello.decode(ClientHello(CLIENT_DER).encode(SIZE + 500), SIZE)

    @pytest.mark.parametrize("version", [0, 2, -1, 300])
    def test_another_protocol_version_is_refused(self, version):
        start = b"\x00\x82" + wire.pack_bytes(CLIENT_DER) + wire.pack_integer(version)
        with pytest.raises(HandshakeError, match=f"version {version}, not 1"):
            ClientHello.decode(start.ljust(SIZE, b"\0"), SIZE)

    @pytest.mark.parametrize(
        "der",
        [b"", CLIENT_DER[:-1], CLIENT_DER + b"\0", b"\x31" + CLIENT_DER[1:], b"\0" * 91],
        ids=["empty", "short", "long", "another start", "zeros"],
    )
    def test_what_has_not_the_form_of_a_key_is_refused_when_read(self, der):
        with pytest.raises(HandshakeError, match="not a P-256 public key"):
            ClientHello.decode(ClientHello(der).encode(SIZE), SIZE)

    def test_a_point_off_the_curve_is_found_when_the_key_is_wanted(self):
        hello = ClientHello.decode(ClientHello(OFF_CURVE).encode(SIZE), SIZE)
        with pytest.raises(HandshakeError, match="unusable public key"):
            hello.public_key()

    def test_reading_takes_no_public_key_work(self, monkeypatch):
        message = ClientHello(CLIENT_DER).encode(SIZE)
        answer = server_hello().encode()
        monkeypatch.delattr(EllipticCurvePublicKey, "fromBytes")
        monkeypatch.delattr(EllipticCurvePublicKey, "verify")
        ClientHello.decode(message, SIZE)
        ServerHello.decode(answer)


class TestServerHello:
    def test_it_is_read_back(self):
        hello = server_hello()
        assert ServerHello.decode(hello.encode()) == hello
        assert hello.ephemeral_key() == SERVER.getPublicKey()

    def test_the_second_decoder_reads_and_verifies_it(self):
        hello = server_hello()
        read = wire.unpack_server_hello(hello.encode(), ROOT_DER)
        assert read == (ROOT_DER, SERVER_DER, SALT, TOKEN, hello.signed, hello.signature)

    def test_one_of_the_second_encoder_verifies(self):
        root = ec.derive_private_key(11, ec.SECP256R1())
        message = wire.pack_server_hello(root, SERVER_DER, SALT, TOKEN)
        hello = ServerHello.decode(message)
        hello.verify(ROOT.getPublicKey())
        assert (hello.ephemeral_key_der, hello.salt, hello.token) == (SERVER_DER, SALT, TOKEN)

    def test_it_is_never_longer_than_the_hello_of_the_smallest_mtu(self):
        longest = max(len(server_hello().encode()) for _ in range(200))
        assert longest <= 303 < wire.sizes(512).client_hello

    def test_it_verifies_against_the_trusted_key(self):
        assert server_hello().verify(ROOT.getPublicKey()) is None

    def test_without_a_trusted_key_it_verifies_against_its_own(self):
        assert server_hello().verify(None) is None

    def test_one_of_another_server_has_the_wrong_key(self):
        hello = ServerHello.create(OTHER_ROOT, SERVER.getPublicKey(), SALT, TOKEN)
        with pytest.raises(WrongKeyError):
            hello.verify(ROOT.getPublicKey())

    @pytest.mark.parametrize("trusted", [ROOT.getPublicKey(), None])
    def test_a_forged_signature_under_the_right_key_is_not_a_wrong_key(self, trusted):
        forged = ServerHello(ROOT_DER, SERVER_DER, SALT, TOKEN, OTHER_ROOT.sign(b"x"))
        with pytest.raises(HandshakeError, match="the SERVER_HELLO is invalid") as caught:
            forged.verify(trusted)
        assert not isinstance(caught.value, WrongKeyError)

    def test_a_forger_who_names_the_trusted_key_and_signs_with_his_own_fails(self):
        own = ServerHello.create(OTHER_ROOT, SERVER.getPublicKey(), SALT, TOKEN)
        forged = ServerHello(ROOT_DER, SERVER_DER, SALT, TOKEN, own.signature)
        for trusted in (ROOT.getPublicKey(), None):
            with pytest.raises(HandshakeError, match="the SERVER_HELLO is invalid"):
                forged.verify(trusted)

    def test_only_the_trusted_key_counts_whatever_key_the_hello_names(self):
        honest = server_hello()
        other_der = OTHER_ROOT.getPublicKey().getBytes()
        renamed = ServerHello(other_der, SERVER_DER, SALT, TOKEN, honest.signature)
        renamed.verify(ROOT.getPublicKey())
        with pytest.raises(HandshakeError):
            renamed.verify(None)

    @pytest.mark.parametrize(
        "changed",
        [
            {"ephemeral_key_der": CLIENT_DER},
            {"salt": SALT[::-1]},
            {"token": TOKEN + 1},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_the_signature_covers_every_value(self, changed):
        honest = server_hello()
        values = {name: getattr(honest, name) for name in honest.__dataclass_fields__}
        with pytest.raises(HandshakeError, match="the SERVER_HELLO is invalid"):
            ServerHello(**{**values, **changed}).verify(ROOT.getPublicKey())

    def test_points_off_the_curve_are_found_when_the_keys_are_wanted(self):
        hello = ServerHello.decode(ServerHello(OFF_CURVE, OFF_CURVE, SALT, TOKEN, b"s").encode())
        with pytest.raises(HandshakeError, match="unusable"):
            hello.ephemeral_key()
        with pytest.raises(HandshakeError, match="unusable"):
            hello.verify(None)

    @pytest.mark.parametrize(
        ("salt", "token", "signature", "reason"),
        [
            (SALT[:-1], TOKEN, b"s", "a salt of 15 bytes"),
            (SALT, (1 << 30) - 1, b"s", "an invalid token"),
            (SALT, 1 << 31, b"s", "an invalid token"),
            (SALT, -TOKEN, b"s", "an invalid token"),
            (SALT, TOKEN, b"s" * 73, "a signature of 73 bytes"),
        ],
    )
    def test_values_of_another_size_are_refused(self, salt, token, signature, reason):
        message = ServerHello(ROOT_DER, SERVER_DER, salt, token, signature).encode()
        with pytest.raises(HandshakeError, match=reason):
            ServerHello.decode(message)

    def test_bytes_after_the_message_or_the_signed_part_are_refused(self):
        message = server_hello().encode()
        with pytest.raises(HandshakeError, match="left over"):
            ServerHello.decode(message + b"\0")
        signed = server_hello().signed + b"\0"
        parts = b"".join(wire.pack_bytes(part) for part in (ROOT_DER, signed, b"s"))
        with pytest.raises(HandshakeError, match="left over"):
            ServerHello.decode(b"\x00\x83" + parts)

    def test_a_hello_cannot_be_made_of_wrong_values(self):
        with pytest.raises(ValueError, match="16 bytes, not 3"):
            ServerHello.create(ROOT, SERVER.getPublicKey(), b"abc", TOKEN)
        with pytest.raises(ValueError, match="31 bits"):
            ServerHello.create(ROOT, SERVER.getPublicKey(), SALT, 5)

    def test_its_repr_does_not_show_the_token(self):
        assert str(TOKEN) not in repr(server_hello())


class TestChallengeResponse:
    def test_it_is_read_back_by_both_decoders(self):
        message = encode_challenge_response(TOKEN)
        assert message == wire.pack_challenge_response(TOKEN)
        assert decode_challenge_response(message) == wire.unpack_challenge_response(message)
        assert decode_challenge_response(message) == TOKEN

    @pytest.mark.parametrize("token", [0, 1, (1 << 30) - 1, 1 << 31, -TOKEN])
    def test_what_is_no_token_is_neither_written_nor_read(self, token):
        with pytest.raises(ValueError, match="31 bits"):
            encode_challenge_response(token)
        with pytest.raises(HandshakeError, match="without a token"):
            decode_challenge_response(wire.pack_challenge_response(token))

    def test_every_prefix_and_more_bytes_are_refused(self):
        message = encode_challenge_response(TOKEN)
        for wrong in [*prefixes(message), message + b"\0"]:
            with pytest.raises(HandshakeError):
                decode_challenge_response(wrong)


class TestTokens:
    def test_a_token_has_31_bits_with_bit_30_set(self):
        assert new_token(lambda size: b"\x00" * size) == 1 << 30
        assert new_token(lambda size: b"\xff" * size) == (1 << 31) - 1
        assert all(1 << 30 <= new_token() < 1 << 31 for _ in range(200))

    def test_tokens_differ(self):
        assert len({new_token() for _ in range(100)}) > 90


class TestSessionKey:
    def test_both_sides_derive_the_same_key_of_16_bytes(self):
        key = session_key(CLIENT, SERVER.getPublicKey(), SALT)
        assert key == session_key(SERVER, CLIENT.getPublicKey(), SALT)
        assert len(key) == 16

    def test_the_second_codec_derives_the_same(self):
        private = ec.derive_private_key(33, ec.SECP256R1())
        assert session_key(CLIENT, SERVER.getPublicKey(), SALT) == wire.session_key(
            private, SERVER_DER, SALT
        )

    def test_another_salt_or_key_gives_another(self):
        keys = {
            session_key(CLIENT, SERVER.getPublicKey(), SALT),
            session_key(CLIENT, SERVER.getPublicKey(), SALT[::-1]),
            session_key(CLIENT, ROOT.getPublicKey(), SALT),
            session_key(ROOT, SERVER.getPublicKey(), SALT),
        }
        assert len(keys) == 4

    def test_a_salt_of_another_length_is_refused(self):
        assert SALT_SIZE == 16
        with pytest.raises(ValueError, match="16 bytes, not 15"):
            session_key(CLIENT, SERVER.getPublicKey(), SALT[:-1])


def clear(message=b"hello", **changed):
    """Return a well-formed hello of the second encoder, with header fields changed after it."""
    header = wire.Header(wire.TO_SERVER, 1_700_000_000, 1, 0, 0, 0, 0, 0)
    datagram = wire.pack_clear(header, wire.Message(1, wire.CLIENT_HELLO, message))
    return reseal(wire.unpack_header(datagram)._replace(**changed), datagram[20:-4])


def reseal(header, payload):
    body = wire.pack_header(header) + payload
    return body + zlib.crc32(body).to_bytes(4, "big")


class TestClearPacket:
    @pytest.mark.parametrize("packet_type", [PacketType.CLIENT_HELLO, PacketType.SERVER_HELLO])
    @given(message=st.binary(max_size=40), data=st.data())
    def test_it_is_read_back_by_both_decoders(self, packet_type, message, data):
        number = st.integers(1, 65535)
        seq, message_seq, ack = (data.draw(number) for _ in range(3))
        time, ack_bits = (data.draw(st.integers(0, 0xFFFFFFFF)) for _ in range(2))
        datagram = encode_clear_packet(packet_type, seq, message_seq, message, time, ack, ack_bits)
        packet = decode_clear_packet(datagram, packet_type)
        assert (packet.message_seq, packet.message) == (message_seq, message)
        from_server = packet_type is PacketType.SERVER_HELLO
        assert packet.header == (
            from_server, time, packet_type, seq, ack, ack_bits, len(message) + 2, 1
        )  # fmt: skip
        header, read = wire.unpack_clear(datagram)
        assert read == (message_seq, packet_type, message)
        assert header[:4] == (wire.TO_CLIENT if from_server else wire.TO_SERVER, time, seq, ack)

    def test_one_of_the_second_encoder_is_read(self):
        assert decode_clear_packet(clear(), PacketType.CLIENT_HELLO).message == b"hello"

    @pytest.mark.parametrize("packet_type", list(PacketType)[3:])
    def test_nothing_but_a_hello_goes_in_the_clear(self, packet_type):
        with pytest.raises(ValueError, match="only a hello"):
            encode_clear_packet(packet_type, 1, 1, b"", 0)
        with pytest.raises(ValueError, match="only a hello"):
            decode_clear_packet(clear(), packet_type)

    @pytest.mark.parametrize(
        "changed",
        [
            {"type": wire.SERVER_HELLO},
            {"type": wire.APP},
            {"type": 200},
            {"identifier": wire.TO_CLIENT},
            {"identifier": b"FSOX"},
            {"count": 0},
            {"count": 2},
            {"length": 6},
            {"length": 8},
            {"length": 0},
            {"seq": 0},
        ],
        ids=str,
    )
    def test_a_header_that_says_anything_else_is_refused(self, changed):
        with pytest.raises(PacketError):
            decode_clear_packet(clear(**changed), PacketType.CLIENT_HELLO)

    def test_two_messages_do_not_pass_with_a_good_checksum(self):
        hidden = wire.Message(2, wire.APP, b"not encrypted")
        payload = wire.pack_payload([wire.Message(1, wire.CLIENT_HELLO, b"hello"), hidden])
        header = wire.unpack_header(clear())._replace(length=len(payload), count=2)
        with pytest.raises(PacketError):
            decode_clear_packet(reseal(header, payload), PacketType.CLIENT_HELLO)

    @pytest.mark.parametrize("payload", [b"", b"\x01", b"\x00\x00hello"])
    def test_a_message_without_a_number_is_refused(self, payload):
        header = wire.unpack_header(clear())._replace(length=len(payload))
        with pytest.raises(PacketError):
            decode_clear_packet(reseal(header, payload), PacketType.CLIENT_HELLO)

    def test_the_type_that_is_not_expected_is_refused(self):
        with pytest.raises(PacketError, match="not a SERVER_HELLO"):
            decode_clear_packet(clear(), PacketType.SERVER_HELLO)

    def test_every_prefix_and_every_flipped_bit_is_refused(self):
        datagram = clear()
        wrong = [*prefixes(datagram), datagram + b"\0"]
        for data in [*wrong, *single_bit_flips(datagram)]:
            with pytest.raises(PacketError):
                decode_clear_packet(data, PacketType.CLIENT_HELLO)


class TestAnyBytes:
    """Whatever the bytes: a value that is written back as it was read, or a ProtocolError."""

    READERS = (
        lambda data: ClientHello.decode(data, 0).public_key(),
        lambda data: ServerHello.decode(data).verify(None),
        lambda data: ServerHello.decode(data).verify(ROOT.getPublicKey()),
        decode_challenge_response,
        lambda data: decode_clear_packet(data, PacketType.CLIENT_HELLO),
        lambda data: decode_clear_packet(data, PacketType.SERVER_HELLO),
    )

    @given(st.binary(max_size=120))
    def test_random_bytes(self, data):
        for start in (b"", b"\x00\x82", b"\x00\x83", b"\x00\x84\x00\x03\x01", b"FSOS", b"FSOC"):
            self.read_all(start + data)

    @given(st.randoms(use_true_random=False))
    def test_damaged_messages(self, rng):
        messages = [
            ClientHello(CLIENT_DER).encode(110, lambda size: bytes(size)),
            ServerHello(ROOT_DER, SERVER_DER, SALT, TOKEN, SIGNATURE).encode(),
            encode_challenge_response(TOKEN),
            clear(),
        ]
        self.read_all(mutated(rng, rng.choice(messages)))

    @given(st.randoms(use_true_random=False))
    def test_what_a_damaged_server_hello_says_is_what_it_would_write(self, rng):
        honest = ServerHello(ROOT_DER, SERVER_DER, SALT, TOKEN, SIGNATURE).encode()
        data = mutated(rng, honest)
        try:
            hello = ServerHello.decode(data)
        except HandshakeError:
            return
        assert hello.encode() == data

    def test_every_prefix_and_every_flipped_bit_of_a_server_hello_is_refused(self):
        message = server_hello().encode()
        trusted = ROOT.getPublicKey()
        names_the_root = range(2, 2 + 5 + 91)  # not looked at when another key is trusted
        for cut in prefixes(message):
            with pytest.raises(HandshakeError):
                ServerHello.decode(cut)
        for bit, wrong in enumerate(single_bit_flips(message)):
            if bit // 8 in names_the_root:
                continue
            with pytest.raises(HandshakeError):
                ServerHello.decode(wrong).verify(trusted)

    def read_all(self, data):
        for reader in self.READERS:
            with contextlib.suppress(ProtocolError):
                reader(data)
