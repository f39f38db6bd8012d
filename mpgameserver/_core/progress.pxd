# The progress of a message that is sent, for a game that asks for it.

cdef class Progress:
    cdef Py_ssize_t total           # bytes of the message; 0 until it is queued
    cdef Py_ssize_t done            # bytes that were acked when that was last noted
    cdef bint _is_due               # a report of that is queued
    cdef object _on_progress
    cdef object _callback           # of the outcome, or None

    cdef bint note(self, Py_ssize_t done) noexcept
