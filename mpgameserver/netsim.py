"""A bad network link in memory, reproducible from a seed: test a game on it.

Theory of operation. A `Link` is one direction of a path. Datagrams go in with `send`, and
come out of `receive` once their time has come. Time is an argument, in seconds, so a test
runs on a virtual clock as fast as the machine allows; there is no socket, thread or clock
in this module (`mpgameserver.udpproxy` puts links between real sockets).

>>> link = Link(LinkConditions(loss=0.25, latency=0.05), seed=7)
>>> for number in range(6):
...     link.send(b"position %d" % number, now=number / 60)
>>> link.next_arrival()
0.05
>>> link.receive(now=0.08)
[b'position 0', b'position 1']
>>> link.stats.lost, link.in_flight
(1, 3)

On its way a datagram meets, in this order: the size limit, blackouts, the rate limit with its
queue, uniform loss, burst loss; what survives is delayed, perhaps held back (reordered),
perhaps damaged, and perhaps joined by a duplicate of itself or the replay of an older
datagram. What is lost behind the rate limit has still used it, as on a radio link.

Every effect draws from a random stream of its own, which is seeded with the seed and the
effect's name, and draws equally often for every datagram sent, whatever happens to it. So two
links with one seed are identical, changing one condition leaves the others' decisions
where they were, and a datagram lost at 5 % is also lost at 10 %.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import astuple, dataclass, replace
from typing import NamedTuple

__all__ = ["Blackout", "BurstLoss", "Link", "LinkConditions", "LinkPair", "LinkStats"]

MAX_DATAGRAM = 65_527
"""Bytes: the largest payload that UDP can carry (over IPv6; RFC 768 and RFC 8200)."""

MAX_IN_FLIGHT = 65_536
"""Datagrams in flight on one link. A receiver that stopped reading must not fill the memory;
6,000 datagrams a second over a delay of 10 s fit."""

MAX_IN_FLIGHT_BYTES = 16 * 1024 * 1024
"""Bytes in flight on one link, for the same reason: 2 MB/s over a delay of 8 s fit."""

MAX_RECORDED = 512
"""Datagrams kept for replay in one link: 0.75 MB of the usual size, 32 MB at the very most."""


@dataclass(frozen=True, slots=True)
class BurstLoss:
    """Loss that comes in bursts: the two-state model of Gilbert and Elliott.

    The link is good or bad, and good at first. In the good state it loses nothing (the
    uniform `LinkConditions.loss` is there for that), in the bad state the fraction `loss`.
    After each datagram it may change over. All three are fractions from 0.0 to 1.0, and
    `leave` is not 0.

    Source: E. N. Gilbert, Bell System Technical Journal 39 (1960); E. O. Elliott, ibid. 42
    (1963). In Elliott's letters: p = `enter`, r = `leave`, h = 1 - `loss`, k = 1.
    """

    enter: float
    """The chance, after each datagram in the good state, of going bad."""
    leave: float
    """The chance, after each datagram in the bad state, of going good again."""
    loss: float = 1.0
    """The fraction of the datagrams that the bad state loses."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value outside 0...1, TypeError for anything but a number."""
        _require_fraction("enter", self.enter)
        _require_fraction("leave", self.leave)
        _require_fraction("loss", self.loss)
        if self.leave == 0.0:
            raise ValueError("leave must be more than 0.0: a burst that never ends is a Blackout")

    @classmethod
    def from_mean(cls, fraction: float, length: float) -> BurstLoss:
        """The model that loses `fraction` of all datagrams in bursts of `length` on average.

        `length` counts datagrams and is at least 1. The long bursts need room between them:
        `fraction` is at most length / (length + 1). ValueError otherwise.
        """
        _require_fraction("fraction", fraction)
        if not (math.isfinite(length) and length >= 1.0):
            raise ValueError(f"length must be at least 1 datagram, not {length!r}")
        if fraction > length / (length + 1.0):
            raise ValueError(
                f"bursts of {length!r} datagrams on average lose at most the fraction "
                f"{length / (length + 1.0):.4f}, not {fraction!r}"
            )
        enter = fraction / (1.0 - fraction) / length
        return cls(enter=min(1.0, enter), leave=1.0 / length)

    @property
    def mean_loss(self) -> float:
        """The fraction of all datagrams that is lost on average."""
        return self.loss * self.enter / (self.enter + self.leave)

    @property
    def mean_length(self) -> float:
        """Mean number of datagrams in a burst."""
        return 1.0 / self.leave


@dataclass(frozen=True, slots=True)
class Blackout:
    """A period in which everything that is sent is lost; datagrams in flight still arrive."""

    start: float
    """Seconds, on the clock that the link's `now` is read from."""
    length: float
    """Seconds; `math.inf` for a link that never comes back."""

    def __post_init__(self) -> None:
        """Raise ValueError for times that make no sense, TypeError for anything but a number."""
        _require_number("start", self.start)
        if not math.isfinite(self.start):
            raise ValueError(f"start must be a finite number of seconds, not {self.start!r}")
        _require_number("length", self.length)
        if not self.length >= 0.0:
            raise ValueError(f"length must be 0 seconds or more, not {self.length!r}")

    def covers(self, now: float) -> bool:
        """Return True if a datagram sent at `now` is lost: from the start on, to before the end."""
        return self.start <= now < self.start + self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConditions:
    """Conditions of one direction of a link; the default changes nothing.

    Fractions are of the datagrams of this direction, from 0.0 to 1.0 (0.05 is 5 %). Times are
    seconds, sizes are bytes of UDP payload.

    Raises:
        TypeError: a field has another type.
        ValueError: a value is out of range; the message names the field.
    """

    loss: float = 0.0
    """The fraction lost, each datagram by itself."""
    burst_loss: BurstLoss | None = None
    """Loss in bursts, in addition to `loss`."""
    duplicate: float = 0.0
    """The fraction that arrives twice. The second copy has a delay of its own."""
    latency: float = 0.0
    """Seconds from sending to arrival, one way."""
    jitter: float = 0.0
    """Seconds: each delay is drawn evenly from latency ± jitter, and is never below 0. Each
    datagram has its own, so they overtake each other when jitter exceeds their spacing."""
    reorder: float = 0.0
    """The fraction held back by `reorder_delay`, so that those sent later overtake them."""
    reorder_delay: float = 0.0
    """Seconds, in addition to latency and jitter; needed with `reorder`."""
    rate: float | None = None
    """Bytes per second that the link carries; None: as fast as anyone sends."""
    queue: float = 0.1
    """Seconds that a datagram waits at most for its turn under `rate`. One that would have to
    wait longer is lost (tail drop), so the queue holds about rate * queue bytes."""
    blackouts: tuple[Blackout, ...] = ()
    """Periods in which everything is lost."""
    corrupt: float = 0.0
    """The fraction that arrives with one bit flipped."""
    truncate: float = 0.0
    """The fraction that arrives cut short, to any length below its own."""
    replay: float = 0.0
    """The fraction that is accompanied by an older datagram, as it was sent. At most
    `MAX_RECORDED` are remembered: an even sample of all that ever passed, the oldest as likely
    as the newest."""
    max_datagram: int | None = None
    """Bytes: larger datagrams are lost (a path MTU less the IP and UDP headers)."""

    def __post_init__(self) -> None:
        """Raise ValueError or TypeError that names the field and says what was expected."""
        for name in ("loss", "duplicate", "reorder", "corrupt", "truncate", "replay"):
            _require_fraction(name, getattr(self, name))
        for name in ("latency", "jitter", "reorder_delay", "queue"):
            _require_seconds(name, getattr(self, name))
        if self.reorder > 0.0 and self.reorder_delay == 0.0:
            raise ValueError("reorder needs a reorder_delay of more than 0 seconds")
        if self.rate is not None:
            _require_number("rate", self.rate)
            if not self.rate > 0.0:
                raise ValueError(f"rate must be more than 0 bytes per second, not {self.rate!r}")
        if self.max_datagram is not None:
            _require_number("max_datagram", self.max_datagram)
            if self.max_datagram < 0:
                raise ValueError(f"max_datagram must be 0 bytes or more, not {self.max_datagram}")
        if self.burst_loss is not None and not isinstance(self.burst_loss, BurstLoss):
            raise TypeError(f"burst_loss must be a BurstLoss or None, not {self.burst_loss!r}")
        if not isinstance(self.blackouts, tuple) or not all(
            isinstance(blackout, Blackout) for blackout in self.blackouts
        ):
            raise TypeError(f"blackouts must be a tuple of Blackout, not {self.blackouts!r}")


@dataclass(slots=True)
class LinkStats:
    """Statistics of a link so far: datagrams, unless the name says bytes.

    At any time sent + duplicated + replayed = delivered + lost + those in flight.
    """

    sent: int = 0
    """Given to `send`."""
    sent_bytes: int = 0
    """The bytes of those."""
    delivered: int = 0
    """Returned by `receive`, duplicates and replays among them."""
    delivered_bytes: int = 0
    """The bytes of those."""
    lost_random: int = 0
    """Lost by `loss`."""
    lost_burst: int = 0
    """Lost by `burst_loss`."""
    lost_blackout: int = 0
    """Sent during a blackout."""
    lost_queue: int = 0
    """Sent while the queue of the rate limit was full."""
    lost_too_large: int = 0
    """Larger than `max_datagram`."""
    lost_cap: int = 0
    """Dropped because `MAX_IN_FLIGHT` or `MAX_IN_FLIGHT_BYTES` was reached."""
    duplicated: int = 0
    """Second copies made."""
    reordered: int = 0
    """Held back by `reorder`."""
    corrupted: int = 0
    """Let through with a bit flipped."""
    truncated: int = 0
    """Let through cut short."""
    replayed: int = 0
    """Older datagrams sent along."""

    @property
    def lost(self) -> int:
        """Datagrams lost for any of these causes."""
        return (
            self.lost_random
            + self.lost_burst
            + self.lost_blackout
            + self.lost_queue
            + self.lost_too_large
            + self.lost_cap
        )

    def __add__(self, other: LinkStats) -> LinkStats:
        """Return the sum of both."""
        return LinkStats(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Link:
    """One direction of a bad link.

    The same calls on a link with the same seed have the same results, on every machine. Use it from
    one thread at a time.

    Parameters:
        conditions: what happens to datagrams.
        seed: decides everything that is random.
    """

    def __init__(self, conditions: LinkConditions, seed: int | str = 0) -> None:
        self._conditions = conditions
        self._stats = LinkStats()
        self._loss = _Chance(conditions.loss, seed, "loss")
        self._burst = _BurstState(conditions.burst_loss, seed)
        self._jitter = _Chance(1.0 if conditions.jitter else 0.0, seed, "jitter")
        self._reorder = _Chance(conditions.reorder, seed, "reorder")
        self._corrupt = _Chance(conditions.corrupt, seed, "corrupt")
        self._truncate = _Chance(conditions.truncate, seed, "truncate")
        self._duplicate = _Chance(conditions.duplicate, seed, "duplicate")
        self._replay = _Chance(conditions.replay, seed, "replay")
        self._recorder = _Recorder(seed)
        self._busy_until = -math.inf
        self._under_way: list[tuple[float, int, bytes]] = []
        self._under_way_bytes = 0
        self._order = 0

    @property
    def conditions(self) -> LinkConditions:
        """The conditions that the link was made with."""
        return self._conditions

    @property
    def stats(self) -> LinkStats:
        """The counters so far: a copy, which later traffic does not change."""
        return replace(self._stats)

    @property
    def in_flight(self) -> int:
        """Number of datagrams in flight: sent, and not yet received."""
        return len(self._under_way)

    def next_arrival(self) -> float | None:
        """Arrival time of the next datagram, on the clock of `now`; None if there is none."""
        return self._under_way[0][0] if self._under_way else None

    def send(self, datagram: bytes | bytearray, now: float) -> None:
        """Put a datagram on the link; its fate shows in `stats` and `receive`.

        Parameters:
            datagram: the bytes, which are copied.
            now: the time in seconds, on any clock that runs forward.

        Raises:
            ValueError: it is larger than UDP can carry; the link is unchanged and usable.
        """
        size = len(datagram)
        if size > MAX_DATAGRAM:
            raise ValueError(f"a datagram has at most {MAX_DATAGRAM} bytes, not {size}")
        self._stats.sent += 1
        self._stats.sent_bytes += size
        fate = self._draw()
        departure = self._transmit(size, now)
        if departure is None:
            return
        if fate.lost:
            self._stats.lost_random += 1
        elif fate.lost_in_burst:
            self._stats.lost_burst += 1
        else:
            self._let_through(bytes(datagram), departure, fate)

    def receive(self, now: float) -> list[bytes]:
        """Take what has arrived by `now`, in order of arrival, and of sending within an instant."""
        under_way = self._under_way
        arrived: list[bytes] = []
        size = 0
        while under_way and under_way[0][0] <= now:
            datagram = heapq.heappop(under_way)[2]
            size += len(datagram)
            arrived.append(datagram)
        self._under_way_bytes -= size
        self._stats.delivered += len(arrived)
        self._stats.delivered_bytes += size
        return arrived

    def _draw(self) -> _Fate:
        """Ask every stream, even of effects that will not matter: streams stay in step."""
        return _Fate(
            self._loss.draw() is not None,
            self._burst.draw(),
            self._jitter.draw(),
            self._reorder.draw() is not None,
            self._corrupt.draw(),
            self._truncate.draw(),
            self._duplicate.draw(),
            self._replay.draw(),
        )

    def _transmit(self, size: int, now: float) -> float | None:
        """Return the time when the last byte has left, or None if the datagram cannot leave."""
        conditions = self._conditions
        if conditions.max_datagram is not None and size > conditions.max_datagram:
            self._stats.lost_too_large += 1
            return None
        if conditions.blackouts and any(b.covers(now) for b in conditions.blackouts):
            self._stats.lost_blackout += 1
            return None
        if conditions.rate is None:
            return now
        turn = max(now, self._busy_until)
        if turn - now > conditions.queue:
            self._stats.lost_queue += 1
            return None
        self._busy_until = turn + size / conditions.rate
        return self._busy_until

    def _let_through(self, datagram: bytes, departure: float, fate: _Fate) -> None:
        """Schedule what arrives of a datagram that is not lost, and what comes with it."""
        delay = self._delay(fate.jitter)
        if fate.reordered:
            self._stats.reordered += 1
            delay += self._conditions.reorder_delay
        self._schedule(self._damage(datagram, fate), departure + delay)
        if fate.duplicate is not None:
            self._stats.duplicated += 1
            self._schedule(datagram, departure + self._delay(fate.duplicate))
        if self._conditions.replay:
            if fate.replay is not None and (old := self._recorder.pick(fate.replay)) is not None:
                self._stats.replayed += 1
                self._schedule(old, departure + self._conditions.latency)
            self._recorder.record(datagram)

    def _damage(self, datagram: bytes, fate: _Fate) -> bytes:
        if fate.corrupt is not None and datagram:
            bit = int(fate.corrupt * len(datagram) * 8)
            flipped = bytearray(datagram)
            flipped[bit // 8] ^= 1 << bit % 8
            datagram = bytes(flipped)
            self._stats.corrupted += 1
        if fate.truncate is not None and datagram:
            datagram = datagram[: int(fate.truncate * len(datagram))]
            self._stats.truncated += 1
        return datagram

    def _delay(self, position: float | None) -> float:
        conditions = self._conditions
        if position is None:
            return conditions.latency
        return max(0.0, conditions.latency + conditions.jitter * (2.0 * position - 1.0))

    def _schedule(self, datagram: bytes, due: float) -> None:
        size = self._under_way_bytes + len(datagram)
        if len(self._under_way) >= MAX_IN_FLIGHT or size > MAX_IN_FLIGHT_BYTES:
            self._stats.lost_cap += 1
            return
        self._under_way_bytes = size
        self._order += 1
        heapq.heappush(self._under_way, (due, self._order, datagram))


class LinkPair:
    """The two directions of a bad link, each with its own conditions and random decisions.

    Parameters:
        up: the conditions towards the server.
        down: the conditions towards the client; those of `up` if not given.
        seed: decides everything that is random.
    """

    def __init__(
        self, up: LinkConditions, down: LinkConditions | None = None, seed: int | str = 0
    ) -> None:
        self.up: Link = Link(up, f"{seed}/up")
        self.down: Link = Link(up if down is None else down, f"{seed}/down")

    def next_arrival(self) -> float | None:
        """Arrival time of the next datagram of either direction; None if none is in flight."""
        due = [time for link in (self.up, self.down) if (time := link.next_arrival()) is not None]
        return min(due, default=None)


class _Fate(NamedTuple):
    """The random decisions about one datagram.

    A float is where in its range an effect strikes, from 0.0 to below 1.0; None: it does not.
    """

    lost: bool
    lost_in_burst: bool
    jitter: float | None
    reordered: bool
    corrupt: float | None
    truncate: float | None
    duplicate: float | None
    replay: float | None


class _Chance:
    """The random stream of one effect, which strikes a given fraction of the datagrams."""

    __slots__ = ("_fraction", "_random")

    def __init__(self, fraction: float, seed: int | str, effect: str) -> None:
        self._fraction = fraction
        self._random = random.Random(f"{seed}/{effect}").random

    def draw(self) -> float | None:
        """None when the effect spares this datagram, else an even draw from [0.0, 1.0).

        One number decides both: evenly distributed below 1, it is so below the fraction too.
        """
        if not self._fraction:
            return None
        number = self._random()
        return number / self._fraction if number < self._fraction else None


class _BurstState:
    """The chain of good and bad states of `BurstLoss`."""

    __slots__ = ("_bad", "_model", "_random")

    def __init__(self, model: BurstLoss | None, seed: int | str) -> None:
        self._model = model
        self._bad = False
        self._random = random.Random(f"{seed}/burst").random

    def draw(self) -> bool:
        """Return True if the next datagram is lost in a burst."""
        model = self._model
        if model is None:
            return False
        loss, change = self._random(), self._random()
        lost = self._bad and loss < model.loss
        if change < (model.leave if self._bad else model.enter):
            self._bad = not self._bad
        return lost


class _Recorder:
    """An even sample of all datagrams that passed (Vitter's algorithm R), for replay."""

    __slots__ = ("_random", "_recorded", "_seen")

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(f"{seed}/record").random
        self._recorded: list[bytes] = []
        self._seen = 0

    def record(self, datagram: bytes) -> None:
        self._seen += 1
        if len(self._recorded) < MAX_RECORDED:
            self._recorded.append(datagram)
            return
        slot = int(self._random() * self._seen)
        if slot < MAX_RECORDED:
            self._recorded[slot] = datagram

    def pick(self, position: float) -> bytes | None:
        """The datagram at that part of the sample, or None when there is none yet."""
        return self._recorded[int(position * len(self._recorded))] if self._recorded else None


def _require_number(name: str, value: float) -> None:
    if not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")


def _require_fraction(name: str, value: float) -> None:
    _require_number(name, value)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be a fraction from 0.0 to 1.0 (5 % is 0.05), not {value!r}")


def _require_seconds(name: str, value: float) -> None:
    _require_number(name, value)
    if not (math.isfinite(value) and value >= 0.0):
        raise ValueError(f"{name} must be 0 seconds or more, not {value!r}")
