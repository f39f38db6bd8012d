# Datagrams between the socket of a server and its sessions.

from mpgameserver._core.datagrams cimport DatagramSocket
from mpgameserver._core.switchboard cimport Switchboard

cdef class Pump:
    cdef Switchboard _engine
    cdef DatagramSocket _native     # None where the carrier is another
    cdef object _carrier, _clock
    cdef bint _is_plain             # nobody watches what the engine receives and sends
    cdef tuple _unsent              # made, and not taken by the carrier yet
    cdef readonly bint is_blocked

    cdef tuple _next_arrival(self)
    cdef bint _take(self, tuple arrival, double now, double wall_now) except -1
    cdef tuple _next_leaving(self, double now)
    cdef bint _queue(self, tuple leaving) except -1
    cpdef void send(self) except *
    cpdef void flush(self) except *
