"""Messages that a session has to send: the part that does not depend on the protocol.

Each message with a callback is completed exactly once: acked, timed out, or closed with the
connection. The callbacks are collected in `completed` for the owner to call, so that none runs in
the middle of a packet. So are the reports of a message whose progress is told (`Progress`).
"""

from libc.math cimport INFINITY

from mpgameserver._core.budget cimport GUARANTEED, ITEM_COST, Share
from mpgameserver._core.fifo cimport queue_clear
from mpgameserver._core.progress cimport Progress

from mpgameserver.errors import SendQueueFullError

__all__ = ["Outbox"]


cdef class Outbox:
    """The messages of one direction of a session; the classes of both protocols extend it.

    By itself it has room for none.
    """

    def __cinit__(self, *_, **__):
        self.max_pending = MAX_PENDING_BYTES
        self.completed = []
        self.share = Share(GUARANTEED)
        self._callbacks = {}

    def __dealloc__(self):
        queue_clear(&self._redundant)

    def add(self, bytes data not None, int8_t retry=-1, object callback=None):
        """Queue a message that `checked_message` has checked; runs no foreign code.

        The callback is called with True or False once, through `Endpoint.take_completed`. Raises
        SendQueueFullError if more than `max_pending` bytes would wait; nothing is changed then.
        """
        return self.enqueue(data, retry, callback)

    cdef int enqueue(self, bytes data, int8_t retry, object callback) except -1:
        """Queue a message, as `add` does."""
        raise SendQueueFullError("there is no protocol to send a message in")

    cdef int begin_close(self) except -1:
        """Drain: what is queued is sent, and reliable messages are acked, before the end."""
        return 0

    cdef int close(self) except -1:
        """Complete all outstanding messages as not acked, and discard them."""
        return 0

    cpdef bint has_unfragmented(self) except -1:
        """Return True if a message that fits into one packet is ready to be sent."""
        return False

    cpdef double next_timer(
        self, double timeout, double repeat_interval, bint may_send
    ) except? -1.0:
        """Return when the next message times out or may be repeated; infinity if none does."""
        return INFINITY

    cpdef int set_redundant(self, bint sends_redundantly) except -1:
        """Send small reliable messages redundantly from now on, or stop doing so."""
        self.sends_redundantly = sends_redundantly
        if not sends_redundantly and self._redundant.count:
            queue_clear(&self._redundant)
        return 0

    cdef int admit(self, Py_ssize_t size) except -1:
        """Charge a message of `size` bytes. Raises SendQueueFullError where there is no room."""
        if self._charged + size + ITEM_COST > self.max_pending:
            raise SendQueueFullError(
                f"{self.pending} bytes wait to be sent; a message of {size} more would exceed "
                f"the limit of {self.max_pending}"
            )
        if not self.share.has_room(size + ITEM_COST):
            raise SendQueueFullError(
                f"the clients together, or those of this host, have reached their limit of bytes "
                f"to be sent; {self.share.held} of them are for this client"
            )
        self._charged += size + ITEM_COST
        self.share.charge(size + ITEM_COST)
        self.pending += size
        return 0

    cdef list take_completed(self):
        """Take the list of (callback, acked) of the messages that are completed."""
        cdef list completed, fresh = []  # created first: a garbage collection may call this method
        completed, self.completed = self.completed, fresh
        return completed

    cdef int note_progress(self) except -1:
        """Make the reports due of the messages of which more is acked than before."""
        cdef Progress progress
        cdef Py_ssize_t done
        for message, progress in list(self.watched.items()):
            done = self._acked_of(message)
            if done > progress.done:
                self._report(progress, done)
        return 0

    cdef Py_ssize_t _acked_of(self, object message) except -1:
        """Return how many bytes of an outstanding message are acked."""
        return 0

    cdef int _report(self, Progress progress, Py_ssize_t done) except -1:
        cdef tuple report
        if progress.note(done):
            report = (progress.report, None)
            self.completed.append(report)
        return 0

    cdef int _keep_callback(self, object message, object callback, Py_ssize_t size) except -1:
        """Keep the callback of a message of `size` bytes."""
        self._callbacks[message] = callback
        if type(callback) is Progress:
            (<Progress>callback).total = size
            if self.watched is None:
                self.watched = {}
            self.watched[message] = callback
        return 0

    cdef int _add_completed(self, object message, bint acked) except -1:
        """Hand the callback to the owner."""
        callback = self._callbacks.pop(message)
        # First: creating the tuple may start a garbage collection, in which the list may be taken.
        cdef tuple outcome = (callback, acked)
        if type(callback) is Progress:
            self.watched.pop(message, None)
            if acked:
                self._report(callback, (<Progress>callback).total)
        self.completed.append(outcome)
        return 0
