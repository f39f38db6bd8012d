# What sessions hold together, and how much of it is whose.

cdef class Budget:
    cdef public Py_ssize_t limit    # bytes, of all the shares in it
    cdef readonly Py_ssize_t held

cdef class Share:
    cdef readonly Py_ssize_t held   # bytes that one session is charged
    cdef Py_ssize_t _guaranteed
    cdef Budget _host, _whole       # both or neither

    cdef inline void charge(self, Py_ssize_t size) noexcept:
        self.held += size
        if self._host is not None:
            self._host.held += size
            self._whole.held += size

    cdef inline bint has_room(self, Py_ssize_t size) noexcept:
        if self._host is None or self.held + size <= self._guaranteed:
            return True
        return (
            self._host.held + size <= self._host.limit
            and self._whole.held + size <= self._whole.limit
        )
