"""Round trips through an echo server, reported and summed up as by ping(8).

The server must send every message back unchanged, once, as `mpgameserver serve` does. Messages are
sent unreliably, so a loss in either direction shows as a loss.
"""

from __future__ import annotations

import argparse
import logging
import math
import struct
import time
from collections.abc import Callable
from pathlib import Path

from mpgameserver.cli import argtypes
from mpgameserver.cli.connect import FRAME, reach
from mpgameserver.cli.parser import (
    EXIT_FAILED,
    EXIT_OK,
    Commands,
    add_key,
    add_key_log,
    begin_log,
    print_at_once,
)
from mpgameserver.client.udpclient import UdpClient
from mpgameserver.crypto import EllipticCurvePublicKey
from mpgameserver.enums import RetryMode
from mpgameserver.stats import percentile
from mpgameserver.transport.address import format_address
from mpgameserver.transport.poll import wait_readable

__all__ = ["ping", "register", "run"]

INTERVAL = 1.0
"""Seconds from one message to the next."""
PATIENCE = 1.0
"""Seconds to wait for a reply to the last message."""

_MESSAGE = struct.Struct("!I28x")
"""The sequence number, in a message of the size that a game's usually has."""

_DESCRIPTION = f"""\
Measure the round trip to a server that echoes, as `mpgameserver serve` does.

It sends a message of 32 bytes every {INTERVAL:.0f} s, with RetryMode.NONE, and prints the time
from sending to reading for each reply, in milliseconds. At the end it waits {PATIENCE:.0f} s for
replies, and prints the messages sent, received and lost, and the minimum, mean, maximum and 99th
percentile of the times.
"""

_EPILOG = """\
exit codes:
  0    at least one reply arrived
  1    no reply arrived, or the connection failed: no server, another key, ...
  2    invalid command line, or the key cannot be read
  130  interrupted while connecting; later, Ctrl-C ends the measurement

examples:
  mpgameserver ping game.example.org:1474 --key server.pem.pub
  mpgameserver ping [::1]:1474 --count 10
"""


def ping(
    address: tuple[str, int],
    key: EllipticCurvePublicKey | None,
    count: int | None,
    tell: Callable[[str], object],
    key_log: Path | None = None,
) -> bool:
    """Send `count` messages to an echo server; True when any came back.

    `key` is the server's public key, unchecked if None. Without a `count` it goes on until
    KeyboardInterrupt, which then ends it as the count does. `tell` gets each line that a user
    should see. The keys of the session are appended to `key_log`, by default to that of the
    environment. Raises UnreachableError when it cannot connect, and OSError for the key log.
    """
    with UdpClient(key, key_log=key_log) as client:
        reach(client, address)
        checked = "checked" if key else "not checked"
        place = f"{format_address(address)} by protocol {client.protocol}"
        tell(f"connected to {place}, whose key was {checked}")
        trips = _RoundTrips(client, tell)
        try:
            trips.run(math.inf if count is None else count)
        except KeyboardInterrupt:
            tell("")
        if not client.connected():
            tell(f"the connection ended: {client.status().name.lower()}")
        client.waitForDisconnect()
    _tell_summary(trips, tell)
    return bool(trips.times)


class _RoundTrips:
    """Messages to and from an echo server."""

    def __init__(self, client: UdpClient, tell: Callable[[str], object]) -> None:
        self.sent = 0
        self.times: list[float] = []
        """Seconds until each reply."""
        self._client = client
        self._tell = tell
        self._sent_at: dict[int, float] = {}
        """Of the messages without a reply, by sequence number."""

    def run(self, count: float) -> None:
        """Send `count` messages, and wait for the replies while the connection lasts."""
        next_at = time.perf_counter()
        while self._client.connected():
            now = time.perf_counter()
            if now >= next_at:
                if self.sent == count:
                    return
                self._send(now)
                next_at = now + (INTERVAL if self.sent < count else PATIENCE)
            self._client.update()
            self._read()
            if self.sent == count and not self._sent_at:
                return
            if self._client.connected():
                wait_readable(self._client, min(FRAME, max(0.0, next_at - time.perf_counter())))

    def _send(self, now: float) -> None:
        self.sent += 1
        self._sent_at[self.sent] = now
        self._client.send(_MESSAGE.pack(self.sent), RetryMode.NONE)

    def _read(self) -> None:
        now = time.perf_counter()
        for _, message in self._client.getMessages():
            sequence = _MESSAGE.unpack(message)[0] if len(message) == _MESSAGE.size else 0
            sent_at = self._sent_at.pop(sequence, None)
            if sent_at is None:
                self._tell(f"{len(message)} bytes that are not a reply")
                continue
            self.times.append(now - sent_at)
            self._tell(f"{len(message)} bytes: seq={sequence} time={_ms(now - sent_at)} ms")


def _tell_summary(trips: _RoundTrips, tell: Callable[[str], object]) -> None:
    times = trips.times
    lost = 100 * (1 - len(times) / trips.sent) if trips.sent else 0.0
    tell(f"{trips.sent} sent, {len(times)} received, {lost:.1f} % lost")
    if times:
        figures = (min(times), sum(times) / len(times), max(times), percentile(times, 99))
        tell(f"round trip min/avg/max/p99 = {'/'.join(map(_ms, figures))} ms")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "ping",
        help="measure the round trip to an echo server",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    command.add_argument(
        "address",
        metavar="HOST:PORT",
        type=argtypes.address(1),
        help="the server: a name, an IPv4 address or an IPv6 address in brackets, and a port",
    )
    text = "the server's public key (default: trust whoever replies)"
    add_key(command, EllipticCurvePublicKey, text)
    command.add_argument(
        "--count",
        metavar="N",
        type=argtypes.number(int, 1, 2**32 - 1),
        help="number of messages to send (default: until interrupted)",
    )
    add_key_log(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit code."""
    begin_log(logging.ERROR)
    answered = ping(
        arguments.address, arguments.key, arguments.count, print_at_once, arguments.key_log
    )
    return EXIT_OK if answered else EXIT_FAILED
