"""A session without a socket or a clock: status, delivery, goodbye.

The owner gives it every datagram that came from the other side's address (`receive`), tells it
the time once per frame or tick (`advance`), sends what `next_datagram` makes until that is None,
and calls the callbacks of `take_settled`. Nothing here raises for what the other side does.

    CONNECTED ── disconnect() ──> DISCONNECTING ── answer, or 1 s ──> DISCONNECTED
        │ └─────── the other side's goodbye ──────────────────────────────^
        └───────── silence ──> DROPPED

A goodbye is a DISCONNECT message behind everything that was queued before it. The side that gets
one is disconnected at once and answers with one DISCONNECT.
"""

from libc.math cimport INFINITY

from mpgameserver._core.verdict cimport ACCEPTED

from mpgameserver._core.endpoint import DROP_REASONS
from mpgameserver.enums import ConnectionStatus
from mpgameserver.errors import NotConnectedError

__all__ = ["GOODBYE_TIMEOUT", "Lifecycle"]

# Seconds that a goodbye waits for what was queued before it and for its answer.
GOODBYE_TIMEOUT = 1.0

cdef object _connected = ConnectionStatus.CONNECTED
cdef object _disconnecting = ConnectionStatus.DISCONNECTING
cdef object _disconnected = ConnectionStatus.DISCONNECTED
cdef object _dropped = ConnectionStatus.DROPPED


cdef class Lifecycle:
    """An established session, seen from one side.

    `endpoint` has the session's key, `token` names the session, `timing` is read when the
    connection starts and on `retime`. A subclass may take more arguments, behind these.
    """

    def __cinit__(self, Endpoint endpoint, token, timing, *_):
        self.endpoint = endpoint
        self.token = token
        self.status = _connected
        self.is_live = endpoint.established = True
        self.retime(timing)

    def retime(self, timing):
        """Use other intervals from now on."""
        self.endpoint.keep_alive_interval = timing.keep_alive
        self.endpoint.message_timeout = timing.message
        self._silence_timeout = timing.silence

    # -- messages ---------------------------------------------------------------------------

    cdef int queue(self, object payload, object retry, object callback) except -1:
        if self.status is not _connected:
            raise NotConnectedError(f"cannot send while {self.status.name}")
        return self.endpoint.outbox.add(payload, retry, callback)

    def send(self, payload, retry=-1, callback=None):
        """Queue a message, as `Endpoint.queue` does; NotConnectedError unless CONNECTED."""
        self.queue(payload, retry, callback)

    def take_settled(self):
        """Take the callbacks of the messages that are over, each with what to call it with."""
        return self.endpoint.take_settled()

    @property
    def latency(self):
        """The weighted average round trip in seconds, 0.0 before the first ack."""
        return self.endpoint.round_trip.smoothed

    @property
    def pending(self):
        """The bytes of messages that wait to be sent for the first time."""
        return self.endpoint.outbox.pending

    # -- datagrams --------------------------------------------------------------------------

    cdef Verdict take(self, bytes datagram, double now) except *:
        cdef Verdict verdict = self.endpoint.receive(datagram, now)
        if self.endpoint.goodbye_received and self.is_live:
            self._answer_goodbye = self.status is _connected
            self._end(_disconnected)
        return verdict

    def receive(self, bytes datagram, double now):
        """Take a datagram; the reason (of `DROP_REASONS`) when it was dropped, else None."""
        cdef Verdict verdict = self.take(datagram, now)
        return None if verdict == ACCEPTED else DROP_REASONS[<int>verdict - 1]

    cdef int go_on(self, double now) except -1:
        if not self.is_live:
            return 0
        self.endpoint.advance(now)
        if self.status is _disconnecting:
            if self.endpoint.goodbye_acked or now >= self._goodbye_deadline:
                self._end(_disconnected)
        elif now >= self.endpoint.last_received + self._silence_timeout:
            self._end(_dropped)
        return 0

    def advance(self, double now):
        """Do what the time asks for, once per frame or tick."""
        self.go_on(now)

    cdef bytes make_datagram(self, double now):
        if self.is_live:
            return self.endpoint.next_datagram(now)
        if self._answer_goodbye:
            self._answer_goodbye = False
            return self.endpoint.farewell(now)
        return None

    def next_datagram(self, double now):
        """The next datagram to send at that time; None when there is none."""
        return self.make_datagram(now)

    cdef double due_at(self) except? -1.0:
        if not self.is_live:
            return 0.0 if self._answer_goodbye else INFINITY
        if self.status is _disconnecting:
            return min(self.endpoint.next_timer(), self._goodbye_deadline)
        return min(self.endpoint.next_timer(), self.endpoint.last_received + self._silence_timeout)

    def next_timer(self):
        """When `advance` and `next_datagram` should be called, if nothing happens before."""
        return self.due_at()

    # -- the end ----------------------------------------------------------------------------

    def disconnect(self, double now):
        """Say goodbye, behind what was queued before; of no effect unless CONNECTED."""
        if self.status is _connected:
            self.status = _disconnecting
            self._goodbye_deadline = now + GOODBYE_TIMEOUT
            self.endpoint.begin_goodbye()

    def abandon(self, double now):
        """End at once; one last datagram that tells the other side, None when it was over."""
        if not self.is_live:
            return None
        self._end(_disconnected)
        return self.endpoint.farewell(now)

    cdef int _end(self, object status) except -1:
        self.status = status
        self.is_live = False
        self.endpoint.close()
        return 0
