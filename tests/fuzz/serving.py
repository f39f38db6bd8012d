"""Fuzz a server: outsiders, clients that hold a session's key and lie, and one honest player.

Whatever they do, the honest player's messages are handled and answered once each, the caps hold,
events come in order, and an address that has no session gets no more bytes than came from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from fuzz.inputs import Script
from fuzz.keyed import KINDS, Packets
from fuzz.parsers import edited
from support import wire
from support.serverworld import FRAME, Recorder, World

from mpgameserver.enums import RetryMode
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext
from mpgameserver.server.limits import Limits

Address = tuple[str, int]

MOST_STEPS = 80
PAUSES = (FRAME, 0.02, 0.1, 0.4)
SETTLING = 60
"""Frames of 0.1 s after the script, within which all that the player said is answered: it takes
one of them, and after a flood of hellos or a kick at the player's address a few."""
MAX_CLIENTS, MAX_PER_HOST, MAX_HALF_OPEN = 5, 3, 6
HOSTS = ("198.51.100.1", "198.51.100.1", "2001:db8::1", "2001:db8::2", "::ffff:198.51.100.7")
HONEST = b"honest "
RAISE, KICK, BROADCAST, REPLY = b"\1", b"\2", b"\3", b"\4"
"""First bytes of messages of which the handler does more than to echo them."""


class Handler(Recorder):
    """Writes down every event, and does what messages ask for: some of it is unwise."""

    def __init__(self) -> None:
        super().__init__(handle_message=self._act)
        self.context: ServerContext

    def _act(self, client: ServerClient, message: bytes) -> None:
        if message[:1] == RAISE:
            raise RuntimeError("the handler of the game has a fault")
        if message[:1] == KICK:
            client.disconnect()
        elif message[:1] == BROADCAST:
            self.context.broadcast(b"to all", RetryMode.NONE)
        elif client in self.context.clients:
            size = 5000 if message[:1] == REPLY else 0
            client.send(message + bytes(size), RetryMode.RETRY_ON_TIMEOUT)


@dataclass
class Outsider:
    """A socket somewhere, the key of its hello, and that of its session once it has one."""

    address: Address
    private_key: ec.EllipticCurvePrivateKey
    packets: Packets | None = None
    answers: int = 0
    sent: int = 0
    received: int = 0

    def hello(self) -> bytes:
        """Its CLIENT_HELLO message."""
        public_key = wire.key_der(self.private_key.public_key())
        return wire.pack_client_hello(public_key, bytes(wire.sizes(1500).client_hello - 101))


def private_key(number: int) -> ec.EllipticCurvePrivateKey:
    """A key that is the same in every run."""
    return ec.derive_private_key(1000 + number, ec.SECP256R1())


class Serving:
    """The server, the player, the outsiders, and what was said."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._handler = Handler()
        limits = Limits(clients=MAX_CLIENTS, clients_per_host=MAX_PER_HOST, half_open=MAX_HALF_OPEN)
        self._world = World(self._handler, limits=limits)
        self._handler.context = self._world.context
        self._player = self._world.join("192.0.2.1", 4000)
        self._honest = self._world.client_of(self._player)
        self._said: Counter[bytes] = Counter()
        self._outsiders = [
            Outsider((host, 5000 + number), private_key(number))
            for number, host in enumerate(HOSTS)
        ]
        self._recorded: list[bytes] = []
        self._steps: tuple[Callable[[], None], ...] = (
            self._pause,
            self._say,
            self._noise,
            self._hello,
            self._answer,
            self._packet,
            self._order,
            self._replay,
            self._block,
        )

    def run(self) -> None:
        """Do as the script says; then all that the player said must be answered."""
        for _ in self._script.turns(MOST_STEPS):
            self._script.pick(self._steps)()
            self._look()
        for _ in range(SETTLING):
            if self._answered() == self._said:
                break
            self._turn(0.1)
        assert self._answered() == self._said, "not all that the player said was answered, once"
        handled = [m for c, m in self._handler.named("handle_message") if c is self._honest]
        assert Counter(handled) == self._said, "not all that the player said was handled, once"
        self._check_events()

    def _answered(self) -> Counter[bytes]:
        return Counter(m for m in self._player.messages if m.startswith(HONEST))

    # -- what happens -----------------------------------------------------------------------

    def _pause(self) -> None:
        self._turn(self._script.pick(PAUSES))

    def _turn(self, seconds: float) -> None:
        self._world.now += seconds - FRAME
        self._world.frame()

    def _say(self) -> None:
        message = HONEST + str(len(self._said)).encode() + bytes(self._script.pick((0, 100, 3000)))
        self._said[message] += 1
        self._player.send(message)

    def _noise(self) -> None:
        """Any bytes, from anywhere: also with the player's address as the forged sender."""
        start = self._script.pick((b"", b"FSOS", b"FSOC", self._recorded_datagram()[:20]))
        self._send(start + self._script.bytes(80), self._any_address())

    def _hello(self) -> None:
        """A hello, with its checksum right; once in a while edited, or with a forged sender."""
        outsider = self._script.pick(self._outsiders)
        message, number = outsider.hello(), 1 + self._script.below(3)
        if self._script.chance(4):
            message = edited(self._script, message[:101]) + message[101:]
        fields = wire.Header(wire.TO_SERVER, int(self._world.wall_now), number, 0, 0, 0, 0, 0)
        datagram = wire.pack_clear(fields, wire.Message(1, wire.CLIENT_HELLO, message))
        forged = self._script.chance(8)
        self._send(datagram, self._player.address if forged else outsider.address)

    def _answer(self) -> None:
        """The CHALLENGE_RESP to the newest SERVER_HELLO, once in a while a wrong one."""
        outsider = self._script.pick(self._outsiders)
        answers = [d for d, a in self._world.sent if a == outsider.address and d[12] == 2]
        if not answers:
            return
        hello = wire.unpack_server_hello(wire.unpack_clear(answers[-1])[1].payload, None)
        key = wire.session_key(outsider.private_key, hello.session_key, hello.salt)
        outsider.packets = Packets(self._script, False, key)
        outsider.packets.seq = outsider.packets.message_seq = 1
        message = wire.pack_challenge_response(hello.token)
        if self._script.chance(4):
            message = edited(self._script, message)
        message = outsider.packets.message(wire.CHALLENGE_RESP, message)
        self._send(outsider.packets.packet([message]), outsider.address)

    def _packet(self) -> None:
        """Sealed packets of an outsider that has made a key, wherever they seem to come from."""
        outsider = self._script.pick(self._outsiders)
        packets = outsider.packets
        if packets is None:
            return
        if self._script.chance(4):
            kind, count = self._script.below(9), self._script.pick((1, 2, 3, 0, 255))
            datagram = packets.seal(self._script.bytes(60), count, kind)
        else:
            kinds = [self._script.pick(KINDS) for _ in range(self._script.below(4))]
            datagram = packets.packet(
                [
                    packets.piece()
                    if kind == wire.APP_FRAGMENT
                    else packets.message(kind, self._script.bytes(12))
                    for kind in kinds
                ]
            )
        self._send(datagram, self._any_address() if self._script.chance(8) else outsider.address)

    def _order(self) -> None:
        """A message that has the handler do something."""
        outsider = self._script.pick(self._outsiders)
        if outsider.packets is not None:
            order = self._script.pick((RAISE, KICK, BROADCAST, REPLY))
            message = outsider.packets.plain(wire.APP, order)
            self._send(outsider.packets.packet([message]), outsider.address)

    def _replay(self) -> None:
        self._send(self._recorded_datagram(), self._any_address())

    def _block(self) -> None:
        """Block the hosts of some outsiders, or none."""
        chosen = [s.address[0] for s in self._outsiders if self._script.chance(2)]
        self._world.context.setBlockList(chosen if self._script.chance(2) else [])

    def _recorded_datagram(self) -> bytes:
        """One that the player, the server or an outsider has sent."""
        recorded = self._script.pick(
            (self._player.sent, self._recorded, [d for d, _ in self._world.sent[-200:]])
        )
        return self._script.pick(recorded) if recorded else b""

    def _any_address(self) -> Address:
        addresses = [outsider.address for outsider in self._outsiders]
        return self._script.pick((*addresses, self._player.address, ("203.0.113.9", 0)))

    def _send(self, datagram: bytes, address: Address) -> None:
        self._recorded.append(datagram)
        for outsider in self._outsiders:
            if outsider.address == address:
                outsider.sent += len(datagram)
        self._world.serve([(datagram, address)])

    # -- what must hold ---------------------------------------------------------------------

    def _look(self) -> None:
        world, player = self._world, self._player
        assert player.connection is not None
        assert player.connection.is_live, "the player's connection has ended"
        assert self._honest in world.engine.clients, "the player's session has ended"
        assert len(world.engine.clients) <= MAX_CLIENTS
        assert world.engine.half_open <= MAX_HALF_OPEN
        had_sessions = {client.addr[1] for client in self._handler.clients}
        for outsider in self._outsiders:
            if outsider.address[1] not in had_sessions:
                got = sum(len(d) for d, a in world.sent if a == outsider.address)
                assert got <= outsider.sent, f"sent {got} bytes for {outsider.sent}"

    def _check_events(self) -> None:
        """Each client connects once, and then has messages, and goes at most once."""
        state: dict[ServerClient, str] = {}
        for name, *arguments in self._handler.events:
            client = arguments[0] if arguments else None
            if not isinstance(client, ServerClient):
                continue
            before = state.get(client)
            if name == "connect":
                assert before is None
                state[client] = "there"
            else:
                assert before == "there", f"{name} while {before}"
                state[client] = "gone" if name == "disconnect" else "there"


def run(data: bytes) -> None:
    """Play one script; an AssertionError says which promise was broken."""
    Serving(Script(data)).run()
