"""The silence after which a client of protocol 2 tries another socket.

A socket may have a local address that is gone: the phone has left the Wi-Fi. Often the system says
nothing, and what is sent vanishes. The session does not depend on the address, so another socket
goes on where this one has stopped; a server that is merely silent takes notice of it and no more.
"""

from __future__ import annotations

__all__ = ["Silence"]

FIRST_SILENCE = 1.0
"""Seconds: ten keep-alives, of which a link that loses a third of them delivers none once in 60,000
times. Each further socket waits twice as long, so that a dead server costs two or three."""


class Silence:
    """Tells when to open another socket."""

    def __init__(self) -> None:
        self._enough = FIRST_SILENCE

    def is_long(self, seconds: float) -> bool:
        """Return True, once for each time, if the server has been silent for too long."""
        if seconds < FIRST_SILENCE:
            self._enough = FIRST_SILENCE
        if seconds < self._enough:
            return False
        self._enough *= 2
        return True
