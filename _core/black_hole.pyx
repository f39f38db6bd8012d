"""Black-hole detection (RFC 8899 section 4.3): paths that drop large datagrams without a word.

Over IPv4 datagrams leave without the "don't fragment" bit, and a router fragments what its link
does not take. Some paths drop IP fragments, and a path may become one in mid-session: a VPN that
comes up, a mobile network that takes over. Then large datagrams vanish while small ones arrive.

There are three sizes: large is what an MTU of 1,280 does not carry, medium what one of 576 does
not. A packet of either is compared with the packet sent right after it. If that is of a smaller
size and was acked while the first was lost, that speaks for a black hole; a packet of that size or
a larger one that is acked refutes it. Random loss at a rate p makes such a pair before it lets a
large packet through with a probability of p / (1 + p), which is below one half whatever the rate:

    in a row   p = 10 %   p = 30 %   p = 50 %   any p
          10      4e-11       4e-7       2e-5    1e-3
          40      5e-42      4e-26      8e-20   9e-13

The smaller packet must carry a message of the game's. A receiver whose game reads nothing acks
none of those, whatever their size, but keep-alives and pings.

A game may send nothing but large packets: where some were lost and no such pair tells why, a probe
leaves behind the next one. It is an empty message with the number of one that has arrived, so that
the receiver acks it and drops it as a repetition.

After `LOSSES_OF_A_BLACK_HOLE` in a row packets are kept to `SAFE_DATAGRAM` bytes, or to
`LEAST_DATAGRAM` if medium ones vanish; by mistake that costs some more packets and nothing else.
They never grow again in the session: a probe of a larger size would have to carry a message of the
game's.

A message that has a number keeps its cut, for its receiver may have had it. If it is reliable and
too large for the path, it never arrives. Once `LOSSES_THAT_END` pairs in a row and
`STUCK_TIMEOUT` seconds say so, the session has to end.
"""

__all__ = []

# Seconds: a path that changes (a handover, a route that flaps) often carries large packets again.
cdef double STUCK_TIMEOUT = 10.0


cdef void on_acked(PathLimit *path, SizeClass size, double now) noexcept:
    """A packet that is not small was acked."""
    cdef int each
    path.unexplained = 0
    for each in range(MEDIUM, size + 1):
        path.losses[each] = 0
        path.since[each] = now


cdef bint on_lost(PathLimit *path, SizeClass size, bint is_reliable, double now) noexcept:
    """A packet that is not small was lost, and the next one, of a smaller size, was acked.

    `is_reliable` says that it carried nothing but a reliable message that is not acked yet. True
    when this shows for the first time that the path drops packets of that size.
    """
    cdef int each
    path.losses[<int>size] += 1
    if size >= path.unsafe:
        path.is_stuck |= is_reliable and (
            path.losses[<int>size] >= LOSSES_THAT_END
            and now >= path.since[<int>size] + STUCK_TIMEOUT
        )
        return False
    if path.losses[<int>size] < LOSSES_OF_A_BLACK_HOLE:
        return False
    for each in range(<int>size, <int>path.unsafe):
        path.since[each] = now
    path.unsafe = size
    return True


cdef void on_unexplained_loss(PathLimit *path) noexcept:
    """A packet that is not small was lost, and nothing tells why."""
    path.unexplained += 1
    path.wants_small = path.unexplained >= LOSSES_BEFORE_A_PROBE
