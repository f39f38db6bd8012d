"""A whole peer of protocol 2, written from the page alone: simple, slow and plain.

It is one side of a session whose secrets are known: it opens with CONNECT or ACCEPT, numbers,
seals and opens packets, acks what it takes, sends again what is not acked, cuts long messages up,
joins fragments, and delivers each message as its channel says. It shares nothing with the package
but the page; bytes come from the second codec.

Where the page leaves a choice it takes the plainest: one frame that wants an ack per packet, an ACK
for every packet that asks for one, and everything that is not acked sent again after a fixed time,
a message in fragments cut anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.wire import WireError
from support.wire2 import keys as schedule
from support.wire2.frames import (
    UNIT,
    Accept,
    Ack,
    Close,
    Connect,
    Fragment,
    Frame,
    Kem,
    Message,
    NewConnectionId,
    Padding,
    PathChallenge,
    PathResponse,
    RetireConnectionId,
    Time,
    TimeReply,
    Window,
    ack_of,
    is_ack_eliciting,
    pack_all,
)
from support.wire2.packets import ReceivedNumbers, ReceivingKeys, open_packet, seal
from support.wire2.rules import Session, take
from support.wire2.tables import (
    LATEST,
    ORDERED,
    SEQUENCED,
    UNORDERED,
    AcceptData,
    Channel,
    ConnectData,
    Pieces,
    first_difference,
    pack_accept_data,
    pack_connect_data,
    unpack_accept_data,
    unpack_connect_data,
)

if TYPE_CHECKING:  # old releases of cryptography are without it
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

RESEND_AFTER = 0.35
REMEMBERED_PACKETS = 8192
REMEMBERED_MESSAGES = 65_535
PIECE = 400
"""Bytes of connect or accept data in a frame."""
MOST_IN_FRAME = 1024
CLOSED, PROTOCOL, CHANNELS, WINDOW = 0, 1, 2, 7


@dataclass
class Outgoing:
    """A message, or another frame that is sent until it is acked."""

    channel: int = 0
    data: bytes = b""
    is_reliable: bool = True
    number: int = 0
    """That of the message; 0 until it is sent."""
    frame: Frame | None = None
    """A frame that is no message."""
    missing: set[int] = field(default_factory=set)
    """The units of a message that are not acked; for others, 0 until it is."""
    due: float = 0.0
    sent_up_to: int = -1
    """The last unit that was sent in this round."""
    was_sent: bool = False

    @property
    def is_long(self) -> bool:
        """True for a message that is sent in fragments."""
        return len(self.data) > MOST_IN_FRAME

    @property
    def units(self) -> int:
        return max(-(-len(self.data) // UNIT), 1)


@dataclass
class Incoming:
    """The receiving side of a channel."""

    kind: int
    granted: tuple[int, int] = (0, 0)
    first_window: tuple[int, int] = (0, 0)
    newest: int = 0
    delivered: int = 0
    """The newest message that was."""
    had: set[int] = field(default_factory=set)
    """Numbers that were delivered, or are never to be."""
    lengths: dict[int, int] = field(default_factory=dict)
    parts: dict[int, dict[int, bytes]] = field(default_factory=dict)
    """The units of incomplete messages."""
    waiting: dict[int, bytes] = field(default_factory=dict)
    taken: tuple[int, int] = (0, 0)

    def is_over(self, number: int) -> bool:
        """Tell whether a message was delivered or dropped, or can be neither any more."""
        if self.kind in (SEQUENCED, LATEST) and number <= self.delivered:
            return True
        return number in self.had or number < self.newest - REMEMBERED_MESSAGES


class Peer2:
    """One side of a session. `now` is in seconds, and never goes back.

    `secrets` are secret_0 of the client and of the server. A server has no credential. `kem_key` is
    the private key whose public half a client sends in KEM frames; a server that takes one has
    `takes_key`.
    """

    def __init__(
        self,
        side: str,
        secrets: dict[str, bytes],
        connection_id: bytes,
        channels: list[Channel],
        credential: bytes = b"",
        reset_token: bytes = bytes(16),
        kem_key: MLKEM768PrivateKey | None = None,
        takes_key: bool = False,
    ) -> None:
        other = "client" if side == "server" else "server"
        self.delivered: list[tuple[int, int, bytes]] = []
        """The received messages: channel, number, message."""
        self.acked: list[tuple[int, bytes]] = []
        """The channel and the message of each that has arrived whole."""
        self.credential: bytes | None = None
        self.reset_token: bytes | None = None
        self.closed: tuple[int, str] | None = None
        """Code and text, of whichever side has ended the session."""
        self.is_open = False
        """True when the server has accepted, and at the client when it knows."""
        self._side, self._id, self._channels = side, connection_id, channels
        self._own_token = reset_token
        self._secret, self._n = secrets[side], 0
        self._mask_key = schedule.mask_key(secrets[side])
        self._their_mask_key = schedule.mask_key(secrets[other])
        self._receiving = ReceivingKeys(secrets[other])
        self._received = ReceivedNumbers(REMEMBERED_PACKETS + 1)
        kinds = {each.id: each.kind for each in channels}
        self._session = Session(other, kinds, is_accepted=False)
        self._incoming = {0: Incoming(UNORDERED)} | {
            each.id: Incoming(each.kind, each.window or (0, 0), each.window or (0, 0))
            for each in channels
        }
        self._may_send: dict[int, tuple[int, int]] = {}
        self._numbers: dict[int, int] = {}
        self._sent_lengths: dict[int, int] = {}
        self._outgoing: list[Outgoing] = []
        self._under_way: dict[int, list[tuple[Outgoing, set[int]]]] = {}
        self._setup = Pieces()
        self._replies: list[Frame] = []
        self._owes_ack = False
        self._newest_acked = 0
        self._session.ids[0] = connection_id, b""
        self._unused: list[int] = []
        """A client's sequences of ids that it has not used yet."""
        self._sequence = 0
        self._secrets, self._kem_key = secrets, kem_key
        self._session.has_empty_kem = takes_key or kem_key is not None
        self._kem = Pieces()
        self._late_secret: bytes | None = None
        self._connect = pack_connect_data(ConnectData(credential, channels, {}))
        if kem_key is not None:
            self._send_pieces(Kem, kem_key.public_key().public_bytes_raw())
        elif side == "client":
            self._send_pieces(Connect, self._connect)

    @property
    def is_done(self) -> bool:
        """True when nothing reliable waits for an ack."""
        return not any(each.is_reliable for each in self._outgoing)

    @property
    def phase(self) -> int:
        """The number of updates of the sending key."""
        return self._n

    # -- out --------------------------------------------------------------------------------

    def say(self, channel: int, message: bytes, *, is_reliable: bool = True) -> None:
        """Send a message. On a latest channel it replaces one that waits."""
        kind = self._incoming[channel].kind
        if kind == LATEST:
            self._replace(channel, is_waiting=True)
        item = Outgoing(channel, message, is_reliable and kind != SEQUENCED)
        item.missing = set(range(item.units))
        self._outgoing.append(item)

    def _replace(self, channel: int, *, is_waiting: bool) -> None:
        """Give up the messages of a latest channel that wait, or those sent in a MESSAGE."""
        self._outgoing = [
            each
            for each in self._outgoing
            if each.channel != channel
            or each.frame is not None
            or (
                each.number != 0
                if is_waiting
                else len(each.data) > MOST_IN_FRAME or not each.number
            )
        ]

    def close(self, code: int = CLOSED, text: str = "") -> None:
        """End the session."""
        self.closed = code, text
        self._outgoing = [Outgoing(frame=Close(code, text.encode()), missing={0})]

    def update_key(self) -> None:
        """Seal under the next key from now on."""
        late, self._late_secret = self._late_secret, None
        self._secret, self._n = late or schedule.next_secret(self._secret), self._n + 1

    def issue(self, connection_id: bytes, reset_token: bytes) -> None:
        """Give a client another connection id."""
        sequence = max(self._session.ids) + 1
        self._session.ids[sequence] = connection_id, reset_token
        frame = NewConnectionId(sequence, connection_id, reset_token)
        self._outgoing.append(Outgoing(frame=frame, missing={0}))

    def change_id(self) -> None:
        """Go on under the next id, as a client that has another address; retire the former."""
        self._unused.sort()
        former, self._sequence = self._sequence, self._unused.pop(0)
        self._id = self._session.ids[self._sequence][0]
        self._session.retired.add(former)
        self._outgoing.append(Outgoing(frame=RetireConnectionId(former), missing={0}))

    @property
    def connection_ids(self) -> list[bytes]:
        """The ids that are alive, the one in use included."""
        session = self._session
        return [session.ids[each][0] for each in sorted(session.ids.keys() - session.retired)]

    def packet_of(self, *frames: Frame) -> bytes:
        """Return the next packet with any frames: for tests that break a rule."""
        return self._pack(list(frames), [])

    def _send_pieces(self, kind: type, data: bytes) -> None:
        for offset in range(0, len(data), PIECE):
            frame = kind(len(data), offset, data[offset : offset + PIECE])
            self._outgoing.append(Outgoing(frame=frame, missing={0}))

    def datagrams(self, now: float, most: int = 40) -> list[bytes]:
        """Return what is to be sent at that time, at most so many that want an ack."""
        out = []
        for item in list(self._outgoing):
            while item in self._outgoing and now >= item.due and len(out) < most:
                frame, units = self._next_frame(item)
                if frame is None:
                    item.sent_up_to, item.due = -1, now + RESEND_AFTER * item.was_sent
                    break
                item.was_sent = True
                out.append(self._pack([frame], [(item, units)]))
                if not item.is_reliable:
                    item.missing -= units
                    if not item.missing:
                        self._outgoing.remove(item)
        if not out and (self._owes_ack or self._replies):
            out.append(self._pack([], []))
        return out

    def _next_frame(self, item: Outgoing) -> tuple[Frame | None, set[int]]:
        """Return the next frame of an item, and the units that it holds."""
        if item.frame is not None and item.sent_up_to < 0:
            item.sent_up_to = 0
            return item.frame, {0}
        if item.frame is not None:
            return None, set()
        if not self.is_open or not self._may_begin(item):
            return None, set()
        first = min((unit for unit in item.missing if unit > item.sent_up_to), default=None)
        if first is None:
            return None, set()
        if not item.is_long:
            item.sent_up_to = item.units
            return Message(item.channel, item.number, item.data), set(range(item.units))
        count = 1 + (self._session.newest_sent * 7) % (MOST_IN_FRAME // UNIT)
        units = set(range(first, min(first + count, item.units)))
        item.sent_up_to = max(units)
        data = item.data[first * UNIT : (max(units) + 1) * UNIT]
        return Fragment(item.channel, item.number, len(item.data), first, data), units

    def _may_begin(self, item: Outgoing) -> bool:
        """Tell whether a message has a number or may take one, and give it one."""
        channel = item.channel
        if item.number:
            return True
        number = self._numbers.get(channel, 0) + 1
        length = self._sent_lengths.get(channel, 0) + len(item.data)
        kind = self._incoming[channel].kind
        if kind == ORDERED:
            most, total = self._may_send[channel]
            if number > most or length > total:
                return False
        elif self._is_behind(channel, number):
            return False
        if kind == LATEST:
            if any(each.channel == channel and each.number for each in self._in_fragments()):
                return False
            self._replace(channel, is_waiting=False)
        item.number = self._numbers[channel] = number
        self._sent_lengths[channel] = length
        return True

    def _in_fragments(self) -> list[Outgoing]:
        """Return the messages that are sent in fragments."""
        return [each for each in self._outgoing if each.is_long]

    def _is_behind(self, channel: int, number: int) -> bool:
        """Tell whether a message that may still be sent would look too old beside this one."""
        return any(
            each.channel == channel and 0 < each.number <= number - REMEMBERED_MESSAGES
            for each in self._outgoing
        )

    def _pack(self, frames: list[Frame], contents: list[tuple[Outgoing, set[int]]]) -> bytes:
        """Seal a packet of these frames, what is to be replied, and an ACK before them."""
        head: list[Frame] = self._replies
        self._replies = []
        if self._received.had:
            head = [ack_of(self._received.had, 0), *head]
        self._owes_ack = False
        self._session.newest_sent += 1
        number = self._session.newest_sent
        self._under_way[number] = contents
        keys = schedule.packet_keys(self._n, self._secret)
        connection_id = self._id if self._side == "client" else b""
        payload = pack_all([*head, *frames])
        return seal(keys, self._mask_key, connection_id, number, payload, self._newest_acked)

    # -- in ---------------------------------------------------------------------------------

    def receive(self, datagram: bytes) -> None:
        """Take a datagram; what does not open is dropped, what breaks a rule ends the session."""
        own_id, sequence = b"", 0
        if self._side == "server":
            by_id = {each: number for number, (each, _) in self._session.ids.items()}
            own_id = datagram[1:9] if datagram[1:9] in by_id else self._id
            sequence = by_id[own_id]
        try:
            packet = open_packet(
                datagram, self._receiving, self._their_mask_key, own_id, self._received.newest
            )
            self._received.receive(packet.number)
        except WireError:
            return
        if self._receiving.current.n > self._n:
            self.update_key()
        try:
            frames = take(packet.payload, self._session, sequence)
        except WireError as error:
            if self.closed is None:
                self.close(PROTOCOL, str(error))
            return
        if frames is None:  # as if it had never come: the sender sends it again
            self._received.had.discard(packet.number)
            return
        self._owes_ack |= any(map(is_ack_eliciting, frames))
        for frame in frames:
            if self.closed is None or isinstance(frame, Ack | Close):
                self._use(frame)

    def _use(self, frame: Frame) -> None:
        match frame:
            case Ack():
                self._use_ack(frame)
            case Connect() | Accept():
                self._use_setup(frame)
            case NewConnectionId(sequence):
                if sequence not in self._unused and sequence > self._sequence:
                    self._unused.append(sequence)
            case Kem():
                self._use_kem(frame)
            case Close():
                if self.closed is None:
                    self.closed, self._outgoing = (frame.code, frame.shown), []
            case Message() | Fragment():
                self._use_message(frame)
            case Window(channel, number, total):
                most = self._may_send[channel]
                self._may_send[channel] = max(most[0], number), max(most[1], total)
            case PathChallenge(data):
                self._replies.append(PathResponse(data))
            case Time(clock):
                self._replies.append(TimeReply(clock, 0, 0))
            case Padding() | _:
                pass

    def _use_ack(self, ack: Ack) -> None:
        self._newest_acked = max(self._newest_acked, ack.ranges[0][1])
        for number in list(self._under_way):
            if not any(low <= number <= high for low, high in ack.ranges):
                continue
            for item, units in self._under_way.pop(number):
                item.missing -= units
                if not item.missing and item in self._outgoing:
                    self._outgoing.remove(item)
                    if item.frame is None:
                        self.acked.append((item.channel, item.data))

    def _use_kem(self, frame: Kem) -> None:
        """Take a piece of the other side's key or ciphertext."""
        whole = self._kem.add(frame)
        if whole is None:
            return
        if self._kem_key is not None:
            secret = self._kem_key.decapsulate(whole)
        else:
            secret, ciphertext = schedule.encapsulate(whole)
            self._send_pieces(Kem, ciphertext)
        other = "client" if self._side == "server" else "server"
        self._receiving.expect(schedule.late_secret(self._secrets[other], secret))
        self._late_secret = schedule.late_secret(self._secrets[self._side], secret)
        if self._kem_key is not None:
            self.update_key()
            self._send_pieces(Connect, self._connect)

    def _use_setup(self, frame: Connect | Accept) -> None:
        """Take a piece of what the session begins with."""
        whole = self._setup.add(frame)
        if whole is None:
            return
        try:
            windows = self._read_connect(whole) if self._side == "server" else self._read(whole)
        except WireError as error:
            self.close(PROTOCOL, str(error))
            return
        if self.closed is None:
            ordered = [each.id for each in self._channels if each.kind == ORDERED]
            self._may_send = dict(zip(ordered, windows, strict=True))
            self.is_open = self._session.is_accepted = True

    def _read_connect(self, whole: bytes) -> list[tuple[int, int]]:
        data = unpack_connect_data(whole)
        differing = first_difference(self._channels, data.channels)
        if differing is not None:
            self.close(CHANNELS, f"channel {differing}")
            return []
        self.credential = data.credential
        windows = [each.window or (0, 0) for each in self._channels if each.kind == ORDERED]
        self._send_pieces(Accept, pack_accept_data(AcceptData(self._own_token, windows)))
        return [each.window or (0, 0) for each in data.channels if each.kind == ORDERED]

    def _read(self, whole: bytes) -> list[tuple[int, int]]:
        data = unpack_accept_data(whole, self._channels)
        self.reset_token = data.reset_token
        return data.windows

    # -- messages ---------------------------------------------------------------------------

    def _use_message(self, frame: Message | Fragment) -> None:
        channel = self._incoming[frame.channel]
        number = frame.number
        if channel.is_over(number) or number in channel.waiting:
            return
        channel.newest = max(channel.newest, number)
        total = frame.total if isinstance(frame, Fragment) else len(frame.data)
        channel.lengths[number] = total
        if channel.kind == ORDERED and (
            number > channel.granted[0] or sum(channel.lengths.values()) > channel.granted[1]
        ):
            self.close(WINDOW, f"channel {frame.channel}, message {number}")
            return
        if isinstance(frame, Message):
            self._complete(frame.channel, number, frame.data)
            return
        parts = channel.parts.setdefault(number, {})
        for start in range(0, len(frame.data), UNIT):
            parts.setdefault(frame.position + start // UNIT, frame.data[start : start + UNIT])
        if len(parts) == -(-total // UNIT):
            self._complete(frame.channel, number, b"".join(parts[n] for n in sorted(parts)))

    def _complete(self, name: int, number: int, message: bytes) -> None:
        """Deliver a whole message, and those that have waited for it."""
        channel = self._incoming[name]
        channel.parts.pop(number, None)
        if channel.kind != ORDERED:
            channel.had.add(number)
            channel.delivered = max(channel.delivered, number)
            self._session.finished.add((name, number))
            self.delivered.append((name, number, message))
            return
        channel.waiting[number] = message
        while (first := channel.taken[0] + 1) in channel.waiting:
            message = channel.waiting.pop(first)
            channel.had.add(first)
            self._session.finished.add((name, first))
            channel.taken = first, channel.taken[1] + len(message)
            self.delivered.append((name, first, message))
        self._grant(name, channel)

    def _grant(self, name: int, channel: Incoming) -> None:
        """Raise a window to what was taken and the first one."""
        first = channel.first_window
        channel.granted = channel.taken[0] + first[0], channel.taken[1] + first[1]
        self._outgoing.append(Outgoing(frame=Window(name, *channel.granted), missing={0}))
