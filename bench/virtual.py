"""Sessions in virtual time, for what depends on the path and not on the machine."""

from __future__ import annotations

import statistics

import hotpath

from mpgameserver import EventHandler, RetryMode, UdpClient
from mpgameserver._core.endpoint import Endpoint
from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.server.engine import ServerEngine
from mpgameserver.testing import FRAME, World

__all__ = [
    "address_changes",
    "noticed_after",
    "overheads",
    "path_sizes",
    "quantile",
    "rate_of",
    "resent_share",
]

STEP = 0.001
BULK = 3_000_000
ROUND_TRIP = 0.1
MOVED_ROUND_TRIP = 0.2
"""Seconds, of which the frames of a world, 8 ms each, are a small part."""
REORDERED = LinkConditions(rate=2_000_000, latency=0.05, reorder=0.3, reorder_delay=0.04)
"""The row of the soak: 30 % of the packets are overtaken by what is sent in 40 ms; none is lost."""
PATH_SIZES = (1200, 1232, 1280, 1372, 1400, 1452, 1471, 1472)
"""Bytes of the largest datagram: of MTUs from 1,228 to 1,500, over IPv4."""
SEARCH = 10.0
"""Seconds in which a session may find out what its path carries."""
CHANGES = 100
PLAYED, LAST = 0.5, 6.0
"""Seconds of play between two changes of address, and until all must have arrived."""


class Path:
    """Both sides of a session on a link, a step of virtual time after the other."""

    def __init__(self, conditions: LinkConditions, protocol: int = 2, seed: int = 1) -> None:
        self.client, self.server = hotpath.session_of(protocol)
        self.now = hotpath.START
        self._links = LinkPair(conditions, seed=seed)

    def step(self) -> int:
        """Let a step pass; return the bytes that have arrived at the server."""
        self.now += STEP
        links = self._links
        for side, incoming, outgoing in (
            (self.client, links.down, links.up),
            (self.server, links.up, links.down),
        ):
            for datagram in incoming.receive(self.now):
                side.receive(datagram, self.now)
                if side.ack_is_due():
                    self._leave(side, outgoing)
            self._leave(side, outgoing)
        return sum(len(message) for _, message in self.server.take_messages())

    def _leave(self, side: Endpoint, link) -> None:
        side.advance(self.now)
        while (datagram := side.next_datagram(self.now)) is not None:
            link.send(datagram, self.now)

    def rate(self, size: int) -> float:
        """Bytes per second of one long message."""
        began, left = self.now, size
        self.client.send_queue.add(bytes(size), RetryMode.RETRY_ON_TIMEOUT)
        while left > 0:
            left -= self.step()
        return size / (self.now - began)


def rate_of(jitter: float, protocol: int = 2) -> float:
    """Return kB/s of a long message over 50 ms each way, with so many seconds of jitter."""
    return Path(LinkConditions(latency=0.05, jitter=jitter), protocol).rate(BULK) / 1000


def resent_share(seconds: float, protocol: int = 2) -> float:
    """Return the percentage of packets that are sent again where nothing is lost."""
    path = Path(REORDERED, protocol)
    for _ in range(int(seconds / STEP)):
        while path.client.send_queue.pending < 1 << 20:
            path.client.send_queue.add(bytes(100_000), RetryMode.RETRY_ON_TIMEOUT)
        path.step()
    return path.client.send_queue.retransmitted / path.client.assembled * 100


def overheads() -> tuple[int, int]:
    """Return the bytes around one small message, to the server and to the client."""
    client, server = hotpath.session2()
    now = hotpath.START
    for _ in range(200):  # as long as the numbers of a game's messages and packets are
        now += 0.01
        for side, other in ((client, server), (server, client)):
            side.send_queue.add(b"x" * 64, RetryMode.NONE)
            side.advance(now)
            other.receive(side.next_datagram(now), now)
    return _plain(client), _plain(server)


def _plain(side: Endpoint) -> int:
    """Return the bytes around a message in a packet with nothing else in it."""
    now = hotpath.START + 100
    side.advance(now)
    while side.next_datagram(now) is not None:
        pass
    side.send_queue.add(b"x" * 64, RetryMode.NONE)
    return len(side.next_datagram(now)) - 64


class Counting(EventHandler):
    """Counts the messages of its one client, and sends as many."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def handle_message(self, client, seqnum, msg=b""):
        self.taken.append(msg)
        client.send_guaranteed(msg)


def address_changes(loss: float, seed: int = 1) -> list[float]:
    """Return how many round trips passed until the server sent to each new address of a client.

    What is in flight is lost with the old address. Raises AssertionError if a reliable message is
    lost.
    """
    handler = Counting()
    world = World(handler, LinkConditions(latency=MOVED_ROUND_TRIP / 2, loss=loss), seed=seed)
    client = world.connect()
    found, sent = [], []

    def play() -> None:
        """Send 60 messages a second."""
        sent.append(b"%d" % len(sent))
        client.send_guaranteed(sent[-1])
        world.run(2 * FRAME)

    for number in range(CHANGES):
        end = world.now + PLAYED
        while world.now < end:
            play()
        address, began = _move(client, number), world.now
        while world.server_client(client).addr != address:
            play()
        found.append((world.now - began) / MOVED_ROUND_TRIP)
    world.run(LAST)
    back = [message for _, message in client.getMessages()]
    if not sorted(handler.taken) == sorted(back) == sorted(sent):
        raise AssertionError("a reliable message was lost, or came twice")
    return found


def _move(client: UdpClient, number: int) -> tuple[str, int]:
    """Give the client's socket another port; what is in flight is lost."""
    network = client._network
    ((port, sock),) = network.sockets.items()
    del network.sockets[port]
    sock.address = (network.host, 10_000 + number)
    network.sockets[sock.address[1]] = sock
    sock.relink()
    return sock.address


def noticed_after(keep_alive: float) -> list[float]:
    """Return the seconds until a client notices that its server was replaced."""
    found = []
    for seed in range(10):
        world = World(EventHandler(), LinkConditions(latency=ROUND_TRIP / 2), seed=seed)
        client = world.client()
        client.setKeepAliveInterval(keep_alive)
        client.connect(world.address)
        world.run_until(client.connected)
        world.run(1.0 + seed / 10)
        world._engine = ServerEngine(world.context, world._events)
        world._engine.start(world.now)
        began = world.now
        world.run_until(lambda: not client.connected())  # noqa: B023
        found.append(world.now - began)
    return found


def path_sizes() -> tuple[list[float], list[float]]:
    """Return, for each path, the seconds to connect and the share of its size that is used."""
    connected, shares = [], []
    for size in PATH_SIZES:
        world = World(EventHandler(), LinkConditions(latency=ROUND_TRIP / 2, max_datagram=size))
        client = world.client()
        client.connect(world.address)
        world.run_until(client.connected)
        connected.append(world.now)
        world.run(SEARCH)
        (player,) = world.clients
        least = min(client.stats().largest_datagram, player.stats.largest_datagram)
        shares.append(least / size)
    return connected, shares


def quantile(values: list[float], share: float) -> float:
    """Return the value below which that share of them is."""
    return statistics.quantiles(values, n=100)[round(share * 100) - 1]
