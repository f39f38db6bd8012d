"""Delays of messages: the two measures of delivery that have targets.

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

from support.endpoints import EndpointPair, Outcomes, messages_of

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.netsim import LinkConditions

ECHO_LINK = LinkConditions(loss=0.05, latency=0.04625, jitter=0.01625)
ECHO_TICK = 0.010
ECHOES = 1000
SLOW_LINK = LinkConditions(rate=125_000, queue=0.1, latency=0.02)
BULK_BYTES = 5_000_000
MESSAGES_PER_SECOND = 20
SIZE = 64
"""Bytes of a message; the long one is told by its own."""
LIMIT = 600.0
"""Virtual seconds: several times what either takes."""


@dataclass(frozen=True)
class Delays:
    """The round trips of one run in milliseconds, and its duration in seconds."""

    average: float
    p99: float
    longest: float
    seconds: float


class EchoPair(EndpointPair):
    """A client that says `rate` numbered messages per second, and a server that says them back."""

    def __init__(
        self, conditions: LinkConditions, seed: int | str, rate: float, most: int | None = None
    ) -> None:
        super().__init__(conditions, seed)
        self._rate, self._most = rate, most
        self._said: list[float] = []
        self._round_trips: list[float] = []

    @property
    def echoed(self) -> int:
        return len(self._round_trips)

    def play(self, endpoint: Endpoint1) -> None:
        arrived = [message for message in messages_of(endpoint) if len(message) == SIZE]
        if endpoint is self.server:
            for message in arrived:
                endpoint.send_queue.add(message)
            return
        self._round_trips += [self.now - self._said[int(message[:8])] for message in arrived]
        while len(self._said) != self._most and len(self._said) / self._rate <= self.now:
            endpoint.send_queue.add(b"%8d" % len(self._said) + bytes(SIZE - 8))
            self._said.append(self.now)

    def delays(self) -> Delays:
        times = sorted(1000 * seconds for seconds in self._round_trips)
        p99 = times[len(times) * 99 // 100]
        return Delays(statistics.mean(times), p99, times[-1], self.now)


def echoes(rate: float, seed: int | str) -> Delays:
    """KCP's test, with `rate` messages per second."""
    pair = EchoPair(ECHO_LINK, seed, rate, ECHOES)
    while pair.echoed < ECHOES:
        pair.tick(ECHO_TICK)
        assert pair.now < LIMIT
    return pair.delays()


def slow_link(seed: int | str) -> Delays:
    """Echoes beside the long message, until that has arrived and is acked."""
    pair, outcomes = EchoPair(SLOW_LINK, seed, MESSAGES_PER_SECOND), Outcomes()
    pair.client.send_queue.add(bytes(BULK_BYTES), -1, outcomes.expect("bulk"))
    while not outcomes.collect(pair.client):
        pair.tick()
        assert pair.now < LIMIT
    assert outcomes.calls == {("bulk", True): 1}
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
        f"1 Mbit/s with 5 MB in transfer: round trip p99 {slow.p99:.0f} ms, average "
        f"{slow.average:.0f} ms, maximum {slow.longest:.0f} ms; {slow.seconds:.1f} s, "
        f"{BULK_BYTES / slow.seconds / 1000:.0f} kB/s"
    )
