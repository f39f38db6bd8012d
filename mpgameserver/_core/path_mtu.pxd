# The path MTU of one direction of a session of protocol 2.
from libc.stdint cimport int64_t, uint8_t

from mpgameserver._core.sent_window cimport SentWindow

cdef enum:
    LEAST_DATAGRAM = 1200    # bytes that every path must carry (RFC 9000 section 14)
    MOST_DATAGRAM = 65535    # bytes; the UDP header has no larger number
    # Two bytes tell packets apart up to the MTU of Ethernet, for messages may have about the size
    # that a path takes; of larger ones 70 do.
    FINE_UP_TO = 1472
    FINE_STEP = 2
    COARSE_STEP = 70
    LARGEST_CLASS = 255

cdef inline uint8_t datagram_class(Py_ssize_t size) noexcept:
    # Of a datagram above the least; 0 is that of those that every path carries.
    cdef Py_ssize_t fine = (min(size, <Py_ssize_t>FINE_UP_TO) - LEAST_DATAGRAM + 1) // FINE_STEP
    cdef Py_ssize_t coarse = max(size - FINE_UP_TO + COARSE_STEP - 1, <Py_ssize_t>0) // COARSE_STEP
    return <uint8_t>min(fine + coarse, <Py_ssize_t>LARGEST_CLASS)

cdef class PathMtu:
    cdef readonly Py_ssize_t size             # of the largest datagram that is known to arrive
    cdef readonly Py_ssize_t own_limit        # what the interface takes
    cdef public Py_ssize_t peer_limit         # what the peer takes; set before `start`
    cdef readonly double probe_at             # when the next probe is due; infinity: never
    cdef readonly int64_t probe_number        # of the probe in flight; 0: none
    cdef public int64_t small_after   # a small packet follows the next large one after it; 0: none
    cdef Py_ssize_t _candidate, _fails_from   # bytes; the former 0: no search
    cdef int64_t _first_probe                 # of the candidate; 0: none was sent
    cdef int _failures                        # of the candidate, in a row
    cdef bint _is_started
    # Rounds in a row in which large packets were lost: how many, the first packet, the newest one
    # at the last loss that counted, and the class of the smallest.
    cdef int _losses
    cdef int64_t _run_start, _round_end
    cdef uint8_t _run_class
    cdef int64_t _refuted                     # this large packet arrived; 0: not known of any

    cdef inline bint is_last(self, int64_t newest) noexcept:
        # True if the newest packet is the probe in flight: the next one shows whether it is lost.
        return self.probe_number == newest and newest > 0
    cdef inline bint wants_small(self, SentWindow sent) noexcept:
        # True if a small packet is to follow the newest, which is a large one.
        return (
            self.small_after > 0
            and sent.newest > self.small_after
            and sent.packet(sent.newest).size_class > 0
        )
    cdef inline bint is_due(self, SentWindow sent, double now) noexcept:
        # True if a probe is, or the small packet behind a large one.
        return now >= self.probe_at or self.wants_small(sent)
    cdef double next_timer(self, SentWindow sent, bint may_probe, double now) noexcept
    cpdef void start(self, double now) noexcept
    cpdef void on_path_changed(self, Py_ssize_t own_limit, double now) noexcept
    cpdef Py_ssize_t take_probe(self, int64_t number, double now) noexcept
    cpdef bint on_probe_acked(self, int64_t number, double now) noexcept
    cpdef void on_probe_lost(self, int64_t number, bint is_shown, double now) noexcept
    cpdef void on_probe_refused(self, double now) noexcept
    cpdef void on_pto(self, int64_t newest) noexcept
    cpdef bint on_lost(self, SentWindow sent, int64_t number, double now) noexcept
    cdef void _search(self, double now) noexcept
    cdef void _try(self, Py_ssize_t size, double now) noexcept
    cdef void _go_on(self, double now) noexcept
    cdef void _rest(self, double until) noexcept
    cdef void _ask_for_small(self, int64_t newest) noexcept
    cdef void _fail(self, double now) noexcept
