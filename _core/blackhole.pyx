"""Black-hole detection (RFC 8899 section 4.3): paths that drop large datagrams without a word.

Over IPv4 datagrams leave without the "don't fragment" bit, and a router fragments what its link
does not take. Some paths drop IP fragments, and a path may become one in mid-session: a VPN that
comes up, a mobile network that takes over. Then large datagrams vanish while small ones arrive.

A large packet is compared with the packet sent right after it. If that is smaller and was acked
while the large one was lost, that speaks for a black hole; a large packet that is acked refutes
it. Random loss at a rate p makes such a pair before it lets a large packet through with a
probability of p / (1 + p), which is below one half whatever the rate:

    in a row   p = 10 %   p = 30 %   p = 50 %   any p
          10      4e-11       4e-7       2e-5    1e-3
          40      5e-42      4e-26      8e-20   9e-13

A game may send nothing but large packets: where one was lost and no such pair tells why, an empty
packet leaves behind the next one.

After `LOSSES_OF_A_BLACK_HOLE` in a row packets are kept to `SAFE_DATAGRAM` bytes; by mistake that
costs some more packets and nothing else. They never grow again in the session: protocol 1 has no
message that a receiver ignores, so a probe would have to risk a message of the game's.

A message that has a number keeps its cut, for its receiver may have had it. If it is reliable and
too large for the path, it never arrives. Once `LOSSES_THAT_END` pairs in a row and
`STUCK_TIMEOUT` seconds say so, the session has to end.
"""

__all__ = []

# Seconds: a path that changes (a handover, a route that flaps) often carries large packets again.
cdef double STUCK_TIMEOUT = 10.0


cdef void on_large_acked(PathLimit *path, double now) noexcept:
    """A packet of more than `SAFE_DATAGRAM` bytes was acked."""
    path.losses = 0
    path.since = now


cdef bint on_large_lost(PathLimit *path, bint is_reliable, double now) noexcept:
    """A large packet was lost, and the next one, which is smaller, was acked.

    `is_reliable` says that it carried nothing but a reliable message that is not acked yet. True
    when this shows a black hole for the first time.
    """
    path.losses += 1
    if path.is_narrow:
        path.is_stuck = is_reliable and (
            path.losses >= LOSSES_THAT_END and now >= path.since + STUCK_TIMEOUT
        )
        return False
    path.is_narrow = path.losses >= LOSSES_OF_A_BLACK_HOLE
    path.since = now
    return path.is_narrow
