# A client that has proved its handshake, as its server has it.

from libc.stdint cimport int8_t

from mpgameserver._core.connection cimport Connection
from mpgameserver._core.message_rate cimport MessageRate
from mpgameserver._core.timers cimport Timed

cdef class Session(Timed):
    cdef readonly Connection connection
    cdef readonly tuple address     # as the socket module has it
    cdef readonly bytes client_key  # the ephemeral key of its hello, in DER
    cdef readonly double connected_at
    cdef public object client       # what the handler sees of it
    cdef public object ending       # why the server has begun to end it; no message is handled
    cdef public object reason       # why it ended; both are a DisconnectReason or None
    cdef public Session predecessor  # whose address it took over, until the handler knows of it
    cdef public bint is_announced   # the handler has had the `connect` event
    cdef readonly bint is_waiting   # it has more for the game than its last turn had room for
    cdef readonly MessageRate message_rate   # of those that are taken
    cdef object callbacks           # (callback, acked) that wait for that; None: none
    cdef bint is_touched            # it waits for its turn to be served
    cdef bint is_ready              # it waits for its turn to send
    cdef bint is_asked_to_leave     # another thread has asked for its end
    cdef unsigned long _thread      # the one that the events of its client come on
    cdef object _owner
    cdef inline bint wants_service(self) noexcept:  # it has messages for the game, or acks to send
        return self.connection.endpoint.ack_is_due() or (
            not self.is_waiting and self.connection.endpoint.inbox_size > 0
        )
    cpdef object send_here(self, object payload, object retry, object callback)
    cdef bytes _checked(self, object payload, object retry, object callback, int8_t *mode)
