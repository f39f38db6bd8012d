"""The golden bytes of protocol 2: the second codec makes them, reads them, and refuses the bad."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from support.vectors2 import handshake as scene
from support.vectors2 import inputs, whole
from support.vectors2.packets import as_vector, keys_of
from support.wire import WireError
from support.wire2 import fields, frames, handshake, keys, packets, rules, tables, tokens

VECTORS = json.loads(whole.FILE.read_text(encoding="utf-8"))
INVALID = VECTORS["invalid"]
MTU = 1500
HELLOS = scene.hellos()
ATTEMPT = [HELLOS["form 1"], HELLOS["form 2"]]
ROOT = inputs.point_of(inputs.ROOT)


def each(section, of=VECTORS):
    cases = of[section]
    names = map(str, range(len(cases)))
    return pytest.mark.parametrize("vector", cases, ids=names)


def octets(vector, name="bytes"):
    return bytes.fromhex(vector[name])


def extensions_of(vector):
    return {int(type_): bytes.fromhex(value) for type_, value in vector["extensions"].items()}


def taken(cases, check):
    """Return the reasons of what a function takes without a WireError."""
    reasons = []
    for case in cases:
        with suppress(WireError):
            check(octets(case))
            reasons.append(case["reason"])
    return reasons


def test_the_file_is_what_the_script_makes():
    assert whole.FILE.read_text(encoding="utf-8") == whole.as_text()


class TestVectors:
    def test_varints(self):
        for data, value, is_shortest in VECTORS["varints"]:
            reader = fields.Reader(bytes.fromhex(data))
            assert reader.varint() == value
            reader.end()
            assert (fields.pack_varint(value).hex() == data) is is_shortest

    @each("extension_blocks")
    def test_extension_block(self, vector):
        reader = fields.Reader(octets(vector))
        assert reader.extensions({}) == extensions_of(vector)
        reader.end()

    @each("hellos")
    def test_hello(self, vector):
        offer = vector["offer"]
        worker = vector.get("routing", 0)
        hello = handshake.at_server(octets(vector, "datagram"), offer["audience"], MTU, worker)
        assert hello.form == vector["form"]
        assert hello.routing == vector.get("routing", handshake.ANY_WORKER)
        assert (hello.key.hex(), hello.cookie.hex()) == (vector["key"], vector["cookie"])
        assert (hello.offer, hello.transcript) == (octets(offer), octets(vector, "transcript"))
        assert hello.speaks_version_2 is vector["is_answered_in_version_2"]
        unpacked = handshake.unpack_offer(hello.offer)
        assert (unpacked.random, unpacked.versions) == (
            octets(offer, "random"),
            octets(offer, "versions"),
        )
        assert unpacked.extensions == extensions_of(offer)

    @each("retries")
    def test_retry(self, vector):
        retry, repeated = handshake.at_client(octets(vector, "datagram"), ATTEMPT)
        assert (retry.form, retry.hello_random) == (vector["form"], octets(vector, "hello_random"))
        assert repeated.cookie == octets(vector, "cookie")
        assert retry.routing == repeated.routing == vector["routing"]
        expected = HELLOS[vector["hello"] if retry.routing == 255 else "form 2"]
        assert repeated.transcript == expected.transcript

    @each("cookies")
    def test_cookie(self, vector):
        at = octets(vector, "address"), octets(vector, "key")
        secret, cookie = octets(vector, "secret"), octets(vector, "cookie")
        epochs = range(max(0, vector["epoch"] - 2), vector["epoch"] + 4)
        holds = [e for e in epochs if tokens.cookie_holds(cookie, secret, e, *at)]
        assert holds == [vector["epoch"], vector["epoch"] + 1]
        assert len(cookie) == 17
        assert not tokens.cookie_holds(cookie, secret, vector["epoch"], b"elsewhere", at[1])

    @each("server_hellos")
    def test_server_hello(self, vector):
        hello = HELLOS[vector["hello"]]
        got = handshake.at_client(octets(vector, "datagram"), [hello], ROOT)
        assert got.answer == octets(vector["answer"])
        assert got.parts.extensions == extensions_of(vector["answer"])
        assert got.parts.connection_id == octets(vector["answer"], "connection_id")
        signed = handshake.signed_bytes(hello.transcript, got.answer)
        assert signed == octets(vector, "signed")

    @each("server_hellos")
    def test_both_sides_have_the_same_keys(self, vector):
        schedule = vector["keys"]
        ecdh = keys.shared_secret(inputs.EPHEMERAL, scene.KEY)
        assert ecdh == octets(schedule, "ecdh")
        kem = octets(schedule, "kem_secret")
        salt, secret = octets(schedule, "salt"), ecdh + kem
        for side in ("client", "server"):
            info = f"mpgameserver 2 {side}".encode()
            secret_0 = HKDF(hashes.SHA256(), 32, salt, info).derive(secret)
            assert secret_0.hex() == schedule[side]["phases"][0]["secret"]
        export = HKDF(hashes.SHA256(), 32, salt, b"mpgameserver 2 export").derive(secret)
        assert export.hex() == schedule["export"]

    def test_ml_kem(self):
        vector = VECTORS["kem"]
        private = keys.kem_private_key(octets(vector, "seed"))
        assert private.public_key().public_bytes_raw() == octets(vector, "encapsulation_key")
        assert private.decapsulate(octets(vector, "ciphertext")) == octets(vector, "secret")
        secret, ciphertext = keys.encapsulate(octets(vector, "encapsulation_key"))
        assert private.decapsulate(ciphertext) == secret
        with pytest.raises(WireError):
            keys.encapsulate(b"\xff" * 1184)

    @each("downgrade")
    def test_downgrade(self, vector):
        assert handshake.is_downgraded(octets(vector, "salt")) is vector["is_downgraded"]

    @each("connect_data")
    def test_connect_data(self, vector):
        data = tables.unpack_connect_data(octets(vector))
        assert data.credential == octets(vector, "credential")
        assert scene.hexed([channel._asdict() for channel in data.channels]) == vector["channels"]
        assert data.extensions == extensions_of(vector)

    @each("accept_data")
    def test_accept_data(self, vector):
        channels = [tables.Channel(id_, tables.ORDERED, None, "") for id_ in vector["ordered"]]
        data = tables.unpack_accept_data(octets(vector), channels)
        assert data.reset_token == octets(vector, "reset_token")
        assert scene.hexed(data.windows) == vector["windows"]

    @each("pieces")
    def test_pieces_become_whole_with_the_last(self, vector):
        pieces = tables.Pieces()
        got = [pieces.add(*frames.unpack_all(bytes.fromhex(p))) for p in vector["payloads"]]
        assert got == [None] * (len(got) - 1) + [octets(vector, "whole")]

    @each("resets")
    def test_stateless_reset(self, vector):
        datagram, token = octets(vector, "datagram"), octets(vector, "token")
        assert handshake.at_client(datagram, []) == token
        assert len(datagram) < packets.SMALLEST[packets.ID_SIZE]
        assert (
            tokens.reset_token(octets(vector, "secret"), octets(vector, "connection_id")) == token
        )

    def test_frames(self):
        for vector in VECTORS["frames"]:
            (frame,) = frames.unpack_all(octets(vector))
            assert as_vector(frame) | {"bytes": vector["bytes"]} == vector

    @each("payloads")
    def test_payload(self, vector):
        got = frames.unpack_all(octets(vector))
        assert [as_vector(frame) for frame in got] == vector["frames"]
        assert (frames.pack_all(got) == octets(vector)) is vector["is_shortest"]

    def test_packet_numbers(self):
        for newest, low, number in VECTORS["numbers_read"]:
            assert packets.whole_number(int(low, 16), len(low) // 2, newest) == number

    @each("sealed")
    def test_sealed_packet(self, vector):
        receiving = packets.ReceivingKeys(octets(vector, "secret_0"))
        for n in range(1, vector["n"]):
            update = packets.Packet(n, keys_of(octets(vector, "secret_0"), n), b"")
            receiving.opened(update)
        datagram, masking = octets(vector, "datagram"), octets(vector, "mask_key")
        id_, newest = octets(vector, "connection_id"), vector["number"] - 1
        packet = packets.open_packet(datagram, receiving, masking, id_, newest)
        assert packet.number == vector["number"]
        assert packet.payload == octets(vector, "payload")
        assert packets.unmask(datagram, masking, len(id_)) == octets(vector, "header")

    @each("sealed")
    def test_sealed_packet_by_hand(self, vector):
        datagram, header = octets(vector, "datagram"), octets(vector, "header")
        nonce, block = octets(vector, "nonce"), octets(vector, "mask")
        sealed = AESGCM(octets(vector, "key")).encrypt(nonce, octets(vector, "payload"), header)
        number = vector["number"].to_bytes(12, "big")
        iv = octets(vector, "iv")
        assert nonce == bytes(a ^ b for a, b in zip(iv, number, strict=True))
        masked = bytearray(header)
        masked[0] ^= block[0] & 7
        for place in range((header[0] & 3) + 1):
            masked[1 + len(octets(vector, "connection_id")) + place] ^= block[1 + place]
        assert bytes(masked) + sealed == datagram
        assert header[0] == 8 + 4 * (vector["n"] % 2) + (header[0] & 3)


class TestInvalidVectors:
    """Each test lists the reasons of what was taken all the same."""

    def test_varints(self):
        assert taken(INVALID["varints"], lambda data: fields.Reader(data).varint()) == []

    def test_offers(self):
        assert taken(INVALID["offers"], handshake.unpack_offer) == []

    def test_datagrams_to_the_server(self):
        at_server = partial(handshake.at_server, audience="", mtu=MTU)
        assert taken(INVALID["to_server"], at_server) == []

    def test_datagrams_to_the_client(self):
        at_client = partial(handshake.at_client, hellos=ATTEMPT, pinned=ROOT)
        assert taken(INVALID["to_client"], at_client) == []

    def test_sealed_packets(self):
        context = INVALID["sealed_context"]
        masking = keys.mask_key(octets(context, "secret_0"))
        known = octets(context, "connection_id")
        receiving = packets.ReceivingKeys(octets(context, "secret_0"))
        received = packets.ReceivedNumbers(window=1000)
        for number in context["received"]:
            received.receive(number)

        def receive(datagram):
            packet = packets.open_packet(datagram, receiving, masking, known, received.newest)
            received.receive(packet.number)

        assert taken(INVALID["sealed"], receive) == []
        assert receiving.current.n == 0

    def test_payloads(self):
        assert taken(INVALID["payloads"], frames.unpack_all) == []

    @pytest.mark.parametrize("sender", ["client", "server"])
    def test_payloads_in_a_session(self, sender):
        kinds = {1: tables.ORDERED, 16: tables.UNORDERED}
        session = rules.Session(sender, kinds, newest_sent=10, skipped={7})
        ids = [(bytes.fromhex(a), bytes.fromhex(b)) for a, b in INVALID["session_ids"]]
        session.ids = dict(enumerate(ids))
        rules.take(frames.pack(frames.Fragment(16, 5, 100, 0, b"f" * 64)), session)
        from_sender = [v for v in INVALID["payloads_in_session"] if v["sender"] == sender]
        assert taken(from_sender, lambda data: rules.take(data, session)) == []
        assert session.totals == {(16, 5): 100}
        assert session.ids == dict(enumerate(ids))
        assert not session.retired

    def test_payloads_before_accept(self):
        session = rules.Session("client", {1: tables.ORDERED}, is_accepted=False)
        session.ids = {0: (b"i" * 8, b"t" * 16)}
        cases = INVALID["payloads_before_accept"]
        assert taken(cases, lambda data: rules.take(data, session, sequence=1)) == []
        session.is_accepted = True
        accepted = taken(cases[:5], lambda data: rules.take(data, session, sequence=1))
        assert accepted == [case["reason"] for case in cases[:5]]

    def test_connect_data(self):
        assert taken(INVALID["connect_data"], tables.unpack_connect_data) == []

    def test_accept_data(self):
        channels = [tables.Channel(id_, tables.ORDERED, None, "") for id_ in (1, 255)]
        unpack = partial(tables.unpack_accept_data, channels=channels)
        assert taken(INVALID["accept_data"], unpack) == []

    @each("pieces", INVALID)
    def test_pieces(self, vector):
        pieces = tables.Pieces()
        first, last = [frames.unpack_all(bytes.fromhex(p))[0] for p in vector["payloads"]]
        assert pieces.add(first) is None
        with pytest.raises(WireError):
            pieces.add(last)
