"""Fragmentation of messages that do not fit into one datagram.

An APP_FRAGMENT message is the 2-byte number of the fragmented message, a 2-byte index from 1, a
2-byte count, and the fragment. All fragments but the last have one size. A receiver accepts
fragments of any size.

Incomplete messages are kept until all fragments have arrived. They are limited in bytes, number and
time, because the peer controls them. A fragment for which there is no room is refused: its packet
is not acked, so an honest sender retransmits it. A message that has not grown for
`REASSEMBLY_TIMEOUT` is discarded, and so is one with a fragment that contradicts the others.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, Py_XDECREF
from libc.math cimport INFINITY
from libc.string cimport memcpy

from mpgameserver._core.bigendian cimport get16, put16
from mpgameserver._core.budget cimport ITEM_COST, Share
from mpgameserver._core.packet cimport FRAGMENT_HEADER, MAX_FRAGMENTS, max_fragment
from mpgameserver._core.seqnum cimport RING_SIZE, check_number, ring_diff

from mpgameserver.errors import PacketError

__all__ = ["Reassembler"]

cdef enum:
    # A buffer has room for a quarter more than has arrived, so it is moved some 40 times while it
    # grows to 8 MiB, and takes at most that much more than is charged.
    SPARE = 4

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    char *bytes_start "PyBytes_AS_STRING"(PyObject *)


cdef uint32_t fragment_count(Py_ssize_t size, Py_ssize_t payload_limit) noexcept nogil:
    """Return the number of fragments of a message of `size` bytes."""
    cdef Py_ssize_t full = max_fragment(payload_limit)
    cdef Py_ssize_t left_at_most = payload_limit - FRAGMENT_HEADER - 1
    cdef Py_ssize_t fragments
    if size <= left_at_most:
        return 1
    fragments = (size - left_at_most + full - 1) // full
    return <uint32_t>(fragments + (size > fragments * full))


cdef void write_fragment_header(unsigned char *out, const FragmentHeader *fragment) noexcept nogil:
    put16(out, fragment.number)
    put16(out + 2, fragment.index)
    put16(out + 4, fragment.count)


cdef bint read_fragment_header(
    const unsigned char *data, Py_ssize_t size, FragmentHeader *fragment
) noexcept nogil:
    """Read the header of a fragment; return False if it is truncated."""
    if size < FRAGMENT_HEADER:
        return False
    fragment.number = get16(data)
    fragment.index = get16(data + 2)
    fragment.count = get16(data + 4)
    return True


cdef inline bint _is_possible(const FragmentHeader *fragment) noexcept nogil:
    return 1 <= fragment.index <= fragment.count <= MAX_FRAGMENTS and fragment.number != 0


@cython.final
cdef class Reassembly:
    """An incomplete message.

    The fragments before the first missing one are already in the bytes object that becomes the
    message, because joining 8 MiB at the end would take a noticeable part of a frame.
    """

    def __cinit__(self, uint16_t count):
        self.count = count
        self._next = 1

    def __dealloc__(self):
        Py_XDECREF(self._start)

    cdef bint has(self, uint16_t index) except -1:
        """Return True if that fragment was already received."""
        return index < self._next or (self._later is not None and index in self._later)

    cdef int add(self, uint16_t index, const unsigned char *data, Py_ssize_t size) except -1:
        """Add a fragment that was not received before."""
        if index < self.count:
            self._usual = size
        if index == self._next:
            self._make_room(size + self._size_behind(index))
            self._append(data, size)
            self._append_later()
        else:
            if self._later is None:
                self._later = {}
            self._later[index] = PyBytes_FromStringAndSize(<const char *>data, size)
        return 0

    cdef bint is_complete(self) noexcept:
        return self._next > self.count

    cdef bytes message(self):
        """Return the complete message. May be called once."""
        if self._start == NULL:
            return b""
        self._resize(self._size)
        return <bytes>self._start

    cdef tuple estimate(self):
        """Return (bytes received, bytes in all), at least 1 of these.

        The missing fragments are taken to be as long as those so far: all but the last are.
        """
        cdef Py_ssize_t usual
        cdef Py_ssize_t fragments = self._next - 1
        cdef Py_ssize_t received
        if self._later is not None:
            fragments += len(self._later)
        received = self.cost - fragments * ITEM_COST
        usual = self._usual if self._usual else received
        return received, max(received + (self.count - fragments) * usual, 1)

    cdef Py_ssize_t _size_behind(self, uint32_t index) except -1:
        """Return the total size of the fragments received that directly follow `index`."""
        cdef bytes fragment
        cdef Py_ssize_t size = 0
        while self._later:
            index += 1
            fragment = self._later.get(index)
            if fragment is None:
                break
            size += PyBytes_GET_SIZE(fragment)
        return size

    cdef int _append_later(self) except -1:
        """Append the fragments that were waiting for the last one."""
        cdef bytes fragment
        while self._later:
            fragment = self._later.pop(self._next, None)
            if fragment is None:
                break
            self._append(
                <const unsigned char *>PyBytes_AS_STRING(fragment), PyBytes_GET_SIZE(fragment)
            )
        return 0

    cdef int _append(self, const unsigned char *data, Py_ssize_t size) except -1:
        if size:  # an empty first fragment has allocated no buffer
            memcpy(bytes_start(self._start) + self._size, data, size)
            self._size += size
        self._next += 1
        return 0

    cdef int _make_room(self, Py_ssize_t size) except -1:
        """Make room for `size` more bytes."""
        cdef Py_ssize_t needed = self._size + size
        if needed > self._room:
            self._resize(needed + needed // SPARE)
        return 0

    cdef int _resize(self, Py_ssize_t room) except -1:
        """Resize to `room` bytes. On MemoryError the bytes so far are lost."""
        self._room = 0
        if self._start == NULL:
            self._start = new_bytes(NULL, room)
        else:
            _PyBytes_Resize(&self._start, room)
        self._room = room
        return 0


@cython.final
cdef class Reassembler:
    """Reassembles fragmented messages.

    `held_bytes` is charged for incomplete messages: their bytes and `ITEM_COST` for each fragment,
    at most `MAX_REASSEMBLY_BYTES`. `discarded` counts discarded messages.
    """

    def __cinit__(self):
        self._unfinished = {}
        self.share = Share()

    def __del__(self):
        self.clear()

    @property
    def held_bytes(self):
        """Bytes charged for the incomplete messages."""
        return self.share.held

    cpdef list arriving(self):
        """Return (bytes received, bytes in all) of each incomplete message, the oldest first.

        No fragment tells how long its message is: the bytes in all are an estimate.
        """
        cdef Reassembly reassembly
        cdef list messages = []
        for number, reassembly in self._unfinished.items():
            messages.append((ring_diff(number, self._newest_number), reassembly.estimate()))
        return [message[1] for message in sorted(messages)]

    cpdef int clear(self) except -1:
        """Discard all incomplete messages."""
        self.share.charge(-self.share.held)
        self._unfinished.clear()
        self._newest = None
        return 0

    def __len__(self):
        """The number of incomplete messages, at most `MAX_REASSEMBLIES`."""
        return len(self._unfinished)

    cdef bint is_new(self, const FragmentHeader *fragment) except -1:
        """Return True if the fragment is the first one received of its message."""
        return _is_possible(fragment) and self._of(fragment.number) is None

    cdef bint has_room(self, Py_ssize_t size, Py_ssize_t fragments, Py_ssize_t messages) except -1:
        """Return True if `fragments` of `size` bytes in all fit, with `messages` new messages."""
        cdef Py_ssize_t cost = size + fragments * ITEM_COST
        if not self.share.has_room(cost):
            return False
        return self.share.held + cost <= MAX_REASSEMBLY_BYTES and (
            messages == 0 or len(self._unfinished) + messages <= MAX_REASSEMBLIES
        )

    cdef Reassembly _of(self, uint16_t number):
        """Return the incomplete message with that number, or None."""
        if self._newest is not None and self._newest_number == number:
            return self._newest
        return self._unfinished.get(number)

    cdef int _note_growth(self, uint16_t number, Reassembly reassembly) except -1:
        """Move a message to the end, so that the one that has not grown for longest is first."""
        if reassembly is not self._newest:
            self._unfinished.pop(number, None)
            self._unfinished[number] = self._newest = reassembly
            self._newest_number = number
        return 0

    cdef Reassembly take(
        self, const FragmentHeader *fragment, const unsigned char *data, Py_ssize_t size,
        int64_t message_number, double now
    ):
        """Add a fragment; return its message's `Reassembly` if that is complete, else None."""
        cdef Reassembly reassembly = self._of(fragment.number)
        if reassembly is not None and message_number - reassembly.newest_message >= RING_SIZE:
            # The number has wrapped: the old message was abandoned, and this is another.
            self.discarded += 1
            self.discard(fragment.number)
            reassembly = None
        if not _is_possible(fragment) or (
            reassembly is not None and reassembly.count != fragment.count
        ):
            self.discarded += 1
            self.discard(fragment.number)
            return None
        if reassembly is None:
            reassembly = Reassembly(fragment.count)
        elif reassembly.has(fragment.index):
            return None
        self._note_growth(fragment.number, reassembly)
        reassembly.cost += size + ITEM_COST
        reassembly.last_arrival = now
        reassembly.newest_message = max(reassembly.newest_message, message_number)
        self.share.charge(size + ITEM_COST)
        if fragment.index == 1:
            reassembly.first_message = message_number
        try:
            reassembly.add(fragment.index, data, size)
        except MemoryError:
            self.discard(fragment.number)
            raise
        if not reassembly.is_complete():
            return None
        self.discard(fragment.number)
        return reassembly

    cdef int discard(self, uint16_t number) except -1:
        """Discard the incomplete message with that number, if any."""
        cdef Reassembly reassembly = self._unfinished.pop(number, None)
        if reassembly is not None:
            self.share.charge(-reassembly.cost)
        if reassembly is self._newest:
            self._newest = None
        return 0

    cpdef double expire(self, double now) except? -1.0:
        """Discard messages that have not grown for `REASSEMBLY_TIMEOUT` seconds.

        Returns when the next one expires, or infinity.
        """
        cdef Reassembly reassembly
        while self._unfinished:
            number, reassembly = next(iter(self._unfinished.items()))
            if now < reassembly.last_arrival + REASSEMBLY_TIMEOUT:
                return reassembly.last_arrival + REASSEMBLY_TIMEOUT
            self.discarded += 1
            self.discard(number)
        return INFINITY

    def add(self, bytes message not None, int64_t message_number, double now):
        """Add an APP_FRAGMENT message that arrived as message `message_number` at `now`.

        Returns (message number of the first fragment, message) if that completes a message, else
        None. Raises PacketError for fewer than 6 bytes, and BufferError if the limits leave no
        room for it; nothing is changed then.
        """
        cdef FragmentHeader fragment
        cdef Reassembly complete
        cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(message)
        check_number(message_number)
        if not read_fragment_header(data, PyBytes_GET_SIZE(message), &fragment):
            raise PacketError(
                f"a fragment has at least {FRAGMENT_HEADER} bytes, not {len(message)}"
            )
        if not self.has_room(len(message) - FRAGMENT_HEADER, 1, self.is_new(&fragment)):
            raise BufferError(f"no room for a fragment of {len(message)} bytes")
        complete = self.take(
            &fragment, data + FRAGMENT_HEADER, PyBytes_GET_SIZE(message) - FRAGMENT_HEADER,
            message_number, now,
        )
        return None if complete is None else (complete.first_message, complete.message())
