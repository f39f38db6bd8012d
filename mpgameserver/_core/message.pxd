# An outgoing message, and an outgoing message that is fragmented.

from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t

# The retry modes of enums.RetryMode.
cpdef enum:
    RETRY_ON_TIMEOUT = -1
    NO_RETRY = 0
    BEST_EFFORT = 1

cdef class FragmentedMessage:
    # An outgoing message that is sent in fragments.
    cdef bytes data
    cdef int8_t retry
    cdef bint completed
    cdef bint has_callback
    cdef uint16_t number    # of the fragmented message, on the wire
    cdef uint32_t count
    cdef uint32_t next_index
    cdef uint32_t offset      # of the next fragment, in data
    cdef uint32_t fragment_size  # bytes of each fragment but the last
    cdef uint32_t unacked    # fragments
    cdef uint32_t acked      # bytes

cdef class Message:
    # A message, or a fragment of one, with its own message number.
    cdef bytes data
    cdef FragmentedMessage parent  # None: not a fragment
    cdef double first_sent
    cdef double last_sent
    cdef int64_t number     # absolute; 0 until it is first sent
    cdef int64_t packet_number    # the newest packet that carried it
    cdef uint32_t offset    # of the fragment, in data
    cdef uint32_t size
    cdef uint16_t index     # of the fragment, from 1
    cdef uint8_t message_type
    cdef int8_t retry
    cdef uint8_t copies      # redundant copies sent
    cdef bint completed
    cdef bint has_callback

    cdef uint32_t wire_size(self) noexcept
    cdef bint travels_alone(self) noexcept


cdef Message new_message(bytes data, uint8_t message_type, int8_t retry)
cdef FragmentedMessage new_fragmented(bytes data, int8_t retry)
cdef bytes checked_message(
    object payload, object retry, object callback, Py_ssize_t most, int8_t *mode
)
