# The packets that one side of a session of protocol 2 sends.
from mpgameserver._core.endpoint2_state cimport Endpoint2State
from mpgameserver._core.frames cimport FrameType
from mpgameserver._core.send_limits cimport Room

cdef bytes assemble(Endpoint2State endpoint, Room room)
cdef bytes assemble_ack(Endpoint2State endpoint)
cdef bytes assemble_probe(
    Endpoint2State endpoint, FrameType kind, bytes data, Py_ssize_t size
)
cdef bytes assemble_size_probe(Endpoint2State endpoint)
cdef bytes assemble_close(Endpoint2State endpoint)
cdef bint renew_key(Endpoint2State endpoint) except -1
cdef bint update_key(Endpoint2State endpoint) except -1
cdef Room room_for(Endpoint2State endpoint) noexcept
cdef bint has_replies(Endpoint2State endpoint) noexcept
cdef bint has_more(Endpoint2State endpoint) except -1
cdef double close_due(Endpoint2State endpoint) noexcept
