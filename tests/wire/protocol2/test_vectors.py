"""Protocol 2's handshake, keys and setup: the golden bytes both ways, and anything else refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.damage import mutated, prefixes, single_bit_flips
from support.wire2.keys import late_secret

from mpgameserver.errors import HandshakeError
from mpgameserver.wire.protocol2.downgrade import downgrade_salt, is_downgrade
from mpgameserver.wire.protocol2.fields import FieldReader, extension_block, varint
from mpgameserver.wire.protocol2.hello import (
    Answer,
    ClientHello2,
    HelloForm,
    Offer,
    Retry,
    ServerHello2,
    StatelessReset,
    find_offer,
    offer_filler,
    public_key_of,
    transcript_hash,
)
from mpgameserver.wire.protocol2.keys import SessionSecrets, TrafficSecret
from mpgameserver.wire.protocol2.limits import PeerLimits
from mpgameserver.wire.protocol2.setup import (
    AcceptData,
    ChannelKind,
    ConnectData,
    DeclaredChannel,
    Window,
)

VECTORS = json.loads(Path(__file__).parents[2].joinpath("protocol2.json").read_text())
HELLOS = {hello["name"]: hello for hello in VECTORS["hellos"]}
INVALID = VECTORS["invalid"]
ML_KEM = "1"


def each(name: str):
    return pytest.mark.parametrize("vector", VECTORS[name], ids=range(len(VECTORS[name])))


def each_invalid(name: str):
    return pytest.mark.parametrize("vector", INVALID[name], ids=lambda v: v["reason"])


def hexed(vector: dict, name: str) -> bytes:
    return bytes.fromhex(vector[name])


def offer_of(vector: dict) -> Offer:
    """The offer of a hello of the vectors, as it was read."""
    return Offer(
        hexed(vector, "random"),
        tuple(hexed(vector, "versions")),
        vector["audience"],
        bytes.fromhex(vector["extensions"].get(ML_KEM, "")),
        hexed(vector, "bytes"),
    )


def has_unusual(vector: dict) -> bool:
    """Return True if there are extensions that the product reads and does not write.

    They are those that it does not know, and limits that are the defaults.
    """
    extensions = vector["extensions"]
    return any(int(kind) > 3 for kind in extensions) or extensions.get("3") == "05c0"


def refused(decode, data: bytes) -> bool:
    try:
        decode(data)
    except HandshakeError:
        return True
    return False


@each("varints")
def test_integers(vector):
    data, value, is_shortest = vector
    assert FieldReader(bytes.fromhex(data)).varint() == value
    assert (varint(value).hex() == data) == is_shortest


@each("extension_blocks")
def test_extension_blocks(vector):
    extensions = {int(kind): bytes.fromhex(v) for kind, v in vector["extensions"].items()}
    assert FieldReader(hexed(vector, "bytes")).extensions() == extensions
    assert extension_block(extensions) == hexed(vector, "bytes")


class TestHellos:
    @each("hellos")
    def test_the_offer(self, vector):
        offer = offer_of(vector["offer"])
        assert Offer.decode(offer.encode()) == offer
        if not has_unusual(vector["offer"]):
            fields = (offer.random, offer.versions, offer.audience, offer.encapsulation_key)
            assert Offer(*fields).encode() == offer.encode()
        form = HelloForm(vector["form"])
        assert offer.transcript(form, hexed(vector, "key")) == hexed(vector, "transcript")

    @each("hellos")
    def test_the_hello(self, vector):
        offer, cookie = offer_of(vector["offer"]), hexed(vector, "cookie")
        if vector["form"] == HelloForm.VERSION_1:
            filler = hexed(vector, "filler")
            assert find_offer(filler) == (cookie, offer)
            assert filler.startswith(offer_filler(offer, cookie))
            assert hexed(vector, "datagram").find(filler) > 0
        else:
            hello = ClientHello2(hexed(vector, "key"), offer, cookie, vector["routing"])
            assert ClientHello2.decode(hexed(vector, "datagram")) == hello
            assert ClientHello2.decode(hello.encode()) == hello
            told = hello.encode().rstrip(b"\0")
            assert hexed(vector, "datagram").startswith(told), "all but the padding"

    def test_a_filler_without_the_magic_has_no_offer(self):
        assert find_offer(bytes(1311)) is None

    @each_invalid("offers")
    def test_what_is_no_offer(self, vector):
        data = hexed(vector, "bytes")
        if "coefficient" in vector["reason"]:
            assert not refused(Offer.decode, data), "left to who encapsulates: it costs a hash"
        else:
            assert refused(Offer.decode, data)

    @each("retries")
    def test_a_retry(self, vector):
        form = HelloForm(HELLOS[vector["hello"]]["form"])
        retry = Retry(
            form, hexed(vector, "hello_random"), hexed(vector, "cookie"), vector["routing"]
        )
        assert retry.encode() == hexed(vector, "datagram")
        assert Retry.decode(retry.encode()) == retry

    @each("resets")
    def test_a_stateless_reset(self, vector):
        reset = StatelessReset(hexed(vector, "token"))
        assert reset.encode() == hexed(vector, "datagram")
        assert StatelessReset.decode(reset.encode()) == reset


class TestServerHellos:
    @each("server_hellos")
    def test_is_read_written_and_verified(self, vector):
        client = HELLOS[vector["hello"]]
        offer, key = offer_of(client["offer"]), hexed(client, "key")
        hello = ServerHello2.decode(hexed(vector, "datagram"))
        assert hello.encode() == hexed(vector, "datagram")
        assert hello.answer == answer_of(vector["answer"])
        if not has_unusual(vector["answer"]):
            a = hello.answer
            rewritten = Answer(
                a.root_point, a.ephemeral_point, a.random, a.connection_id, a.ciphertext, a.limits
            )
            assert rewritten.encode() == a.encode()
        hello.verify(offer, key, None)
        hello.verify(offer, key, public_key_of(hello.answer.root_point))

    @each("server_hellos")
    def test_the_keys(self, vector):
        client = HELLOS[vector["hello"]]
        transcript = hexed(client, "transcript")
        keys = vector["keys"]
        salt = transcript_hash(transcript, answer_of(vector["answer"]))
        assert salt == hexed(keys, "salt")
        secrets = SessionSecrets.derive(
            hexed(keys, "ecdh"), salt, bytes.fromhex(keys.get("kem_secret") or "")
        )
        assert secrets.export == hexed(keys, "export")
        for side in ("client", "server"):
            secret = getattr(secrets, side)
            for phase in keys[side]["phases"]:
                assert (secret.secret, secret.iv) == (hexed(phase, "secret"), hexed(phase, "iv"))
                secret = secret.next()

    @each_invalid("to_client")
    def test_what_a_client_refuses(self, vector):
        """By its bytes, by its signature, or as the answer to a hello that was never sent."""
        data = hexed(vector, "bytes")
        if vector["reason"] in NOT_BY_BYTES:
            return
        assert all(refused(kind.decode, data) for kind in (Retry, ServerHello2, StatelessReset))

    def test_no_flipped_bit_of_an_answer_verifies(self):
        vector = VECTORS["server_hellos"][1]
        client, datagram = HELLOS[vector["hello"]], hexed(vector, "datagram")
        offer, key = offer_of(client["offer"]), hexed(client, "key")
        sent = ServerHello2.decode(datagram)

        def verified(data):
            hello = ServerHello2.decode(data)
            if hello.hello_id != sent.hello_id:
                raise HandshakeError("the hello that it answers was never sent")
            return hello.verify(offer, key, None)

        assert not refused(verified, datagram)
        assert all(refused(verified, flipped) for flipped in single_bit_flips(datagram))

    @pytest.mark.parametrize("damage", range(20))
    def test_no_other_exchange_has_its_signature(self, damage):
        vector = VECTORS["server_hellos"][1]
        client = HELLOS[vector["hello"]]
        offer, key = offer_of(client["offer"]), hexed(client, "key")
        hello = ServerHello2.decode(hexed(vector, "datagram"))
        rng = random.Random(damage)
        place = rng.randrange(len(hello.signature))
        forged = bytearray(hello.signature)
        forged[place] ^= 1 << rng.randrange(8)
        with pytest.raises(HandshakeError):
            ServerHello2(hello.form, hello.hello_id, hello.answer, bytes(forged)).verify(
                offer, key, None
            )
        with pytest.raises(HandshakeError):
            hello.verify(Offer(bytes(32)), key, None)
        with pytest.raises(HandshakeError):
            hello.verify(offer, bytes(65), None)


NOT_BY_BYTES = {
    "answer: a ciphertext that was not asked for",
    "RETRY: the random of no hello sent",
    "the random of no hello sent",
    "the other form",
    "r is 0",
    "s is 0",
    "s is the order of the group",
    "signed for another hello",
    "signed by another key",
    "another root key than the pinned",
    "the answer alone is signed",
    "signed without the label",
    "answer: an ephemeral key off the curve",
}
"""Messages refused for an earlier one, for the signature, or when the key is used."""


def answer_of(vector: dict) -> Answer:
    extensions = {int(kind): bytes.fromhex(v) for kind, v in vector["extensions"].items()}
    return Answer(
        hexed(vector, "root_key"),
        hexed(vector, "ephemeral_key"),
        hexed(vector, "random"),
        hexed(vector, "connection_id"),
        extensions.get(1),
        PeerLimits.from_extensions(extensions),
        hexed(vector, "bytes"),
    )


@each("downgrade")
def test_the_mark_of_a_downgrade(vector):
    salt = hexed(vector, "salt")
    assert is_downgrade(salt) == vector["is_downgraded"]
    if vector["is_downgraded"]:
        assert downgrade_salt(lambda size: salt[:size]) == salt


def test_what_is_mixed_in_later():
    secret = TrafficSecret(bytes(range(32)))
    mixed = secret.mixed_with(hexed(VECTORS["kem"], "secret")).next()
    assert mixed.secret == late_secret(secret.secret, hexed(VECTORS["kem"], "secret"))


class TestSetup:
    @each("connect_data")
    def test_connect_data(self, vector):
        extensions = {int(kind): bytes.fromhex(v) for kind, v in vector["extensions"].items()}
        data = ConnectData(
            hexed(vector, "credential"),
            tuple(
                DeclaredChannel(
                    c["id"], ChannelKind(c["kind"]), c["name"], Window(*(c["window"] or ()))
                )
                for c in vector["channels"]
            ),
            PeerLimits.from_extensions(extensions),
        )
        assert ConnectData.decode(hexed(vector, "bytes")) == data
        if not has_unusual(vector):
            assert data.encode() == hexed(vector, "bytes")

    @each("accept_data")
    def test_accept_data(self, vector):
        windows = tuple(Window(*window) for window in vector["windows"])
        data = AcceptData(hexed(vector, "reset_token"), windows)
        assert data.encode() == hexed(vector, "bytes")
        assert AcceptData.decode(data.encode(), len(vector["ordered"])) == data

    @each_invalid("connect_data")
    def test_what_is_no_connect_data(self, vector):
        assert refused(ConnectData.decode, hexed(vector, "bytes"))

    @each_invalid("accept_data")
    def test_what_is_no_accept_data(self, vector):
        assert refused(lambda data: AcceptData.decode(data, 2), hexed(vector, "bytes"))

    @pytest.mark.parametrize(
        "data",
        [
            ConnectData(bytes(1025)),
            ConnectData(
                channels=tuple(
                    DeclaredChannel(n, ChannelKind.ORDERED, f"{n:064}") for n in range(1, 200)
                )
            ),
        ],
        ids=["credential", "names"],
    )
    def test_more_than_a_peer_takes_is_refused_at_once(self, data):
        with pytest.raises(ValueError, match="connect data of"):
            data.encode()


MESSAGES = [
    (Offer.decode, VECTORS["hellos"][2]["offer"]["bytes"]),
    (find_offer, VECTORS["hellos"][1]["filler"]),
    (ClientHello2.decode, VECTORS["hellos"][7]["datagram"]),
    (Retry.decode, VECTORS["retries"][0]["datagram"]),
    (ServerHello2.decode, VECTORS["server_hellos"][1]["datagram"]),
    (StatelessReset.decode, VECTORS["resets"][0]["datagram"]),
    (ConnectData.decode, VECTORS["connect_data"][0]["bytes"]),
    (lambda data: AcceptData.decode(data, 2), VECTORS["accept_data"][0]["bytes"]),
]
each_message = pytest.mark.parametrize(("decode", "golden"), MESSAGES, ids=range(len(MESSAGES)))


@each_message
def test_no_prefix_is_a_message(decode, golden):
    data = bytes.fromhex(golden)
    if decode is find_offer:
        data = data[: 9 + data[8] + 2 + int.from_bytes(data[9 + data[8] :][:2], "big")]
        assert all(refused(decode, prefix) for prefix in prefixes(data) if len(prefix) >= 8)
    else:
        assert all(refused(decode, prefix) for prefix in prefixes(data))


@each_message
@given(seed=st.integers(0, 1 << 32))
def test_damaged_messages_are_messages_or_one_error(decode, golden, seed):
    refused(decode, mutated(random.Random(seed), bytes.fromhex(golden)))


@each_message
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_one_error(decode, golden, data):
    refused(decode, data)
