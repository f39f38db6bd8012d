"""The queue of the compiled modules: first in, first out."""

__all__ = ["Fifo"]

cdef enum:
    COMPACT_FROM = 32


cdef class Fifo:
    """A queue of objects."""

    def __cinit__(self):
        self._items = []

    def __len__(self):
        return self.size()

    cdef int append(self, object item) except -1:
        self._items.append(item)
        return 0

    cdef object pop(self):
        """Take the first item; IndexError when there is none."""
        item = self._items[self._taken]
        self._items[self._taken] = None
        self._taken += 1
        if self._taken >= COMPACT_FROM and self._taken * 2 >= len(self._items):
            del self._items[:self._taken]
            self._taken = 0
        return item

    cdef list pop_all(self):
        """Take the items that wait, first in first."""
        items = self._items
        if self._taken:
            del items[:self._taken]
        self._items = []
        self._taken = 0
        return items

    def push(self, item):
        """Append an item."""
        self.append(item)

    def take(self):
        """Take the first item; IndexError when there is none."""
        return self.pop()
