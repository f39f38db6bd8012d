# When an ACK of protocol 2 is due, and whether a PING goes with it.

from libc.stdint cimport int64_t, uint32_t

from mpgameserver._core.frames cimport FrameType

# What the frames of a packet ask for, as bits.
cpdef enum:
    ELICITS_ACK = 1
    AT_ONCE = 2             # an ACK before the next datagram is handled
    MORE_THAN_PING = 4      # may be answered by a PING

cpdef enum:
    # Packets at the start of a session that are acked at once, for the sender's first round trips:
    # it knows neither the path nor how the receiver acks.
    FIRST_PACKETS = 16

cdef class AckSchedule:
    cdef readonly double due_at       # INFINITY: no packet waits for an ACK
    cdef readonly bint at_once        # an ACK is due before the next datagram is handled
    cdef readonly uint32_t waiting    # ack-eliciting packets since the last ACK
    cdef uint32_t _received           # packets, up to `FIRST_PACKETS` and one more
    cdef double _newest_at, _last_eliciting
    cdef bint _may_ping

    cpdef void on_packet_received(
        self, double now, int demand, bint out_of_order, bint is_newest
    ) noexcept
    cpdef void on_ack_sent(self, double now, bint ack_eliciting) noexcept
    cpdef bint wants_ping(self, double now, double round_trip) noexcept
    cpdef int64_t delay(self, double now) noexcept

cpdef int ack_demand(FrameType kind) noexcept
