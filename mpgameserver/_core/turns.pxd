# Taking turns by bytes: start-time fair queueing (Goyal, Vin and Cheng, 1996).

from libc.stdint cimport INT64_MAX, int64_t, uint32_t

cdef enum:
    # The kinds that take turns. Messages of one kind are sent in order.
    RETRANSMITTED = 0      # small reliable messages whose packet was lost
    NEW = 1        # messages that were never sent
    REPEATED = 2   # best-effort messages that were sent
    FRAGMENTS = 3  # new and lost ones, so that the losses of a file delay no message
    KINDS = 4

cdef struct Turns:
    int64_t now           # bytes that a kind is credited with when it becomes active
    int64_t sent[KINDS]   # bytes that each kind has sent


cdef inline int64_t turn_of(const Turns *turns, int kind) noexcept:
    # A kind that was idle has saved up no credit.
    return max(turns.sent[kind], turns.now)


cdef inline int whose_turn(const Turns *turns, uint32_t kinds) noexcept:
    # The kind that has sent the fewest bytes, of those whose bits are set.
    cdef int kind, first = 0
    cdef int64_t least = INT64_MAX
    if kinds == 1 << NEW:  # nearly always
        return NEW
    for kind in range(KINDS):
        if kinds >> kind & 1 and turn_of(turns, kind) < least:
            first, least = kind, turn_of(turns, kind)
    return first


cdef inline void take_turn(Turns *turns, int kind, uint32_t size, bint is_first) noexcept:
    # Count bytes of a kind. The first message of a packet is of the kind whose turn it is.
    cdef int64_t start = turn_of(turns, kind)
    if is_first:
        turns.now = start
    turns.sent[kind] = start + size
