"""The packet classes: the header, the packet and the filter of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import wire
from support.damage import mutated

from mpgameserver.enums import PacketType, RetryMode
from mpgameserver.errors import DuplicationError, PacketError, ProtocolError
from mpgameserver.wire.packet import BitField, Packet, PacketHeader, PendingMessage, SeqNum

KEY = bytes(range(16))
WALL = 1_700_000_000


@pytest.fixture
def mtu():
    """Set the MTU of the process for one test."""
    yield Packet.setMTU
    Packet.setMTU(1500)


def header(pkt_type=PacketType.APP, is_server=False, seq=5):
    return PacketHeader.create(is_server, WALL, pkt_type, seq, 3, 0x80000000)


def message(payload=b"hi", seq=1, kind=PacketType.APP):
    return PendingMessage(SeqNum(seq), kind, payload, None, RetryMode.NONE)


def read(datagram, key=KEY, to_server=True):
    return Packet.from_bytes(PacketHeader.from_bytes(to_server, datagram), key, datagram)


class TestBitField:
    def test_a_new_one_has_nothing(self):
        field = BitField()
        assert (field.current_seqnum, field.bits, field.nbits) == (0, 0, 32)
        assert not field.contains(1)

    def test_the_highest_bit_is_the_number_before_the_newest(self):
        field = BitField(32)
        for number in (1, 3, 2):
            field.insert(SeqNum(number))
        assert field.current_seqnum == 3
        assert isinstance(field.current_seqnum, SeqNum)
        assert field.bits == 0b11 << 30

    def test_the_lowest_bit_is_nbits_before_the_newest(self):
        field = BitField(8)
        field.insert(1)
        field.insert(9)
        assert field.bits == 1
        field.insert(10)
        assert field.bits == 0b10000000

    def test_the_first_number_may_be_any(self):
        for first in (1, 32767, 32768, 40000, 65535):
            for number in (first, SeqNum(first)):
                field = BitField()
                field.insert(number)
                assert field.current_seqnum == first
                assert field.contains(number)

    def test_it_goes_on_through_the_wrap(self):
        field = BitField()
        for number in (65534, 65535, 1, 2):
            field.insert(number)
        assert field.current_seqnum == 2
        assert field.bits == 0b111 << 29

    def test_a_number_that_it_has_is_a_duplicate_and_changes_nothing(self):
        field = BitField()
        field.insert(7)
        field.insert(9)
        before = field.current_seqnum, field.bits
        for number in (7, 9):
            assert field.contains(number)
            with pytest.raises(DuplicationError, match=f"{number} was already inserted"):
                field.insert(number)
        assert (field.current_seqnum, field.bits) == before
        assert issubclass(DuplicationError, ProtocolError)

    def test_a_number_too_far_behind_to_tell_counts_as_had(self):
        field = BitField(8)
        field.insert(100)
        assert not field.contains(92)
        assert field.contains(91)
        with pytest.raises(DuplicationError, match="too old"):
            field.insert(91)

    @pytest.mark.parametrize("nbits", [0, -8, 1, 12, 32761, 32768])
    def test_a_width_that_is_no_multiple_of_8_or_too_large_is_refused(self, nbits):
        with pytest.raises(ValueError, match=f"not {nbits}"):
            BitField(nbits)

    @pytest.mark.parametrize("number", [0, -1, 65536])
    def test_what_is_no_sequence_number_is_refused(self, number):
        field = BitField()
        field.insert(1)
        with pytest.raises(ValueError, match=r"1\.\.\.65535"):
            field.insert(number)
        with pytest.raises(ValueError, match=r"1\.\.\.65535"):
            field.contains(number)

    def test_the_widest_tells_all_older_numbers_apart(self):
        field = BitField(32760)
        field.insert(32761)
        field.insert(1)
        assert field.bits == 1

    def test_its_repr_shows_the_bits_as_on_the_wire(self):
        field = BitField(32)
        field.insert(1)
        field.insert(2)
        assert repr(field) == "<BitField current_seqnum=2 bits=80000000>"

    @given(
        st.sampled_from([8, 32, 256]),
        st.integers(1, 65535),
        st.lists(st.integers(-300, 300), max_size=60),
    )
    def test_it_agrees_with_the_second_implementation(self, nbits, start, steps):
        field, model = BitField(nbits), wire.AckField(nbits)
        number = start
        for step in steps:
            number = wire.add(number, step)
            new = model.receive(number)
            if new:
                assert not field.contains(number)
                field.insert(number)
            else:
                with pytest.raises(DuplicationError):
                    field.insert(number)
            assert field.contains(number)
            assert (field.current_seqnum, field.bits) == (model.ack, model.bits)


class TestPacketHeader:
    def test_its_sizes(self):
        assert (PacketHeader.SIZE, PacketHeader.TAG_SIZE, PacketHeader.CRC_SIZE) == (20, 16, 4)

    def test_create_fills_all_but_the_payload(self):
        made = header()
        assert (made.isServer, made.ctime, made.pkt_type) == (False, WALL, PacketType.APP)
        assert (made.seq, made.ack, made.ack_bits) == (5, 3, 0x80000000)
        assert (made.length, made.count) == (0, 0)

    @given(
        is_server=st.booleans(),
        numbers=st.tuples(*[st.integers(0, 0xFFFFFFFF)] * 2),
        seqs=st.tuples(*[st.integers(0, 65535)] * 2),
        kind=st.sampled_from(PacketType),
        length=st.integers(0, 65535),
        count=st.integers(0, 255),
    )
    def test_it_is_read_back_by_both_decoders(self, is_server, numbers, seqs, kind, length, count):
        made = PacketHeader.create(is_server, numbers[0], kind, *seqs, numbers[1])
        made.length, made.count = length, count
        data = made.to_bytes()
        assert PacketHeader.from_bytes(not is_server, data) == made
        identifier = wire.TO_CLIENT if is_server else wire.TO_SERVER
        assert wire.unpack_header(data) == (
            identifier, numbers[0], *seqs, kind, length, count, numbers[1]
        )  # fmt: skip

    def test_what_is_read_has_the_types_of_what_was_made(self):
        read_back = PacketHeader.from_bytes(True, header().to_bytes() + b"rest")
        assert isinstance(read_back.seq, SeqNum)
        assert isinstance(read_back.ack, SeqNum)
        assert isinstance(read_back.pkt_type, PacketType)
        assert read_back.isServer is False

    @pytest.mark.parametrize("is_server", [True, False])
    def test_a_packet_that_travels_the_other_way_is_refused(self, is_server):
        data = header(is_server=is_server).to_bytes()
        with pytest.raises(PacketError, match="the other direction"):
            PacketHeader.from_bytes(is_server, data)

    @pytest.mark.parametrize("kind", [8, 9, 255])
    def test_an_unknown_type_is_refused(self, kind):
        data = bytearray(header().to_bytes())
        data[12] = kind
        with pytest.raises(PacketError, match=f"unknown packet type {kind}"):
            PacketHeader.from_bytes(True, bytes(data))

    def test_another_identifier_and_too_few_bytes_are_refused(self):
        data = header().to_bytes()
        for wrong in (b"", data[:19], b"FSOX" + data[4:], b"\0" * 20):
            with pytest.raises(PacketError, match="no packet header"):
                PacketHeader.from_bytes(True, wrong)

    def test_a_header_cannot_be_made_of_wrong_values(self):
        with pytest.raises(ValueError, match="9 is not a valid PacketType"):
            PacketHeader.create(False, WALL, 9, 1, 0, 0)
        with pytest.raises(ValueError, match="65536"):
            PacketHeader.create(False, WALL, PacketType.APP, 65536, 0, 0)

    @pytest.mark.parametrize("wrong", [{"ctime": -1}, {"ctime": 1 << 32}, {"ack_bits": 1 << 32}])
    def test_a_number_that_its_field_does_not_hold_is_not_written(self, wrong):
        made = header()
        for name, value in wrong.items():
            setattr(made, name, value)
        with pytest.raises(OverflowError):
            made.to_bytes()


class TestSizes:
    def test_the_default_mtu_is_1500(self):
        assert (Packet.MTU, Packet.UDP_HEADER_SIZE, Packet.MAX_SIZE) == (1500, 28, 1472)
        assert (Packet.MAX_SIZE_CRC, Packet.MAX_PAYLOAD_SIZE) == (1460, 1434)
        assert (Packet.MAX_FRAGMENT_SIZE, Packet.MAX_FRAGMENTS) == (1024, 8192)
        assert Packet.RECV_SIZE == 2012

    @pytest.mark.parametrize("value", [512, 1000, 1069, 1500, 9000, 65535])
    def test_all_sizes_follow_the_mtu(self, mtu, value):
        mtu(value)
        sizes = wire.sizes(value)
        assert sizes[:3] == (Packet.MAX_SIZE, Packet.MAX_PAYLOAD_SIZE, Packet.MAX_FRAGMENT_SIZE)
        longest_in_the_clear = 20 + 2 + sizes.payload + 4
        assert longest_in_the_clear == Packet.MAX_SIZE_CRC
        assert [value, value + 512] == [Packet.MTU, Packet.RECV_SIZE]

    @pytest.mark.parametrize("value", [-1, 0, 511, 65536, 1 << 40])
    def test_an_mtu_that_cannot_be_is_refused_and_changes_nothing(self, mtu, value):
        with pytest.raises(ValueError, match="mtu"):
            mtu(value)
        assert (Packet.MTU, Packet.MAX_SIZE) == (1500, 1472)

    def test_the_largest_message_fills_the_datagram(self):
        largest = Packet.create(header(), [message(bytes(Packet.MAX_PAYLOAD_SIZE))])
        assert len(largest.to_bytes(KEY)) == Packet.MAX_SIZE

    @pytest.mark.parametrize(("count", "overhead"), [(0, 0), (1, 2), (2, 10), (255, 1275)])
    def test_the_overhead_is_what_messages_take_beside_their_own(self, count, overhead):
        packet = Packet.create(header(), [message(b"abc")] * count)
        assert Packet.overhead(count) == overhead
        assert packet.total_size(KEY) == 20 + overhead + 3 * count + 16


class TestPacket:
    def test_create_counts_the_messages_in_a_copy_of_the_header(self):
        given_header = header()
        packet = Packet.create(given_header, [message(b"one"), message(b"three", 2)])
        assert (packet.hdr.count, packet.hdr.length) == (2, len(packet.msg))
        assert (given_header.count, given_header.length) == (0, 0)
        assert [m.payload for m in packet.msgs] == [b"one", b"three"]

    @given(
        payloads=st.lists(st.binary(max_size=30), max_size=6),
        first=st.sampled_from([PacketType.APP, PacketType.APP_FRAGMENT, PacketType.DISCONNECT]),
        is_server=st.booleans(),
    )
    def test_a_sealed_packet_is_read_back_by_both_decoders(self, payloads, first, is_server):
        kinds = [first] + [PacketType.APP] * len(payloads)
        messages = [message(p, i + 9, kinds[i]) for i, p in enumerate(payloads)]
        kind = first if messages else PacketType.KEEP_ALIVE
        packet = Packet.create(header(kind, is_server), messages)
        datagram = packet.to_bytes(KEY)
        assert len(datagram) == packet.total_size(KEY)
        opened = read(datagram, to_server=not is_server)
        assert (opened.hdr, opened.msgs, opened.msg) == (packet.hdr, messages, packet.msg)
        _, again = wire.unseal(datagram, KEY)
        assert again == [(m.seq, m.type, m.payload) for m in messages]
        identifier = wire.TO_CLIENT if is_server else wire.TO_SERVER
        assert datagram == wire.seal(identifier, WALL, 5, 3, 0x80000000, again, KEY)

    @pytest.mark.parametrize("is_server", [True, False])
    @pytest.mark.parametrize("key", [KEY, None])
    def test_a_hello_goes_in_the_clear_whatever_the_key(self, is_server, key):
        kind = PacketType.SERVER_HELLO if is_server else PacketType.CLIENT_HELLO
        packet = Packet.create(header(kind, is_server), [message(b"hello", 1, kind)])
        datagram = packet.to_bytes(key)
        assert len(datagram) == packet.total_size(key) == 20 + 2 + 5 + 4
        opened = read(datagram, key, not is_server)
        assert (opened.hdr, opened.msgs, opened.msg) == (packet.hdr, packet.msgs, packet.msg)
        fields, again = wire.unpack_clear(datagram)
        assert again == (1, kind, b"hello")
        assert (fields.ack, fields.ack_bits) == (3, 0x80000000)

    def test_a_received_message_has_the_types_of_a_sent_one(self):
        (opened,) = read(Packet.create(header(), [message()]).to_bytes(KEY)).msgs
        assert isinstance(opened.seq, SeqNum)
        assert isinstance(opened.type, PacketType)
        assert (opened.callback, opened.retry) == (None, RetryMode.NONE)

    def test_its_repr_shows_no_message(self):
        packet = Packet.create(header(), [message(b"secret")])
        assert repr(packet) == "<Packet APP seq=5 count=1>"


class TestWhatCannotBeMade:
    def test_more_than_255_messages(self):
        with pytest.raises(ValueError, match="at most 255"):
            Packet.create(header(), [message()] * 256)

    @pytest.mark.parametrize("wrong", [message(seq=0), message(bytes(65536))])
    def test_a_message_that_no_packet_holds(self, wrong):
        with pytest.raises(ValueError, match="not a message"):
            Packet.create(header(), [wrong])

    def test_a_first_message_of_another_type_than_the_header(self):
        with pytest.raises(ValueError, match="a KEEP_ALIVE packet that starts with"):
            Packet.create(header(PacketType.KEEP_ALIVE), [message()])

    @pytest.mark.parametrize("key", [None, b"", bytes(15), bytes(24), bytes(32)])
    def test_a_sealed_packet_without_a_key_of_16_bytes(self, key):
        packet = Packet.create(header(), [message()])
        with pytest.raises(ValueError, match="needs a key of 16 bytes"):
            packet.to_bytes(key)
        datagram = packet.to_bytes(KEY)
        with pytest.raises(ValueError, match="needs a key of 16 bytes"):
            read(datagram, key)

    def test_a_packet_of_unknown_type(self):
        with pytest.raises(ValueError, match="never sent"):
            Packet.create(header(PacketType.UNKNOWN), []).to_bytes(KEY)

    @pytest.mark.parametrize("count", [0, 2])
    def test_a_hello_that_is_not_exactly_one_message(self, count):
        kind = PacketType.CLIENT_HELLO
        packet = Packet.create(header(kind), [message(kind=kind)] * count)
        with pytest.raises(ValueError, match=f"{count} messages in a CLIENT_HELLO"):
            packet.to_bytes(None)

    def test_a_hello_that_travels_the_wrong_way(self):
        kind = PacketType.SERVER_HELLO
        packet = Packet.create(header(kind), [message(kind=kind)])
        with pytest.raises(ValueError, match="SERVER_HELLO of a client"):
            packet.to_bytes(None)


class TestWhatIsNotRead:
    """Every packet below is well sealed by the second encoder: the other side holds the key."""

    def refused(self, datagram, key=KEY):
        with pytest.raises(PacketError):
            read(datagram, key)

    def seal(self, messages, **changed):
        """Seal the messages under a header whose fields are changed before it is sealed."""
        payload = changed.pop("payload", None)
        payload = wire.pack_payload(messages) if payload is None else payload
        fields = wire.Header(
            wire.TO_SERVER, WALL, 5, 3, wire.APP, len(payload), len(messages), 0
        )._replace(**changed)
        head = wire.pack_header(fields)
        return head + wire.AESGCM(KEY).encrypt(head[:12], payload, head)

    def test_an_honest_packet_is_read(self):
        assert read(self.seal([wire.Message(1, wire.APP, b"hi")])).msgs == [message()]

    def test_another_key(self):
        self.refused(self.seal([wire.Message(1, wire.APP, b"hi")]), bytes(16))

    @pytest.mark.parametrize("kind", [0, 8, 255])
    def test_a_packet_type_that_is_never_sent(self, kind):
        self.refused(self.seal([wire.Message(1, wire.APP, b"hi")], type=kind))

    @pytest.mark.parametrize("kind", [wire.CLIENT_HELLO, wire.SERVER_HELLO])
    def test_a_hello_that_is_sealed(self, kind):
        self.refused(self.seal([wire.Message(1, kind, b"hi")], type=kind))

    @pytest.mark.parametrize("kind", [0, 1, 2, 8, 255])
    def test_a_message_of_a_type_that_is_never_sealed(self, kind):
        self.refused(self.seal([wire.Message(1, wire.APP, b""), wire.Message(2, kind, b"")]))

    def test_the_packet_number_0(self):
        self.refused(self.seal([wire.Message(1, wire.APP, b"hi")], seq=0))

    @pytest.mark.parametrize("count", [1, 2])
    def test_the_message_number_0(self, count):
        self.refused(self.seal([wire.Message(0, wire.APP, b"hi")] * count))

    @pytest.mark.parametrize("count", [0, 1, 3, 255])
    def test_a_count_that_does_not_fit_the_payload(self, count):
        two = [wire.Message(1, wire.APP, b"hi"), wire.Message(2, wire.APP, b"ho")]
        datagram = self.seal(two, count=count)
        if count == 1:
            assert len(read(datagram).msgs) == 1  # all of the payload is one message
        else:
            self.refused(datagram)

    @pytest.mark.parametrize("length", [0, 3, 5, 65535])
    def test_a_length_that_is_not_that_of_the_payload(self, length):
        self.refused(self.seal([wire.Message(1, wire.APP, b"hi")], length=length))

    def test_a_message_length_that_runs_past_the_payload(self):
        payload = bytes.fromhex("0001000106aa 0002000206aa")
        self.refused(self.seal([wire.Message(1, wire.APP, b"")] * 2, payload=payload))

    def test_payload_left_over_after_the_last_message(self):
        payload = bytes.fromhex("0001000106aa 0001000206aa 00")
        self.refused(self.seal([wire.Message(1, wire.APP, b"")] * 2, payload=payload))

    @pytest.mark.parametrize("payload", [b"", b"\x01"])
    def test_one_message_without_its_number(self, payload):
        self.refused(self.seal([wire.Message(1, wire.APP, b"")], payload=payload))

    def test_a_header_of_another_datagram(self):
        first, second = (
            Packet.create(header(seq=seq), [message()]).to_bytes(KEY) for seq in (5, 6)
        )
        with pytest.raises(PacketError, match="another datagram"):
            Packet.from_bytes(PacketHeader.from_bytes(True, first), KEY, second)

    def test_a_packet_in_the_clear_of_a_sealed_type(self):
        fields = wire.Header(wire.TO_SERVER, WALL, 5, 3, 0, 0, 0, 0)
        self.refused(wire.pack_clear(fields, wire.Message(1, wire.APP, b"not encrypted")))

    @given(st.binary(max_size=80), st.sampled_from(PacketType), st.booleans())
    def test_any_bytes(self, data, kind, to_server):
        identifier = wire.TO_SERVER if to_server else wire.TO_CLIENT
        head = wire.Header(identifier, WALL, 5, 3, kind, len(data) - 16, 1, 0)
        datagrams = [data]
        if len(data) >= 16:
            datagrams.append(wire.pack_header(head) + data)
        for datagram in datagrams:
            with pytest.raises(PacketError):
                read(datagram, to_server=to_server)

    @given(
        payload=st.binary(max_size=40), count=st.integers(0, 5), kind=st.sampled_from(range(3, 8))
    )
    def test_any_sealed_payload_is_read_as_by_the_second_decoder(self, payload, count, kind):
        self.both_read_the_same(self.seal([], payload=payload, count=count, type=kind))

    @given(st.randoms(use_true_random=False), st.integers(1, 4))
    def test_a_mutated_payload_is_read_as_by_the_second_decoder(self, rng, count):
        messages = [
            wire.Message(number + 1, rng.randint(3, 7), rng.randbytes(3)) for number in range(count)
        ]
        payload = mutated(rng, wire.pack_payload(messages))
        self.both_read_the_same(self.seal(messages, payload=payload))

    def both_read_the_same(self, datagram):
        try:
            _, expected = wire.unseal(datagram, KEY)
        except wire.WireError:
            self.refused(datagram)
        else:
            assert [(m.seq, m.type, m.payload) for m in read(datagram).msgs] == expected


class TestPendingMessage:
    def test_it_holds_what_it_is_given(self):
        def callback(acked):
            pass

        made = PendingMessage(SeqNum(4), PacketType.APP, b"x", callback, RetryMode.BEST_EFFORT)
        assert (made.seq, made.type, made.payload) == (4, PacketType.APP, b"x")
        assert (made.callback, made.retry) == (callback, RetryMode.BEST_EFFORT)


@pytest.mark.parametrize("mtu", ["1500", None, 1500.0, True])
def test_an_mtu_that_is_no_int_is_a_type_error(mtu: object) -> None:
    with pytest.raises(TypeError, match="mtu must be an int"):
        Packet.setMTU(mtu)  # type: ignore[arg-type]
    assert Packet.MTU == 1500
