"""The queue of the compiled modules: first in, first out."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_DECREF

cimport cython

__all__ = ["Fifo"]

cdef extern from *:
    """
    static inline PyObject *mpg_handed_over(PyObject *item) { return item; }
    """
    # A reference that is the caller's now.
    object mpg_handed_over(PyObject *item)

cdef enum:
    FIRST_ROOM = 4
    KEPT_ROOM = 64         # places that an empty queue keeps; a burst must not hold memory for good
    MOST_ROOM = 1 << 30    # far more than the limits on messages allow


cdef int queue_grow(Queue *queue) except -1:
    """Double the capacity, and move the first item to the front."""
    cdef uint32_t i, room = max(queue.room * 2, <uint32_t>FIRST_ROOM)
    cdef PyObject **items
    if queue.room >= <uint32_t>MOST_ROOM:
        raise MemoryError
    items = <PyObject **>PyMem_Malloc(room * sizeof(PyObject *))
    if items == NULL:
        raise MemoryError
    for i in range(queue.count):
        items[i] = queue.items[(queue.first + i) & (queue.room - 1)]
    PyMem_Free(queue.items)
    queue.items = items
    queue.room = room
    queue.first = 0
    return 0


cdef object queue_pop(Queue *queue):
    """Take the first item. Raises IndexError if there is none."""
    cdef PyObject *item
    if queue.count == 0:
        raise IndexError("the queue is empty")
    item = queue.items[queue.first]
    queue.first = (queue.first + 1) & (queue.room - 1)
    queue.count -= 1
    if queue.count == 0 and queue.room > <uint32_t>KEPT_ROOM:
        queue_clear(queue)
    return mpg_handed_over(item)


cdef list queue_pop_all(Queue *queue):
    """Take all items, the oldest first."""
    cdef list items = []
    while queue.count:
        items.append(queue_pop(queue))
    return items


cdef void queue_clear(Queue *queue):
    """Forget the items, and give the room back."""
    cdef Queue left = queue[0]
    cdef uint32_t i
    queue.items = NULL
    queue.first = queue.count = queue.room = 0
    for i in range(left.count):
        Py_DECREF(<object>left.items[(left.first + i) & (left.room - 1)])
    PyMem_Free(left.items)


@cython.final
@cython.no_gc
cdef class Fifo:
    """A queue of objects that cannot be part of a cycle."""

    def __dealloc__(self):
        queue_clear(&self._queue)

    def __len__(self):
        return self._queue.count

    def push(self, item):
        """Append an item."""
        queue_append(&self._queue, item)

    def take(self):
        """Take the first item. Raises IndexError if there is none."""
        return queue_pop(&self._queue)

    def take_all(self):
        """Take all items as a list, the oldest first."""
        return queue_pop_all(&self._queue)

    @property
    def room(self):
        """The number of items that fit without growing."""
        return self._queue.room
