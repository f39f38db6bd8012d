"""The loop that moves datagrams between a socket and its sessions.

Replies to a datagram are sent before the next one is read. With a `DatagramSocket` and without an
observer, only the handler's own code is Python.

Datagram I/O (`io`) has the methods `receive` or `receive_from`, `queue` and `flush` of a
`DatagramSocket`, and `too_large`. A datagram that it does not take is kept here and sent first next
time.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from mpgameserver._core.dispatcher cimport MAX_MESSAGES_PER_RECEIVE
from mpgameserver._core.endpoint2 cimport Endpoint2

from enum import IntEnum

__all__ = ["ClientPump", "Phase", "Pump", "ServerPump"]


class Phase(IntEnum):
    """The part of its turn that a server is in, as reported to its observer."""

    IDLE = 0
    RECEIVE = 1
    HANDLER = 2
    SEND = 3


cdef object _receiving = Phase.RECEIVE
cdef object _sending = Phase.SEND


cdef class Pump:
    """The loop of both pumps. `is_blocked` is True while the socket is not writable."""

    def __cinit__(self, source, io, *_):
        self._io = io
        self._native = io if type(io) is DatagramSocket else None

    cdef int _send_all(self, double now) except -1:
        """Send what is ready, until the socket is not writable."""
        cdef object leaving
        while True:
            leaving = self._unsent
            if leaving is None:
                leaving = self._next_leaving(now)
            if leaving is None:
                break
            if not self._queue(leaving, now):
                self._unsent = leaving
                self.is_blocked = True
                return 0
            self._unsent = None
        if self._native is not None:
            self.is_blocked = not self._native.flush()
        else:
            self.is_blocked = not self._io.flush()
        return 0

    cdef object _next_leaving(self, double now):
        """Return what is to leave now; None if nothing is, as where there are no sessions."""
        return None

    cdef bint _queue(self, object leaving, double now) except -1:
        """Hand over what leaves; return False if it was not taken."""
        return False

    cdef bint _send_probe(
        self, bytes datagram, tuple address, Endpoint2 endpoint, double now
    ) except -1:
        """Send a probe of the path MTU, and tell its endpoint if the interface refuses it.

        Returns False if it was not taken.
        """
        self._io.too_large = 0
        if not self._io.queue(datagram, address):
            return False
        self._io.flush()
        endpoint.has_probed = False
        if self._io.too_large == PyBytes_GET_SIZE(datagram):
            endpoint.path_mtu.on_probe_refused(now)
        return True


@cython.final
cdef class ServerPump(Pump):
    """Moves the datagrams of a server's dispatcher; `clock` returns the monotonic time.

    The dispatcher's observer is notified whether the pump is receiving or sending.
    """

    def __cinit__(self, Dispatcher dispatcher, io, clock):
        self._dispatcher = dispatcher
        self._clock = clock

    def receive(self, int most, double now, double wall_now):
        """Pass what has arrived to the dispatcher, and send in between.

        Stops after `most` datagrams, or after `MAX_MESSAGES_PER_RECEIVE` messages.
        """
        if self._dispatcher.observer is None:
            self._receive_all(most, now, wall_now)
            return
        before = self._dispatcher.observer.phase(_receiving)
        try:
            self._receive_all(most, now, wall_now)
        finally:
            self._dispatcher.observer.phase(before)

    cdef int _receive_all(self, int most, double now, double wall_now) except -1:
        cdef int _
        cdef tuple arrival
        for _ in range(most):
            arrival = self._next_arrival()
            if arrival is None:
                break
            if self._dispatcher.receive(<bytes?>arrival[0], <tuple?>arrival[1], now, wall_now):
                self.send()
            if self._dispatcher.messages_left <= 0:
                break
        return 0

    cpdef void send(self) except *:
        """Send what is ready, until the socket is not writable."""
        if self._dispatcher.observer is None:
            self._send_all(self._clock())
            return
        before = self._dispatcher.observer.phase(_sending)
        try:
            self._send_all(self._clock())
        finally:
            self._dispatcher.observer.phase(before)

    cdef tuple _next_arrival(self):
        if self._native is not None:
            return self._native.receive_from()
        return self._io.receive_from()

    cdef object _next_leaving(self, double now):
        return self._dispatcher.next_datagram(now)

    cdef bint _queue(self, object leaving, double now) except -1:
        cdef Endpoint2 probing = self._dispatcher.probing
        if probing is not None:
            if not self._send_probe(leaving[0], leaving[1], probing, now):
                return False
            self._dispatcher.probing = None
            return True
        if self._native is not None:
            return self._native.queue(<bytes?>leaving[0], <tuple?>leaving[1])
        return self._io.queue(leaving[0], leaving[1])


@cython.final
cdef class ClientPump(Pump):
    """Moves the datagrams of one connection; calls `on_drop(reason, now)` for each one dropped.

    An `observer` is notified of all: `sent(datagram)` and `arrived(datagram, reason)`.
    """

    def __cinit__(self, Connection connection, io, on_drop, observer=None):
        self._connection = connection
        self._on_drop = on_drop
        self.observer = observer

    def receive(self, int most, double now):
        """Pass what has arrived to the connection, and send acks.

        Stops after `most` datagrams, or after more than `MAX_MESSAGES_PER_RECEIVE` messages.
        """
        cdef int _
        cdef int64_t enough = (
            self._connection.endpoint.messages_received + MAX_MESSAGES_PER_RECEIVE
        )
        cdef bytes datagram
        for _ in range(most):
            datagram = self._next_arrival()
            if datagram is None:
                return
            reason = self._take(datagram, now)
            if reason is not None:
                self._on_drop(reason, now)
            elif self._connection.endpoint.ack_is_due():
                self.send(now)
            if self._connection.endpoint.messages_received > enough:
                return

    cpdef void send(self, double now) except *:
        """Send what is ready, until the socket is not writable."""
        self._send_all(now)

    cdef bytes _next_arrival(self):
        if self._native is not None:
            return self._native.receive()
        return self._io.receive()

    cdef object _take(self, bytes datagram, double now):
        cdef object reason = self._connection.receive(datagram, now)
        if self.observer is not None:
            self.observer.arrived(datagram, reason)
        return reason

    cdef object _next_leaving(self, double now):
        return self._connection.next_datagram(now)

    cdef bint _queue(self, object leaving, double now) except -1:
        cdef bytes datagram = leaving
        cdef bint is_taken
        if self._connection.endpoint.has_probed:
            is_taken = self._send_probe(datagram, None, self._connection.endpoint, now)
        elif self._native is not None:
            is_taken = self._native.queue(datagram)
        else:
            is_taken = self._io.queue(datagram)
        if is_taken:
            if self.observer is not None:
                self.observer.sent(datagram)
            self._connection.endpoint.on_datagram_sent(<uint32_t>PyBytes_GET_SIZE(datagram), now)
        return is_taken
