"""The silence, or the errors, after which a client of protocol 2 tries another socket.

A socket may have a local address that is gone: the phone has left the Wi-Fi. The system may say so
when something is sent. Often it says nothing, and what is sent vanishes. The session does not
depend on the address, so another socket goes on where this one has stopped; a server that is merely
silent takes notice of it and no more.
"""

from __future__ import annotations

import errno

__all__ = ["Silence"]

FIRST_SILENCE = 1.0
"""Seconds: ten keep-alives, of which a link that loses a third of them delivers none once in 60,000
times. Each further socket waits twice as long, so that a dead server costs two or three."""


ERROR_INTERVAL = 0.1
"""Seconds between two sockets that are opened because of errors: the other network may not be there
yet."""
_ADDRESS_IS_GONE = {
    errno.EADDRNOTAVAIL,
    errno.EINVAL,  # Linux, if another network has the route
    errno.ENETDOWN,
    errno.ENETUNREACH,
}


class Silence:
    """Tells when to open another socket."""

    def __init__(self) -> None:
        self._enough = FIRST_SILENCE
        self._next_for_error = float("-inf")

    def is_cut_off(self, error: int, now: float) -> bool:
        """Return True, at a limited rate, if an error of sending says that the address is gone."""
        if error not in _ADDRESS_IS_GONE or now < self._next_for_error:
            return False
        self._next_for_error = now + ERROR_INTERVAL
        return True

    def is_long(self, seconds: float) -> bool:
        """Return True, once for each time, if the server has been silent for too long."""
        if seconds < FIRST_SILENCE:
            self._enough = FIRST_SILENCE
        if seconds < self._enough:
            return False
        self._enough *= 2
        return True
