# One session from one side, from its first sealed packet to its end.

from mpgameserver._core.endpoint cimport Endpoint
from mpgameserver._core.verdict cimport Verdict

cdef class Lifecycle:
    cdef readonly Endpoint endpoint
    cdef readonly object token             # names the session
    cdef readonly object status            # a ConnectionStatus
    cdef readonly bint is_live             # it has not ended
    cdef double _silence_timeout           # seconds
    cdef double _goodbye_deadline
    cdef bint _answer_goodbye              # what is left to send after the end

    cdef int queue(self, object payload, object retry, object callback) except -1
    cdef Verdict take(self, bytes datagram, double now) except *
    cdef int go_on(self, double now) except -1
    cdef bytes make_datagram(self, double now)
    cdef double due_at(self) except? -1.0
    cdef int _end(self, object status) except -1
