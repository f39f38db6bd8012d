# The callbacks of a client that are due.

cdef class Callbacks:
    cdef readonly bint is_running
    cdef list _awaiting             # callbacks of the attempt to connect
    cdef object _due                # a deque of (callback, result)

cdef class Exclusive:
    cdef readonly bint is_busy
    cdef object _due                # a deque of work to run

cdef class ThreadGuard:
    cdef unsigned long _user        # the thread that is in `run`
    cdef int _depth                 # calls of that thread within each other
    cpdef check(self)
