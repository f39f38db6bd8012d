"""The conditions that connections are soaked in.

- yojimbo's: 25 % loss, 25 % duplicates, 1000 ± 100 ms, each way.
- Those of GameNetworkingSockets' soak. Seven of its 17 are known to us as facts (`gns known`);
  the other ten (`gns range`) cover the range that is known of them: 64 kB/s to 2 MB/s, loss up
  to 20 %, delay 5 to 100 ms, reordering 1 to 30 %. Each bulk and game-like.
- Bursts, blackouts, starts just before a wrap, and a mixture of sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from soak.talk import Kind

from mpgameserver.connection import Timing
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import Blackout, BurstLoss, LinkConditions

NONE, BEST_EFFORT = RetryMode.NONE, RetryMode.BEST_EFFORT

SMALL = (Kind(99, 4, 64), Kind(1, 65, 1000))
"""Messages of a few bytes, as games send them."""
BLOCKS = (Kind(99, 4, 64), Kind(1, 1000, 10_240))
"""One in a hundred is up to 10 kB, in up to ten pieces: yojimbo's own mixture."""
BULK = (Kind(1, 1000, 20_000),)
MIXTURE = (
    Kind(40, 4, 100),
    Kind(20, 4, 1434),
    Kind(10, 1430, 1440),
    Kind(10, 1435, 8000),
    Kind(1, 50_000, 200_000),
    Kind(10, 4, 3000, NONE),
    Kind(10, 4, 3000, BEST_EFFORT),
)
GAME = (
    Kind(60, 20, 200, NONE),
    Kind(20, 20, 200, BEST_EFFORT),
    Kind(18, 20, 200),
    Kind(2, 1500, 6000),
)
TWO_PIECES = (Kind(1, 23, 28),)
"""Cut in two when a datagram has 60 bytes, of which 22 are the payload."""

YOJIMBO_LINK = LinkConditions(loss=0.25, duplicate=0.25, latency=1.0, jitter=0.1)
PATIENT = Timing(keep_alive=0.5, message=10.0, idle_timeout=60.0)
SHORT_TIMEOUT = Timing(keep_alive=0.5, message=1.0, idle_timeout=60.0)

GNS_KNOWN = (
    # bytes/s, loss, delay in s, reordered, by s
    (128_000, 0.10, 0.050, 0.02, 0.050),
    (1_000_000, 0.05, 0.010, 0.01, 0.010),
    (2_000_000, 0.00, 0.050, 0.30, 0.040),
    (64_000, 0.20, 0.100, 0.04, 0.050),
    (1_000_000, 0.20, 0.100, 0.04, 0.010),
    (1_000_000, 0.02, 0.005, 0.02, 0.001),
    (2_000_000, 0.00, 0.000, 0.00, 0.000),
)
GNS_RANGE = (
    (128_000, 0.00, 0.005, 0.01, 0.010),
    (128_000, 0.20, 0.100, 0.30, 0.050),
    (128_000, 0.05, 0.100, 0.01, 0.040),
    (256_000, 0.02, 0.050, 0.05, 0.040),
    (256_000, 0.10, 0.020, 0.10, 0.020),
    (512_000, 0.20, 0.005, 0.02, 0.010),
    (512_000, 0.01, 0.100, 0.20, 0.050),
    (1_000_000, 0.10, 0.050, 0.30, 0.040),
    (2_000_000, 0.20, 0.005, 0.30, 0.010),
    (2_000_000, 0.05, 0.100, 0.10, 0.050),
)
BEFORE_WRAPS = (32_760, 65_530, 65_535, 131_065)
"""Just before half a ring, before a ring (65,535 numbers), and before the second one."""


@dataclass(frozen=True)
class Condition:
    """A link, who is on it, and for how long they talk.

    `messages` are said in each direction in all, or as many as `seconds` allow, whichever is
    less. `per_frame` None: as fast as they are taken; else that many in each frame of 1/64 s.
    """

    name: str
    link: LinkConditions
    kinds: tuple[Kind, ...]
    messages: int = 1 << 30
    seconds: float = float("inf")
    per_frame: int | None = None
    timing: Timing = field(default_factory=Timing)
    before: int | None = None
    """The numbers that were used before; None: connected by a handshake."""
    max_datagram: int = 1472
    """Bytes; of no effect with a handshake."""
    gap: float = 0.0
    """Not 0: 0 to 64 messages at once, then none for 0.001 to 1 of so many seconds."""
    has_one_path: bool = False
    """In protocol 2: no move and no key update disturbs the talk."""


def yojimbo(messages: int) -> Iterator[Condition]:
    """`messages` in all: most small, a part with blocks, a part with the 1 s message timeout."""
    each = messages // 2
    blocks = timeout = each // 20
    small = each - blocks - timeout
    yield Condition("yojimbo small", YOJIMBO_LINK, SMALL, small, timing=PATIENT)
    yield Condition("yojimbo blocks", YOJIMBO_LINK, BLOCKS, blocks, timing=PATIENT)
    yield Condition("yojimbo 1 s timeout", YOJIMBO_LINK, SMALL, timeout, timing=SHORT_TIMEOUT)


def yojimbo_pauses(messages: int) -> Iterator[Condition]:
    """`messages` in all in yojimbo's own rhythm: up to 64 at once, 1 to 1000 s apart."""
    each = messages // 2
    yield Condition("yojimbo pauses", YOJIMBO_LINK, BLOCKS, each, timing=PATIENT, gap=1000.0)


def game_networking_sockets(seconds: float) -> Iterator[Condition]:
    """The 17 links, bulk and game-like, for so many virtual seconds each."""
    groups = (("gns known", GNS_KNOWN), ("gns range", GNS_RANGE))
    for group, rows in groups:
        for rate, loss, latency, reorder, by in rows:
            link = LinkConditions(
                rate=rate, loss=loss, latency=latency, reorder=reorder, reorder_delay=by
            )
            name = f"{group} {rate // 1000} kB/s {loss:.0%} {latency * 1000:.0f} ms {reorder:.0%}"
            yield Condition(f"{name} bulk", link, BULK, seconds=seconds)
            yield Condition(f"{name} game", link, GAME, seconds=seconds, per_frame=1)


def reordered(seconds: float) -> Iterator[Condition]:
    """No loss, and 30 % of the packets reordered: what is sent again is sent for nothing."""
    link = LinkConditions(rate=2_000_000, latency=0.05, reorder=0.3, reorder_delay=0.04)
    yield Condition("30% reordered, nothing else", link, BULK, seconds=seconds, has_one_path=True)


def bad_times(seconds: float) -> Iterator[Condition]:
    """Bursts and two-second blackouts, for so many virtual seconds each."""
    for fraction, length in ((0.05, 4.0), (0.15, 16.0), (0.3, 40.0)):
        burst = BurstLoss.from_mean(fraction, length)
        link = LinkConditions(burst_loss=burst, latency=0.05, jitter=0.02)
        name = f"bursts {fraction:.0%} of {length:.0f}"
        # Forty of the ten keep-alives per second fill most of the five seconds of idle timeout.
        timing = Timing(idle_timeout=60.0)
        yield Condition(f"{name} mixture", link, MIXTURE, seconds=seconds, timing=timing)
        yield Condition(f"{name} game", link, GAME, seconds=seconds, per_frame=1, timing=timing)
    times = tuple(Blackout(4.0 + 7.0 * i, 2.0) for i in range(int(seconds / 7.0) + 1))
    link = LinkConditions(blackouts=times, loss=0.05, latency=0.04, jitter=0.01)
    yield Condition("blackouts of 2 s mixture", link, MIXTURE, seconds=seconds)
    yield Condition("blackouts of 2 s game", link, GAME, seconds=seconds, per_frame=1)


def wraps(messages: int, laps: int) -> Iterator[Condition]:
    """Starts just before a wrap, with `messages` each; and `laps` messages cut in two.

    65,535 of those take the fragment counter, which always starts at 1, through its wrap.
    """
    link = LinkConditions(
        loss=0.1, duplicate=0.2, latency=0.03, jitter=0.03, reorder=0.05, reorder_delay=0.1
    )
    for before in BEFORE_WRAPS:
        yield Condition(f"wrap after {before} mixture", link, MIXTURE, messages, before=before)
    near = LinkConditions(loss=0.05, duplicate=0.1, latency=0.002, jitter=0.002)
    yield Condition(
        "wraps of all three counters", near, TWO_PIECES, laps, before=65_530, max_datagram=60
    )


def replays(laps: int) -> Iterator[Condition]:
    """Every packet that passes brings an old one with it, through wraps of the counters.

    `laps` messages are said in each direction: 65,535 are two laps of the packet counter.
    """
    link = LinkConditions(
        loss=0.05, duplicate=0.1, latency=0.01, jitter=0.01, reorder=0.05, replay=1.0,
        reorder_delay=0.05,
    )  # fmt: skip
    yield Condition(
        "replay of every packet", link, TWO_PIECES, laps, before=65_530, max_datagram=60
    )


def everything(messages: int) -> Iterator[Condition]:
    """All that a link can do at once, damage and replays too."""
    link = LinkConditions(
        loss=0.1,
        burst_loss=BurstLoss(enter=0.01, leave=0.2),
        duplicate=0.2,
        latency=0.04,
        jitter=0.03,
        reorder=0.05,
        reorder_delay=0.2,
        corrupt=0.03,
        truncate=0.03,
        replay=0.2,
    )
    yield Condition("everything at once, mixture", link, MIXTURE, messages)
