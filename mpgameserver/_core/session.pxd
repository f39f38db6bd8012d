# A client with an established session, as the server sees it.

from libc.stdint cimport int8_t, int64_t, uint8_t

from mpgameserver._core.connection cimport Connection
from mpgameserver._core.message_rate cimport MessageRate
from mpgameserver._core.timers cimport Timed

cdef class Session(Timed):
    cdef readonly Connection connection
    cdef readonly tuple address     # as the socket module has it
    cdef readonly bytes client_key  # the ephemeral key of its hello, in DER
    cdef readonly bytes connection_id   # in protocol 2; empty in protocol 1
    cdef readonly int64_t home_newest   # protocol 2: the highest packet number from `address`
    cdef readonly double connected_at
    cdef public object client       # its `ServerClient`
    cdef public object ending       # why the server is ending it; no message is handled then
    cdef public object reason       # why it ended; both are a DisconnectReason or None
    cdef public Session predecessor  # had its address before, until the handler is notified
    cdef public object joining      # the owner's, while the client is not admitted; then None
    cdef public bint is_announced   # the handler has had the `connect` event
    cdef readonly bint is_waiting   # it has more for the game than fitted in its last turn
    cdef readonly MessageRate message_rate   # of accepted messages
    cdef object callbacks           # (callback, acked) for its next turn; None: none
    cdef bint is_dirty            # it must be served
    cdef bint is_ready              # it waits for its turn to send
    cdef bint is_asked_to_leave     # another thread has asked to disconnect it
    cdef unsigned long _thread      # the thread of the handler's events
    cdef object _owner
    cdef inline bint wants_service(self) noexcept:  # it has messages for the game or acks to send
        return self.connection.endpoint.ack_is_due() or (
            not self.is_waiting and self.connection.endpoint.inbox_size > 0
        )
    cpdef object send_here(self, object payload, object retry, object callback, uint8_t channel=*)
    cdef bytes _checked(self, object payload, object retry, object callback, int8_t *mode)
