"""A crowd of bots on the engine of this package, in one process: the load of items 4 and 5.

    crowd.py play PORT KEY BOTS SECONDS    each sends 32 datagrams of 64 B a second
    crowd.py idle PORT KEY BOTS SECONDS    each says nothing but a keep-alive a second

Prints one JSON object. A bot is an endpoint and a socket: there is no frame, every datagram leaves
when it is due, spread evenly over the second, and is timed until its answer is read. The answers
to `CPU` tell how much of its core the server has used. When the crowd itself falls behind its own
schedule, what it finds says nothing of the server, and `limited` is true.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import statistics
import struct
import sys
import time
from typing import Any

from crowdserver import CPU

from mpgameserver import EllipticCurvePublicKey, RetryMode
from mpgameserver.attempt import Attempt

RATE = 32
SIZE = 64
AT_A_TIME = 64
"""Handshakes under way: a queue that the server's rate never lets run dry."""
CONNECT_TIMEOUT = 30.0
SPARE_FILES = 64
BEHIND = 0.010
"""Seconds that a datagram may leave late before the crowd is the limit."""
READS = 128
"""Events taken between two looks at the schedule."""
SETTLING = 1.0
"""Seconds of play before it counts."""
ANSWER_LIMIT = 1.0
"""Seconds that the last answers are waited for."""
_STAMP = struct.Struct("d")


class Bot:
    """One player: an endpoint, its socket, and the delays of its answers."""

    def __init__(self, sock: Any, session: Any, delays: list[float]) -> None:
        self.endpoint = session.endpoint
        self.endpoint.established = True
        self.endpoint.keep_alive_interval = 1.0
        self.sock = sock
        self.delays = delays
        self.sent = 0
        self.cpu = 0.0
        self._queue, self._next = self.endpoint.queue, self.endpoint.next_datagram
        self._read, self._receive = sock.receive, self.endpoint.receive
        self._take, self._send = self.endpoint.take_messages, sock.send

    def play(self, now: float) -> None:
        """Send a datagram with the time in it."""
        self._queue(_STAMP.pack(now) + bytes(SIZE - _STAMP.size), RetryMode.NONE)
        self.sent += 1
        self.flush(now)

    def flush(self, now: float) -> None:
        """Send what is due."""
        self.endpoint.advance(now)
        datagram = self._next(now)
        while datagram is not None:
            self._send(datagram)
            datagram = self._next(now)

    def read(self, now: float) -> None:
        """Take one datagram, and the answers in it."""
        datagram = self._read()
        if datagram is None:
            return
        self._receive(datagram, now)
        for _, message in self._take():
            if message.startswith(CPU):
                self.cpu = _STAMP.unpack_from(message, len(CPU))[0]
            else:
                self.delays.append(now - _STAMP.unpack_from(message)[0])


def allow_files(count: int) -> int:
    """Raise the limit of open files as far as it takes; how many bots it allows."""
    try:
        import resource
    except ImportError:
        return count
    wanted = count + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((wanted, max(hard, wanted)), (min(wanted, hard), hard)):
        if soft < wanted:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                break
    return min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)


class Crowd:
    """The bots, connected."""

    def __init__(self, port: int, key: str, count: int) -> None:
        self.delays: list[float] = []
        self.bots: list[Bot] = []
        self._epoll = select.epoll()
        self._by_file: dict[int, Bot] = {}
        self._key = EllipticCurvePublicKey.fromPEM(base64.b64decode(key).decode())
        self._connect(("127.0.0.1", port), count)

    def _connect(self, address: tuple[str, int], count: int) -> None:
        attempts: list[Attempt] = []
        begun = 0
        while len(self.bots) < count:
            now = time.monotonic()
            while begun < count and len(attempts) < AT_A_TIME:
                attempts.append(Attempt(address, self._key, CONNECT_TIMEOUT, now, time.time()))
                begun += 1
            for attempt in tuple(attempts):
                established = attempt.update(now)
                if established is not None:
                    self._enter(Bot(*established, self.delays), now)
                    attempts.remove(attempt)
                elif attempt.failure is not None:
                    raise ConnectionError(f"bot {len(self.bots)}: {attempt.failure}")
            self.read()
            self._keep_alive(now, 32)

    def _enter(self, bot: Bot, now: float) -> None:
        bot.flush(now)
        self.bots.append(bot)
        descriptor = bot.sock.fileno()
        self._by_file[descriptor] = bot
        self._epoll.register(descriptor, select.EPOLLIN)

    def _keep_alive(self, now: float, count: int) -> None:
        """Give the next few bots their turn, so that none falls silent meanwhile."""
        for bot in self.bots[:count]:
            bot.flush(now)
        self.bots = self.bots[count:] + self.bots[:count]

    def read(self) -> int:
        """Read what has arrived for some bots; for how many."""
        ready = self._epoll.poll(0, READS)
        now = time.monotonic()
        for descriptor, _ in ready:
            self._by_file[descriptor].read(now)
        return len(ready)

    def server_cpu(self) -> float:
        """The seconds of processor time that the server has used."""
        bot = self.bots[0]
        before, end = bot.cpu, time.monotonic() + ANSWER_LIMIT
        bot.endpoint.queue(CPU, RetryMode.RETRY_ON_TIMEOUT)
        while bot.cpu == before:
            bot.flush(time.monotonic())
            self.read()
            if time.monotonic() > end:
                raise TimeoutError("the server does not say what it has used")
        return bot.cpu

    def run(self, rate: float, seconds: float, turn: Any) -> tuple[float, float]:
        """Give a bot its turn `rate` times a second; the most it was late, and the share busy."""
        began = time.monotonic()
        turns, idle, late, bots, count = 0, 0.0, 0.0, self.bots, len(self.bots)
        while (now := time.monotonic()) < began + seconds:
            due = int((now - began) * rate)
            late = max(late, (due - turns) / rate)
            for _ in range(min(due - turns, READS)):
                turn(bots[turns % count], time.monotonic())
                turns += 1
            if not self.read() and turns >= due:
                idle += time.monotonic() - now
        return late, 1.0 - idle / seconds

    @property
    def sent(self) -> int:
        """The datagrams that were sent since they were last counted from zero."""
        return sum(bot.sent for bot in self.bots)

    def drain(self) -> None:
        """Read what is still under way."""
        end, sent = time.monotonic() + ANSWER_LIMIT, self.sent
        while time.monotonic() < end and len(self.delays) < sent:
            self.read()

    def close(self) -> None:
        """Say goodbye, without waiting."""
        for bot in self.bots:
            farewell = bot.endpoint.farewell(time.monotonic())
            if farewell is not None:
                bot.sock.send(farewell)
            bot.sock.close()
        self._epoll.close()


def play(crowd: Crowd, seconds: float) -> dict[str, Any]:
    """What the answers to 32 datagrams a second of each bot were like."""
    rate = float(RATE * len(crowd.bots))
    crowd.run(rate, SETTLING, Bot.play)
    crowd.drain()
    crowd.delays.clear()
    for bot in crowd.bots:
        bot.sent = 0
    cpu = crowd.server_cpu()
    late, busy = crowd.run(rate, seconds, Bot.play)
    cpu = crowd.server_cpu() - cpu
    crowd.drain()
    sent = crowd.sent
    cuts = statistics.quantiles(crowd.delays, n=100)
    return {
        "rate": sent / seconds,
        "lost": sent - len(crowd.delays),
        "p50": cuts[49],
        "p99": cuts[98],
        "server": cpu / seconds,
        "crowd": busy,
        "late": late,
        "limited": late > BEHIND,
    }


def idle(crowd: Crowd, seconds: float) -> dict[str, Any]:
    """How much of its core the server uses for bots that only keep alive."""
    rate = 4.0 * len(crowd.bots)
    crowd.run(rate, SETTLING, Bot.flush)
    cpu = crowd.server_cpu()
    late, busy = crowd.run(rate, seconds, Bot.flush)
    cpu = crowd.server_cpu() - cpu
    return {"server": cpu / seconds, "crowd": busy, "late": late, "limited": late > 1.0}


def main() -> None:
    what, port, key, bots, seconds = sys.argv[1:]
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})
    count = allow_files(int(bots))
    began = time.monotonic()
    crowd = Crowd(int(port), key, count)
    found = {"bots": count, "connecting": time.monotonic() - began}
    try:
        found |= (play if what == "play" else idle)(crowd, float(seconds))
    finally:
        crowd.close()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
