"""One side of a session once there is a key: the part that does not depend on the protocol.

The endpoint of each protocol turns messages into sealed datagrams and back. Both have an outbox, a
sent window, limits on what may be in flight, and an inbox with the messages that the game has not
taken yet. A datagram that fails a check changes nothing but a counter.

There is no clock here: every call takes `now`, in monotonic seconds, which never goes back: an
earlier time counts as the latest one seen.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.math cimport INFINITY

from mpgameserver._core.budget cimport GUARANTEED, ITEM_COST, Share
from mpgameserver._core.drop_reason cimport ACCEPTED, UNEXPECTED
from mpgameserver._core.fifo cimport queue_append, queue_clear, queue_pop, queue_pop_all
from mpgameserver._core.send_limits cimport ANYTHING, MESSAGES
from mpgameserver._core.seqnum cimport RING_SIZE, to_wire

from mpgameserver._core.seqnum import SeqNum

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(object)

__all__ = ["DROP_REASONS", "Endpoint"]

# The name of each `DropReason` in `Endpoint.drops`.
DROP_REASONS = (
    "malformed", "misdirected", "unexpected", "repeated", "too old", "out of window",
    "authentication failed", "inbox full", "reassembly full",
)

cdef double REDUNDANT_INTERVAL = 0.010  # seconds: packets sent together are lost together
cdef double LOSSY = 0.01           # fraction of packets; above it small messages are copied
# Every second has a ping, even if a keep-alive delays it and one ack yields no sample.
PING_INTERVAL = 0.5
cdef double MAX_HEARD = 1.0        # seconds: the part of an idle time that counts towards timeouts


cdef class Endpoint:
    """The delivery engine of one side of a session; that of each protocol extends it.

    By itself it is an endpoint of no protocol: it sends nothing, and takes nothing.

    Not thread-safe. `next_datagram`, `receive` and `advance` raise RuntimeError while one of them
    is running, because a finalizer, or an AEAD in Python, may call anything in the middle of one.
    All other methods may be called there.
    """

    def __cinit__(self, *_, **__):
        self._ping_due_at = -INFINITY
        self.keep_alive_interval = 0.1
        self.message_timeout = 1.0
        self.inbox_share = Share(GUARANTEED)
        self.send_limits = SendLimits()
        self.rtt = self.send_limits.rtt
        # The protocols put in their own; until then no call from Python must meet None.
        self.send_queue = Outbox()
        self.sent_packets = SentWindow()
        self.begin(0.0)

    cdef int begin(self, double now) except -1:
        """Set the time of the start."""
        self._now = self.last_received = self._last_sent = now
        self.rate_bins = RateBins(now)
        return 0

    def __dealloc__(self):
        queue_clear(&self._inbox)

    # -- what the protocols do in their own ways ---------------------------------------------

    cdef DropReason take_datagram(self, bytes datagram, double now) except? REASON_COUNT:
        """Use a datagram, or return the reason to drop it, with nothing changed."""
        return UNEXPECTED

    cpdef void advance(self, double now):
        """Detect lost packets and expire messages as of `now`.

        Call it once per frame or tick, before `next_datagram`.
        """

    cpdef bytes next_datagram(self, double now):
        """Return the next datagram to send now, or None if there is none.

        Call it until it returns None.
        """
        return None

    cpdef double next_timer(self) except? -1.0:
        """Return when `advance` or `next_datagram` is next due if nothing arrives before.

        A time in the past means that there is something to send now.
        """
        return INFINITY

    cdef bint owes_close(self, bint accepted, double now) noexcept:
        """Return True if a packet that came after the end is to be told of it.

        It was `accepted` or not.
        """
        return False

    cpdef bytes abort(self, double now):
        """Close at once, and return a datagram that tells the peer.

        Returns None while no packet can be sealed.
        """
        return None

    cdef int set_close(self, int64_t code, bytes text) except -1:
        """Set what the peer is told of the end, where the protocol can tell it."""
        return 0

    cdef int send_on(self, int channel, bytes data, int8_t retry, object callback) except -1:
        """Queue a message on a channel. Raises ValueError for one that is not open."""
        raise ValueError(f"no channel {channel} in a session of protocol {self.protocol}")

    cpdef Py_ssize_t pending_on(self, int channel) except -1:
        """Return the bytes of a channel that were never sent; ValueError where there are none."""
        raise ValueError(f"no channel {channel} in a session of protocol {self.protocol}")

    cpdef list arriving_on(self, int channel):
        """Return (bytes received, bytes in all) of each message of a channel that is incomplete.

        The oldest is first, and the bytes in all are at least 1.
        """
        return []

    cpdef Py_ssize_t largest_datagram(self) noexcept:
        """Return how many bytes the datagrams of this side have at most at present."""
        return 0

    cpdef bint ack_is_due(self) noexcept:
        """Return True if an ack should be sent before another datagram is read."""
        return False

    cpdef bint disconnect_acked(self) noexcept:
        """Return True once the peer has acked the end that `begin_close` announces."""
        return False

    cdef int64_t key_packets(self) noexcept:
        """Return how much of a key that cannot be updated is used up, in packets."""
        return 0

    cdef bint path_is_stuck(self) noexcept:
        """Return True if the path drops a reliable message, whatever is tried."""
        return False

    # -- for the owner ----------------------------------------------------------------------

    cpdef DropReason receive(self, bytes datagram, double now) except? REASON_COUNT:
        """Process a datagram from the peer's address.

        Returns 0 if it is accepted. Otherwise it is dropped, nothing but a counter is changed, and
        the result is the position in `DROP_REASONS`, from 1. Never raises for the peer's bytes.
        """
        cdef DropReason reason
        self.enter()
        try:
            reason = self.take_datagram(datagram, now)
        finally:
            self._is_entered = False
        if reason != ACCEPTED:
            self._dropped[<int>reason] += 1
        return reason

    cpdef void begin_close(self) except *:
        """Drain: send what is queued, retransmit reliable messages, then tell the peer of the end.

        The peer is told when all is acked, or at `end_drain`.
        """
        self.send_queue.begin_close()

    cpdef void end_drain(self) noexcept:
        """Tell the peer of the end now, and send nothing else from then on."""
        self.send_queue.drain_ended = True

    cpdef void close(self) except *:
        """Complete all outstanding messages as not acked, and send no more."""
        self.send_queue.close()

    cpdef tuple take_message(self):
        """Take the oldest message received: (SeqNum, bytes). Raises IndexError if there is none."""
        cdef tuple item = queue_pop(&self._inbox)
        self.inbox_size = self._inbox.count
        self.inbox_share.charge(-(PyBytes_GET_SIZE(item[1]) + ITEM_COST))
        return item

    cpdef list take_messages(self):
        """Take all messages received, as a list of (SeqNum, bytes), in order of arrival."""
        cdef list messages
        cdef tuple item
        cdef Py_ssize_t size = 0
        try:
            messages = queue_pop_all(&self._inbox)
        finally:
            self.inbox_size = self._inbox.count
        for item in messages:
            size += PyBytes_GET_SIZE(item[1]) + ITEM_COST
        self.inbox_share.charge(-size)
        return messages

    cpdef list take_completed(self):
        """Take the list of (callback, acked) of the messages that are completed."""
        return self.send_queue.take_completed()

    @property
    def drops(self):
        """The number of datagrams dropped, by reason (`DROP_REASONS`)."""
        return {DROP_REASONS[i - 1]: self._dropped[i] for i in range(1, REASON_COUNT)}

    @property
    def dropped(self):
        """The number of datagrams dropped in all."""
        cdef int64_t total = 0
        for i in range(1, REASON_COUNT):
            total += self._dropped[i]
        return total

    cpdef void on_datagram_sent(self, uint32_t size, double now):
        """Count a datagram that was handed to the network."""
        self.sent += 1
        self.rate_bins.on_sent(size, now)

    cdef int enter(self) except -1:
        """Begin a call that no other may interrupt; the caller resets `_is_entered` at its end."""
        if self._is_entered:
            raise RuntimeError("the endpoint is in the middle of another call")
        self._is_entered = True
        return 0

    cdef int on_packet_accepted(self, Py_ssize_t size, double now) except -1:
        """Count an accepted packet, and restart the idle timeout."""
        self._now = max(self._now, now)
        self._heard_for += min(self._now - self.last_received, MAX_HEARD)
        self.last_received = self._now
        self.received += 1
        self.rate_bins.on_received(<uint32_t>size, self._now)
        return 0

    cdef double loss_time(self, double loss_delay):
        """Return when the oldest packet in flight is lost unless it is acked; infinity if none is.
        """
        cdef int64_t oldest = self.sent_packets.oldest_undecided
        cdef double delay
        if oldest > self.sent_packets.newest:
            return INFINITY
        delay = self.send_limits.pto()
        if oldest < self.sent_packets.newest_acked:
            delay = loss_delay
        return self.sent_packets.packet(oldest).sent_at + delay

    cdef double next_chance(self, Room room) except? -1.0:
        """Return when the send limits, or the queue's own timers, let something be sent."""
        cdef double when = INFINITY
        if room != ANYTHING and (
            self.send_limits.newest_fragment >= self.sent_packets.oldest_undecided
            and self.send_queue.has_unfragmented()
        ):
            if room == MESSAGES:
                return self._now
            if self.send_limits.ahead_until() > self._now:
                when = self.send_limits.ahead_until()
        if room != ANYTHING and self.send_limits.paced_until > self._now:
            when = min(when, self.send_limits.paced_until)
        return min(when, self.send_queue.next_timer(
            self.message_timeout, self.keep_alive_interval, room == ANYTHING
        ))

    cdef bint copies_messages(self) except -1:
        """Return True while so much is lost that small messages are sent redundantly."""
        cdef bint is_lossy = self.send_limits.congestion.loss > LOSSY
        if is_lossy != self.send_queue.sends_redundantly:
            self.send_queue.set_redundant(is_lossy)
        return is_lossy

    cdef double copy_interval(self) noexcept:
        """Return the seconds between two copies of a message."""
        return max(self.rtt.srtt / 8, REDUNDANT_INTERVAL)

    cdef bint inbox_is_full(self) noexcept:
        """Return True if no message can be delivered before the game takes some."""
        return self.inbox_share.held >= MAX_INBOX_BYTES or not self.inbox_share.has_room(1)

    cdef int deliver(self, int64_t number, bytes message) except -1:
        """Put a message into the inbox."""
        queue_append(&self._inbox, untracked((seqnum_of(number), message)))
        self.inbox_size = self._inbox.count
        self.inbox_share.charge(PyBytes_GET_SIZE(message) + ITEM_COST)
        return 0


cdef tuple untracked(tuple item):
    """Return a message of an inbox, which no garbage collection needs to look at.

    It cannot be part of a cycle, and a full inbox must not slow down each collection.
    """
    PyObject_GC_UnTrack(item)
    return item


cdef object seqnum_of(int64_t number):
    """Return the SeqNum of a message, by its absolute number."""
    return _seqnums[to_wire(number)]


# All SeqNums, by number, because creating one takes longer than decrypting a small packet. They are
# created when the module is imported: created on demand, they would make memory grow for half an
# hour of play, and delay a frame that needs many.
cdef list _seqnums = _all_seqnums()


cdef list _all_seqnums():
    cdef list numbers = []
    for value in range(RING_SIZE + 1):
        number = int.__new__(SeqNum, value)
        PyObject_GC_UnTrack(number)  # it cannot be part of a cycle, and there are 65,536
        numbers.append(number)
    return numbers
