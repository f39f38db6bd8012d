"""The access log: one line for each client that connects or disconnects.

A client can connect as often as it likes and must not fill a disk. The rate of lines is therefore
limited for each host, for each IPv6 network and for all together, and so is the size of the file.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from datetime import datetime, timezone

from mpgameserver.bounds.token_bucket import TokenBucket
from mpgameserver.transport.address import IpAddress, host_groups

__all__ = ["AccessLog"]

MAX_LOG_BYTES = 1 << 30
"""The size of the file: some ten million lines. Further ones are omitted until it is moved."""
HOST_LINES_PER_SECOND = 2.0
"""Sustained rate of one host: a player that connects or leaves every half a second."""
HOST_LINES_AT_ONCE = 512
"""The burst of that rate: the 256 clients of a host, connecting and leaving."""
LINES_PER_SECOND = 50.0
"""Sustained rate of all hosts: 8,192 players that each stay for five minutes. With lines of up to
180 bytes that is at most 0.8 GB a day."""
LINES_AT_ONCE = 16384
"""The burst of that rate: 8,192 clients, connecting and leaving."""
MAX_LOG_HOSTS = 8192
"""Hosts and networks whose rate is tracked, some 0.4 kB each. The least recently used one is
forgotten, and then has the burst of a new one."""

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_NOT_FOR_ALL = 0o640  # it records who plays here, and from where


class AccessLog:
    """Appends lines to a file, each with the time in UTC.

    The file is opened for each line, so that it can be rotated at any time. The first line after
    omitted ones says how many there were.

    Raises OSError if the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._rates: OrderedDict[bytes, TokenBucket] = OrderedDict()
        self._rate_of_all = TokenBucket(LINES_PER_SECOND, LINES_AT_ONCE)
        self._untold = 0
        self.left_out: int = 0
        """Lines omitted because of a rate or because the file is full."""
        self._append(b"")

    def write(self, line: str, host: IpAddress, now: float) -> None:
        """Append a line about a host, given without its newline, unless a limit forbids it.

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
        """Return True if the host, its networks and all hosts are within their rates."""
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
        """Append a line; return False if the file is full."""
        file = os.open(self._path, _APPEND, _NOT_FOR_ALL)
        try:
            if os.fstat(file).st_size + len(line) > MAX_LOG_BYTES:
                return False
            os.write(file, line)
            return True
        finally:
            os.close(file)
