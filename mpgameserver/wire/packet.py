"""Packets for programs that take datagrams apart: the header, the packet, the filter of numbers.

A connection does not use these classes; the compiled core encodes and decodes whole datagrams. They
are thin, stateless wrappers of the same codecs. Whoever seals packets with them must ensure that no
two headers under one key have the same first 12 bytes, the nonce.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver._core.aesgcm import KEY_SIZE
from mpgameserver._core.duplicate_filter import DuplicateFilter
from mpgameserver._core.packet import (
    IPV4_UDP_HEADER,
    MAX_FRAGMENTS,
    SHARED_OVERHEAD,
    SINGLE_OVERHEAD,
    decode_payload,
    encode_payload,
    size_limits,
)
from mpgameserver._core.packet_header import NONCE_SIZE, decode_header, encode_header
from mpgameserver._core.seqnum import SeqNum, expand_number, wire_number
from mpgameserver.enums import PacketType, RetryMode
from mpgameserver.errors import DuplicationError, PacketError
from mpgameserver.reprs import even_unmade
from mpgameserver.wire.handshake import decode_clear_packet, encode_clear_packet

__all__ = ["BitField", "Packet", "PacketHeader", "PendingMessage", "SeqNum"]

_NO_NUMBER = SeqNum(0)
_RECV_MARGIN = 512  # how much longer than its own MTU a datagram is still read whole
_CLEAR_TYPES = frozenset({PacketType.CLIENT_HELLO, PacketType.SERVER_HELLO})
_SEALED_TYPES = frozenset(PacketType) - _CLEAR_TYPES - {PacketType.UNKNOWN}


class BitField:
    """A set of the newest sequence numbers: `current_seqnum` and the `nbits` below it.

    Parameters:
        nbits: a multiple of 8 from 8 to 32760.

    Raises:
        ValueError: `nbits` is anything else.
    """

    _MAX_BITS: ClassVar[int] = 32760  # more would reach numbers that look newer on the ring

    def __init__(self, nbits: int = 32) -> None:
        if nbits % 8 or not 8 <= nbits <= self._MAX_BITS:
            raise ValueError(f"nbits must be a multiple of 8 in 8...{self._MAX_BITS}, not {nbits}")
        self.nbits = nbits
        self.current_seqnum: SeqNum = SeqNum(0)
        """The newest number inserted; 0 if there is none."""
        self._filter = DuplicateFilter(nbits + 1)

    @property
    def bits(self) -> int:
        """An int of `nbits` bits: the highest is for `current_seqnum - 1`, bit 0 for the oldest.

        With 32 bits it is the ack bits of a header whose ack is `current_seqnum`.
        """
        newest, value = self._filter.newest, 0
        if newest == 0:
            return 0
        for number in range(newest - 1, newest - self.nbits - 1, -1):
            value = value << 1 | self._filter.contains(number)
        return value

    def insert(self, seqnum: int) -> None:
        """Insert a number.

        Raises:
            ValueError: the number is not from 1 to 65535.
            DuplicationError: `contains` is already true for it; nothing has changed.
        """
        if not self._filter.insert(self._number(seqnum)):
            raise DuplicationError(f"{int(seqnum)} was already inserted, or is too old to decide")
        self.current_seqnum = SeqNum(wire_number(self._filter.newest))

    def contains(self, seqnum: int) -> bool:
        """Return True for a number that was inserted, or is more than `nbits` behind the newest.

        Raises:
            ValueError: the number is not from 1 to 65535.
        """
        return self._filter.newest > 0 and self._filter.contains(self._number(seqnum))

    def _number(self, seqnum: int) -> int:
        return expand_number(int(seqnum), self._filter.newest)

    @even_unmade
    def __repr__(self) -> str:
        digits = self.nbits // 4
        return f"<BitField current_seqnum={int(self.current_seqnum)} bits={self.bits:0{digits}x}>"


@dataclass(slots=True)
class PacketHeader:
    """The header of a packet, 20 bytes."""

    SIZE: ClassVar[int] = 20
    TAG_SIZE: ClassVar[int] = 16
    """The tag at the end of an encrypted packet, in bytes."""
    CRC_SIZE: ClassVar[int] = 4
    """The checksum at the end of an unencrypted packet, in bytes."""

    isServer: bool = False
    """True if the sender is the server."""
    ctime: int = 0
    """Send time, in whole seconds of the sender's Unix time."""
    pkt_type: PacketType = PacketType.UNKNOWN
    seq: SeqNum = _NO_NUMBER
    ack: SeqNum = _NO_NUMBER
    """The newest packet that the sender had received; 0 for none."""
    ack_bits: int = 0
    """Bit 31: `ack - 1` was received, bit 30: `ack - 2`, ... bit 0: `ack - 32`."""
    length: int = 0
    """The length of the payload in bytes, without tag or checksum."""
    count: int = 0
    """The number of messages in the payload."""

    @staticmethod
    def create(
        isServer: bool, ctime: int, pkt_type: PacketType, seq: int, ack: int, ack_bits: int
    ) -> PacketHeader:
        """Return a header without a payload; `Packet.create` fills in `length` and `count`.

        Raises:
            ValueError: the type is unknown, or a sequence number is not from 0 to 65535.
        """
        return PacketHeader(
            bool(isServer),
            ctime,
            PacketType(pkt_type),
            SeqNum(int(seq)),
            SeqNum(int(ack)),
            ack_bits,
        )

    @staticmethod
    def from_bytes(isServer: bool, datagram: bytes) -> PacketHeader:
        """Decode the header of a datagram that a server or a client has received.

        Parameters:
            isServer: True if the receiver is the server. The attribute of the result is that of the
                sender.
            datagram: the received bytes.

        Raises:
            PacketError: the bytes are not a header, the packet type is unknown, or the packet
                travels in the other direction.
        """
        fields = decode_header(datagram)
        if fields.from_server == bool(isServer):
            raise PacketError(f"a packet of the other direction: {fields}")
        try:
            pkt_type = PacketType(fields.packet_type)
        except ValueError:
            raise PacketError(f"unknown packet type {fields.packet_type}") from None
        return PacketHeader(
            fields.from_server,
            fields.time,
            pkt_type,
            SeqNum(fields.seq),
            SeqNum(fields.ack),
            fields.ack_bits,
            fields.length,
            fields.count,
        )

    def to_bytes(self) -> bytes:
        """Encode it in 20 bytes. Raises OverflowError for a number that its field cannot hold."""
        return encode_header(
            self.isServer,
            self.ctime,
            self.pkt_type,
            self.seq,
            self.ack,
            self.ack_bits,
            self.length,
            self.count,
        )


@dataclass(slots=True)
class PendingMessage:
    """A message as a packet carries it; `callback` and `retry` are not transmitted."""

    seq: SeqNum
    type: PacketType
    payload: bytes
    callback: Callable[[bool], None] | None
    retry: RetryMode | int


class Packet:
    """A header and its messages, from `create` or `from_bytes`; empty without arguments.

    The sizes, in bytes, follow from the `MTU`, over IPv4; `setMTU` changes them for the process.
    """

    MTU: ClassVar[int]
    UDP_HEADER_SIZE: ClassVar[int] = IPV4_UDP_HEADER
    """The headers of IPv4 and UDP."""
    MAX_SIZE: ClassVar[int]
    """The longest datagram of an encrypted packet."""
    MAX_SIZE_CRC: ClassVar[int]
    """The longest datagram of an unencrypted packet."""
    MAX_PAYLOAD_SIZE: ClassVar[int]
    """The longest message that is not fragmented."""
    MAX_FRAGMENT_SIZE: ClassVar[int]
    """A full fragment of a fragmented message."""
    MAX_FRAGMENTS: ClassVar[int] = MAX_FRAGMENTS
    RECV_SIZE: ClassVar[int]
    """The longest datagram that is read whole: the peer's MTU may be larger."""

    __slots__ = ("hdr", "msg", "msgs")

    def __init__(
        self,
        hdr: PacketHeader | None = None,
        msgs: Sequence[PendingMessage] = (),
        msg: bytes = b"",
    ) -> None:
        self.hdr: PacketHeader = PacketHeader() if hdr is None else hdr
        self.msgs: list[PendingMessage] = list(msgs)
        self.msg: bytes = msg
        """The payload: the messages as bytes, not encrypted."""

    @classmethod
    def setMTU(cls, mtu: int) -> None:
        """Set the sizes that follow from an MTU.

        Parameters:
            mtu: bytes, from 512 to 65535.

        Raises:
            TypeError: `mtu` is not an int.
            ValueError: `mtu` is out of range. After either, nothing has changed.
        """
        if isinstance(mtu, bool) or not isinstance(mtu, int):
            raise TypeError(f"mtu must be an int, not {type(mtu).__name__}")
        limits = size_limits(mtu, cls.UDP_HEADER_SIZE)
        cls.MTU = mtu
        cls.MAX_SIZE = limits.datagram
        cls.MAX_SIZE_CRC = limits.datagram - PacketHeader.TAG_SIZE + PacketHeader.CRC_SIZE
        cls.MAX_PAYLOAD_SIZE = limits.payload
        cls.MAX_FRAGMENT_SIZE = limits.fragment
        cls.RECV_SIZE = mtu + _RECV_MARGIN

    @staticmethod
    def overhead(n: int) -> int:
        """Return the bytes that `n` messages take besides their own: 0, 2, then 5 for each."""
        return SINGLE_OVERHEAD if n == 1 else SHARED_OVERHEAD * n

    @staticmethod
    def create(hdr: PacketHeader, msgs: Sequence[PendingMessage]) -> Packet:
        """Return a packet of these messages, with `length` and `count` in a copy of `hdr`.

        Raises:
            ValueError: there are more than 255 messages, one does not fit into a packet, or the
                first has another type than the header, from which the receiver takes it.
        """
        if msgs and msgs[0].type != hdr.pkt_type:
            raise ValueError(f"a {hdr.pkt_type.name} packet that starts with {msgs[0].type!r}")
        msg = encode_payload([(int(m.seq), m.type, m.payload) for m in msgs])
        return Packet(replace(hdr, length=len(msg), count=len(msgs)), msgs, msg)

    @staticmethod
    def from_bytes(hdr: PacketHeader, key: bytes | None, datagram: bytes) -> Packet:
        """Decode a datagram whose header is `hdr`.

        A hello is not encrypted and needs no key; every other packet is decrypted with it.

        Raises:
            PacketError: the datagram is not such a packet, or fails authentication.
            ValueError: the packet is encrypted, and `key` is not 16 bytes.
        """
        if hdr.to_bytes() != datagram[: PacketHeader.SIZE]:
            raise PacketError("the header is that of another datagram")
        if hdr.pkt_type in _CLEAR_TYPES:
            clear = decode_clear_packet(datagram, hdr.pkt_type)
            message = _received(clear.message_seq, hdr.pkt_type, clear.message)
            payload = datagram[PacketHeader.SIZE : -PacketHeader.CRC_SIZE]
            return Packet(hdr, [message], payload)
        payload = _open(hdr, _cipher(key), datagram)
        messages = decode_payload(payload, hdr.count, hdr.pkt_type)
        if not _SEALED_TYPES.issuperset(message_type for _, message_type, _ in messages):
            raise PacketError("an encrypted packet with a message of an unencrypted type")
        return Packet(hdr, [_received(*message) for message in messages], payload)

    def to_bytes(self, key: bytes | None) -> bytes:
        """Encode the datagram. A hello is not encrypted and needs no key; every other packet is.

        Raises:
            ValueError: the packet is encrypted, and `key` is not 16 bytes; its type is UNKNOWN; or
                it is a hello with more or fewer than one message, or of the wrong direction.
        """
        if self.hdr.pkt_type in _CLEAR_TYPES:
            return self._to_clear_bytes()
        cipher = _cipher(key)
        if self.hdr.pkt_type not in _SEALED_TYPES:
            raise ValueError("a packet of type UNKNOWN is never sent")
        header = self.hdr.to_bytes()
        return header + cipher.encrypt(header[:NONCE_SIZE], self.msg, header)

    def total_size(self, key: bytes | None) -> int:
        """Return the length of `to_bytes(key)` without doing the work; it raises nothing."""
        clear = self.hdr.pkt_type in _CLEAR_TYPES
        end = PacketHeader.CRC_SIZE if clear else PacketHeader.TAG_SIZE
        return PacketHeader.SIZE + len(self.msg) + end

    def _to_clear_bytes(self) -> bytes:
        hdr, msgs = self.hdr, self.msgs
        if len(msgs) != 1 or hdr.isServer != (hdr.pkt_type == PacketType.SERVER_HELLO):
            sender = "the server" if hdr.isServer else "a client"
            raise ValueError(f"{len(msgs)} messages in a {hdr.pkt_type.name} of {sender}")
        return encode_clear_packet(
            hdr.pkt_type,
            hdr.seq,
            msgs[0].seq,
            msgs[0].payload,
            hdr.ctime,
            hdr.ack,
            hdr.ack_bits,
        )

    @even_unmade
    def __repr__(self) -> str:
        return f"<Packet {self.hdr.pkt_type.name} seq={int(self.hdr.seq)} count={self.hdr.count}>"


Packet.setMTU(1500)


def _cipher(key: bytes | None) -> AESGCM:
    if key is None or len(key) != KEY_SIZE:
        given = "none" if key is None else f"{len(key)} bytes"
        raise ValueError(f"a sealed packet needs a key of {KEY_SIZE} bytes, {given} given")
    return AESGCM(key)


def _open(hdr: PacketHeader, cipher: AESGCM, datagram: bytes) -> bytes:
    if hdr.pkt_type not in _SEALED_TYPES or hdr.seq == 0:
        raise PacketError("a packet of type UNKNOWN, or with the number 0, is never sent")
    if len(datagram) != PacketHeader.SIZE + hdr.length + PacketHeader.TAG_SIZE:
        raise PacketError(f"length {hdr.length} in a datagram of {len(datagram)} bytes")
    header, sealed = datagram[: PacketHeader.SIZE], datagram[PacketHeader.SIZE :]
    try:
        return cipher.decrypt(header[:NONCE_SIZE], sealed, header)
    except InvalidTag:
        raise PacketError("the packet fails authentication with this key") from None


def _received(seq: int, message_type: int, payload: bytes) -> PendingMessage:
    return PendingMessage(SeqNum(seq), PacketType(message_type), payload, None, RetryMode.NONE)
