"""The receiving side of a channel: which messages of a peer are delivered, and when.

The frames of a packet are inspected one after the other, which changes nothing but what this packet
has claimed; then they are used. So a packet that breaks a rule in its last frame has no effect, and
one for which there is no room can come again. Inspection counts what the earlier frames of the
packet will take, on the safe side.

Channels share nothing but the reassembler, whose limits are those of the session: what one channel
keeps can only make fragments of others wait.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from mpgameserver._core.budget cimport ITEM_COST
from mpgameserver._core.duplicate_filter cimport CHANNEL_FILTER_WIDTH
from mpgameserver._core.frames cimport FRAGMENT, MESSAGE, take_frame
from mpgameserver._core.varint cimport MAX_VARINT, Cursor

from mpgameserver.errors import PacketError

__all__ = ["ChannelKind", "ChannelReceiver", "FrameFate"]

cdef enum:
    UNKNOWN = -1    # the length of a message


cdef inline int64_t _length(const Frame *frame) noexcept:
    """Return the length of the message that a frame is, or is a part of."""
    return frame.total if frame.type == FRAGMENT else frame.size


@cython.final
cdef class ChannelReceiver:
    """A channel of a session, for the direction in which the peer sends.

    `number` and `total` are the first window of an ordered channel. For each packet, the
    reassembler's `begin_packet` comes first, then `inspect` for each frame, then `take`. Raises
    ValueError for a channel, kind or window that no table of channels holds.
    """

    def __cinit__(
        self, int channel, int kind, GridReassembler reassembler not None,
        int64_t number=0, int64_t total=0,
    ):
        if not (0 <= channel <= 255 and 0 <= kind <= LATEST):
            raise ValueError(f"no channel {channel} of the kind {kind}")
        self.channel, self.kind, self._reassembler = channel, <ChannelKind>kind, reassembler
        if kind == ORDERED:
            self.order = OrderedDelivery(reassembler.share, number, total)

    # -- before a packet is used ------------------------------------------------------------------

    cdef int inspect(self, const Frame *frame) except -1:
        """Return the `FrameFate` of a MESSAGE or FRAGMENT behind those inspected before it."""
        cdef int64_t length = _length(frame), known
        if self._is_over(frame.number):
            return IGNORED
        if frame.type == MESSAGE and self._is_simple() and not self._reassembler.has_begun():
            return TAKEN
        known = self._length_of(frame.number)
        if known != UNKNOWN and known != length:
            return MALFORMED
        if self.order is not None and not self._is_allowed(frame.number, length, known):
            return WINDOW_BROKEN
        if not self._claim(frame, known != UNKNOWN):
            return NO_ROOM
        if known == UNKNOWN and (frame.type == FRAGMENT or self.order is not None):
            self._reassembler.note_begun(self.channel, frame.number, length)
            if self.order is not None:
                self.order.inspect_length(length)
        return TAKEN

    cdef bint _is_over(self, int64_t number) except -1:
        """Return True if a message was delivered or dropped, or waits for its turn."""
        if self.order is not None:
            return self.order.has(number)
        if self.kind != UNORDERED:
            return number <= self._newest
        return number <= self._newest - CHANNEL_FILTER_WIDTH or (
            self._delivered is not None and self._delivered.contains(number)
        )

    cdef bint _is_allowed(self, int64_t number, int64_t length, int64_t known) noexcept:
        """Return True if the window of an ordered channel allows a message."""
        if self._packet != self._reassembler.packet:
            self._packet = self._reassembler.packet
            self.order.begin_packet()
        return known != UNKNOWN or self.order.allows(number, length)

    cdef int64_t _length_of(self, int64_t number) except -2:
        """Return the length of a message that was begun, also by this packet, or `UNKNOWN`."""
        cdef GridMessage incomplete = self._incomplete_of(number)
        cdef dict begun = self._reassembler.begun_on(self.channel)
        if incomplete is not None:
            return incomplete.total
        return UNKNOWN if begun is None else begun.get(number, UNKNOWN)

    cdef bint _claim(self, const Frame *frame, bint is_begun) except -1:
        """Claim room for what a frame makes the channel keep; return False if there is none."""
        if frame.type == FRAGMENT:
            return is_begun or self._reassembler.claim_message(frame.total)
        if self.order is None or self.order.continues(frame.number):
            return True
        return self._reassembler.claim(frame.size + ITEM_COST)

    cdef GridMessage _incomplete_of(self, int64_t number):
        """Return the incomplete message with that number, or None."""
        return self._incomplete.get(number) if self._incomplete else None

    # -- when it is used --------------------------------------------------------------------------

    cdef bytes take(self, const Frame *frame, double now):
        """Use a frame that is `TAKEN` or `IGNORED`; return a message to be delivered, or None.

        `next_ready` has further ones, and is called until it has none.
        """
        cdef bytes message
        if frame.type == MESSAGE and self._is_simple():
            return self._take_simple(frame)
        if self._is_over(frame.number):
            return None
        message = self._add_fragment(frame, now) if frame.type == FRAGMENT else self._whole(frame)
        if self.kind == UNORDERED:
            self._newest = max(self._newest, frame.number)
        return None if message is None else self._complete(frame.number, message)

    cdef bint _is_simple(self) noexcept:
        """Return True while a channel delivers any MESSAGE that it has not delivered."""
        return self.kind == UNORDERED and not self._incomplete

    cdef bytes _take_simple(self, const Frame *frame):
        """Return the message of a MESSAGE, or None if it was delivered before."""
        cdef bytes message = PyBytes_FromStringAndSize(<const char *>frame.data, frame.size)
        if self._delivered is None:
            self._delivered = DuplicateFilter(CHANNEL_FILTER_WIDTH)
        if frame.number <= self._newest - CHANNEL_FILTER_WIDTH or (
            not self._delivered.insert(frame.number)
        ):
            return None
        self._newest = max(self._newest, frame.number)
        return message

    cdef bytes next_ready(self):
        """Return the next message that waited for the one before, or None."""
        return None if self.order is None else self.order.next_ready()

    cdef bytes _whole(self, const Frame *frame):
        """Return the message of a MESSAGE, of which parts may have come before."""
        cdef bytes message = PyBytes_FromStringAndSize(<const char *>frame.data, frame.size)
        cdef GridMessage incomplete = self._incomplete_of(frame.number)
        if incomplete is not None:
            self._reassembler.discard(incomplete)
        elif self.order is not None:
            self.order.add_length(frame.size)
        return message

    cdef bytes _add_fragment(self, const Frame *frame, double now):
        """Add a FRAGMENT to its message; return the message if that completes it, else None."""
        cdef GridMessage incomplete = self._incomplete_of(frame.number)
        if incomplete is None:
            if self._incomplete is None:
                self._incomplete = {}
            incomplete = self._reassembler.begin(
                self._incomplete, frame, self.order is not None
            )
            if self.order is not None:
                self.order.add_length(frame.total)
        return self._reassembler.add(incomplete, frame, now)

    cdef bytes _complete(self, int64_t number, bytes message):
        """Note that a message is complete; return it if it can be delivered now, else None."""
        if self.order is not None:
            return self.order.take(number, message)
        if self.kind != UNORDERED:
            self._discard(number)
            self._newest = number
            return message
        if self._delivered is None:
            self._delivered = DuplicateFilter(CHANNEL_FILTER_WIDTH)
        self._delivered.insert(number)
        return message

    cdef int _discard(self, int64_t newest) except -1:
        """Discard the parts of the messages up to `newest`."""
        cdef int64_t number
        if self._incomplete:
            for number in [number for number in self._incomplete if number <= newest]:
                self._reassembler.discard(self._incomplete[number])
        return 0

    cpdef list arriving(self):
        """Return (bytes received, bytes in all) of each incomplete message, the oldest first."""
        cdef GridMessage message
        if not self._incomplete:
            return []
        return [
            (message.received, message.total) for _, message in sorted(self._incomplete.items())
        ]

    cpdef int clear(self) except -1:
        """Drop what is incomplete or waits."""
        self._discard(MAX_VARINT)
        if self.order is not None:
            self.order.clear()
        return 0

    # -- for those who have a frame as bytes ------------------------------------------------------

    cdef int _read(self, bytes data, Frame *frame) except -1:
        cdef Cursor cursor
        cursor.next = <const unsigned char *>PyBytes_AS_STRING(data)
        cursor.end = cursor.next + PyBytes_GET_SIZE(data)
        if (
            cursor.next == cursor.end
            or not take_frame(&cursor, frame)
            or cursor.next != cursor.end
            or (frame.type != MESSAGE and frame.type != FRAGMENT)
            or frame.channel != self.channel
        ):
            raise PacketError(f"no single MESSAGE or FRAGMENT of channel {self.channel}")
        return 0

    def inspect_frame(self, bytes data not None):
        """Return the `FrameFate` of a frame, as `inspect` does.

        Raises PacketError unless `data` is one MESSAGE or FRAGMENT of this channel.
        """
        cdef Frame frame
        self._read(data, &frame)
        return FrameFate(self.inspect(&frame))

    def take_frame(self, bytes data not None, double now):
        """Use a frame that is `TAKEN` or `IGNORED`; return what can be delivered, as a list.

        Raises PacketError as `inspect_frame` does.
        """
        cdef Frame frame
        cdef bytes message
        self._read(data, &frame)
        messages = []
        message = self.take(&frame, now)
        while message is not None:
            messages.append(message)
            message = self.next_ready()
        return messages
