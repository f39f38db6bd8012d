"""Fuzz one session of protocol 2: a bad network between two honest sides, or a peer with the keys.

The honest sides keep every promise of their channels; of what a hostile peer seals, whatever it
breaks ends the session at most, and nothing is raised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from fuzz.delivery import Delivery
from fuzz.inputs import Script
from support.endpoints2 import CHANNELS, CHAT, LOOT, POSITION, SCORE, WINDOW, Hand, Side, accepted
from support.wire import WireError
from support.wire2.frames import (
    Accept,
    Ack,
    Close,
    Connect,
    Fragment,
    Frame,
    Kem,
    Message,
    NewConnectionId,
    Padding,
    PathChallenge,
    PathResponse,
    Ping,
    Reserved,
    RetireConnectionId,
    Time,
    TimeReply,
    Window,
)

from mpgameserver.enums import ConnectionStatus, RetryMode
from mpgameserver.errors import MpGameServerError

__all__ = ["run"]

MOST_STEPS = 200
MOST_SAID = 100
PAUSES = (0.0, 0.001, 1 / 64, 0.03, 0.1, 0.3, 1.1, 2.0)
LONG_PAUSES = (*PAUSES, 5.1, 31.0)
"""Seconds; with the last ones a session of honest sides ends for its silence."""
DATAGRAMS = (1200, 1232, 1472)
"""Bytes that interfaces take."""
SIZES = (0, 5, 20, 300, 1140, 1160, 3000, 12_000)
RECOVERY, RECOVERY_FRAME = 400, 0.05
"""Frames in which a good network has everything delivered."""
SAYS = (0, CHAT, POSITION, SCORE, LOOT)
IN_ORDER = (CHAT, POSITION, SCORE)
RELIABLE = (0, CHAT, LOOT)


class Way:
    """One direction between honest sides: who sends, who receives, and what is in flight."""

    def __init__(self, sender: Side, receiver: Side) -> None:
        self.sender, self.receiver = sender, receiver
        self.genuine: set[bytes] = set()
        self.in_flight: list[bytes] = []
        self.had: list[bytes] = []
        self.said: dict[int, list[bytes]] = {channel: [] for channel in SAYS}
        self.results: dict[tuple[int, int], list[bool]] = {}

    def say(self, channel: int, size: int) -> None:
        """Queue a message, while the bounds allow one."""
        said = self.said[channel]
        connection = self.sender.connection
        if connection.status != ConnectionStatus.CONNECTED or len(said) >= MOST_SAID:
            return
        message = bytes([channel]) + len(said).to_bytes(2, "big") + bytes(size)
        results = self.results.setdefault((channel, len(said)), [])
        connection.send_on(channel, message, RetryMode.RETRY_ON_TIMEOUT, results.append)
        said.append(message)

    def deliver(self, datagram: bytes, now: float) -> None:
        """Give the receiver a datagram: it takes what is genuine, once."""
        self.had.append(datagram)
        before = self.receiver.endpoint.received
        self.receiver.receive(datagram, now)
        if self.receiver.endpoint.received != before:
            assert datagram in self.genuine, "took what nobody sent"
        self.check_delivered()

    def settle(self) -> None:
        """Call the callbacks that are due: each is called once."""
        for callback, acked in self.sender.connection.take_completed():
            callback(acked)
        assert all(len(results) <= 1 for results in self.results.values())

    def check_delivered(self) -> None:
        """Check what has arrived against what was said, by the kind of its channel."""
        arrived: dict[int, list[int]] = {channel: [] for channel in SAYS}
        for channel, _, message in self.receiver.delivered:
            index = int.from_bytes(message[1:3], "big")
            assert index < len(self.said[channel]), "was never said"
            assert message == self.said[channel][index], "was altered"
            arrived[channel].append(index)
        for channel, indices in arrived.items():
            assert len(set(indices)) == len(indices), f"twice on channel {channel}"
            assert channel not in IN_ORDER or indices == sorted(indices), f"order of {channel}"
        assert arrived[CHAT] == list(range(len(arrived[CHAT]))), "a gap on an ordered channel"

    @property
    def is_done(self) -> bool:
        """True once all that must arrive has arrived, and its sender knows."""
        arrived = [(channel, message) for channel, _, message in self.receiver.delivered]
        for channel in RELIABLE:
            if sum(each == channel for each, _ in arrived) < len(self.said[channel]):
                return False
        newest = self.said[SCORE][-1:]
        return [m for c, m in arrived if c == SCORE][-1:] == newest and all(self.results.values())


class Network(Delivery):
    """Two honest sides, the network between them, and the time."""

    def __init__(self, script: Script) -> None:
        self._script, self._now = script, 0.0
        client, server = Side(is_server=False), Side(is_server=True)
        self._sides = client, server
        self._ways = Way(client, server), Way(server, client)
        self._steps: tuple[Callable[[Way], None], ...] = (
            self._say,
            self._say,
            self._pause,
            self._deliver_next,
            self._deliver_any,
            self._deliver_all,
            self._repeat,
            self._drop,
            self._damage,
            self._replay,
            self._invent,
            self._update_key,
            self._move,
            self._close,
        )

    def run(self) -> None:
        """Do as the script says, and recover."""
        for _ in self._script.turns(MOST_STEPS):
            step = self._script.pick(self._steps)
            step(self._ways[self._script.below(2)])
            for way in self._ways:
                way.settle()
        self._recover()
        for way in self._ways:
            way.sender.connection.abort(self._now)
            way.settle()
            assert all(way.results.values()), "a callback is missing"

    def _say(self, way: Way) -> None:
        way.say(self._script.pick(SAYS), self._script.pick(SIZES))

    def _pause(self, way: Way) -> None:
        self._pass(self._script.pick(PAUSES))

    def _pass(self, seconds: float) -> None:
        self._now += seconds
        for way in self._ways:
            leaving = way.sender.datagrams(self._now)
            way.genuine.update(leaving)
            way.in_flight += leaving

    def _damage(self, way: Way) -> None:
        if not way.in_flight:
            return
        damaged = bytearray(self._script.pick(way.in_flight))
        place = self._script.below(len(damaged))
        if self._script.chance(4):
            del damaged[place:]
        else:
            damaged[place] ^= 1 << self._script.below(8)
        way.deliver(bytes(damaged), self._now)

    def _replay(self, way: Way) -> None:
        """Once more a datagram that was delivered before, the same way or the other."""
        had = self._ways[self._script.below(2)].had
        if had:
            way.deliver(self._script.pick(had), self._now)

    def _invent(self, way: Way) -> None:
        way.deliver(bytes([8 + self._script.below(8)]) + self._script.bytes(80), self._now)

    def _update_key(self, way: Way) -> None:
        way.sender.endpoint.request_key_update()

    def _move(self, way: Way) -> None:
        """Have a side take another path, on which what is in flight is lost or not."""
        way.sender.endpoint.on_path_changed(self._script.pick(DATAGRAMS))

    def _close(self, way: Way) -> None:
        if self._script.chance(8):
            way.sender.close(256 + self._script.below(300), "the end")

    def _recover(self) -> None:
        """Let the network be good until all that must arrive is there, or an end has come."""
        for _ in range(RECOVERY):
            if any(way.sender.connection.close_reason for way in self._ways):
                return
            if all(way.is_done for way in self._ways):
                return
            self._pass(RECOVERY_FRAME)
            for way in self._ways:
                self._deliver_all(way)
                way.settle()
            if any(not side.connection.is_live for side in self._sides):
                return
        raise AssertionError("not all has arrived")


class Hostile:
    """One side, and a peer that has its keys: any frames, in any packets."""

    def __init__(self, script: Script) -> None:
        self._script, self._now = script, 1.0
        is_server = script.below(2) == 1
        self._side: Side
        self._hand: Hand
        if script.chance(4):
            self._side, self._hand = Side(is_server, 1.0), Hand(not is_server)
        else:
            self._side, self._hand = accepted(is_server, 1.0)
        self._results: list[list[bool]] = []
        self._sent: list[bytes] = []

    def run(self) -> None:
        """Do as the script says; every callback is called once in the end."""
        steps = (self._packet, self._packet, self._packet, self._payload, self._say, self._pause,
                 self._replay, self._key)  # fmt: skip
        for _ in self._script.turns(MOST_STEPS):
            self._script.pick(steps)()
            self._look()
        self._side.connection.abort(self._now)
        self._look()
        assert all(len(results) == 1 for results in self._results), "a callback is missing"

    def _look(self) -> None:
        for callback, acked in self._side.connection.take_completed():
            callback(acked)
        assert all(len(results) <= 1 for results in self._results), "a callback came again"
        endpoint = self._side.endpoint
        assert len(endpoint.reassembler) <= 64
        for each in CHANNELS:
            got = [m for c, _, m in self._side.delivered if c == each.channel]
            if each.channel == CHAT and not self._side.is_server:
                assert len(got) <= WINDOW.number * 100

    def _pause(self) -> None:
        self._now += self._script.pick(LONG_PAUSES)
        leaving = self._side.datagrams(self._now)
        assert all(len(datagram) <= DATAGRAMS[-1] for datagram in leaving)
        self._sent += leaving
        if self._script.chance(2):
            with contextlib.suppress(WireError):  # under a key that the peer has not followed
                self._hand.take(leaving)

    def _say(self) -> None:
        results: list[bool] = []
        message = bytes(self._script.pick(SIZES))
        connection = self._side.connection
        try:
            connection.send_on(
                self._script.pick(SAYS), message, RetryMode.RETRY_ON_TIMEOUT, results.append
            )
        except (MpGameServerError, ValueError):  # not open, or over: the game's mistake
            return
        self._results.append(results)

    def _packet(self) -> None:
        frames = [self._frame() for _ in range(1 + self._script.below(4))]
        try:
            datagram = self._hand.make(*frames, number=self._number())
        except (ValueError, OverflowError, AssertionError):  # what no frame can say
            return
        self._give(datagram)

    def _payload(self) -> None:
        self._give(self._hand.make_of(self._script.bytes(80) or b"\1", self._number()))

    def _number(self) -> int | None:
        """The next number mostly, else one behind or ahead."""
        if self._script.below(8) < 7:
            return None
        step = self._script.pick((-5000, -100, -1, 0, 2, 300, 100_000))
        return max(1, self._hand.number + step)

    def _give(self, datagram: bytes) -> None:
        self._sent.append(datagram)
        self._side.receive(datagram, self._now)

    def _replay(self) -> None:
        if self._sent:
            self._side.receive(self._script.pick(self._sent), self._now)

    def _key(self) -> None:
        if self._script.below(2):
            self._side.endpoint.request_key_update()
        else:
            self._hand.update_key()

    def _frame(self) -> Frame:
        below, some = self._script.below, self._script.bytes
        channel = self._script.pick((*SAYS, 4, 250))
        number = self._script.pick((1, 2, 3, 5, 64, 70_000, 0))
        total = self._script.pick((1, 64, 65, 3000, 70_000, 1 << 23, 0))
        units = self._script.pick((1, 2, 5, 15))
        makers: tuple[Callable[[], Any], ...] = (
            Ping,
            Padding,
            self._hand.ack,
            lambda: Ack(below(1 << 16), ((below(300), below(300)),)),
            lambda: Message(channel, number, some(60)),
            lambda: Message(channel, self._hand.number + 1, some(20)),
            lambda: Fragment(channel, number, total, below(40), bytes(64 * units)),
            lambda: Fragment(channel, number, 64 * units, 0, bytes(64 * units)),
            lambda: Window(channel, below(1 << 16), below(1 << 20)),
            lambda: Connect(total, below(100), some(60)),
            lambda: Accept(total, below(100), some(60)),
            lambda: Kem(1184, below(1100), some(60)),
            lambda: Close(below(600), some(60)),
            lambda: PathChallenge(bytes([below(256)]) * 8),
            lambda: PathResponse(bytes(8)),
            lambda: NewConnectionId(below(5), bytes([0, *[below(256)] * 7]), bytes(16)),
            lambda: RetireConnectionId(below(3)),
            lambda: Time(below(1 << 16)),
            lambda: TimeReply(below(1 << 16), below(1 << 16), below(1 << 16)),
            lambda: Reserved(64 + below(60), some(30)),
        )
        made: Frame = self._script.pick(makers)()
        return made


def run(data: bytes) -> None:
    """Play one script; an AssertionError says which promise was broken."""
    script = Script(data)
    play = Hostile(script) if script.below(2) else Network(script)
    play.run()
