"""Datagrams between the socket of a server and its sessions: the loop that every one goes through.

What a datagram lets leave, leaves before the next one is read. Where the carrier is a
`DatagramSocket` and the engine is not watched, only the handler's own code is Python.
"""

__all__ = ["Pump"]


cdef class Pump:
    """Moves the datagrams of an engine, a `Switchboard`, by a carrier.

    `carrier` has `receive_from`, `queue` and `flush`, as `DatagramSocket` has them; `clock` tells
    the monotonic time. `is_blocked` while the carrier takes no more.
    """

    def __init__(self, Switchboard engine, carrier, clock):
        kind = type(engine)
        self._engine = engine
        self._carrier = carrier
        self._native = carrier if type(carrier) is DatagramSocket else None
        self._clock = clock
        self._is_plain = (
            kind.receive is Switchboard.receive
            and kind.next_datagram is Switchboard.next_datagram
        )

    def receive(self, int most, double now, double wall_now):
        """Let the engine take what has arrived, `most` datagrams of it, and send in between."""
        cdef int _
        cdef tuple arrival
        for _ in range(most):
            arrival = self._next_arrival()
            if arrival is None:
                return
            if self._take(arrival, now, wall_now):
                self.send()

    cpdef void send(self) except *:
        """Send what is ready, as far as the carrier takes it."""
        cdef double now = self._clock()
        cdef tuple leaving
        while True:
            leaving = self._unsent
            if leaving is None:
                leaving = self._next_leaving(now)
            if leaving is None:
                break
            if not self._queue(leaving):
                self._unsent = leaving
                self.is_blocked = True
                return
            self._unsent = None
        self.flush()

    cpdef void flush(self) except *:
        """Let leave what was made."""
        if self._native is not None:
            self.is_blocked = not self._native.flush()
        else:
            self.is_blocked = not self._carrier.flush()

    cdef tuple _next_arrival(self):
        if self._native is not None:
            return self._native.receive_from()
        return self._carrier.receive_from()

    cdef bint _take(self, tuple arrival, double now, double wall_now) except -1:
        if self._is_plain:
            return self._engine.accept(<bytes>arrival[0], <tuple>arrival[1], now, wall_now)
        return self._engine.receive(arrival[0], arrival[1], now, wall_now)

    cdef tuple _next_leaving(self, double now):
        return self._engine.make(now) if self._is_plain else self._engine.next_datagram(now)

    cdef bint _queue(self, tuple leaving) except -1:
        if self._native is not None:
            return self._native.queue(<bytes>leaving[0], <tuple>leaving[1])
        return self._carrier.queue(leaving[0], leaving[1])
