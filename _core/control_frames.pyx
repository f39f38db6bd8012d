"""Frames of protocol 2 that are not messages, and are sent again until they are acked.

They are few: pieces of the connect or accept data and of ML-KEM's at the start of a session,
connection ids, and windows. Each is encoded once; the packet that carries it remembers the object.
A WINDOW that is lost is not sent again as it was, but with the values of then: the endpoint makes
another one.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from mpgameserver._core.fifo cimport queue_append, queue_clear, queue_front, queue_pop
from mpgameserver._core.frames cimport frame_size, put_frame

__all__ = ["ControlFrame", "ControlQueue"]

cdef enum:
    # Bytes of the whole in one frame, which fits into the least datagram beside an ACK.
    PIECE_SIZE = 1024


@cython.final
@cython.no_gc
cdef class ControlFrame:
    """A frame that is to arrive, in its bytes; `is_acked` once a packet with it was acked."""


@cython.final
@cython.no_gc
cdef class ControlQueue:
    """The control frames that wait for a packet, in order."""

    def __dealloc__(self):
        queue_clear(&self._waiting)

    cdef int add(self, const Frame *frame) except -1:
        """Queue a frame."""
        return queue_append(&self._waiting, control_frame(frame))

    cdef int add_pieces(self, FrameType kind, bytes whole) except -1:
        """Queue the pieces of what CONNECT, ACCEPT or KEM frames carry, whichever `kind` is."""
        cdef Frame frame
        cdef Py_ssize_t offset
        for offset in range(0, PyBytes_GET_SIZE(whole), PIECE_SIZE):
            frame.type = kind
            frame.channel = 0
            frame.number = 0
            frame.total = PyBytes_GET_SIZE(whole)
            frame.offset = offset
            frame.data = <const unsigned char *>PyBytes_AS_STRING(whole) + offset
            frame.size = min(PyBytes_GET_SIZE(whole) - offset, <Py_ssize_t>PIECE_SIZE)
            self.add(&frame)
            self.pieces += 1
        return 0

    cdef void on_acked(self, ControlFrame frame) noexcept:
        """Note that a packet with a frame was acked."""
        if not frame.is_acked:
            frame.is_acked = True
            self.pieces -= is_piece(frame.type)

    cdef int add_again(self, ControlFrame frame) except -1:
        """Queue a frame of a lost packet, unless another packet with it was acked."""
        return 0 if frame.is_acked else queue_append(&self._waiting, frame)

    cdef ControlFrame take(self, Py_ssize_t room):
        """Take the next frame, of at most `room` bytes; None if there is none, or it is larger."""
        cdef ControlFrame frame
        while self._waiting.count:
            frame = queue_front(&self._waiting)
            if not frame.is_acked and PyBytes_GET_SIZE(frame.encoded) > room:
                return None
            queue_pop(&self._waiting)
            if not frame.is_acked:
                return frame
        return None

    cdef void clear(self):
        """Forget the frames that wait."""
        queue_clear(&self._waiting)


cdef ControlFrame control_frame(const Frame *frame):
    """Return a frame, which is not a message, as an object that a packet can remember."""
    cdef ControlFrame made = ControlFrame.__new__(ControlFrame)
    made.type = frame.type
    made.channel = frame.channel
    made.encoded = PyBytes_FromStringAndSize(NULL, frame_size(frame, False))
    put_frame(<unsigned char *>PyBytes_AS_STRING(made.encoded), frame, False)
    return made
