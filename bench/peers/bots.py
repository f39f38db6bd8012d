"""Bots over one socket that read now and open later, and among them those that speak the protocol
of this package: what its crowd is made of.

Each of the latter makes a real handshake, seals its datagrams with a key of its own, opens every
answer and acks it. It is no `Endpoint`: those of thousands of bots stay in no cache. What it will
send is sealed before the run, with the acks that it will owe if each answer comes before the next
turn; a turn that finds other acks to be due is sealed anew. Answers are kept with the time at
which they came, and opened after the run. Nothing is sent again but in the handshake, and all bots
count their packets together: a number that one leaves out is a packet that got lost.

The bytes are those of docs/protocol.md.
"""

from __future__ import annotations

import base64
import struct
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from load import BATCH, STAMP, Swarm, Turn, message
from manyaddresses import ManyAddresses

from mpgameserver import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.connection import Packet, PacketIdentifier, PacketType
from mpgameserver.wire.handshake import (
    ClientHello,
    ServerHello,
    decode_clear_packet,
    encode_challenge_response,
    encode_clear_packet,
    hello_size,
    session_key,
)

__all__ = ["SessionBots", "SocketBots"]

HOST = "127.0.0.1"
AT_A_TIME = 64
"""Handshakes in progress: enough that the server, at its rate, never runs out of hellos."""
AGAIN = 1.0
"""Seconds after which a datagram of a handshake that came to nothing is sent again."""
CONNECT_LIMIT = 90.0
REST = 1.5
"""Seconds between the keep-alives of a bot that waits until all are connected."""
NUMBERS = 65535
ACK_BITS = 32

_START = struct.Struct(">4sIH")
_REST = struct.Struct(">HBHBI")
_FIELDS = struct.Struct(">8xH2xB2xB4x")
_NUMBER = struct.Struct(">H")
_SHARED_HEAD = struct.Struct(">HHB")
_HEADER, _NONCE = 20, 12
_NEWEST_BIT, _ALL_BITS = 1 << ACK_BITS - 1, (1 << ACK_BITS) - 1
_HELLO_NUMBER, _CHALLENGE_NUMBER = 1, 2
_SERVER_HELLO, _APP = int(PacketType.SERVER_HELLO), int(PacketType.APP)


class SocketBots(Swarm):
    """Bots that share a socket, and keep what they read until the run is over."""

    def __init__(self, port: int, count: int) -> None:
        super().__init__(count)
        self.socket = ManyAddresses(count, (HOST, port))
        self.kept: list[tuple[float, list[tuple[int, bytes]]]] = []
        """The datagrams that arrived, with their times."""

    def read(self) -> int:
        received = self.socket.receive()
        if received:
            self.kept.append((time.monotonic() - self.began, received))
            self.note(received)
        return len(received)

    def pass_over(self) -> None:
        """Read what has arrived, and forget it."""
        while self.read() == BATCH:
            pass
        self.kept.clear()

    def note(self, received: list[tuple[int, bytes]]) -> None:
        """Do what must be done at once with what came: datagrams, each with its bot."""

    def stamps(self, bot: int, datagram: bytes) -> Iterator[float]:
        """Return the times at which the messages were due that a datagram answers."""
        return iter(())

    def settle(self) -> None:
        for now, received in self.kept:
            for bot, datagram in received:
                for due in self.stamps(bot, datagram):
                    self.delays.append(now - due)
        self.kept.clear()

    def dropped(self) -> int:
        return self.socket.dropped()


@dataclass
class _Handshake:
    """A handshake in progress, and its datagram that awaits a reply."""

    key: EllipticCurvePrivateKey
    datagram: bytes
    sent_at: float


class _Sealed(NamedTuple):
    """The datagrams of a turn, sealed in advance, and the acks that are in them."""

    datagrams: bytes
    number: int
    acks: array[int]
    bits: array[int]


class SessionBots(SocketBots):
    """Bots with a session each."""

    def __init__(self, port: int, key: str, count: int) -> None:
        super().__init__(port, count)
        self._trusted = EllipticCurvePublicKey.fromPEM(base64.b64decode(key).decode())
        self._seals: list[Callable[..., bytes]] = [_no_key] * count
        self._opens: list[Callable[..., bytes]] = [_no_key] * count
        self._acks, self._bits = array("H", [0]) * count, array("I", [0]) * count
        self._number, self._second = _CHALLENGE_NUMBER, time.time()
        self._answered = 0
        self._sealed: Iterator[_Sealed] = iter(())
        self._handshakes: dict[int, _Handshake] = {}
        self._connect()

    # -- handshakes ---------------------------------------------------------------------------

    def _connect(self) -> None:
        now = next_rest = time.monotonic()
        end, begun, rested = now + CONNECT_LIMIT, 0, 0
        while begun < self.count or self._handshakes:
            now = time.monotonic()
            if now > end:
                raise TimeoutError(f"{len(self._handshakes)} of {begun} bots are not connected")
            while begun < self.count and len(self._handshakes) < AT_A_TIME:
                self._begin(begun, now)
                begun += 1
            self.read()
            self._send_again(now)
            connected = next(iter(self._handshakes), begun)  # the first that is not
            if connected and now >= next_rest:
                last = min(rested + BATCH, connected)
                self.rest(Turn(rested, last, 0.0))
                rested = 0 if last == connected else last
                next_rest = max(next_rest, now - REST) + REST * BATCH / max(connected, BATCH)
        self.kept.clear()

    def _begin(self, bot: int, now: float) -> None:
        key = EllipticCurvePrivateKey.new()
        hello = ClientHello(key.getPublicKey().getBytes())
        datagram = encode_clear_packet(
            PacketType.CLIENT_HELLO,
            _HELLO_NUMBER,
            _HELLO_NUMBER,
            hello.encode(hello_size(Packet.MAX_PAYLOAD_SIZE)),
            int(time.time()),
        )
        self._handshakes[bot] = _Handshake(key, datagram, now)
        self.socket.send_one(bot, datagram)

    def _answer(self, bot: int, datagram: bytes) -> None:
        """Take a SERVER_HELLO, and prove the key."""
        handshake = self._handshakes.get(bot)
        if handshake is None:
            return
        packet = decode_clear_packet(datagram, PacketType.SERVER_HELLO)
        hello = ServerHello.decode(packet.message)
        hello.verify(self._trusted)
        aead = AESGCM(session_key(handshake.key, hello.ephemeral_key(), hello.salt))
        self._seals[bot], self._opens[bot] = aead.encrypt, aead.decrypt
        payload = _NUMBER.pack(_CHALLENGE_NUMBER) + encode_challenge_response(hello.token)
        start = _START.pack(PacketIdentifier.TO_SERVER, int(time.time()), _CHALLENGE_NUMBER)
        header = start + _REST.pack(0, PacketType.CHALLENGE_RESP, len(payload), 1, 0)
        handshake.datagram = header + aead.encrypt(header[:_NONCE], payload, header)
        self.socket.send_one(bot, handshake.datagram)

    def _send_again(self, now: float) -> None:
        for bot, handshake in self._handshakes.items():
            if now >= handshake.sent_at + AGAIN:
                handshake.sent_at = now
                self.socket.send_one(bot, handshake.datagram)

    # -- out ----------------------------------------------------------------------------------

    def prepare(self, turns: list[Turn]) -> None:
        self.pass_over()
        self._second = time.time()
        self._sealed = iter(list(self._seal_ahead(turns)))
        self.pass_over()
        self._answered = 0

    def _seal_ahead(self, turns: list[Turn]) -> Iterator[_Sealed]:
        all_acks, all_bits = self._acks[:], self._bits[:]
        for turn in turns:
            number, every = self._next_number(turn), slice(turn.first, turn.last)
            acks, bits = all_acks[every], all_bits[every]
            yield _Sealed(self._play(turn, number, acks, bits), number, acks, bits)
            all_acks[every] = array("H", [ack + 1 for ack in acks])
            all_bits[every] = array("I", [each >> 1 | _NEWEST_BIT for each in bits])

    def play(self, turn: Turn) -> None:
        datagrams, number, acks, bits = next(self._sealed)
        acks_now, bits_now = self._acks[turn.first : turn.last], self._bits[turn.first : turn.last]
        if acks_now != acks or bits_now != bits:
            datagrams = self._play(turn, number, acks_now, bits_now)
        self.socket.send(turn.first, turn.last - turn.first, datagrams)

    def _play(self, turn: Turn, number: int, acks: array[int], bits: array[int]) -> bytes:
        start = _START.pack(PacketIdentifier.TO_SERVER, int(self._second + turn.due), number)
        payload = _NUMBER.pack(number) + message(turn.due)
        return self._seal(turn, start, _APP, payload, acks, bits)

    def acknowledge(self) -> None:
        for first in range(0, self.count, BATCH):
            self.rest(Turn(first, min(first + BATCH, self.count), 0.0))

    def rest(self, turn: Turn) -> None:
        start = _START.pack(PacketIdentifier.TO_SERVER, int(time.time()), self._next_number(turn))
        acks, bits = self._acks[turn.first : turn.last], self._bits[turn.first : turn.last]
        datagrams = self._seal(turn, start, PacketType.KEEP_ALIVE, b"", acks, bits)
        self.socket.send(turn.first, turn.last - turn.first, datagrams)

    def _next_number(self, turn: Turn) -> int:
        """The number of the packets and messages of a turn: another one in each round."""
        if turn.first == 0:
            self._number += 1
            if self._number > NUMBERS:
                raise OverflowError("bots play for half an hour at most")
        return self._number

    def _seal(
        self,
        turn: Turn,
        start: bytes,
        kind: int,
        payload: bytes,
        acks: array[int],
        bits: array[int],
    ) -> bytes:
        """A datagram of each bot with the same payload, joined."""
        rest, size, count = _REST.pack, len(payload), 1 if payload else 0
        seals, datagrams = self._seals[turn.first : turn.last], []
        for seal, ack, ack_bits in zip(seals, acks, bits, strict=True):
            header = start + rest(ack, kind, size, count, ack_bits)
            datagrams.append(header + seal(header[:_NONCE], payload, header))
        return b"".join(datagrams)

    # -- in -----------------------------------------------------------------------------------

    @property
    def answered(self) -> int:
        return self._answered

    def note(self, received: list[tuple[int, bytes]]) -> None:
        acks, bits, fields, answered = self._acks, self._bits, _FIELDS.unpack_from, 0
        for bot, datagram in received:
            number, kind, count = fields(datagram)
            if kind == _APP:
                answered += count
            if kind == _SERVER_HELLO:
                self._answer(bot, datagram)
            elif number == acks[bot] + 1:
                acks[bot] = number
                bits[bot] = bits[bot] >> 1 | _NEWEST_BIT
            elif bot not in self._handshakes or self._is_proof(bot, datagram):
                self._note_out_of_order(bot, number)
        self._answered += answered

    def _is_proof(self, bot: int, datagram: bytes) -> bool:
        """True when a datagram shows that the server has the key: the handshake is over."""
        try:
            self._open(bot, datagram)
        except InvalidTag:
            return False
        del self._handshakes[bot]
        return True

    def _note_out_of_order(self, bot: int, number: int) -> None:
        ack, bits = self._acks[bot], self._bits[bot]
        step = number - ack
        if step > 0:
            self._acks[bot] = number
            self._bits[bot] = (_ALL_BITS + 1 | bits) >> step & _ALL_BITS if ack else 0
        elif -ACK_BITS <= step < 0:
            self._bits[bot] = bits | _NEWEST_BIT >> -step - 1

    def _open(self, bot: int, datagram: bytes) -> bytes:
        return self._opens[bot](datagram[:_NONCE], datagram[_HEADER:], datagram[:_HEADER])

    def stamps(self, bot: int, datagram: bytes) -> Iterator[float]:
        _, kind, count = _FIELDS.unpack_from(datagram)
        if kind != _APP:
            return
        payload, place = self._open(bot, datagram), _NUMBER.size
        if count == 1:
            yield STAMP.unpack_from(payload, place)[0]
            return
        place = 0
        while place < len(payload):
            size, _, kind = _SHARED_HEAD.unpack_from(payload, place)
            place += _SHARED_HEAD.size
            if kind == _APP:
                yield STAMP.unpack_from(payload, place)[0]
            place += size


def _no_key(nonce: bytes, data: bytes, header: bytes) -> bytes:
    """Stands for the cipher of a bot that has no key yet."""
    raise InvalidTag
