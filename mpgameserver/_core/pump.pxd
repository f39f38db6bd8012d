# Datagrams between the socket of a server or a client and its sessions.

from libc.stdint cimport uint32_t

from mpgameserver._core.connection cimport Connection
from mpgameserver._core.datagrams cimport DatagramSocket
from mpgameserver._core.dispatcher cimport Dispatcher
from mpgameserver._core.endpoint2 cimport Endpoint2

cdef class Pump:
    cdef DatagramSocket _native     # `_io`, or None if it is of another type
    cdef object _io
    cdef object _unsent             # assembled, and not taken by `_io` yet
    cdef readonly bint is_blocked

    cdef int _send_all(self, double now) except -1
    cdef object _next_leaving(self, double now)
    cdef bint _queue(self, object leaving, double now) except -1
    cdef bint _send_probe(
        self, bytes datagram, tuple address, Endpoint2 endpoint, double now
    ) except -1

cdef class ServerPump(Pump):
    cdef Dispatcher _dispatcher
    cdef object _clock

    cdef int _receive_all(self, int most, double now, double wall_now) except -1
    cdef tuple _next_arrival(self)
    cpdef void send(self) except *

cdef class ClientPump(Pump):
    cdef Connection _connection
    cdef object _on_drop
    cdef readonly object observer   # None: no datagram is reported

    cdef bytes _next_arrival(self)
    cdef object _take(self, bytes datagram, double now)
    cpdef void send(self, double now) except *
