# One side of a session of protocol 2.
from mpgameserver._core.endpoint2_state cimport Endpoint2State

cdef class Endpoint2(Endpoint2State):
    cpdef tuple take_channel_message(self, int channel)
    cpdef Py_ssize_t channel_inbox_size(self, int channel) except -1
