"""A server of protocol 2, an honest player, and everybody else: what they do is drawn.

Forged and edited hellos, packets for any connection id, replays from anywhere, and clients that
hold the keys of a session and send any frames, before they were accepted and after.
"""

from __future__ import annotations

import random
from typing import Any

from support.players2 import ChannelRecorder, Player2
from support.serverworld import FRAME, World
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
    PathChallenge,
    PathResponse,
    Ping,
    Reserved,
    RetireConnectionId,
    Time,
    Window,
)
from support.wire2.tables import ORDERED
from support.wire2.tables import Channel as Row

from mpgameserver import Channel
from mpgameserver.server.client import ServerClient
from mpgameserver.server.limits import Limits
from mpgameserver.server.paths import AMPLIFICATION

__all__ = ["Hostility", "any_frame"]

MAX_CLIENTS, MAX_HALF_OPEN = 6, 8
LONG_FRAME = 0.1
CHAT = [Row(1, ORDERED, (100, 100_000), "chat")]


def any_frame(rng: random.Random) -> Frame:
    """Return a frame with any contents, some of which no packet can have."""
    r = rng.randrange
    some = bytes(r(256) for _ in range(r(1, 60)))
    makers: tuple[Any, ...] = (
        Ping,
        lambda: Ack(r(9), ((r(1, 9), r(9, 20)),)),
        lambda: Window(r(3), r(1000), r(1 << 20)),
        lambda: Connect(r(1, 300), r(100), some),
        lambda: Accept(r(1, 300), r(100), some),
        lambda: Close(r(600), some),
        lambda: PathChallenge(bytes(8)),
        lambda: PathResponse(bytes(8)),
        lambda: NewConnectionId(r(9), bytes(8), bytes(16)),
        lambda: RetireConnectionId(r(3)),
        lambda: Time(r(1 << 30)),
        lambda: Kem(1184, 0, some),
        lambda: Reserved(64 + r(64), some),
        lambda: Message(r(3), r(1, 400), some),
        lambda: Fragment(r(2), r(1, 9), r(1, 1 << 20), r(9), bytes(64)),
    )
    made: Frame = rng.choice(makers)()
    return made


class Doorkeeper(ChannelRecorder):
    """Refuses whoever shows an even number, and fails at some."""

    def authenticate(self, client: ServerClient, credential: bytes) -> object:
        if credential[:1] == b"\1":
            raise RuntimeError("the handler of the game has a fault")
        return len(credential) % 2 == 1


class Hostility:
    """A server, an honest player, and everybody else."""

    def __init__(self, rng: random.Random, seed: int = 0) -> None:
        self.rng = rng
        self.world = World(
            Doorkeeper(),
            limits=Limits(clients=MAX_CLIENTS, clients_per_host=5, half_open=MAX_HALF_OPEN),
            seed=seed,
            channels=[Channel("chat", window=100_000)],
        )
        self.player = Player2(self.world, CHAT, b"honest!", address=("192.0.2.1", 4000)).join()
        [self.client] = self.world.engine.clients
        self.strangers = [
            ((f"198.51.100.{n % 2}", 5000 + n), Player2(World(), CHAT, bytes(n))) for n in range(8)
        ]
        self.sent = dict.fromkeys([address for address, _ in self.strangers], 0)
        self.candidates: set[Any] = set()
        """The addresses from which packets came that open in a session which is elsewhere."""
        self.recorded: list[bytes] = []
        self.said = 0

    def step(self) -> None:
        act = self.rng.choice(
            (self.say, self.hello, self.read_answers, self.packet, self.packet, self.noise,
             self.replay, self.wait)
        )  # fmt: skip
        act()
        self.look()

    # -- what happens -----------------------------------------------------------------------

    def say(self) -> None:
        self.player.peer.say(1, self.said.to_bytes(4, "big"))
        self.said += 1

    def wait(self) -> None:
        self.world.run(self.rng.choice((0.01, 0.1, 0.5)))

    def hello(self) -> None:
        address, stranger = self.rng.choice(self.strangers)
        hello = stranger.hellos.datagram(self.rng.choice((1, 2)), stranger.cookie)
        self.send(self.edited(hello) if self.rng.random() < 0.2 else hello, address)

    def read_answers(self) -> None:
        """Let each stranger take the newest answer; those who have one keep it in half of cases."""
        for address, stranger in self.strangers:
            answers = [d for d, to in self.world.sent if to == address and d[:1] == b"\4"]
            if answers and (stranger.peer is None or self.rng.random() < 0.5):
                stranger.peer = None
                stranger._receive(answers[-1])

    def packet(self) -> None:
        address, stranger = self.rng.choice(self.strangers)
        if stranger.peer is None:
            return
        if self.rng.random() < 0.4:
            for datagram in stranger.peer.datagrams(self.world.now):
                self.send(datagram, address)
            return
        frames = [any_frame(self.rng) for _ in range(self.rng.randrange(1, 4))]
        try:
            datagram = stranger.peer.packet_of(*frames)
        except Exception:  # the codec packs only what can be written
            return
        place = self.any_address() if self.rng.random() < 0.2 else address
        if place != address:
            self.candidates.add(place)
        self.send(datagram, place)

    def noise(self) -> None:
        """Any bytes behind a first byte of protocol 2, for any connection id."""
        ids = [
            each.connection_id for each in self.world.engine.admission.handshakes2.half_open.all()
        ]
        ids += [self.player.connection_id, bytes(8), b""]
        start = bytes([self.rng.choice((4, 8, 11, 15))]) + self.rng.choice(ids)
        self.send(start + self.rng.randbytes(self.rng.randrange(60)), self.any_address())

    def replay(self) -> None:
        datagrams = [*self.recorded[-100:], *self.player.sent[-100:]]
        datagrams += [datagram for datagram, _ in self.world.sent[-100:]]
        datagram = self.rng.choice(datagrams)
        self.send(
            self.edited(datagram) if self.rng.random() < 0.3 else datagram, self.any_address()
        )

    def edited(self, datagram: bytes) -> bytes:
        at = self.rng.randrange(min(len(datagram), 200))
        return datagram[:at] + self.rng.randbytes(1) + datagram[at + 1 :]

    def any_address(self) -> tuple[str, int]:
        return self.rng.choice([*self.sent, self.player.address, ("203.0.113.9", 0)])

    def send(self, datagram: bytes, address: Any) -> None:
        self.recorded.append(datagram)
        if address in self.sent:
            self.sent[address] += len(datagram)
        self.world.serve([(datagram, address)])

    # -- what must hold ---------------------------------------------------------------------

    def look(self) -> None:
        engine = self.world.engine
        assert self.client in engine.clients, "the player's session has ended"
        assert len(engine.sessions) <= MAX_CLIENTS
        assert engine.half_open <= 2 * MAX_HALF_OPEN
        had = {client.addr for client in self.world.handler.clients}
        had |= {session.address for session in engine.sessions}
        for address, sent in self.sent.items():
            if address not in had and not engine.closed:
                got = sum(len(datagram) for datagram, to in self.world.sent if to == address)
                most = AMPLIFICATION * sent if address in self.candidates else sent
                assert got <= most, f"{address} was sent {got} bytes for {sent}"

    def heard(self) -> list[int]:
        """Return the numbers that the handler has had from the player."""
        return [
            int.from_bytes(message, "big")
            for client, message in self.world.handler.named("handle_message")
            if client is self.client
        ]

    def settle(self, seconds: float) -> None:
        """Let time pass in long frames."""
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.now += LONG_FRAME - FRAME
            self.world.frame()

    def check(self) -> None:
        """When all is over: the player was heard, in order, and nobody else is left."""
        self.settle(3)
        assert self.heard() == list(range(self.said))
        self.settle(12)
        assert len(self.world.engine.sessions) == 1
        assert len(self.world.engine.joining) == self.world.engine.half_open == 0
        states: dict[Any, str] = {}
        for name, *arguments in self.world.handler.events:
            if name in ("connect", "handle_message", "disconnect"):
                before = states.get(arguments[0])
                assert before == (None if name == "connect" else "there"), name
                states[arguments[0]] = "gone" if name == "disconnect" else "there"
