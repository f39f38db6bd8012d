# The connection ids of a session: those that a client has, those that a server has issued.
from libc.stdint cimport int64_t

from mpgameserver._core.control_frames cimport ControlQueue
from mpgameserver._core.frames cimport Frame

cpdef enum:
    MAX_CONNECTION_IDS = 4    # alive at the same time; docs/protocol2.md has the figure
    # Sequences below the newest of which a client knows the contents: as many changes of its
    # address, each of which takes a second of silence.
    REMEMBERED_IDS = 16

cdef class PeerIds:
    cdef readonly bytes current, token    # the id in use, and its reset token
    cdef int64_t _sequence, _newest
    cdef dict _known                      # sequence -> the id and its token, as one string
    cdef list _spare                      # sequences that were not used yet, in order
    cdef bint add(self, const Frame *frame) except -1
    cdef bint _is_acceptable(self, int64_t sequence, bytes contents) except -1
    cdef int64_t move(self) except -2

cdef class OwnIds:
    cdef dict _alive                      # sequence -> id
    cdef int64_t _newest
    cdef object _source
    cdef int issue(self, ControlQueue control) except -1
    cdef bint retire(self, int64_t sequence, bytes datagram) except -1
