# The frames of a packet of protocol 2: one struct, read from bytes and written to them.
from libc.stdint cimport int64_t, uint8_t

from mpgameserver._core.varint cimport Cursor

cpdef enum FrameType:
    PADDING = 0
    PING = 1
    ACK = 2
    WINDOW = 3
    CONNECT = 4
    ACCEPT = 5
    CLOSE = 6
    PATH_CHALLENGE = 7
    PATH_RESPONSE = 8
    NEW_CONNECTION_ID = 9
    RETIRE_CONNECTION_ID = 10
    TIME = 11
    TIME_REPLY = 12
    KEM = 13
    RESERVED = 64    # to 127: skipped where unknown
    MESSAGE = 128    # to 255, with FRAGMENT: bits of the type say the rest
    FRAGMENT = 160

cpdef enum:
    MAX_ACK_RANGES = 32        # an ack of 32 gaps still leaves room for messages
    MAX_CLOSE_TEXT = 256       # bytes: a sentence for the player
    MAX_SETUP_SIZE = 8192      # bytes of connect data, accept data and a key exchange
    MAX_MESSAGE_SIZE = 8389011  # the largest of protocol 1, so that a game sees no difference
    FRAGMENT_UNIT = 64         # bytes: a bit of the receiver's for each
    PATH_DATA_SIZE = 8
    CONNECTION_ID_SIZE = 8
    RESET_TOKEN_SIZE = 16
    CHANNEL_MASK = 0x0F        # the channels that fit into the type of a message

# Not every type uses every field:
#                        number          total         offset       data
#   ACK                  newest          delay                      the ranges, as they are sent
#   WINDOW               highest number  highest total
#   CONNECT, ACCEPT, KEM                 of the whole  of the piece the piece
#   CLOSE                code                                       the text
#   PATH_...                                                        8 bytes
#   NEW_CONNECTION_ID    sequence                                   the id and its reset token
#   RETIRE_...           sequence
#   TIME                 clock
#   TIME_REPLY           echo            received      sent
#   RESERVED             the type                                   all of it
#   MESSAGE              number                                     the message
#   FRAGMENT             number          of the message of the part the part
cdef struct Frame:
    int64_t number, total, offset
    const unsigned char *data
    Py_ssize_t size
    FrameType type
    uint8_t channel

cdef struct AckRange:
    int64_t newest, oldest  # packet numbers, both included

# A walk over the ranges of an ACK that `take_frame` has checked, from new to old.
cdef struct AckRanges:
    Cursor cursor
    int64_t next     # the newest packet number that the next range can begin with
    int64_t left     # ranges that follow
    bint is_first

cdef bint take_frame(Cursor *cursor, Frame *frame) noexcept nogil
cdef Py_ssize_t frame_size(const Frame *frame, bint is_last) noexcept nogil
cdef unsigned char *put_frame(unsigned char *out, const Frame *frame, bint is_last) noexcept nogil
cdef void begin_ranges(AckRanges *ranges, const Frame *ack) noexcept nogil
cdef bint take_range(AckRanges *ranges, AckRange *range) noexcept nogil
cdef Py_ssize_t put_ranges(
    unsigned char *out, const AckRange *ranges, Py_ssize_t count
) noexcept nogil

cdef inline void begin_frame(Frame *frame, FrameType kind) noexcept nogil:
    frame.type = kind
    frame.channel = 0
    frame.number = frame.total = frame.offset = frame.size = 0
    frame.data = NULL
