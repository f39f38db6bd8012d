# Which session a datagram is for, and whose turn it is to send.

from libc.stdint cimport int64_t, uint8_t

from mpgameserver._core.call_budget cimport CallBudget
from mpgameserver._core.endpoint2 cimport Endpoint2
from mpgameserver._core.fifo cimport Fifo
from mpgameserver._core.session cimport Session
from mpgameserver._core.timers cimport Timers

cdef enum:
    # Messages read in one turn of a server or one `update` of a client: some 2 ms. The number of
    # datagrams does not bound that, because each holds up to 255.
    MAX_MESSAGES_PER_RECEIVE = 16384

cdef class Dispatcher:
    cdef readonly double now        # the latest time seen
    cdef readonly Timers timers     # when a session is to be dirty
    cdef readonly Fifo answers      # (datagram, address): replies of handshakes
    cdef readonly int64_t turns     # number of times a session was served or asked for a datagram
    cdef readonly CallBudget calls  # the budget for calls of the game's code
    cdef public bint is_muted       # no message is handled any more
    cdef public Endpoint2 probing   # the last datagram is its probe of the path MTU; or None
    cdef int messages_left          # that may still be read in this turn
    cdef readonly object handler
    cdef public object settings     # in effect until the context has others
    cdef readonly object observer   # None: no datagram is reported
    cdef bytes _arriving            # being received and not dropped so far, if there is an observer
    cdef object _owner, _context
    cdef dict _by_address, _by_id
    cdef dict _names                # of channels, by number; None if the handler does not ask
    cdef list _dirty
    cdef object _waiting            # sessions with more for the game than fits in one turn
    cdef bint _turn_is_over
    cdef object _ready

    cpdef bint receive(
        self, bytes datagram, tuple address, double now, double wall_now
    ) except -1
    cdef bint _receive(
        self, bytes datagram, tuple address, double now, double wall_now
    ) except -1
    cdef bint _receive_observed(
        self, bytes datagram, tuple address, double now, double wall_now
    ) except -1
    cdef bint _receive_by_id(self, bytes datagram, tuple address) except -1
    cdef bint _receive_from(self, Session session, bytes datagram, tuple address) except -1
    cpdef tuple next_datagram(self, double now)
    cdef bint _receive_sealed(
        self, Session session, bytes datagram, uint8_t kind, double wall_now
    ) except -1
    cdef int _serve(self, Session session) except -1
    cdef int _serve_first(self) except -1
    cdef bint _introduce(self, Session session) except -1
    cdef int _wait_for_turn(self, Session session) except -1
    cdef int _handle_messages(self, Session session) except -1
    cdef int _call_back(self, Session session) except -1
    cdef tuple _next_of_sessions(self)
    cpdef void mark_dirty(self, Session session) except *
    cpdef void make_ready(self, Session session) except *
