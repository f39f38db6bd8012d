"""The path MTU of one direction of a session of protocol 2 (RFC 8899, DPLPMTUD).

A session begins with datagrams that every path must carry, and searches for the largest that its
own carries. It sends probes, packets of PING and PADDING whose loss says nothing of congestion and
is not repaired: first of the largest size allowed, which most paths carry, then by bisection, to
the byte.

    search ──> rest ── RAISE_INTERVAL ──> search
      ^         └── black hole ── BLACK_HOLE_PAUSE ──> search
      └── another path

A size fails when `MAX_PROBES` probes of it in a row are lost, each while a later packet is acked. A
loss after which nothing is acked shows nothing, for smaller packets do not arrive then either.

Only acks are believed, for an ICMP message can be forged. The exception is the local interface: a
probe that it does not take fails at once.

A path may stop to carry a size. The sign is that large packets are lost while later, smaller ones
are acked, in `LOSSES_OF_A_BLACK_HOLE` rounds in a row: each begins with a packet that was sent when
the loss before was known, for a full queue, too, drops many large packets at once and has room for
a small one. A small packet follows the first large one of each round, and of one after which
nothing at all was acked. After the last round datagrams have the least size again, and what was
lost is cut anew. If a game sends one large packet in a round, and 10 % are lost at random, such a
run follows one in 100,000 large packets, at 30 % one in 400; the search afterwards finds that
nothing has changed.
"""

cimport cython
from libc.math cimport INFINITY

from mpgameserver._core.sent_window cimport SentWindow

__all__ = ["PathMtu"]

# Seconds until a search for more than was found: PMTU_RAISE_TIMER, RFC 8899 section 5.1.1.
cdef double RAISE_INTERVAL = 600.0
# Seconds until a search after a black hole: a path that comes and goes must not do so each second.
cdef double BLACK_HOLE_PAUSE = 60.0

cdef enum:
    MAX_PROBES = 3               # RFC 8899 section 5.1.2
    LOSSES_OF_A_BLACK_HOLE = 5


@cython.final
cdef class PathMtu:
    """The size that the datagrams of one direction may have, in bytes of UDP payload.

    `size` is known to arrive, and never above `own_limit`, what the interface takes, or
    `peer_limit`, what the peer takes. Limits below `LEAST_DATAGRAM` count as that. `probe_at` is
    when the next probe is due, infinity for never, and `probe_number` the packet number of the one
    in flight, or 0.
    """

    def __cinit__(self, Py_ssize_t own_limit=LEAST_DATAGRAM):
        self.size = LEAST_DATAGRAM
        self.own_limit, self.peer_limit = own_limit, MOST_DATAGRAM
        self.probe_at = INFINITY

    cpdef void start(self, double now) noexcept:
        """Search from the beginning: at the start of the session, and on another path."""
        self._is_started = True
        self.size = LEAST_DATAGRAM
        self._losses = 0
        self._search(now)

    cpdef void on_path_changed(self, Py_ssize_t own_limit, double now) noexcept:
        """Begin anew, where the interface takes `own_limit` bytes; without a search before `start`.
        """
        self.own_limit = own_limit
        if self._is_started:
            self.start(now)

    cdef double next_timer(self, SentWindow sent, bint may_probe, double now) noexcept:
        """Return when a probe, or the packet that has to follow one, is due; infinity for never.

        `may_probe`: the send limits allow a packet.
        """
        if self.is_last(sent.newest) or (may_probe and self.is_due(sent, now)):
            return now
        return self.probe_at if may_probe else INFINITY

    # -- the search -------------------------------------------------------------------------------

    cdef void _search(self, double now) noexcept:
        cdef Py_ssize_t most = min(self.own_limit, self.peer_limit)
        self._fails_from = max(most, self.size) + 1
        if most > self.size:
            self._try(most, now)
        else:
            self._rest(INFINITY)

    cdef void _try(self, Py_ssize_t size, double now) noexcept:
        self._candidate = size
        self._failures = 0
        self._first_probe = self.probe_number = 0
        self.probe_at = now

    cdef void _go_on(self, double now) noexcept:
        """Try a size between the largest that arrives and the smallest that does not."""
        if self._fails_from - self.size > 1:
            self._try((self.size + self._fails_from) // 2, now)
        elif self.size < min(self.own_limit, self.peer_limit):
            self._rest(now + RAISE_INTERVAL)
        else:
            self._rest(INFINITY)

    cdef void _rest(self, double until) noexcept:
        self._candidate = self._first_probe = self.probe_number = 0
        self.probe_at = until

    cpdef Py_ssize_t take_probe(self, int64_t number, double now) noexcept:
        """Return the size of the probe that is due, which is sent with this packet number.

        0 if there is nothing to find out.
        """
        if self._candidate == 0:
            self._search(now)
        if self._candidate == 0:
            return 0
        self.probe_at = INFINITY
        self.probe_number = number
        if self._first_probe == 0:
            self._first_probe = number
        return self._candidate

    cpdef bint on_probe_acked(self, int64_t number, double now) noexcept:
        """Use the ack of a probe; return True if `size` has grown.

        It may come after the probe was taken for lost. That of a size which is not tried any more
        is ignored.
        """
        if self._first_probe == 0 or number < self._first_probe:
            return False
        self.size = self._candidate
        self._go_on(now)
        return True

    cpdef void on_probe_lost(self, int64_t number, bint is_shown, double now) noexcept:
        """Use the loss of a probe; `is_shown`: a later packet was acked."""
        if number != self.probe_number:
            return
        self.probe_number = 0
        self.probe_at = now
        self._failures += is_shown
        if self._failures == MAX_PROBES:
            self._fail(now)

    cpdef void on_probe_refused(self, double now) noexcept:
        """Note that the local interface does not take the probe in flight."""
        if self.probe_number:
            self._fail(now)

    cdef void _fail(self, double now) noexcept:
        self._fails_from = self._candidate
        self._go_on(now)

    # -- black holes ------------------------------------------------------------------------------

    cpdef void on_pto(self, int64_t newest) noexcept:
        """Note that nothing was acked for a probe timeout; `newest` is the newest packet sent."""
        self._ask_for_small(newest)

    cpdef bint on_lost(self, SentWindow sent, int64_t number, double now) noexcept:
        """Use the loss of a packet before one that was acked; return True if `size` has shrunk."""
        cdef uint8_t size_class
        if sent is None or not sent.remembers(number) or number <= self._refuted:
            return False
        size_class = sent.packet(number).size_class
        if size_class == 0 or self.size == LEAST_DATAGRAM:
            return False
        if self._losses == 0 or not sent.remembers(self._run_start):
            self._losses = 0
            self._run_start = number
            self._run_class = size_class
        self._run_class = min(self._run_class, size_class)
        self._refuted = sent.newest_acked_of(self._run_class, self._run_start)
        if self._refuted:
            self._losses = 0
            return False
        if self._losses and number <= self._round_end:
            return False
        self._round_end = sent.newest
        self._losses += 1
        if self._losses < LOSSES_OF_A_BLACK_HOLE:
            self._ask_for_small(sent.newest)
            return False
        self._losses = 0
        self.size = LEAST_DATAGRAM
        self._rest(now + BLACK_HOLE_PAUSE)
        return True

    cdef void _ask_for_small(self, int64_t newest) noexcept:
        """Have a small packet follow the next large one, to show what became of that."""
        if self.size > LEAST_DATAGRAM and self.small_after == 0:
            self.small_after = newest
