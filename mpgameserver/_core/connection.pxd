# A session from one side, from its first sealed packet to its end.

from libc.stdint cimport int8_t, int64_t

from mpgameserver._core.endpoint cimport Endpoint

cdef class Connection:
    cdef readonly Endpoint endpoint
    cdef readonly object token             # identifies the session
    cdef readonly object status            # a ConnectionStatus
    cdef readonly bint is_live             # it has not ended
    cdef readonly tuple close_reason       # protocol 2: (code, text) of the end; None before one
    cdef readonly bint key_used_up         # it ends because of the limit of its key
    cdef double _idle_timeout           # seconds
    cdef double _keep_alive_interval
    cdef double _disconnect_deadline
    cdef double _last_turn                 # the time of the last `advance`
    cdef double _last_srtt                 # `latency` at that time
    cdef int64_t _liveness_packet          # must be acked after a pause; 0: no check
    cdef double _liveness_deadline
    cdef bint _owes_disconnect             # one is still to be sent after the end
    cdef bint _warned_of_key

    cdef int _require_connected(self) except -1
    cdef bytes _checked(self, object payload, object retry, object callback, int8_t *mode)
    cdef int _close_with(self, int64_t code, str text) except -1
    cpdef list take_completed(self)
    cpdef object receive(self, bytes datagram, double now)
    cpdef void advance(self, double now) except *
    cpdef bytes next_datagram(self, double now)
    cpdef double next_timer(self) except? -1.0
    cdef int _spare_key(self, double now) except -1
    cdef double _next_deadline(self) noexcept
    cdef int _begin_liveness_check(self, double now) except -1
    cdef int _check_liveness(self, double now) except -1
    cdef int _drop(self) except -1
    cdef int _end(self, object status) except -1
