# What a session has to send, whatever the protocol: limits, charges, callbacks.
from libc.stdint cimport int8_t, int64_t

from mpgameserver._core.budget cimport Share
from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.progress cimport Progress

cdef enum:
    MAX_PENDING_BYTES = 64 * 1024 * 1024    # several of the largest messages

cdef class Outbox:
    # (callback, acked) of each that has a callback, and (function, None) for reports of progress
    cdef readonly list completed
    cdef readonly Py_ssize_t pending    # bytes of messages and fragments never sent
    cdef readonly int64_t retransmitted
    cdef readonly Share share           # charged until a message is completed
    cdef public Py_ssize_t max_pending
    cdef readonly Py_ssize_t max_message
    cdef bint drain_ended               # only the end of the session is sent from now on
    cdef readonly bint sends_redundantly    # small reliable ones are copied before a loss shows
    cdef Queue _redundant               # those messages, by last_sent
    cdef Py_ssize_t _charged            # against max_pending
    cdef dict _callbacks                # of the messages that have one
    cdef dict watched                   # those of which progress is told -> Progress, or None

    cdef int enqueue(self, bytes data, int8_t retry, object callback) except -1
    cdef int admit(self, Py_ssize_t size) except -1
    cdef list take_completed(self)
    cpdef bint has_unfragmented(self) except -1
    cpdef double next_timer(
        self, double timeout, double repeat_interval, bint may_send
    ) except? -1.0
    cpdef int set_redundant(self, bint sends_redundantly) except -1
    cdef int begin_close(self) except -1
    cdef int close(self) except -1
    cdef int note_progress(self) except -1
    cdef Py_ssize_t _acked_of(self, object message) except -1
    cdef int _keep_callback(self, object message, object callback, Py_ssize_t size) except -1
    cdef int _report(self, Progress progress, Py_ssize_t done) except -1
    cdef int _add_completed(self, object message, bint acked) except -1
