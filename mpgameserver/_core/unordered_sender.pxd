# The sending side of an unordered channel of a session of protocol 2.

from libc.stdint cimport uint32_t

from mpgameserver._core.channel_sender cimport ChannelSender, MessageLane
from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.outgoing cimport OutgoingMessage
from mpgameserver._core.turns cimport Turns

cdef class UnorderedSender(ChannelSender):
    cdef Turns _turns            # of MESSAGEs, repeated ones and fragments
    cdef Queue _repeats          # best-effort MESSAGEs that are to be repeated now
    cdef MessageLane *_long      # messages in fragments, by size; NULL until there is one
    cdef int _turn               # the lane that is next

    cdef int add_repeat(self, OutgoingMessage message) except -1
    cdef uint32_t _kinds(self) noexcept
    cdef object _take(self, int kind, Py_ssize_t room, bint alone, double now)
    cdef OutgoingMessage _next_short(self, Py_ssize_t room, bint alone)
    cdef object _next_long(self, Py_ssize_t room, bint alone, double now)
    cdef int _add_long(self, OutgoingMessage message) except -1
