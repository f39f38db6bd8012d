# Limits on the bytes that sessions hold together, and each session's share of them.

cpdef enum:
    # Bytes that a session may always hold: a second of a busy game's messages. For 8,192 sessions
    # that is 128 MiB.
    GUARANTEED = 16 * 1024
    # Overhead in bytes charged for each message or fragment, so that empty ones are bounded, too.
    ITEM_COST = 128

cdef struct Account:
    Py_ssize_t limit, held    # bytes
    Account *wider            # an account in which the bytes count, too, or NULL

cdef class Budget:
    cdef Account _account
    cdef Budget _wider        # keeps the account alive that ours points to

cdef class Share:
    cdef readonly Py_ssize_t held   # bytes charged to one session
    cdef Py_ssize_t _guaranteed
    cdef Account *_account    # the narrowest; NULL: no bounds
    cdef Budget _budget       # keeps that alive

    cdef inline void charge(self, Py_ssize_t size) noexcept:
        cdef Account *account = self._account
        self.held += size
        while account is not NULL:
            account.held += size
            account = account.wider

    cdef inline bint has_room(self, Py_ssize_t size) noexcept:
        cdef Account *account = self._account
        if self.held + size <= self._guaranteed:
            return True
        while account is not NULL:
            if account.held + size > account.limit:
                return False
            account = account.wider
        return True
