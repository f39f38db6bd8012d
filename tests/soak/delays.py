"""How long messages take: the two measures of delivery that have targets.

- Echoes: KCP's own test. 1,000 messages are sent and come back over a link that loses 10 % of the
  round trips (5 % each way), with round trips of 60 to 125 ms, in ticks of 10 ms. Its fastest mode
  has an average of 138 ms and a maximum of 392 ms there (its README).
- A slow link: 1 Mbit/s, 20 ms one way, and a queue of 100 ms, each way. Twenty messages a second
  are echoed while a message of 5 MB goes through.

The pace at which messages are said is theirs, whatever the link does.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver._core.endpoint import Endpoint
from mpgameserver.netsim import Link, LinkConditions, LinkPair

ECHO_LINK = LinkConditions(loss=0.05, latency=0.04625, jitter=0.01625)
ECHO_TICK = 0.010
ECHOES = 1000
SLOW_LINK = LinkConditions(rate=125_000, queue=0.1, latency=0.02)
FRAME = 1 / 64
BULK_BYTES = 5_000_000
MESSAGES_PER_SECOND = 20
LIMIT = 600.0
"""Virtual seconds: several times what either takes."""
WALL_START = 1_700_000_000.0


@dataclass(frozen=True)
class Delays:
    """What the round trips of one run were, in milliseconds, and how long it took in seconds."""

    average: float
    p99: float
    longest: float
    seconds: float


class EchoPair:
    """A client that says numbered messages, and a server that says them back."""

    def __init__(self, conditions: LinkConditions, seed: int | str, tick: float) -> None:
        aead = AESGCM(bytes(16))
        self.client, self.server = (
            Endpoint(aead, is_server, 0.0, WALL_START) for is_server in (False, True)
        )
        self.client.established = self.server.established = True
        self.link, self.tick, self.now = LinkPair(conditions, seed=seed), tick, 0.0
        self._said: list[float] = []
        self._round_trips: list[float] = []

    @property
    def echoed(self) -> int:
        return len(self._round_trips)

    def play(self, rate: float, most: int | None = None) -> Iterator[None]:
        """Go on tick by tick, with `rate` messages said per second, `most` in all."""
        while self.now < LIMIT:
            self.now += self.tick
            while len(self._said) != most and len(self._said) / rate <= self.now:
                self.client.queue(b"%8d" % len(self._said) + bytes(56))
                self._said.append(self.now)
            self._receive(self.client, self.link.down, self.link.up)
            self._receive(self.server, self.link.up, self.link.down)
            for _, message in self.server.take_messages():
                if len(message) == 64:
                    self.server.queue(message)
            for _, message in self.client.take_messages():
                self._round_trips.append(self.now - self._said[int(message[:8])])
            self._send(self.client, self.link.up)
            self._send(self.server, self.link.down)
            yield
        raise AssertionError(f"not over after {LIMIT} s")

    def _receive(self, endpoint: Endpoint, incoming: Link, outgoing: Link) -> None:
        for datagram in incoming.receive(self.now):
            if endpoint.receive(datagram, self.now) == 0 and endpoint.ack_is_due:
                self._send(endpoint, outgoing)

    def _send(self, endpoint: Endpoint, outgoing: Link) -> None:
        endpoint.advance(self.now)
        while (datagram := endpoint.next_datagram(self.now)) is not None:
            outgoing.send(datagram, self.now)

    def delays(self) -> Delays:
        times = sorted(1000 * seconds for seconds in self._round_trips)
        p99 = times[len(times) * 99 // 100]
        return Delays(statistics.mean(times), p99, times[-1], self.now)


def echoes(rate: float, seed: int | str) -> Delays:
    """KCP's test, with `rate` messages per second."""
    pair = EchoPair(ECHO_LINK, seed, ECHO_TICK)
    for _ in pair.play(rate, ECHOES):
        if pair.echoed == ECHOES:
            break
    return pair.delays()


def slow_link(seed: int | str) -> Delays:
    """Echoes beside the long message, until that has arrived and is acked."""
    pair, over = EchoPair(SLOW_LINK, seed, FRAME), []
    pair.client.queue(bytes(BULK_BYTES), -1, over.append)
    for _ in pair.play(MESSAGES_PER_SECOND):
        for callback, acked in pair.client.take_settled():
            callback(acked)
        if over:
            break
    assert over == [True]
    return pair.delays()


def report(seed: int, seeds: int = 100) -> Iterator[str]:
    """The figures of both, a line each."""
    for rate in (50, 60):
        runs = [echoes(rate, f"{seed} {run}") for run in range(seeds)]
        average = statistics.median(run.average for run in runs)
        longest = statistics.median(run.longest for run in runs)
        yield (
            f"echoes at {rate} Hz, {seeds} seeds: median of the averages {average:.0f} ms, "
            f"of the maxima {longest:.0f} ms"
        )
    slow = slow_link(seed)
    yield (
        f"1 Mbit/s with 5 MB under way: round trip p99 {slow.p99:.0f} ms, average "
        f"{slow.average:.0f} ms, maximum {slow.longest:.0f} ms; {slow.seconds:.1f} s, "
        f"{BULK_BYTES / slow.seconds / 1000:.0f} kB/s"
    )
