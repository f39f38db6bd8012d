"""A pytest plugin that takes from Linux what Windows has not, as far as this package meets it.

To be loaded before the package is: `pytest -p support.windows`. It stands for the sockets, the
ways to wait and the clock; the compiled part of it is a build with MPG_NATIVE=0 and MPG_OPENSSL=0.
"""

from __future__ import annotations

import functools
import math
import select
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

CLOCK_STEP = 1 / 64
"""Seconds between two values of `time.monotonic` on Windows, before Python 3.13."""

_monotonic = time.monotonic


def _coarse_monotonic() -> float:
    return math.floor(_monotonic() / CLOCK_STEP) * CLOCK_STEP


def _loopback_pair(*_: Any) -> tuple[socket.socket, socket.socket]:
    """A `socket.socketpair` as on Windows: two ends of a TCP connection."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        near = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        near.connect(listener.getsockname())
        return near, listener.accept()[0]


def _resets_when_refused(method: Callable[..., Any]) -> Callable[..., Any]:
    """Windows tells of an unreachable port as a connection that was reset."""

    @functools.wraps(method)
    def call(*args: Any) -> Any:
        try:
            return method(*args)
        except ConnectionRefusedError as error:
            raise ConnectionResetError(10054, "WSAECONNRESET") from error

    return call


del select.poll, socket.AF_UNIX
selectors.DefaultSelector = selectors.SelectSelector
socket.socketpair = _loopback_pair
for name in ("recv", "recvfrom", "send", "sendto"):
    setattr(socket.socket, name, _resets_when_refused(getattr(socket.socket, name)))
time.monotonic = _coarse_monotonic
