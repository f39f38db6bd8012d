"""A load: so many bots that send at a steady rate, and how long each answer takes.

    PROGRAM crowd play PORT KEY BOTS SECONDS PID    each sends 32 messages of 64 B a second
    PROGRAM crowd idle PORT KEY BOTS SECONDS PID    each says only once a second that it is there

prints one JSON object. PID is the server's process, for how much of its core it uses and how much
memory it takes for a connection. Bots have their turns evenly over the second, but for the few
that share a system call. A message has the time in it at which it was due, so that an answer is
late where the bot was late. Where the crowd falls behind its schedule, has nearly no time left, or
drops what it should read, what it finds says nothing of the server, and `limited` is true.

What can be done before a run or after it is not done in it: the crowd has one core, too.

Only the standard library is used here, so that every environment can import it.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import struct
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["BATCH", "MESSAGE_SIZE", "STAMP", "Swarm", "Turn", "measure", "message"]

RATE, IDLE_RATE = 32, 1
"""Messages and keep-alives of a bot per second."""
MESSAGE_SIZE = 64
STAMP = struct.Struct(">d")
"""The time at which a message was due, in seconds of the run: its first bytes."""
BATCH = 64
"""Bots that share a turn, at most."""
SPREAD = 0.0005
"""Seconds of the schedule that one turn stands for, at most: an eightieth of what an answer may
take."""
PAUSE = 0.0002
"""Seconds between reads that find little: to read each answer by itself takes twice the time."""
BUSY, BEHIND = 0.90, 0.010
"""The share of its core, and the seconds of delay, from which on the crowd is the limit."""
HOPELESS = 1.0
"""Seconds behind the schedule at which a run is given up."""
SETTLING = 1.0
"""Seconds of play before it counts."""
ANSWER_LIMIT = 1.0
"""Seconds that the last answers are waited for."""


class Turn(NamedTuple):
    """The bots from `first` to before `last` act, so many seconds after the start of the run."""

    first: int
    last: int
    due: float


class Swarm:
    """Bots 0 to `count` - 1, connected, and the delays of the answers they got."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.delays = array("d")
        self.began = 0.0
        """The time at which the run began."""

    @property
    def answered(self) -> int:
        """The answers of the run so far."""
        return len(self.delays)

    def prepare(self, turns: list[Turn]) -> None:
        """Make what can be made before a run in which the bots play these turns.

        What arrives meanwhile counts for nothing.
        """

    def play(self, turn: Turn) -> None:
        """Let each bot of a turn send a message."""

    def rest(self, turn: Turn) -> None:
        """Let each say that it is there."""

    def read(self) -> int:
        """Take what has arrived, a batch at most; return the number of datagrams."""
        return 0

    def acknowledge(self) -> None:
        """Say what has arrived, so that nobody sends it again while the bots are silent."""

    def settle(self) -> None:
        """See to it that all answers of the run are in `delays`."""

    def dropped(self) -> int:
        """The datagrams that have arrived and were not read in time."""
        return 0


class Run(NamedTuple):
    """The work of a crowd: messages, its greatest delay, and its share of its core.

    And the server's share of its own, and what was dropped, until the last answer.
    """

    sent: int
    late: float
    busy: float
    server: float = 0.0
    dropped: int = 0


def message(due: float) -> bytes:
    """Return the messages of a bot whose turn it is."""
    return STAMP.pack(due).ljust(MESSAGE_SIZE, b"\0")


def batch_size(per_second: float) -> int:
    """Return the number of bots that share a turn: a power of two, as batches are."""
    most = max(1, min(BATCH, int(per_second * SPREAD)))
    return 1 << most.bit_length() - 1


def schedule(count: int, rate: float, seconds: float) -> list[Turn]:
    """The turns by which each of the bots acts `rate` times a second."""
    per_second, total = rate * count, round(rate * seconds) * count
    batch, turns, done = batch_size(per_second), [], 0
    while done < total:
        first = done % count
        last = min(first + batch, count)
        turns.append(Turn(first, last, done / per_second))
        done += last - first
    return turns


def run(swarm: Swarm, act: Callable[[Turn], None], turns: list[Turn]) -> Run:
    """Let the bots act when it is their turn, and read meanwhile."""
    swarm.delays, used = array("d"), time.process_time()
    swarm.began = next_read = time.monotonic()
    sent, late = 0, 0.0
    for turn in turns:
        due = swarm.began + turn.due
        while (now := time.monotonic()) < due:
            if now >= next_read:
                next_read = now if swarm.read() >= BATCH else now + PAUSE
            else:
                time.sleep(min(next_read, due) - now)
        late = max(late, now - due)
        if late > HOPELESS:
            break
        act(turn)
        sent += turn.last - turn.first
        if now >= next_read:
            next_read = now if swarm.read() >= BATCH else now + PAUSE
    elapsed = time.monotonic() - swarm.began
    return Run(sent, late, (time.process_time() - used) / elapsed)


def play_for(swarm: Swarm, seconds: float, process: int) -> Run:
    """Let the bots play, and take all that is answered."""
    turns = schedule(swarm.count, RATE, seconds)
    swarm.prepare(turns)
    used, dropped, began = processor_time(process), swarm.dropped(), time.monotonic()
    done = run(swarm, swarm.play, turns)
    end = time.monotonic() + ANSWER_LIMIT
    while time.monotonic() < end and swarm.answered < done.sent:
        swarm.read()
    share = (processor_time(process) - used) / (time.monotonic() - began)
    dropped = swarm.dropped() - dropped
    swarm.acknowledge()
    swarm.settle()
    return done._replace(server=share, dropped=dropped)


def processor_time(process: int) -> float:
    """The seconds of processor time that a process has used."""
    columns = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int | str = "self") -> float:
    """kB of memory that a process holds."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def cuts(delays: array[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in seconds."""
    if len(delays) < 2:
        return math.inf, math.inf
    found = statistics.quantiles(delays, n=100)
    return found[49], found[98]


def play(swarm: Swarm, seconds: float, process: int) -> dict[str, Any]:
    """Measure the replies to 32 messages a second of each bot."""
    play_for(swarm, SETTLING, process)
    done = play_for(swarm, seconds, process)
    p50, p99 = cuts(swarm.delays)
    return {
        "sent": done.sent,
        "server": done.server,
        "lost": done.sent - len(swarm.delays),
        "p50": p50,
        "p99": p99,
        "crowd": done.busy,
        "late": done.late,
        "dropped": done.dropped,
        "limited": done.late > BEHIND or done.busy > BUSY or done.dropped > 0,
    }


def idle(swarm: Swarm, seconds: float, process: int) -> dict[str, Any]:
    """Measure the share of its core that the server uses for bots that only keep alive."""
    run(swarm, swarm.rest, schedule(swarm.count, IDLE_RATE, SETTLING))
    used, began = processor_time(process), time.monotonic()
    done = run(swarm, swarm.rest, schedule(swarm.count, IDLE_RATE, seconds))
    share = (processor_time(process) - used) / (time.monotonic() - began)
    return {"server": share, "crowd": done.busy, "late": done.late, "limited": done.busy > BUSY}


def measure(
    make: Callable[[int, str, int], Swarm],
    what: str,
    port: int,
    key: str,
    count: int,
    seconds: float,
    process: int,
) -> dict[str, Any]:
    """Connect so many bots, and find out what is asked for."""
    found: dict[str, Any] = {"bots": count, "empty": resident(process)}
    began = time.monotonic()
    try:
        swarm = make(port, key, count)
    except TimeoutError as error:
        return found | {"failure": str(error)}
    found["connecting"] = time.monotonic() - began
    gc.collect()  # thousands of bots that stay: to look through them again takes milliseconds
    gc.freeze()
    gc.disable()
    found |= (play if what == "play" else idle)(swarm, seconds, process)
    return found | {"memory": (resident(process) - found["empty"]) / count}
