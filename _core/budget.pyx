"""Limits on the bytes that sessions hold together: per host, per network, and in all.

A session is charged through its `Share` to the narrowest `Budget` that it joined, and to each wider
one. If any of them is used up, a session still gets what it is guaranteed, so the sessions that
hold the most are the ones refused.
"""

cimport cython

__all__ = ["Budget", "Share"]

# Bytes in one call from Python, so that no sum of charges overflows.
cdef Py_ssize_t MOST = <Py_ssize_t>1 << (8 * sizeof(Py_ssize_t) - 16)


cdef int _check(Py_ssize_t size) except -1:
    if not -MOST <= size <= MOST:
        raise ValueError(f"size must be at most {MOST}, not {size}")
    return 0


# The garbage collector does not clear these objects, so the accounts that `wider` points to live as
# long as what points to them. Their references cannot form a cycle.

@cython.final
@cython.no_gc
cdef class Budget:
    """A limit of `limit` bytes, of which `held` are in use; they also count in a wider budget."""

    def __cinit__(self, Py_ssize_t limit, Budget wider=None):
        self._account.limit = limit
        self._account.wider = NULL if wider is None else &wider._account
        self._wider = wider

    @property
    def limit(self):
        return self._account.limit

    @limit.setter
    def limit(self, Py_ssize_t limit):
        self._account.limit = limit

    @property
    def held(self):
        return self._account.held


@cython.final
@cython.no_gc
cdef class Share:
    """The bytes that one session holds; unlimited until it joins a budget.

    `charge` and `has_room` are inline for the compiled modules, which pass sizes of real objects;
    `add` and `admits` do the same for Python, and check their argument.
    """

    def __cinit__(self, Py_ssize_t guaranteed=0):
        self._guaranteed = guaranteed

    def join(self, Budget budget not None):
        """Count in a budget, and in its wider ones, from now on."""
        held = self.held
        self.charge(-held)
        self._budget, self._account = budget, &budget._account
        self.charge(held)

    def admits(self, Py_ssize_t size):
        """Return True if `size` more bytes can be held."""
        _check(size)
        return self.has_room(size)

    def add(self, Py_ssize_t size):
        """Charge `size` bytes, or give them back if it is negative."""
        _check(size)
        self.charge(size)
