"""Two honest connections, and a network that does what the script says.

It delivers, repeats, holds back, drops, damages, replays and invents. At the end it may become a
good network: what was said reliably must then arrive, unless a connection has ended.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.delivery import Delivery
from fuzz.inputs import Script
from fuzz.talking import PAUSES, Talker
from support.endpoints import GuardedAead
from support.visible import checked

from mpgameserver.enums import RetryMode

MOST_STEPS = 300
RECOVERY_FRAME = 0.05
RECOVERY = 400
"""Frames in which a good network has everything delivered: twenty seconds, of which the longest
message said takes two."""


class Way:
    """One direction: who sends, who receives, and what is in flight."""

    def __init__(self, sender: Talker, receiver: Talker) -> None:
        self.sender, self.receiver = sender, receiver
        self.genuine: set[bytes] = set()
        self.accepted: set[bytes] = set()
        self.in_flight: list[bytes] = []
        self.had: list[bytes] = []
        self.arrived: set[int] = set()

    def put(self, datagrams: list[bytes]) -> None:
        """Put the sender's datagrams in flight."""
        self.genuine.update(datagrams)
        self.in_flight += datagrams

    def deliver(self, datagram: bytes, now: float) -> None:
        """Give the receiver a datagram: it takes what is genuine, once."""
        self.had.append(datagram)
        connection = self.receiver.connection
        reason = checked(connection.endpoint, lambda: connection.receive(datagram, now))
        if reason is None:
            assert datagram in self.genuine, "took what nobody sent"
            assert datagram not in self.accepted, "took a datagram again"
            self.accepted.add(datagram)
        for _, message in connection.endpoint.take_messages():
            index = self.sender.index_of(message)
            assert index not in self.arrived, f"message {index} arrived twice"
            self.arrived.add(index)

    def settle(self) -> None:
        """Call the sender's callbacks: True is for what has arrived."""
        for index, acked in self.sender.settle():
            assert not acked or index in self.arrived, f"message {index}: True, and not there"


class Network(Delivery):
    """The two, and the time."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._now = 0.0
        aead = GuardedAead()
        client, server = Talker(script, False, aead), Talker(script, True, aead)
        self.ways = (Way(client, server), Way(server, client))
        self._steps: tuple[Callable[[Way], None], ...] = (
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
            self._disconnect,
        )

    def run(self) -> None:
        """Do as the script says, recover, and end."""
        for _ in self._script.turns(MOST_STEPS):
            step = self._script.pick(self._steps)
            step(self.ways[self._script.below(2)])
            for way in self.ways:
                way.settle()
        self._recover()
        for way in self.ways:
            way.sender.end(self._now)

    def _say(self, way: Way) -> None:
        way.sender.say(self._script)

    def _pause(self, way: Way) -> None:
        self._now += self._script.pick(PAUSES)
        for one in self.ways:
            one.put(one.sender.leave(self._now))

    def _damage(self, way: Way) -> None:
        if not way.in_flight:
            return
        damaged = bytearray(self._script.pick(way.in_flight))
        kind = self._script.below(4)
        place = self._script.below(max(1, min(len(damaged), 256)))
        if kind == 0:
            del damaged[place:]
        elif kind == 1:
            damaged += self._script.bytes(20)
        else:  # the header is what is read before the seal
            damaged[place % 20 if kind == 2 else place] ^= 1 << self._script.below(8)
        way.deliver(bytes(damaged), self._now)

    def _replay(self, way: Way) -> None:
        """Once more a datagram that was delivered before, the same way or the other."""
        had = self.ways[self._script.below(2)].had
        if had:
            way.deliver(self._script.pick(had), self._now)

    def _invent(self, way: Way) -> None:
        start = (b"", b"FSOS", b"FSOC")[self._script.below(3)]
        way.deliver(start + self._script.bytes(80), self._now)

    def _disconnect(self, way: Way) -> None:
        if self._script.chance(8):
            way.sender.connection.disconnect(self._now)

    def _recover(self) -> None:
        """Let the network be good until all reliable messages are there, or an end has come."""
        for _ in range(RECOVERY):
            if not all(way.sender.is_connected for way in self.ways):
                return
            if not any(self._missing(way) for way in self.ways):
                return
            self._now += RECOVERY_FRAME
            for way in self.ways:
                way.put(way.sender.leave(self._now))
            for way in self.ways:
                self._deliver_all(way)
                way.settle()
        raise AssertionError(f"never arrived: {[sorted(self._missing(way)) for way in self.ways]}")

    @staticmethod
    def _missing(way: Way) -> set[int]:
        """The reliable messages that have not arrived, or whose sender does not know."""
        modes = enumerate(way.sender.modes)
        reliable = {index for index, mode in modes if mode == RetryMode.RETRY_ON_TIMEOUT}
        return reliable - (way.arrived & set(way.sender.results))
