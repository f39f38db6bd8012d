# Frames besides messages that are sent again when their packet is lost.
from libc.stdint cimport int64_t, uint8_t

from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.frames cimport ACCEPT, CONNECT, KEM, Frame, FrameType

cdef class ControlFrame:
    cdef bytes encoded
    cdef FrameType type
    cdef uint8_t channel    # of a WINDOW
    cdef bint is_acked

cdef class ControlQueue:
    cdef Queue _waiting
    cdef int pieces         # that are not acked yet
    cdef int add(self, const Frame *frame) except -1
    cdef int add_pieces(self, FrameType kind, bytes whole) except -1
    cdef void on_acked(self, ControlFrame frame) noexcept
    cdef int add_again(self, ControlFrame frame) except -1
    cdef ControlFrame take(self, Py_ssize_t room)
    cdef inline bint is_empty(self) noexcept:
        return self._waiting.count == 0
    cdef void clear(self)

cdef inline bint is_piece(FrameType kind) noexcept nogil:
    # Of what a session begins with.
    return kind == CONNECT or kind == ACCEPT or kind == KEM

cdef ControlFrame control_frame(const Frame *frame)
