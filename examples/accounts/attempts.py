"""A limit on attempts, so that guessing passwords is not just a matter of patience."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

MAX_ATTEMPTS = 10
WINDOW = 60.0
"""Seconds in which one host has so many attempts."""
MAX_HOSTS = 10_000
"""Hosts that are remembered; the one that tried least recently is forgotten."""


class Attempts:
    """Counts the attempts of each host. May be used from any thread."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def allow(self, host: str, now: float) -> bool:
        """True if the host has an attempt left, which it then has had."""
        with self._lock:
            return self._allow(host, now)

    def _allow(self, host: str, now: float) -> bool:
        times = self._times.setdefault(host, deque(maxlen=MAX_ATTEMPTS))
        self._times.move_to_end(host)
        if len(self._times) > MAX_HOSTS:
            self._times.popitem(last=False)
        if len(times) == MAX_ATTEMPTS and now - times[0] < WINDOW:
            return False
        times.append(now)
        return True
