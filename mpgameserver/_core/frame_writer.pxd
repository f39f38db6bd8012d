# The packet of protocol 2 under construction: frames in a borrowed buffer, and what to remember.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from mpgameserver._core.frames cimport Frame

cdef struct FrameWriter:
    unsigned char *buffer    # borrowed until `end_frames`
    Py_ssize_t limit, size   # of all frames
    Py_ssize_t messages      # how many
    Py_ssize_t last_message  # where the last frame begins, if it is a message with a length; -1
    Py_ssize_t length_at, length_size    # its length there
    bint is_full             # its last frame ends with the packet
    bint is_ack_eliciting
    int64_t reported, late   # of the ACK in it; 0: none
    PyObject *parts          # owned: the message, or list of messages, to remember; NULL: none
    PyObject *controls       # owned: a list of ControlFrames; NULL: none

cdef inline Py_ssize_t room_left(const FrameWriter *packet) noexcept nogil:
    return 0 if packet.is_full else packet.limit - packet.size

cdef int begin_frames(FrameWriter *packet, Py_ssize_t limit) except -1
cdef void end_frames(FrameWriter *packet) noexcept
cdef void write_frame(FrameWriter *packet, const Frame *frame) noexcept nogil
cdef void write_message(FrameWriter *packet, const Frame *frame) noexcept nogil
cdef void write_encoded(FrameWriter *packet, bytes encoded) noexcept
cdef void write_padding(FrameWriter *packet, Py_ssize_t size) noexcept nogil
cdef void finish_frames(FrameWriter *packet) noexcept nogil
cdef int remember_part(FrameWriter *packet, object part) except -1
cdef int remember_control(FrameWriter *packet, object frame) except -1
cdef object contents_of(const FrameWriter *packet)
