"""Bytes that many sessions hold together, of each kind: in all, and of one host.

A session is charged through its `Share`. Where the budget of its host or that of all is used up,
a session still gets what it is guaranteed: so those who hold the most are those who are refused.
"""

__all__ = ["Budget", "Share"]

# Bytes that a session may hold whatever the others do: a second of a busy game's messages. Of
# 8,192 sessions it is 128 MiB.
GUARANTEED = 16 * 1024


cdef class Budget:
    """At most `limit` bytes, of which `held` are taken."""

    def __cinit__(self, Py_ssize_t limit):
        self.limit = limit


cdef class Share:
    """What one session holds; without bounds of its own until it joins budgets."""

    def __cinit__(self, Py_ssize_t guaranteed=0):
        self._guaranteed = guaranteed

    def join(self, Budget host not None, Budget whole not None):
        """Be a part of the budget of a host and of that of all sessions from here on."""
        held = self.held
        self.charge(-held)
        self._host, self._whole = host, whole
        self.charge(held)

    def admits(self, Py_ssize_t size):
        """True when so many bytes more can be held."""
        return self.has_room(size)

    def add(self, Py_ssize_t size):
        """Charge so many bytes; give them back, when below 0."""
        self.charge(size)
