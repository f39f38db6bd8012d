"""Scheduling of outgoing fragments: which fragmented message sends next.

Fragmented messages wait in lanes by size, and the lanes take turns, one fragment each. A lane sends
its messages one after the other, lost fragments first. A message therefore never waits for one
that is more than four times as large: a long chat message overtakes a file.

Messages of one lane are not interleaved, because a receiver has to keep all incomplete messages:
with one in progress per lane, the largest of every lane fit into `MAX_REASSEMBLY_BYTES`. A receiver
without room would refuse fragments of all of them, and none would ever be complete.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from mpgameserver._core.fifo cimport (
    queue_append,
    queue_clear,
    queue_front,
    queue_pop,
    queue_pop_all,
)
from mpgameserver._core.fragmenter cimport fragment_count
from mpgameserver._core.message cimport new_message
from mpgameserver._core.packet cimport FRAGMENT_HEADER, MAX_FRAGMENTS, max_fragment
from mpgameserver._core.packet_header cimport APP_FRAGMENT
from mpgameserver._core.seqnum cimport ring_add

__all__ = ["FragmentLanes"]

cdef enum:
    LANE_FACTOR = 4


cdef inline int _lane_of(uint32_t fragments) noexcept:
    cdef int lane = 0
    while fragments > <uint32_t>LANE_FACTOR and lane < LANES - 1:
        fragments = (fragments + LANE_FACTOR - 1) // LANE_FACTOR
        lane += 1
    return lane


@cython.final
@cython.no_gc
cdef class FragmentLanes:
    """The fragmented messages of one direction of a connection."""

    def __dealloc__(self):
        cdef int lane
        for lane in range(LANES):
            queue_clear(&self._lanes[lane].unsent)
            queue_clear(&self._lanes[lane].retransmissions)

    cdef int add(self, FragmentedMessage fragmented, Py_ssize_t payload_limit) except -1:
        """Queue a message to be fragmented for packets of `payload_limit` bytes."""
        _plan(fragmented, payload_limit)
        queue_append(&self._lanes[_lane_of(fragmented.count)].unsent, fragmented)
        self.unsent += 1
        return 0

    cdef int add_retransmission(self, Message fragment) except -1:
        """Queue a fragment that was lost."""
        queue_append(&self._lanes[_lane_of(fragment.parent.count)].retransmissions, fragment)
        self.retransmissions += 1
        return 0

    cdef Message next(self, Py_ssize_t limit, bint may_number):
        """Take the next fragment; None if it is larger than `limit` bytes or there is none.

        New fragments are made only if `may_number`.
        """
        cdef Message fragment
        cdef int lane
        for _ in range(LANES):
            lane = self._turn
            fragment = self._next_of(&self._lanes[lane], limit, may_number)
            if fragment is not None:
                self._turn = (lane + 1) % LANES
                return fragment
            if self._lanes[lane].retransmissions.count or (
                may_number and self._lanes[lane].unsent.count
            ):
                return None  # too large for the rest of this packet; it is first in the next one
            self._turn = (lane + 1) % LANES
        return None

    cdef Message _next_of(self, Lane *lane, Py_ssize_t limit, bint may_number):
        cdef Message fragment
        while lane.retransmissions.count:
            fragment = queue_front(&lane.retransmissions)
            if not fragment.completed and fragment.wire_size() > limit:
                return None
            queue_pop(&lane.retransmissions)
            self.retransmissions -= 1
            if not fragment.completed:
                return fragment
        if may_number and lane.unsent.count:
            return self._cut(lane, limit)
        return None

    cdef Message _cut(self, Lane *lane, Py_ssize_t limit):
        """Make the next fragment of the first message of a lane."""
        cdef FragmentedMessage fragmented = queue_front(&lane.unsent)
        cdef Message fragment
        cdef Py_ssize_t size = len(fragmented.data) - fragmented.offset
        if fragmented.next_index < fragmented.count:
            size = fragmented.fragment_size
        if size + FRAGMENT_HEADER > limit:
            return None
        if fragmented.next_index == 1:
            self._newest_number = ring_add(self._newest_number, 1)
            fragmented.number = self._newest_number
        fragment = new_message(fragmented.data, APP_FRAGMENT, fragmented.retry)
        fragment.parent = fragmented
        fragment.index = fragmented.next_index
        fragment.offset = fragmented.offset
        fragment.size = size
        if fragmented.next_index == fragmented.count:
            queue_pop(&lane.unsent)
            self.unsent -= 1
        fragmented.next_index += 1
        fragmented.offset += size
        return fragment

    cdef int recut(self, Py_ssize_t payload_limit) except -1:
        """Resize the fragments that were never sent, to fit packets of `payload_limit` bytes."""
        cdef FragmentedMessage fragmented
        cdef int lane
        for lane in range(LANES):
            for _ in range(self._lanes[lane].unsent.count):
                fragmented = queue_pop(&self._lanes[lane].unsent)
                _plan(fragmented, payload_limit)
                queue_append(&self._lanes[lane].unsent, fragmented)
        return 0

    cdef int drop_retransmissions(self) except -1:
        """Discard the fragments that wait to be retransmitted."""
        cdef int lane
        for lane in range(LANES):
            queue_clear(&self._lanes[lane].retransmissions)
        self.retransmissions = 0
        return 0

    cdef list take_unsent(self):
        """Take all messages with fragments that were never sent."""
        cdef list messages = []
        cdef int lane
        for lane in range(LANES):
            messages += queue_pop_all(&self._lanes[lane].unsent)
        self.unsent = 0
        return messages


cdef void _plan(FragmentedMessage fragmented, Py_ssize_t payload_limit):
    """Plan the fragments of the rest of a message for packets of `payload_limit` bytes.

    The protocol page specifies them for a message of which nothing was sent. The fragment count of
    any other is known to its receiver, which accepts fragments of any size: if the last one would
    be too large, all remaining ones are made larger instead. The same is done for a message that
    would take too many fragments, because `max_message` was set for larger packets.
    """
    cdef Py_ssize_t rest = PyBytes_GET_SIZE(fragmented.data) - fragmented.offset
    cdef Py_ssize_t left
    if fragmented.next_index == 1:
        fragmented.count = min(fragment_count(rest, payload_limit), <uint32_t>MAX_FRAGMENTS)
        fragmented.unacked = fragmented.count
        fragmented.fragment_size = max_fragment(payload_limit)
    left = fragmented.count - fragmented.next_index + 1
    if rest - (left - 1) * fragmented.fragment_size > payload_limit - FRAGMENT_HEADER:
        fragmented.fragment_size = (rest + left - 1) // left
