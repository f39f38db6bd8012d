# A queue of objects: a list and how much of its front was taken.
#
# An empty one costs a tenth of a collections.deque, and no call crosses into Python.

cdef class Fifo:
    cdef list _items
    cdef Py_ssize_t _taken

    cdef inline Py_ssize_t size(self) noexcept:
        return len(self._items) - self._taken

    cdef inline object front(self):
        return self._items[self._taken]

    cdef int append(self, object item) except -1
    cdef object pop(self)
    cdef list pop_all(self)
