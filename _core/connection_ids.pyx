"""The connection ids of a session of protocol 2: docs/protocol2.md, "Paths".

A server issues a client a few ids besides the one of its answer. A client that changes its address
goes on under another one, so that nobody who sees both networks can tell that it is the same, and
retires the former; then the server issues the next.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from mpgameserver._core.frames cimport CONNECTION_ID_SIZE, NEW_CONNECTION_ID, begin_frame

__all__ = ["OwnIds", "PeerIds"]


@cython.final
cdef class PeerIds:
    """The ids that a client has of its server; `current` is that of the answer at first."""

    def __cinit__(self, bytes first not None):
        self.current = first
        self._known = {}
        self._spare = []

    def learn_token(self, bytes token not None):
        """Take the reset token of the first id, which comes with the accept data."""
        if self._sequence == 0:
            self.token = token

    cdef bint add(self, const Frame *frame) except -1:
        """Take a NEW_CONNECTION_ID; return False if it breaks a rule."""
        cdef bytes contents = PyBytes_FromStringAndSize(<const char *>frame.data, frame.size)
        cdef bytes known = self._known.get(frame.number)
        if known is not None or frame.number <= self._newest - REMEMBERED_IDS:
            return known is None or known == contents
        if not self._is_acceptable(frame.number, contents):
            return False
        self._known[frame.number] = contents
        self._known.pop(frame.number - REMEMBERED_IDS, None)
        self._newest = max(self._newest, frame.number)
        self._spare.append(frame.number)
        self._spare.sort()
        return True

    cdef bint _is_acceptable(self, int64_t sequence, bytes contents) except -1:
        """Return False for the first sequence, an id that the client has, and a fifth one."""
        cdef bytes connection_id = contents[:CONNECTION_ID_SIZE]
        return (
            sequence > 0
            and connection_id[0] == self.current[0]
            and connection_id != self.current
            and not any(known.startswith(connection_id) for known in self._known.values())
            and len(self._spare) + 1 < MAX_CONNECTION_IDS
        )

    cdef int64_t move(self) except -2:
        """Go on under the next id; return the sequence of the former, or -1 if there is no next."""
        cdef int64_t former = self._sequence
        if not self._spare:
            return -1
        self._sequence = self._spare.pop(0)
        contents = self._known[self._sequence]
        self.current = contents[:CONNECTION_ID_SIZE]
        self.token = contents[CONNECTION_ID_SIZE:]
        return former


@cython.final
cdef class OwnIds:
    """The ids that a server has issued for a session; `first` is that of its answer.

    `source` has `issue()`, which returns a new id and its reset token, and `retire(id)`, which is
    told of an id under which no more packets are to come.
    """

    def __cinit__(self, bytes first not None, source):
        self._alive = {0: first}
        self._source = source

    cdef int issue(self, ControlQueue control) except -1:
        """Issue as many ids as may be alive, and queue a NEW_CONNECTION_ID for each."""
        cdef Frame frame
        cdef bytes contents
        while len(self._alive) < MAX_CONNECTION_IDS:
            connection_id, token = self._source.issue()
            self._newest += 1
            self._alive[self._newest] = connection_id
            contents = connection_id + token
            begin_frame(&frame, NEW_CONNECTION_ID)
            frame.number = self._newest
            frame.data = <const unsigned char *>PyBytes_AS_STRING(contents)
            frame.size = PyBytes_GET_SIZE(contents)
            control.add(&frame)
        return 0

    cdef bint retire(self, int64_t sequence, bytes datagram) except -1:
        """Retire an id, as a datagram asks; return False if that breaks a rule."""
        cdef bytes connection_id = self._alive.get(sequence)
        if connection_id is None:
            return sequence <= self._newest
        if datagram[1:1 + CONNECTION_ID_SIZE] == connection_id:
            return False
        del self._alive[sequence]
        self._source.retire(connection_id)
        return True
