"""The callbacks of a client that are due, each called exactly once.

A signal handler runs between any two instructions of Python code. An exception raised by it could
lose a callback on its way from one list to another, or leave a client busy for good. Compiled code
is interrupted only inside the functions that it calls.
"""

from cpython.pythread cimport PyThread_get_thread_ident

from mpgameserver._core.connection cimport Connection

from collections import deque
from sys import maxsize

__all__ = ["Callbacks", "Exclusive", "ThreadGuard"]


cdef class Callbacks:
    """A queue of callbacks and their results; `is_running` while one is called."""

    def __cinit__(self):
        self._awaiting = []
        self._due = deque()

    def __len__(self):
        return len(self._due)

    def expect(self, callback):
        """Keep a callback until the outcome of the attempt to connect is known."""
        self._awaiting.append(callback)

    def complete_attempt(self, bint succeeded):
        """Make the callbacks given to `expect` due."""
        cdef list awaiting = self._awaiting
        self._awaiting = []
        for callback in awaiting:
            self._due.append((callback, succeeded))

    def collect(self, Connection connection not None):
        """Make the callbacks of completed messages due."""
        if connection.endpoint.send_queue.completed:
            self._due.extend(connection.take_completed())

    def clear(self):
        """Forget all of them."""
        self._awaiting.clear()
        self._due.clear()

    def run(self, on_error, Py_ssize_t most=maxsize):
        """Call those due now, the oldest first, at most `most`; return how many were called.

        Calls `on_error` if one raises an Exception. A BaseException propagates, and the others
        stay due.
        """
        cdef bint was_running = self.is_running
        cdef Py_ssize_t called = 0
        most = min(most, <Py_ssize_t>len(self._due))
        self.is_running = True
        try:
            while called < most and self._due:  # a callback that ends the connection may run others
                called += 1
                callback, result = self._due.popleft()
                try:
                    callback(result)
                except Exception:
                    on_error()
        finally:
            self.is_running = was_running
        return called


cdef class Exclusive:
    """Runs one piece of work at a time; `is_busy` while it does.

    A finalizer or a log handler may ask for another in the middle of one: it runs right after.
    """

    def __cinit__(self):
        self._due = deque()

    def __call__(self, work):
        """Run `work` at once, or right after what is running."""
        self._due.append(work)
        if self.is_busy:
            return
        self.is_busy = True
        try:
            while self._due:
                self._due.popleft()()
        finally:
            self.is_busy = False


cdef class ThreadGuard:
    """Lets one thread at a time into an object's calls, and refuses the others."""

    def run(self, work):
        """Call `work`. Raises RuntimeError while another thread is in `run`."""
        self.check()
        self._user = <unsigned long>PyThread_get_thread_ident()
        self._depth += 1
        try:
            return work()
        finally:
            self._depth -= 1

    cpdef check(self):
        """Raise RuntimeError while another thread is in `run`."""
        if self._depth and self._user != <unsigned long>PyThread_get_thread_ident():
            raise RuntimeError("another thread uses this client")
        return None

    @property
    def is_here(self):
        """Return True while this thread is in `run`."""
        return self._depth > 0 and self._user == <unsigned long>PyThread_get_thread_ident()
