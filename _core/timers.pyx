"""Timers for many items, in a heap.

A timer only ever moves to an earlier time; if it turns out to expire too early, it is scheduled
again. A timer that every datagram postpones therefore costs one comparison per datagram. An entry
that was cancelled or moved stays in the heap until it reaches the top.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.math cimport INFINITY

__all__ = ["Timed", "Timers"]

cdef enum:
    FIRST_ROOM = 16


cdef class Timed:
    """An item that can have a timer."""

    def __cinit__(self):
        self.due = INFINITY


cdef inline bint _is_before(const Entry *a, const Entry *b) noexcept:
    return a.when < b.when or (a.when == b.when and a.order < b.order)


@cython.final
cdef class Timers:
    """A heap of timers, one for each item."""

    def __cinit__(self):
        self._items = []

    def __dealloc__(self):
        PyMem_Free(self._entries)

    def __len__(self):
        return self._count

    @property
    def entries(self):
        """The number of entries in the heap, including stale ones."""
        return len(self._items)

    cpdef void schedule(self, Timed item, double when) except *:
        """Have the item popped at `when`, unless it is due earlier; never if infinite."""
        if when < item.due:
            self._count += item.due == INFINITY
            item.due = when
            self._push(item, when)

    cpdef void cancel(self, Timed item) noexcept:
        """Cancel the item's timer, if it has one."""
        self._count -= item.due < INFINITY
        item.due = INFINITY

    cpdef double next_time(self) except? -1.0:
        """Return the earliest time, or infinity if there is none."""
        self._drop_stale()
        return self._entries[0].when if self._items else INFINITY

    cpdef Timed pop_due(self, double now):
        """Take the item that was due first, or None if none is due."""
        cdef Timed item
        if not self._items or self._entries[0].when > now:
            return None
        self._drop_stale()
        if not self._items or self._entries[0].when > now:
            return None
        item = self._items[0]
        self.cancel(item)
        self._pop()
        return item

    cdef int _push(self, Timed item, double when) except -1:
        cdef Py_ssize_t place = len(self._items), above
        cdef Entry entry
        cdef void *grown
        if place == self._room:
            grown = PyMem_Realloc(self._entries, max(2 * place, FIRST_ROOM) * sizeof(Entry))
            if grown == NULL:
                raise MemoryError
            self._entries = <Entry *>grown
            self._room = max(2 * place, FIRST_ROOM)
        self._arrivals += 1
        entry.when, entry.order = when, self._arrivals
        self._items.append(item)
        while place:
            above = (place - 1) >> 1
            if _is_before(&self._entries[above], &entry):
                break
            self._entries[place] = self._entries[above]
            self._items[place] = self._items[above]
            place = above
        self._entries[place] = entry
        self._items[place] = item
        return 0

    cdef int _pop(self) except -1:
        """Remove the entry at the top."""
        cdef Py_ssize_t place = 0, below, size
        cdef Timed item = self._items.pop()
        cdef Entry entry
        size = len(self._items)
        if size == 0:
            return 0
        entry = self._entries[size]
        while True:
            below = 2 * place + 1
            if below >= size:
                break
            if below + 1 < size and _is_before(&self._entries[below + 1], &self._entries[below]):
                below += 1
            if _is_before(&entry, &self._entries[below]):
                break
            self._entries[place] = self._entries[below]
            self._items[place] = self._items[below]
            place = below
        self._entries[place] = entry
        self._items[place] = item
        return 0

    cdef int _drop_stale(self) except -1:
        cdef Timed top
        while self._items:
            top = self._items[0]  # keeps it alive, because deallocating it may run any code
            if top.due == self._entries[0].when:
                break
            self._pop()
        return 0
