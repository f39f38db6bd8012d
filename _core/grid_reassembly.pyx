"""The reassembly of messages in fragments, as protocol 2 cuts them.

A message is a grid of units of 64 bytes, and a fragment covers some of them. So one bit for each
unit tells what is missing, however the sender cuts the message anew. The unit that came first
stays.

The bytes object that becomes the message is allocated once an eighth of it has come, because a peer
may announce any total: until then the memory follows what has come. The charge is the total from
the first fragment on, so that a message that was begun finds room for its end.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.math cimport INFINITY
from libc.string cimport memcpy

from mpgameserver._core.budget cimport ITEM_COST
from mpgameserver._core.frames cimport FRAGMENT_UNIT, MAX_MESSAGE_SIZE
from mpgameserver._core.unit_bits cimport WORD, bits_within, run_of_bits

__all__ = ["GridMessage", "GridReassembler"]

cdef enum:
    # Bytes of a message that gets its buffer at once: the charge for the 64 messages of a session
    # is 1 MiB then.
    SMALL_TOTAL = 16 * 1024
    # A larger one gets it with the first 1 / EARLY_PART: what has come is moved once, 1 MiB at
    # most, and a hostile total takes at most eight times the memory of what was sent for it.
    EARLY_PART = 8


cdef inline Py_ssize_t _units_of(int64_t size) noexcept nogil:
    return <Py_ssize_t>((size + FRAGMENT_UNIT - 1) // FRAGMENT_UNIT)


cdef inline Py_ssize_t _cost_of(int64_t total) noexcept nogil:
    """Return the bytes charged for a message: its own, its bits, and the objects."""
    return <Py_ssize_t>(total + total // (8 * FRAGMENT_UNIT) + ITEM_COST)


@cython.final
cdef class GridMessage:
    """An incomplete message of `total` bytes."""

    def __cinit__(self, int64_t total):
        if not 1 <= total <= MAX_MESSAGE_SIZE:
            raise ValueError(f"total must be 1...{MAX_MESSAGE_SIZE}, not {total}")
        self.total = total
        self._missing = _units_of(total)
        self._units = <uint64_t *>PyMem_Calloc(self._missing // WORD + 1, sizeof(uint64_t))
        if self._units == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef EarlyRun *run
        PyMem_Free(self._units)
        while self._early != NULL:
            run = self._early
            self._early = run.next
            PyMem_Free(run)

    cdef int add(self, int64_t offset, const unsigned char *data, Py_ssize_t size) except -1:
        """Add the units of a fragment that were not received before.

        The fragment lies within the total and begins with a unit. On MemoryError a part of it was
        added.
        """
        cdef uint32_t unit = <uint32_t>(offset // FRAGMENT_UNIT), first
        cdef uint32_t end = <uint32_t>_units_of(offset + size)
        while unit < end:
            first = unit
            unit += run_of_bits(self._units, unit, end, False)
            if unit > first:
                self._add_run(first, unit, offset, data, size)
            if unit < end:
                unit += run_of_bits(self._units, unit, end, True)
        return 0

    cdef int _add_run(
        self, uint32_t first, uint32_t end, int64_t offset, const unsigned char *data,
        Py_ssize_t size
    ) except -1:
        """Add the units from `first` to before `end`, which are new, of a fragment."""
        cdef Py_ssize_t start = <Py_ssize_t>first * FRAGMENT_UNIT
        cdef Py_ssize_t stop = min(<Py_ssize_t>end * FRAGMENT_UNIT, <Py_ssize_t>offset + size)
        cdef uint32_t unit = first
        cdef int64_t received = self.received + stop - start
        if self._message is None and (
            self.total <= SMALL_TOTAL or received * EARLY_PART >= self.total
        ):
            self._allocate()
        data += start - offset
        if self._message is None:
            self._keep_early(start, data, stop - start)
        else:
            memcpy(PyBytes_AS_STRING(self._message) + start, data, stop - start)
        while unit < end:
            self._units[unit // WORD] |= bits_within(unit, end)
            unit += WORD - unit % WORD
        self._missing -= end - first
        self.received = received
        return 0

    cdef int _keep_early(
        self, Py_ssize_t offset, const unsigned char *data, Py_ssize_t size
    ) except -1:
        cdef EarlyRun *run = <EarlyRun *>PyMem_Malloc(sizeof(EarlyRun) + size)
        if run == NULL:
            raise MemoryError
        run.next, run.offset, run.size = self._early, offset, size
        memcpy(run + 1, data, size)
        self._early = run
        return 0

    cdef int _allocate(self) except -1:
        """Allocate the message and move there what has come."""
        cdef EarlyRun *run
        self._message = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>self.total)
        while self._early != NULL:
            run = self._early
            memcpy(PyBytes_AS_STRING(self._message) + run.offset, run + 1, run.size)
            self._early = run.next
            PyMem_Free(run)
        return 0

    def insert(self, int64_t offset, bytes data not None):
        """Add a fragment; return the message once it is complete, else None.

        Raises ValueError for one that no message of this total has.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        if size == 0 or offset % FRAGMENT_UNIT or not 0 <= offset <= self.total - size or (
            size % FRAGMENT_UNIT and offset + size != self.total
        ):
            raise ValueError(f"no fragment of {self.total} bytes: {size} at {offset}")
        self.add(offset, <const unsigned char *>PyBytes_AS_STRING(data), size)
        return None if self._missing else self._message


@cython.final
cdef class GridReassembler:
    """The incomplete messages of all channels of a session.

    The room for the messages that a packet begins is claimed while the packet is inspected, frame
    by frame, and taken only when its frames are used.
    """

    def __cinit__(self):
        self._by_age = {}
        self.share = Share()

    def __del__(self):
        self.clear()

    def __len__(self):
        """The number of incomplete messages, at most `MAX_INCOMPLETE_MESSAGES`."""
        return len(self._by_age)

    cpdef void begin_packet(self) noexcept:
        """Begin to inspect another packet; what the last one has claimed is free again."""
        self.packet += 1
        self._begun = None
        self._claimed_messages = 0
        self._claimed_bytes = self._claimed_cost = 0

    cdef dict begun_on(self, uint8_t channel):
        """Return the lengths of the messages that the packet begins on a channel, or None."""
        return None if self._begun is None else self._begun.get(channel)

    cdef int note_begun(self, uint8_t channel, int64_t number, int64_t length) except -1:
        """Note the length of a message that the packet begins."""
        cdef dict lengths = self.begun_on(channel)
        if lengths is None:
            if self._begun is None:
                self._begun = {}
            lengths = self._begun[channel] = {}
        lengths[number] = length
        return 0

    cdef bint claim_message(self, int64_t total) noexcept:
        """Claim room for a message of `total` bytes; return False if there is none."""
        if (
            len(self._by_age) + self._claimed_messages >= MAX_INCOMPLETE_MESSAGES
            or self.held_bytes + self._claimed_bytes + total > MAX_INCOMPLETE_BYTES
            or not self.claim(_cost_of(total))
        ):
            return False
        self._claimed_messages += 1
        self._claimed_bytes += total
        return True

    cdef bint claim(self, int64_t cost) noexcept:
        """Claim `cost` bytes of the share; return False if there is no room for them."""
        if not self.share.has_room(<Py_ssize_t>(self._claimed_cost + cost)):
            return False
        self._claimed_cost += cost
        return True

    cdef GridMessage begin(self, dict home, const Frame *frame, bint is_ordered):
        """Begin the message of a FRAGMENT, and enter it into the dict of its channel."""
        cdef GridMessage message = GridMessage(frame.total)
        message._number, message._home, message._is_ordered = frame.number, home, is_ordered
        self._by_age[message] = None
        self._newest = message
        self.held_bytes += message.total
        self.share.charge(_cost_of(message.total))
        home[frame.number] = message
        return message

    cdef bytes add(self, GridMessage message, const Frame *frame, double now):
        """Add a FRAGMENT to its message; return the message if that completes it, else None."""
        assert frame.total == message.total
        message.add(frame.offset, frame.data, frame.size)
        message._last_arrival = now
        if message._missing == 0:
            self.discard(message)
            return message._message
        if message is not self._newest:
            self._by_age.pop(message)
            self._by_age[message] = None
            self._newest = message
        return None

    cdef int discard(self, GridMessage message) except -1:
        """Forget a message, complete or not."""
        self._by_age.pop(message, None)
        message._home.pop(message._number, None)
        self.held_bytes -= message.total
        self.share.charge(-_cost_of(message.total))
        if message is self._newest:
            self._newest = None
        return 0

    cpdef int clear(self) except -1:
        """Discard all incomplete messages."""
        while self._by_age:
            self.discard(next(iter(self._by_age)))
        return 0

    cpdef double expire(self, double now) except? -1.0:
        """Give up messages of which no fragment has come for `INCOMPLETE_TIMEOUT` seconds.

        Those of ordered channels are kept.

        Returns when the next one expires, or infinity.
        """
        cdef GridMessage oldest
        while self._by_age:
            oldest = next(iter(self._by_age))
            if now < oldest._last_arrival + INCOMPLETE_TIMEOUT:
                return oldest._last_arrival + INCOMPLETE_TIMEOUT
            if oldest._is_ordered:  # it is in its channel's window, and nothing may be left out
                self._by_age.pop(oldest)
                self._by_age[oldest] = None
                oldest._last_arrival = now
                continue
            self.discarded += 1
            self.discard(oldest)
        return INFINITY
