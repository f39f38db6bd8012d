"""Black-hole detection (RFC 8899 section 4.3): paths that silently drop large datagrams.

Over IPv4, datagrams are sent without the "don't fragment" bit, and routers fragment what a link
does not carry. Some paths drop IP fragments, and a path may start to in mid-session: a VPN comes
up, or a mobile network takes over. Then large datagrams vanish while small ones arrive.

There are three sizes: large datagrams exceed an MTU of 1,280, medium ones an MTU of 576. A packet
of either size is compared with the packet sent right after it. If the next one is smaller and was
acked while the first was lost, this is evidence of a black hole; an ack of a packet of that size
or larger refutes it. With random loss at a rate p, such a pair occurs before a large packet gets
through with a probability of p / (1 + p), which is below one half at any rate:

    in a row   p = 10 %   p = 30 %   p = 50 %   any p
          10      4e-11       4e-7       2e-5    1e-3
          40      5e-42      4e-26      8e-20   9e-13

The smaller packet must carry an application message. A receiver whose game reads nothing acks
none of those, whatever their size, but does ack keep-alives and pings.

A game may send nothing but large packets. If some were lost without such a pair, a probe follows
the next one: an empty message with the number of an acked one, which the receiver acks and drops as
a duplicate.

After `LOSSES_OF_A_BLACK_HOLE` in a row, packets are limited to `SAFE_DATAGRAM` bytes, or to
`LEAST_DATAGRAM` if medium ones vanish; a false positive costs only a few more packets. They never
grow again in the session, because a larger probe would have to carry an application message.

A message that has a number keeps its fragmentation, because its receiver may already have it. If it
is reliable and too large for the path, it never arrives. After `LOSSES_THAT_END` pairs in a row and
`STUCK_TIMEOUT` seconds, the session has to end.
"""

__all__ = []

# Seconds: after a handover or a route flap, a path often carries large packets again.
cdef double STUCK_TIMEOUT = 10.0


cdef void on_acked(PathLimit *path, SizeClass size, double now) noexcept:
    """Handle the ack of a packet that is not small."""
    cdef int each
    path.unexplained = 0
    for each in range(MEDIUM, size + 1):
        path.losses[each] = 0
        path.since[each] = now


cdef bint on_lost(PathLimit *path, SizeClass size, bint is_reliable, double now) noexcept:
    """Handle the loss of a packet that is not small, when the next, smaller one was acked.

    `is_reliable`: it carried nothing but an unacked reliable message. Returns True when this is the
    detection of a path that drops packets of that size.
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
    """Handle the loss of a packet that is not small, without a smaller one to compare with."""
    path.unexplained += 1
    path.wants_small = path.unexplained >= LOSSES_BEFORE_A_PROBE
