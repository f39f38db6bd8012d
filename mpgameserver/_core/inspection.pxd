# A packet of protocol 2 that has opened, as the walk over its frames has found it.
from libc.stdint cimport uint64_t
from libc.string cimport memset

from mpgameserver._core.drop_reason cimport ACCEPTED, DropReason
from mpgameserver._core.frames cimport Frame

cdef enum:
    SKIP_WORDS = 8
    MAX_SKIPPED_FRAMES = SKIP_WORDS * 64   # what is behind them is skipped if anything is
    KEPT_FRAMES = 16                       # those behind them are read a second time

cdef struct Inspection:
    int demand                  # of its frames, for the ACK schedule
    DropReason lacks            # the room that there is none of; ACCEPTED: there is room
    bint is_early               # a client has to keep it until it is accepted
    int frames, repeated        # inspected so far; messages that were received before
    Frame kept[KEPT_FRAMES]     # the first
    const unsigned char *rest   # where those behind them begin
    uint64_t skipped[SKIP_WORDS]    # if `lacks`; bit n: there is no room for what is in frame n

cdef inline void begin_inspection(Inspection *found) noexcept:
    found.demand = found.frames = found.repeated = 0
    found.lacks = ACCEPTED
    found.is_early = False

cdef inline void skip_frame(Inspection *found, DropReason reason) noexcept:
    # Note that there is no room for the frame under inspection.
    if found.lacks == ACCEPTED:
        found.lacks = reason
        memset(found.skipped, 0, sizeof(found.skipped))
    if found.frames < MAX_SKIPPED_FRAMES:
        found.skipped[found.frames // 64] |= <uint64_t>1 << (found.frames % 64)

cdef inline bint is_skipped(const Inspection *found, int frame) noexcept:
    if found.lacks == ACCEPTED:
        return False
    return frame >= MAX_SKIPPED_FRAMES or found.skipped[frame // 64] >> (frame % 64) & 1
