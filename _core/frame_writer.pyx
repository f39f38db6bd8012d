"""The packet of protocol 2 under construction.

It is on the stack of the call that assembles it, never stored on the endpoint: a garbage collection
can run any code in the middle of that call, and that code may ask the same endpoint for a datagram.

Messages are written with their length, because it is not known whether another frame follows; the
last frame of the packet loses its length in the end.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.string cimport memcpy, memmove, memset

from mpgameserver._core.frames cimport frame_size, put_frame
from mpgameserver._core.packet_cipher cimport borrow_buffer, give_back_buffer
from mpgameserver._core.varint cimport varint_size

__all__ = []

cdef enum:
    LENGTH_BIT = 0x10    # of the type of a message: its length precedes the data


cdef int begin_frames(FrameWriter *packet, Py_ssize_t limit) except -1:
    """Start an empty packet of at most `limit` bytes of frames; `end_frames` must follow."""
    packet.limit = limit
    packet.size = packet.messages = 0
    packet.last_message = -1
    packet.is_full = packet.is_ack_eliciting = False
    packet.reported = packet.late = 0
    packet.parts = packet.controls = NULL
    packet.buffer = borrow_buffer()
    return 0


cdef void end_frames(FrameWriter *packet) noexcept:
    """Give back the buffer, and release what was to be remembered."""
    cdef PyObject *parts = packet.parts
    cdef PyObject *controls = packet.controls
    packet.parts = packet.controls = NULL
    give_back_buffer(packet.buffer)
    Py_XDECREF(parts)
    Py_XDECREF(controls)


cdef void write_frame(FrameWriter *packet, const Frame *frame) noexcept nogil:
    """Append a frame that is no message, and for which there is room."""
    packet.size = put_frame(packet.buffer + packet.size, frame, False) - packet.buffer
    packet.last_message = -1


cdef void write_message(FrameWriter *packet, const Frame *frame) noexcept nogil:
    """Append a MESSAGE or FRAGMENT that fits, perhaps only as the last frame of the packet."""
    cdef Py_ssize_t size = frame_size(frame, False)
    packet.is_ack_eliciting = True
    packet.messages += 1
    if packet.size + size > packet.limit:
        packet.size = put_frame(packet.buffer + packet.size, frame, True) - packet.buffer
        packet.is_full = True
        return
    packet.last_message = packet.size
    packet.length_size = varint_size(frame.size)
    packet.length_at = packet.size + size - frame.size - packet.length_size
    packet.size = put_frame(packet.buffer + packet.size, frame, False) - packet.buffer


cdef void write_encoded(FrameWriter *packet, bytes encoded) noexcept:
    """Append a frame that is encoded already, and for which there is room."""
    memcpy(packet.buffer + packet.size, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))
    packet.size += PyBytes_GET_SIZE(encoded)
    packet.last_message = -1


cdef void write_padding(FrameWriter *packet, Py_ssize_t size) noexcept nogil:
    """Fill a packet up to `size` bytes with PADDING, whose type is 0."""
    if packet.size < size:
        memset(packet.buffer + packet.size, 0, size - packet.size)
        packet.size = size
        packet.last_message = -1


cdef void finish_frames(FrameWriter *packet) noexcept nogil:
    """Take the length from a message that is the last frame."""
    cdef unsigned char *length = packet.buffer + packet.length_at
    if packet.last_message < 0 or packet.is_full:
        return
    packet.buffer[packet.last_message] &= <unsigned char>(0xFF ^ LENGTH_BIT)
    memmove(
        length, length + packet.length_size,
        packet.size - packet.length_at - packet.length_size,
    )
    packet.size -= packet.length_size
    packet.is_full = True


cdef int remember_part(FrameWriter *packet, object part) except -1:
    """Add a message or fragment to what the sent window remembers."""
    if packet.parts == NULL:
        _own(&packet.parts, part)
    elif type(<object>packet.parts) is list:
        (<list>packet.parts).append(part)
    else:
        _own(&packet.parts, [<object>packet.parts, part])
    return 0


cdef int remember_control(FrameWriter *packet, object frame) except -1:
    """Add a `ControlFrame` to what the sent window remembers."""
    packet.is_ack_eliciting = True
    if packet.controls == NULL:
        return _own(&packet.controls, [frame])
    (<list>packet.controls).append(frame)
    return 0


cdef int _own(PyObject **place, object contents) except -1:
    cdef PyObject *displaced = place[0]
    Py_INCREF(contents)
    place[0] = <PyObject *>contents
    Py_XDECREF(displaced)
    return 0


cdef object contents_of(const FrameWriter *packet):
    """Return what the sent window remembers: parts, or a tuple (controls, parts), or None."""
    parts = None if packet.parts == NULL else <object>packet.parts
    return parts if packet.controls == NULL else (<object>packet.controls, parts)
