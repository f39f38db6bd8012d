# The callbacks of a client that are due, and its calls in turn.

cdef class Callbacks:
    cdef readonly bint is_running
    cdef list _awaiting             # of the attempt to connect
    cdef object _due                # a deque of (callback, result)

cdef class Exclusive:
    cdef readonly bint is_busy
    cdef object _due                # a deque of what is to be called

cdef class ThreadGuard:
    cdef unsigned long _user        # the thread that is in `run`
    cdef int _depth                 # calls of that thread within each other
    cpdef check(self)
