"""The progress of a message that is sent, for a game that asks for it.

A `Progress` takes the place of the message's callback, so no message without one costs anything.
Acks do not look for it either: the outbox compares once per turn how much is acked
(`Outbox.note_progress`). At most one report of a message waits to be called, however late that is:
it says how much is acked by then.
"""

cimport cython

__all__ = ["Progress"]


@cython.final
cdef class Progress:
    """The callback of a message, and the function that is told how much of it is acked.

    Raises TypeError unless `on_progress` is callable, and `callback` is or is None.
    """

    def __cinit__(self, on_progress, callback=None):
        if not callable(on_progress):
            raise TypeError(
                f"on_progress must be callable or None, not {type(on_progress).__name__}"
            )
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable or None, not {type(callback).__name__}")
        self._on_progress, self._callback = on_progress, callback

    cdef bint note(self, Py_ssize_t done) noexcept:
        """Note how many bytes are acked; return True if a report is to be queued for that."""
        cdef bint is_queued = self._is_due
        self.done = done
        self._is_due = True
        return not is_queued

    def report(self, _=None):
        """Tell the game how much is acked."""
        self._is_due = False
        self._on_progress(self.done, self.total)

    def __call__(self, acked):
        """Tell the game the outcome."""
        if self._callback is not None:
            self._callback(acked)
