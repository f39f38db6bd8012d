"""Fuzz a server, or a client, of protocol 2 as a whole.

Around a server: outsiders, clients with keys that send any frames, replays from anywhere, and one
honest player, whose messages are handled once each and in order. Around a client: a server that
answers its hellos and then sends any frames, beside strangers who forge its address.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from fuzz.inputs import Script
from support.hostility2 import Hostility, any_frame
from support.peerworld import ADDRESS, PeerServer, PeerWorld, table
from support.wire2.handshake import Hello
from support.wire2.tables import LATEST, ORDERED, SEQUENCED, UNORDERED

from mpgameserver import Channel
from mpgameserver.client import UdpClient
from mpgameserver.enums import ConnectionStatus
from mpgameserver.errors import MpGameServerError

__all__ = ["run"]

MOST_STEPS = 80
KINDS = {"chat": ORDERED, "position": SEQUENCED, "score": LATEST, "loot": UNORDERED}
CHANNELS = [
    Channel("chat"),
    Channel("position", "sequenced"),
    Channel("score", "latest"),
    Channel("loot", "unordered"),
]
PAUSES = (1 / 60, 0.1, 0.5, 1.2)
LONG_FRAME = 0.1
LAST = 8.0
"""Seconds after which a client whose server is silent has ended its attempt or its session."""


class Drawn(random.Random):
    """Draws from a script: zeros once it is over."""

    def __init__(self, script: Script) -> None:
        super().__init__(0)
        self._script = script

    def getrandbits(self, count: int) -> int:
        value = 0
        for _ in range((count + 7) // 8):
            value = value << 8 | self._script.below(256)
        return value & ((1 << count) - 1)

    def random(self) -> float:
        return self._script.below(256) / 256


class HostileServer(PeerServer):
    """Answers hellos, and edits some of its answers."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(table(**KINDS))
        self._rng = rng

    def reply(self, datagram: bytes, hello: Hello, now: float) -> list[bytes]:
        kind = self._rng.randrange(8)
        if kind == 0:
            return [self.retry(datagram, bytes(1 + self._rng.randrange(32)))]
        if kind == 1:
            return [edited(self._rng, self.open(datagram))]
        return super().reply(datagram, hello, now)


def edited(rng: random.Random, datagram: bytes) -> bytes:
    """Return a datagram with a byte that is another."""
    at = rng.randrange(max(1, min(len(datagram), 400)))
    return datagram[:at] + rng.randbytes(1) + datagram[at + 1 :]


class Besieged:
    """A client and its hostile server."""

    def __init__(self, script: Script) -> None:
        self._script, self._rng = script, Drawn(script)
        self._server = HostileServer(self._rng)
        self._world = PeerWorld(self._server, channels=CHANNELS, credential=b"who")
        self._recorded: list[bytes] = []
        self._outcomes: list[bool] = []
        self._said: list[list[bool]] = []
        self._client.connect(ADDRESS, self._outcomes.append)

    @property
    def _client(self) -> UdpClient:
        return self._world.client

    def run(self) -> None:
        """Do as the script says; then the client gets to an end by itself, or is asked to."""
        steps: tuple[Callable[[], object], ...] = (
            self._pause, self._pause, self._frames, self._frames, self._replay, self._noise,
            self._say,
        )  # fmt: skip
        for _ in self._script.turns(MOST_STEPS):
            self._script.pick(steps)()
            self._look()
        self._server.sessions.clear()
        self._settle(LAST)
        self._look()
        assert self._client.status() != ConnectionStatus.CONNECTING
        self._client.forceDisconnect()
        self._world.run(0.1)
        self._look()
        assert len(self._outcomes) == 1, "the attempt has no outcome"
        assert all(len(results) == 1 for results in self._said), "a callback is missing"

    def _pause(self) -> None:
        self._world.run(self._script.pick(PAUSES))

    def _settle(self, seconds: float) -> None:
        """Let time pass in long frames."""
        end = self._world.now + seconds
        while self._world.now < end:
            self._world.now += LONG_FRAME
            self._world.frame()

    def _look(self) -> None:
        """Read what has arrived, as a game does."""
        assert len(self._outcomes) <= 1
        assert all(len(results) <= 1 for results in self._said), "a callback came again"
        self._client.getMessages()
        for channel in CHANNELS:
            list(self._client.channel(channel.name).messages())

    def _say(self) -> None:
        results: list[bool] = []
        channel = self._client.channel(self._script.pick(CHANNELS).name)
        try:
            channel.send(bytes(self._script.pick((0, 40, 3000))), results.append)
        except (MpGameServerError, RuntimeError, OSError):  # not connected
            return
        self._said.append(results)

    def _frames(self) -> None:
        """Sealed packets with any frames, in a session that the server has opened."""
        sessions = list(self._server.sessions.values())
        if not sessions:
            return
        session = self._script.pick(sessions)
        frames = [any_frame(self._rng) for _ in range(1 + self._script.below(3))]
        try:
            datagram = session.packet_of(*frames)
        except Exception:  # the codec packs only what can be written
            return
        self._deliver(datagram)

    def _noise(self) -> None:
        start = self._script.pick((b"\4\xff\2", b"\4\xff\3", b"\4\xff\4", b"\x08", b"\x0d", b"F"))
        self._deliver(start + self._script.bytes(80))

    def _replay(self) -> None:
        if self._recorded:
            datagram = self._script.pick(self._recorded)
            self._deliver(edited(self._rng, datagram) if self._script.chance(2) else datagram)

    def _deliver(self, datagram: bytes) -> None:
        """Have a datagram come from the server's address, on the newest port."""
        self._recorded.append(datagram)
        self._world.network.deliver(datagram, max(self._world.network.sockets, default=0))


def run(data: bytes) -> None:
    """Play one script; an AssertionError says which promise was broken."""
    script = Script(data)
    if script.below(3) == 0:
        Besieged(script).run()
        return
    hostility = Hostility(Drawn(script))
    for _ in script.turns(MOST_STEPS):
        hostility.step()
    hostility.check()
