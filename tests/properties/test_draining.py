"""`waitForDisconnect` over a lossy link in memory: what was said last arrives."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

from support.pair import FRAME, ConnectionPair, received

from mpgameserver._core.pump import ClientPump
from mpgameserver.client import UdpClient
from mpgameserver.enums import ConnectionStatus
from mpgameserver.netsim import LinkConditions

LOSSY = LinkConditions(loss=0.3, latency=0.02)
TICK = 1 / 256


class VirtualSocket:
    """The socket of a pair's client; `wait` lets the time of the pair pass."""

    def __init__(self, pair: ConnectionPair) -> None:
        self.pair = pair
        self.arrived: deque[bytes] = deque()
        self.datagrams = SimpleNamespace(unreported_error=False)
        self.is_closed = False

    def receive(self) -> bytes | None:
        return self.arrived.popleft() if self.arrived else None

    def queue(self, datagram: bytes) -> bool:
        self.pair.link.up.send(datagram, self.pair.now)
        return True

    def flush(self) -> bool:
        return True

    def close(self) -> None:
        self.is_closed = True

    def wait(self, client: UdpClient, seconds: float) -> None:
        """Return when something has arrived, or after `seconds`."""
        end = self.pair.now + seconds
        while not self.arrived and self.pair.now < end:
            self.pair.now += TICK
            self._serve(self.pair.now)

    def _serve(self, now: float) -> None:
        pair = self.pair
        for datagram in pair.link.up.receive(now):
            pair.server.receive(datagram, now)
        if round(now / TICK) % round(FRAME / TICK) == 0:
            pair.server.advance(now)
            while (datagram := pair.server.next_datagram(now)) is not None:
                pair.link.down.send(datagram, now)
        self.arrived += pair.link.down.receive(now)


def client_of(pair: ConnectionPair) -> UdpClient:
    """A client on the clock of a pair whose connection is that of the pair's client."""
    sock = VirtualSocket(pair)
    client = UdpClient()
    client._network = SimpleNamespace(now=lambda: pair.now, wait=sock.wait)  # type: ignore[assignment]
    client._connection = pair.client
    client._socket = sock  # type: ignore[assignment]
    client._pump = ClientPump(pair.client, sock, lambda *_: None)
    return client


def test_what_is_reliable_arrives_before_wait_for_disconnect_returns(seed: int) -> None:
    arrived = 0
    for number in range(60):
        pair = ConnectionPair(LOSSY, f"{seed}/{number}")
        pair.run(0.5)
        client, start = client_of(pair), pair.now
        client.send_guaranteed(b"last words")
        client.waitForDisconnect()
        assert client.status() == ConnectionStatus.DISCONNECTED
        assert pair.now - start <= 1.0 + FRAME
        arrived += received(pair.server) == [b"last words"]
    assert arrived >= 59


def test_it_does_so_in_a_program_that_updates_and_then_waits(seed: int) -> None:
    arrived = 0
    for number in range(60):
        pair = ConnectionPair(LOSSY, f"{seed}/{number}")
        pair.run(0.5)
        client = client_of(pair)
        for part in range(5):
            client.send_guaranteed(b"part %d" % part)
        client.disconnect()
        client.update()
        client.waitForDisconnect()
        arrived += sorted(received(pair.server)) == [b"part %d" % part for part in range(5)]
    assert arrived >= 59
