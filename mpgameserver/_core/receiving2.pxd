# The packets that one side of a session of protocol 2 receives.
from mpgameserver._core.drop_reason cimport REASON_COUNT, DropReason
from mpgameserver._core.endpoint2_state cimport Endpoint2State

cdef DropReason open_datagram(
    Endpoint2State endpoint, bytes datagram, double now
) except? REASON_COUNT
