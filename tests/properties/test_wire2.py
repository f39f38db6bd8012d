"""The second codec of protocol 2: round trips, key updates, sessions, and damaged packets."""

from __future__ import annotations

import hmac
import json
import random
from functools import partial
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import wire
from support.damage import mutated, prefixes, single_bit_flips
from support.examples import examples
from support.vectors2 import handshake as scene
from support.vectors2 import inputs, whole
from support.vectors2.packets import FRAMES, keys_of, secrets
from support.wire import WireError
from support.wire2 import fields, frames, handshake, keys, packets, rules, tables

VECTORS = json.loads(whole.FILE.read_text(encoding="utf-8"))
MTU = 1500
HELLOS = scene.hellos()
ATTEMPT = [HELLOS["form 1"], HELLOS["form 2"]]
ROOT = inputs.point_of(inputs.ROOT)
LARGEST = fields.MAX_VARINT

FEW = settings(max_examples=examples(40))
"""For what takes long to make up."""


class TestByThePage:
    """Bytes that were written by hand from the page."""

    @pytest.mark.parametrize(
        ("frame", "data"),
        [
            (frames.Ping(), "01"),
            (frames.Ack(64, ((9, 10), (5, 6), (1, 2))), "02 0a 4040 02 01 01 01 01 01"),
            (frames.Window(5, 64, 300), "03 05 4040 412c"),
            (frames.Connect(300, 64, b"ab"), "04 412c 4040 02 6162"),
            (frames.Close(256, "ü".encode()), "06 4100 02 c3bc"),
            (frames.NewConnectionId(1, b"i" * 8, b"t" * 16), "09 01" + "69" * 8 + "74" * 16),
            (frames.Message(0, 1, b"", has_length=False), "80 01"),
            (frames.Message(15, 1, b"a"), "9f 01 01 61"),
            (frames.Message(16, 1, b"a", has_length=False), "c0 10 01 61"),
            (frames.Fragment(255, 1, 65, 1, b"a"), "f0 ff 01 4041 01 01 61"),
            (frames.Fragment(1, 1, 65, 1, b"a", has_length=False), "a1 01 4041 01 61"),
            (frames.Kem(1184, 1024, b"a"), "0d 44a0 4400 01 61"),
        ],
    )
    def test_frame(self, frame, data):
        assert frames.pack(frame) == bytes.fromhex(data)

    def test_where_the_fields_of_handshake_packets_are(self):
        offer = HELLOS["form 2"].offer
        assert offer == scene.PLAIN_OFFER.random + bytes.fromhex("01 02 00 0000")
        hello = handshake.Hello(2, scene.KEY, b"cookie", offer, routing=7)
        begin = b"\x04\x07\x01" + scene.KEY + b"\x06cookie" + b"\0\x25" + offer
        assert handshake.pack_hello2(hello) == begin.ljust(1200, b"\0")
        assert hello.transcript == b"\2" + scene.KEY + b"\0\x25" + offer
        retry = handshake.Retry(2, offer[:8], 7, b"cookie")
        assert handshake.pack_retry(retry) == b"\x04\xff\2\2" + offer[:8] + b"\7\6cookie"
        answer, signature = b"answer", b"s" * 64
        begin = b"\x04\xff\3\2" + offer[:8] + b"\0\6answer"
        assert handshake.pack_server_hello2(hello, answer, signature) == begin + signature
        assert handshake.pack_reset(b"t" * 16) == b"\x04\xff\4" + b"t" * 16

    def test_what_the_root_key_signs(self):
        label = b"mpgameserver 2 server hello\0"
        assert handshake.signed_bytes(b"ab", b"cd") == label + sha256(b"abcd").digest()

    def test_the_keys_are_one_hmac_each(self):
        """HKDF-Expand up to 32 bytes, as the definition in RFC 5869 has it."""
        secret = b"s" * 32

        def expanded(label):
            return hmac.digest(secret, label + b"\1", "sha256")

        expected = keys.Keys(3, expanded(b"key")[:16], expanded(b"iv")[:12])
        assert keys.packet_keys(3, secret) == expected
        assert keys.mask_key(secret) == expanded(b"mask")[:16]
        assert keys.next_secret(secret) == expanded(b"next")

    def test_which_datagrams_go_where(self):
        kinds = {"server": {1}, "client": {2, 3, 4}}
        for receiver, known in kinds.items():
            for first in range(256):
                datagrams = [bytes([first, 255, kind]) for kind in range(6)]
                taken = [value_or_error(kind_at(receiver), each) for each in datagrams]
                if first == 4:
                    of_known = ["handshake" if kind in known else None for kind in range(6)]
                    assert taken == of_known
                else:
                    other = {0x46: "version 1"} | dict.fromkeys(range(8, 16), "sealed")
                    assert taken == [other.get(first)] * 6

    @pytest.mark.parametrize(("connection_id", "cost"), [(b"", 21), (b"i" * 8, 29)])
    def test_what_a_small_message_costs(self, connection_id, cost):
        for message, more in ((64, 0), (16_383, 0), (16_384, 2)):
            frame = frames.Message(15, message, b"hi", has_length=False)
            phase = keys_of(b"s" * 32, 0)
            sealed = packets.seal(phase, b"m" * 16, connection_id, 128, frames.pack(frame))
            assert len(sealed) == cost + more + len(b"hi")

    def test_the_smallest_packets(self):
        for connection_id in (b"", b"i" * 8):
            phase, ping = keys_of(b"s" * 32, 1), frames.pack(frames.Ping())
            sealed = packets.seal(phase, b"m" * 16, connection_id, 1, ping)
            assert len(sealed) == packets.SMALLEST[len(connection_id)]

    def test_the_hello_of_version_1_has_room_for_all_that_an_offer_may_have(self):
        longest = handshake.pack_offer(scene.KEM_OFFER._replace(audience="a" * 40))
        hello = HELLOS["form 1"]._replace(cookie=b"c" * 32, offer=longest)
        assert len(handshake.pack_filler(hello, 1311, bytes(1311))) == 1311

    def test_what_is_ack_eliciting(self):
        silent = {type(f) for f in FRAMES if not frames.is_ack_eliciting(f)}
        assert {frames.KINDS.index(kind) for kind in silent} == {0, 2, 8, 11, 12}

    def test_the_examples_of_the_rfc(self):
        """Those of RFC 9000, A.2 and A.3, and A.1 for varints."""
        assert packets.number_size(0xAC5C02, 0xABE8B3) == 2
        assert packets.number_size(0xACE8FE, 0xABE8B3) == 3
        assert packets.whole_number(0x9B32, 2, 0xA82F30EA) == 0xA82F9B32
        for data in ("9d7f3e7d", "c2197c5eff14e88c"):
            value = int(data, 16) & (1 << 4 * len(data) - 2) - 1
            assert fields.Reader(bytes.fromhex(data)).varint() == value


# Round trips.

varints = st.integers(0, LARGEST) | st.integers(0, 70)
numbers = st.integers(1, LARGEST) | st.integers(1, 70)
short_bytes = st.binary(max_size=40)
eight = st.binary(min_size=8, max_size=8)
channel_ids = st.integers(0, 255)
unknown_extensions = st.dictionaries(st.integers(100, 65_535), short_bytes, max_size=4)


def texts(least, most):
    """Return texts whose UTF-8 has so many bytes."""
    return st.text(min_size=least, max_size=10) | st.just("é" * (most // 2))


lengths = varints.map(lambda value: value >> 7)
"""Of ranges and gaps, 63 of which are still a packet number."""


@st.composite
def acks(draw):
    low = draw(st.integers(1, 1000))
    ranges = []
    for length, gap in draw(st.lists(st.tuples(lengths, lengths), min_size=1, max_size=31)):
        ranges.append((low, low + length))
        low += length + gap + 2
    return frames.Ack(draw(varints), tuple(reversed(ranges)))


@st.composite
def placed(draw, limit):
    """Return a total, an offset and data."""
    data = draw(st.binary(min_size=1, max_size=40))
    total = draw(st.integers(len(data), limit))
    return total, draw(st.integers(0, total - len(data))), data


@st.composite
def fragments(draw, has_length=True):
    position = draw(st.integers(0, 100_000))
    if draw(st.booleans()):
        data = draw(st.binary(min_size=1, max_size=100))
        total = frames.UNIT * position + len(data)
    else:
        data = b"\xaa" * frames.UNIT * draw(st.integers(1, 3))
        total = draw(st.integers(frames.UNIT * position + len(data), frames.MAX_MESSAGE))
    return frames.Fragment(draw(channel_ids), draw(numbers), total, position, data, has_length)


with_length = st.one_of(
    st.sampled_from((frames.Padding(), frames.Ping())),
    acks(),
    st.builds(frames.Window, channel_ids, varints, varints),
    placed(frames.MAX_DATA).map(lambda parts: frames.Connect(*parts)),
    placed(frames.MAX_DATA).map(lambda parts: frames.Accept(*parts)),
    placed(frames.MAX_DATA).map(lambda parts: frames.Kem(*parts)),
    st.builds(frames.Close, varints, short_bytes | st.just(b"t" * 256)),
    st.builds(frames.PathChallenge, eight),
    st.builds(frames.PathResponse, eight),
    st.builds(frames.NewConnectionId, varints, eight, st.binary(min_size=16, max_size=16)),
    st.builds(frames.RetireConnectionId, varints),
    st.builds(frames.Time, varints),
    st.builds(frames.TimeReply, varints, varints, varints),
    st.builds(frames.Reserved, st.integers(64, 127), short_bytes),
    st.builds(frames.Message, channel_ids, numbers, short_bytes, st.just(True)),
    fragments(),
)
to_the_end = st.builds(
    frames.Message, channel_ids, numbers, short_bytes, st.just(False)
) | fragments(has_length=False)


payloads = st.builds(
    lambda many, last: [*(each for each in many if not isinstance(each, frames.Close)), last],
    st.lists(with_length, max_size=6),
    with_length | to_the_end,
)


@st.composite
def channel_tables(draw):
    ids = sorted(draw(st.sets(st.integers(1, 255), max_size=5)))
    table = []
    for id_ in ids:
        kind = draw(st.integers(0, 3))
        window = draw(st.tuples(varints, varints)) if kind == tables.ORDERED else None
        table.append(tables.Channel(id_, kind, window, f"{id_}" + draw(texts(0, 60))))
    return table


class TestRoundTrips:
    @given(varints, st.sampled_from((0, 1, 2, 4, 8)))
    def test_varint(self, value, size):
        if size and value >= 1 << 8 * size - 2:
            size = 8
        reader = fields.Reader(fields.pack_varint(value, size) + b"rest")
        assert (reader.varint(), reader.rest()) == (value, b"rest")

    @FEW
    @given(st.binary(max_size=32), texts(0, 40), unknown_extensions)
    def test_offer(self, versions, audience, extensions):
        named = bytes(sorted({*versions, 2}))
        offer = handshake.Offer(b"r" * 32, named, audience, extensions)
        assert handshake.unpack_offer(handshake.pack_offer(offer)) == offer

    @given(st.binary(max_size=32), st.sampled_from((0, 255)), st.sampled_from((1, 2)))
    def test_hello(self, cookie, routing, form):
        hello = handshake.Hello(form, scene.KEY, cookie, HELLOS["form 2"].offer, routing)
        if form == 2:
            assert handshake.at_server(handshake.pack_hello2(hello), "", MTU) == hello
        else:
            filler = handshake.pack_filler(hello, 1311, b"\x55" * 1311)
            assert handshake.hello_in_filler(filler, hello.key) == hello._replace(routing=255)

    def test_a_hello_of_version_1_without_an_offer(self):
        key = wire.key_der(inputs.CLIENT.public_key())
        padding = bytes(wire.sizes(MTU).client_hello - len(wire.pack_client_hello(key, b"")))
        message = wire.Message(1, wire.CLIENT_HELLO, wire.pack_client_hello(key, padding))
        header = wire.Header(wire.TO_SERVER, 0, 1, 0, wire.CLIENT_HELLO, 0, 1, 0)
        assert handshake.at_server(wire.pack_clear(header, message), "any", MTU) is None

    @given(payloads)
    def test_payload(self, payload):
        assert frames.unpack_all(frames.pack_all(payload)) == payload

    @FEW
    @given(st.sets(st.integers(1, 100), min_size=1))
    def test_ack_of_numbers(self, received):
        (ack,) = frames.unpack_all(frames.pack(frames.ack_of(received, 5)))
        acked = {number for low, high in ack.ranges for number in range(low, high + 1)}
        assert acked <= received
        assert received - acked == {n for n in received if n < min(acked)}
        assert acked == received or len(ack.ranges) == 32

    @FEW
    @given(st.binary(max_size=50), channel_tables(), unknown_extensions)
    def test_connect_data(self, credential, table, extensions):
        data = tables.ConnectData(credential, table, extensions)
        assert tables.unpack_connect_data(tables.pack_connect_data(data)) == data
        assert tables.first_difference(table, data.channels) is None

    @FEW
    @given(channel_tables())
    def test_accept_data(self, table):
        data = tables.AcceptData(b"t" * 16, [each.window for each in table if each.window])
        packed = tables.pack_accept_data(data)
        assert tables.unpack_accept_data(packed, table) == data

    @FEW
    @given(channel_tables(), channel_tables())
    def test_the_first_difference_of_two_tables(self, ours, theirs):
        first = tables.first_difference(ours, theirs)
        mine, other = ([c for c in t if first is None or c.id < first] for t in (ours, theirs))
        assert [(c.id, c.kind, c.name) for c in mine] == [(c.id, c.kind, c.name) for c in other]

    @FEW
    @given(st.binary(min_size=1, max_size=60), st.randoms(use_true_random=False))
    def test_pieces_in_any_order_and_overlapping(self, data, rng):
        pieces, got = tables.Pieces(), None
        for _ in range(20):
            offset = rng.randrange(len(data))
            end = rng.randint(offset + 1, len(data))
            got = got or pieces.add(frames.Accept(len(data), offset, data[offset:end]))
        for offset in range(len(data)):
            got = got or pieces.add(frames.Accept(len(data), offset, data[offset : offset + 1]))
        assert got == data

    @given(numbers, numbers, st.integers(0, 127))
    def test_packet_number(self, number, distance, behind):
        """Whatever the receiver has got since the last ack that the sender knows of."""
        acked = max(0, number - distance % (1 << 31))
        size = packets.number_size(number, acked)
        newest = max(acked, number - 1 - behind)
        low = number % (1 << 8 * size)
        assert packets.whole_number(low, size, newest) == number
        assert packets.whole_number(low, size, acked) == number

    def test_a_number_too_far_from_the_newest_acked_is_not_sent(self):
        with pytest.raises(ValueError, match="too far"):
            packets.number_size((1 << 31) + 1, 0)

    @FEW
    @given(payloads, numbers, st.integers(0, 2), st.sampled_from((b"", b"12345678")))
    def test_sealed_packet(self, payload, number, n, connection_id):
        secret, masking = b"s" * 32, b"m" * 16
        receiving = packets.ReceivingKeys(secret)
        for phase in range(1, n):
            receiving.opened(packets.Packet(0, keys_of(secret, phase), b""))
        data = frames.pack_all(payload)
        sealed = packets.seal(keys_of(secret, n), masking, connection_id, number, data, number - 1)
        packet = packets.open_packet(sealed, receiving, masking, connection_id, number - 1)
        assert (packet.number, packet.payload) == (number, data)
        assert receiving.current.n == n


class TestKeyUpdate:
    SECRET, MASK = b"s" * 32, b"m" * 16

    def seal(self, n, number, secret=SECRET):
        return packets.seal(keys_of(secret, n), self.MASK, b"", number, b"\1", number - 1)

    def open(self, receiving, datagram, newest):
        return packets.open_packet(datagram, receiving, self.MASK, b"", newest)

    def test_late_packets_of_the_phase_before_open(self):
        receiving = packets.ReceivingKeys(self.SECRET)
        sent = [(0, 1), (1, 5), (0, 3), (1, 4), (2, 9), (1, 7), (2, 8)]
        opened = [self.open(receiving, self.seal(n, number), 4) for n, number in sent]
        assert [(packet.keys.n, packet.number) for packet in opened] == sent

    def test_a_packet_of_the_phase_before_does_not_open_behind_the_update(self):
        receiving = packets.ReceivingKeys(self.SECRET)
        self.open(receiving, self.seal(1, 5), 4)
        with pytest.raises(WireError):
            self.open(receiving, self.seal(0, 6), 5)

    def test_a_forgotten_key_opens_nothing(self):
        receiving = packets.ReceivingKeys(self.SECRET)
        self.open(receiving, self.seal(1, 5), 4)
        receiving.forget_previous()
        with pytest.raises(WireError):
            self.open(receiving, self.seal(0, 3), 5)

    def test_what_does_not_open_updates_nothing(self):
        receiving = packets.ReceivingKeys(self.SECRET)
        with pytest.raises(WireError):
            self.open(receiving, self.seal(3, 5), 4)
        assert (receiving.current.n, receiving.previous) == (0, None)

    def test_late_ml_kem(self):
        late = keys.late_secret(self.SECRET, b"k" * 32)
        receiving = packets.ReceivingKeys(self.SECRET)
        receiving.expect(late)
        with pytest.raises(WireError):
            self.open(receiving, self.seal(1, 2), 1)
        for n, secret in ((1, late), (2, keys.next_secret(late))):
            phase = keys.packet_keys(n, secret)
            sealed = packets.seal(phase, self.MASK, b"", n + 1, b"\1", n)
            assert self.open(receiving, sealed, n).keys == phase


class TestSession:
    def test_what_overtakes_accept_waits_for_it(self):
        session = rules.Session("server", newest_sent=3, is_accepted=False)
        piece = frames.pack(frames.Accept(10, 0, b"begin"))
        message = frames.pack(frames.Message(0, 1, b"hi"))
        assert rules.take(piece, session)
        assert rules.take(message, session) is None
        session.is_accepted = True
        assert rules.take(message, session) == [frames.Message(0, 1, b"hi")]

    def test_kem_where_the_answer_asks_for_it(self):
        for sender, total, other in (("client", 1184, 1088), ("server", 1088, 1184)):
            session = rules.Session(sender, is_accepted=False, has_empty_kem=True)
            piece = frames.Kem(total, 0, b"begin")
            assert rules.take(frames.pack(piece), session) == [piece]
            with pytest.raises(WireError):
                rules.take(frames.pack(piece._replace(total=other)), session)

    def test_another_total_of_a_finished_message_is_ignored(self):
        session = rules.Session("server", totals={(0, 1): 5}, finished={(0, 1)})
        assert rules.take(frames.pack(frames.Fragment(0, 1, 6, 0, b"sixsix")), session)

    def test_connection_ids_are_issued_retired_and_issued_again(self):
        issued = [frames.NewConnectionId(n, b"\7" * 7 + bytes([n]), b"t" * 16) for n in range(6)]
        session = rules.Session("server")
        for frame in (*issued[:4], issued[2]):
            assert rules.take(frames.pack(frame), session) == [frame]
        with pytest.raises(WireError):
            rules.take(frames.pack(issued[4]), session)
        session.retired.add(0)
        with pytest.raises(WireError, match="begins with another byte"):
            rules.take(frames.pack(issued[4]._replace(connection_id=b"\6" * 8)), session)
        assert rules.take(frames.pack_all([issued[4], issued[0]]), session)
        at_server = rules.Session("client", ids=session.ids)
        retire = frames.pack(frames.RetireConnectionId(0))
        for _ in range(2):
            assert rules.take(retire, at_server, sequence=1)
        assert at_server.retired == {0}

    def test_fragments_of_one_total(self):
        session = rules.Session("server", {3: tables.ORDERED})
        one, two = (frames.Fragment(3, 1, 128, place, b"f" * 64) for place in (0, 1))
        assert rules.take(frames.pack_all([one, two]), session) == [one, two]

    def test_an_ack_of_what_was_sent(self):
        session = rules.Session("server", newest_sent=10, skipped={7})
        ack = frames.Ack(0, ((8, 10), (1, 6)))
        assert rules.take(frames.pack(ack), session) == [ack]

    @given(st.lists(st.integers(1, 40), max_size=60))
    def test_each_number_is_received_once(self, arriving):
        received, taken = packets.ReceivedNumbers(window=10), []
        for number in arriving:
            newest = received.newest
            try:
                received.receive(number)
            except WireError:
                assert number in taken or number <= newest - 10
            else:
                assert number not in taken
                taken.append(number)


# Damage.

CLIENT_SECRET = secrets()["client"]
MASKING = keys.mask_key(CLIENT_SECRET)


def opened(datagram, newest=0):
    receiving = packets.ReceivingKeys(CLIENT_SECRET)
    return packets.open_packet(datagram, receiving, MASKING, scene.CONNECTION_ID, newest)


def one_sealed():
    payload = frames.pack_all([frames.Ack(9, ((1, 4),)), frames.Message(1, 300, b"hello")])
    phase = keys_of(CLIENT_SECRET, 0)
    return packets.seal(phase, MASKING, scene.CONNECTION_ID, 7, payload)


def refused(check, datagrams):
    """Tell whether a function raises WireError for each of them."""
    for datagram in datagrams:
        with pytest.raises(WireError):
            check(datagram)
    return True


def server_hello():
    return bytes.fromhex(VECTORS["server_hellos"][2]["datagram"])


def by_client(datagram):
    return handshake.at_client(datagram, ATTEMPT, ROOT)


def by_server(datagram):
    return handshake.at_server(datagram, "", MTU)


UNENCRYPTED = [
    (by_server, handshake.pack_hello2(HELLOS["form 2"])),
    (by_server, bytes.fromhex(VECTORS["hellos"][0]["datagram"])),
    (by_client, bytes.fromhex(VECTORS["retries"][0]["datagram"])),
    (by_client, bytes.fromhex(VECTORS["resets"][0]["datagram"])),
    (by_client, bytes.fromhex(VECTORS["server_hellos"][0]["datagram"])),
]
DATA = [
    (tables.unpack_connect_data, bytes.fromhex(VECTORS["connect_data"][2]["bytes"])),
    (
        partial(tables.unpack_accept_data, channels=scene.CHANNELS),
        bytes.fromhex(VECTORS["accept_data"][0]["bytes"]),
    ),
    (handshake.unpack_offer, bytes.fromhex(VECTORS["hellos"][3]["offer"]["bytes"])),
    (
        partial(handshake.unpack_answer, offer=handshake.unpack_offer(ATTEMPT[0].offer)),
        bytes.fromhex(VECTORS["server_hellos"][-1]["answer"]["bytes"]),
    ),
]


class TestDamage:
    def test_every_prefix_and_every_flipped_bit_of_a_sealed_packet_is_refused(self):
        sealed = one_sealed()
        assert opened(sealed).number == 7
        assert refused(opened, prefixes(sealed))
        assert refused(opened, single_bit_flips(sealed))
        assert refused(opened, [sealed + b"\0"])

    def test_every_flipped_bit_of_a_server_hello_is_refused(self):
        assert by_client(server_hello()).hello == ATTEMPT[1]
        assert refused(by_client, single_bit_flips(server_hello()))

    @pytest.mark.parametrize(("check", "data"), UNENCRYPTED + DATA)
    def test_every_prefix_is_refused(self, check, data):
        check(data)
        assert refused(check, prefixes(data))

    @pytest.mark.parametrize(("check", "data"), [*UNENCRYPTED, *DATA, (opened, one_sealed())])
    def test_whatever_is_changed_gives_a_value_or_a_wire_error(self, check, data, seed):
        rng = random.Random(seed)
        for _ in range(200):
            value_or_error(check, mutated(rng, data))

    @FEW
    @given(st.lists(with_length, min_size=1, max_size=3), st.randoms(use_true_random=False))
    def test_a_changed_payload_gives_frames_or_a_wire_error(self, payload, rng):
        data = mutated(rng, frames.pack_all(payload))
        if (got := value_or_error(frames.unpack_all, data)) is not None:
            assert frames.unpack_all(frames.pack_all(got)) == got

    @given(st.binary(max_size=80))
    def test_any_bytes_give_a_value_or_a_wire_error(self, data):
        for check in (frames.unpack_all, opened, *(check for check, _ in UNENCRYPTED + DATA)):
            value_or_error(check, data)
        for first in (b"\x04\xff\x01", b"\x04\xff\x02", b"\x04\xff\x03", b"\x04\xff\x04", b"FSOS"):
            value_or_error(by_client, first + data)
            value_or_error(by_server, first + data)


def kind_at(receiver):
    return partial(handshake.kind_of_datagram, receiver=receiver)


def value_or_error(check, data):
    try:
        return check(data)
    except WireError:
        return None
