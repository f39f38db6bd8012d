"""The access log: who came and went, one line each.

Any client can come and go as often as it likes, and must not fill a disk: each host and IPv6
network has a limited rate of lines, all together have one, and the file has a limited size.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from datetime import datetime, timezone

from mpgameserver.bounds.token_bucket import TokenBucket
from mpgameserver.transport.address import IpAddress, host_groups

__all__ = ["AccessLog"]

MAX_LOG_BYTES = 1 << 30
"""Of the file: some ten million lines. Beyond it lines are omitted until it is moved away."""
HOST_LINES_PER_SECOND = 2.0
"""Of one host, in the long run: a player that comes or goes every half a second."""
HOST_LINES_AT_ONCE = 512
"""Of them, as many as may come together: those of the 256 clients of a host, coming and going."""
LINES_PER_SECOND = 50.0
"""Of all hosts, in the long run: 8,192 players that each stay for five minutes. With lines of up
to 180 bytes that is 0.8 GB a day, whoever comes and goes."""
LINES_AT_ONCE = 16384
"""Of them, as many as may come together: those of 8,192 clients, coming and going."""
MAX_LOG_HOSTS = 8192
"""Hosts and networks whose rate is known, some 0.4 kB each; the one that was heard of least
recently is forgotten, and may write as many lines as a new one."""

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_NOT_FOR_ALL = 0o640  # it tells who plays here, and from where


class AccessLog:
    """Appends lines to a file, each with the time in UTC before it.

    The file is opened for each line, so that it can be moved away at any time. The first line
    after omitted ones says how many there were.

    Raises OSError where the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._rates: OrderedDict[bytes, TokenBucket] = OrderedDict()
        self._rate_of_all = TokenBucket(LINES_PER_SECOND, LINES_AT_ONCE)
        self._untold = 0
        self.left_out: int = 0
        """Lines that were not written, of hosts that had too many or for a file that is full."""
        self._append(b"")

    def write(self, line: str, host: IpAddress, now: float) -> None:
        """Append a line about a host, given without its end, unless a bound forbids it.

        `now` is monotonic. Raises OSError.
        """
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        before = f" ({self._untold} lines before were omitted)" if self._untold else ""
        if self._admits(host, now) and self._append(f"{time} {line}{before}\n".encode()):
            self._untold = 0
        else:
            self._untold += 1
            self.left_out += 1

    def _admits(self, host: IpAddress, now: float) -> bool:
        """True when the host, its networks and all together may have a line more."""
        of_host = (self._rate(group, shares).take(now) for group, shares in host_groups(host))
        return all(of_host) and self._rate_of_all.take(now)

    def _rate(self, group: bytes, shares: int) -> TokenBucket:
        if group not in self._rates:
            if len(self._rates) >= MAX_LOG_HOSTS:
                self._rates.popitem(last=False)
            self._rates[group] = TokenBucket(
                HOST_LINES_PER_SECOND * shares, HOST_LINES_AT_ONCE * shares
            )
        self._rates.move_to_end(group)
        return self._rates[group]

    def _append(self, line: bytes) -> bool:
        """Append a line; False where the file is full."""
        file = os.open(self._path, _APPEND, _NOT_FOR_ALL)
        try:
            if os.fstat(file).st_size + len(line) > MAX_LOG_BYTES:
                return False
            os.write(file, line)
            return True
        finally:
            os.close(file)
