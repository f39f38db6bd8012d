"""When an ACK of protocol 2 is due.

The sender learns of losses, and of the path, from ACKs; each costs a packet of its own where the
receiver has nothing to send. So an ACK may be delayed, but not while something is new to the
sender: a gap, many packets, the start of a session, or a frame that asks for an ACK.

Of an ACK that was itself acked the older ranges need not be reported again, but only ack-eliciting
packets are acked. So a side that only receives adds a PING from time to time.
"""

cimport cython
from libc.math cimport INFINITY

from mpgameserver._core.ack_frequency cimport ACK_EVERY, MAX_ACK_DELAY_MS
from mpgameserver._core.frames cimport (
    ACCEPT,
    ACK,
    CONNECT,
    KEM,
    PADDING,
    PATH_RESPONSE,
    PING,
    TIME,
    TIME_REPLY,
)
from mpgameserver._core.rounding cimport floor_integer

__all__ = ["AckSchedule", "ack_demand"]


cpdef int ack_demand(FrameType kind) noexcept:
    """Return what a frame asks for; a packet asks for what any of its frames does, as bits."""
    if kind == PING:
        return ELICITS_ACK | AT_ONCE
    if kind == CONNECT or kind == ACCEPT or kind == KEM:
        return ELICITS_ACK | AT_ONCE | MORE_THAN_PING
    if (
        kind == PADDING or kind == ACK or kind == PATH_RESPONSE or kind == TIME
        or kind == TIME_REPLY
    ):
        return 0
    return ELICITS_ACK | MORE_THAN_PING


@cython.final
cdef class AckSchedule:
    """The packets that wait for an ACK, and how long they may.

    An ACK is sent before the receiver waits for datagrams if `due_at` has come, and before it
    handles another datagram if `at_once`.
    """

    def __cinit__(self):
        self.due_at = INFINITY
        self._last_eliciting = -INFINITY

    cpdef void on_packet_received(
        self, double now, int demand, bint out_of_order, bint is_newest
    ) noexcept:
        """Record a packet that has opened and is to be acked if it is ack-eliciting.

        `demand` is that of its frames. It came `out_of_order` if its number does not follow that of
        the newest before it; it `is_newest` if its number is the highest.
        """
        self._received = min(self._received + 1, <uint32_t>FIRST_PACKETS + 1)
        if is_newest:
            self._newest_at = now
        if not demand & ELICITS_ACK:
            return
        self.waiting += 1
        if demand & MORE_THAN_PING:
            self._may_ping = True
        if demand & AT_ONCE or self._received <= FIRST_PACKETS:
            self.at_once = True
        if self.at_once or out_of_order or self.waiting >= ACK_EVERY:
            self.due_at = min(self.due_at, now)
        else:
            self.due_at = min(self.due_at, now + MAX_ACK_DELAY_MS / 1000.0)

    cpdef void on_ack_sent(self, double now, bint ack_eliciting) noexcept:
        """Record that a packet with an ACK was sent; `ack_eliciting` tells if it will be acked."""
        self.waiting = 0
        self.at_once = False
        self.due_at = INFINITY
        if ack_eliciting:
            self._last_eliciting = now
            self._may_ping = False

    cpdef bint wants_ping(self, double now, double round_trip) noexcept:
        """Return True if an ACK that is sent alone should have a PING: once per round trip.

        PINGs alone are not answered by one, or two sides would go on for ever (RFC 9000
        section 13.2.4).
        """
        return self._may_ping and now - self._last_eliciting >= round_trip

    cpdef int64_t delay(self, double now) noexcept:
        """Return the microseconds since the newest packet arrived, the delay field of an ACK."""
        return max(floor_integer((now - self._newest_at) * 1e6), <int64_t>0)
