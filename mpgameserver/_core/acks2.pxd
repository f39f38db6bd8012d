# What became of the packets that one side of a session of protocol 2 has sent.
from mpgameserver._core.endpoint2_state cimport Endpoint2State
from mpgameserver._core.frames cimport Frame

cdef int apply_ack(Endpoint2State endpoint, const Frame *frame) except -1
cdef double loss_delay_of(Endpoint2State endpoint)
cdef int find_lost(Endpoint2State endpoint) except -1
