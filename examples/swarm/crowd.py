"""All bots in one process: one selector waits for their sockets, a heap for what is due."""

from __future__ import annotations

import heapq
import selectors
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from mpgameserver import EllipticCurvePublicKey, UdpClient
from swarm.bot import Bot, Tally
from swarm.measuring import Step, percentile
from swarm.script import Script

AT_A_TIME = 32
"""Bots that connect at the same time: fewer than a server lets one host have in progress."""
SOCKETS_PER_ATTEMPT = 2
"""Sockets that a client may have open while it connects to one address."""
MIN_DELAY = 0.0005
"""Seconds from a turn to the next: a socket that takes no more must not keep the loop spinning."""
PATIENCE = 1.0
"""Seconds that answers are waited for behind the last ask."""


@dataclass
class _Seat:
    """The loop's record of a bot."""

    bot: Bot
    planned: float = float("inf")
    """Time of its next turn."""
    watched: set[int] = field(default_factory=set)
    """The descriptors that are waited for."""


def _is_decided(seats: Iterable[_Seat]) -> bool:
    """Each of them is connected, or has failed to."""
    return all(seat.bot.client.connected() or seat.bot.is_gone for seat in seats)


class Crowd:
    """The bots of one server; a context manager that disconnects them all."""

    def __init__(
        self,
        server: tuple[str, int],
        key: EllipticCurvePublicKey,
        script: Callable[[int], Script],
    ) -> None:
        self._server = server
        self._key = key
        self._script = script
        self._tally = Tally()
        self._seats: list[_Seat] = []
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, _Seat]] = []
        self._order = count()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self._seats:
            self._watch(seat, set())
            seat.bot.client.forceDisconnect()
        self._selector.close()

    def __len__(self) -> int:
        return len(self._seats)

    def grow(self, bots: int) -> None:
        """Connect more bots, until there are so many, or one of them cannot."""
        while len(self) < bots and not self._gone():
            batch = [self._enter() for _ in range(min(AT_A_TIME, bots - len(self)))]
            self._run(partial(_is_decided, batch))

    def play(self, seconds: float) -> Step:
        """Let all bots ask for some time, and measure."""
        began, cpu = time.monotonic(), time.process_time()
        self._tally.asked = 0
        self._tally.delays.clear()
        self._tally.lateness.clear()
        for number, seat in enumerate(self._seats):  # spread over the interval
            seat.bot.play(began + seat.bot.script.interval * number / len(self))
            self._plan(seat)
        self._run(lambda: False, until=began + seconds)
        took, busy = time.monotonic() - began, time.process_time() - cpu
        for seat in self._seats:
            seat.bot.rest()
        self._run(lambda: not self._outstanding(), until=time.monotonic() + PATIENCE)
        return self._step(took, busy / took)

    def _step(self, took: float, busy: float) -> Step:
        tally = self._tally
        return Step(
            bots=len(self),
            unconnected=self._gone(),
            asks_per_second=tally.asked / took,
            median=percentile(tally.delays, 0.5),
            p99=percentile(tally.delays, 0.99),
            asked=tally.asked,
            lost=self._outstanding(),
            late=percentile(tally.lateness, 0.99) if tally.lateness else 0.0,
            busy=busy,
        )

    def _gone(self) -> int:
        return sum(seat.bot.is_gone for seat in self._seats)

    def _outstanding(self) -> int:
        return sum(seat.bot.outstanding for seat in self._seats)

    def _enter(self) -> _Seat:
        client = UdpClient(self._key)
        client.connect(self._server)
        seat = _Seat(Bot(client, self._script(len(self)), self._tally))
        self._seats.append(seat)
        self._turn(seat)
        return seat

    def _run(self, is_over: Callable[[], bool], until: float = float("inf")) -> None:
        """Give the bots their turns until something holds, or a time has come."""
        while not is_over() and (now := time.monotonic()) < until:
            due = min(self._due[0][0] if self._due else until, until)
            for key, _ in self._selector.select(max(due - now, 0.0)):
                self._turn(key.data)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                due, _, seat = heapq.heappop(self._due)
                if due == seat.planned:
                    seat.planned = float("inf")
                    self._turn(seat)  # plans no other before `now`

    def _turn(self, seat: _Seat) -> None:
        now = time.monotonic()  # of each turn: asks that wait for those of other bots are late
        seat.bot.turn(now)
        self._watch(seat, set(seat.bot.client.filenos()))
        self._plan(seat, now + MIN_DELAY)

    def _plan(self, seat: _Seat, earliest: float = 0.0) -> None:
        """Have a turn no later than it is due; one that comes early harms nothing."""
        due = max(seat.bot.due, earliest)
        if due < seat.planned:
            seat.planned = due
            heapq.heappush(self._due, (due, next(self._order), seat))

    def _watch(self, seat: _Seat, wanted: set[int]) -> None:
        if wanted == seat.watched:
            return
        for descriptor in seat.watched - wanted:
            self._selector.unregister(descriptor)
        for descriptor in wanted - seat.watched:
            self._selector.register(descriptor, selectors.EVENT_READ, seat)
        seat.watched = wanted
