"""Clients of protocol 2 that lose an address in mid-game: on a kernel, and in virtual time."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator

import pytest
from support.namespaces import is_root, missing
from support.twointerfaces import SERVER, TwoInterfaces

from mpgameserver import Channel, EventHandler, ServerContext, UdpClient, UdpServer
from mpgameserver.netsim import LinkConditions
from mpgameserver.testing import World

CHANNELS = [Channel("chat"), Channel("position", "sequenced")]
FRAME = 1 / 60
PATIENCE = 20.0


class Game(EventHandler):
    """Keeps what it hears, and tells its client where everybody is, in each tick."""

    def __init__(self) -> None:
        self.clients: list = []
        self.chat: list[bytes] = []
        self.left = 0

    def connect(self, client) -> None:
        self.clients.append(client)

    def disconnect(self, client) -> None:
        self.left += 1

    def handle_message(self, client, seqnum, msg=b"", channel="") -> None:
        if channel == "chat":
            self.chat.append(msg)

    def update(self, delta_t) -> None:
        for client in self.clients:
            client.channel("position").send(b"somewhere")


ABSENT = missing()


@pytest.fixture(scope="module")
def path() -> Iterator[TwoInterfaces]:
    assert ABSENT is None, ABSENT
    with TwoInterfaces() as made:
        yield made


@pytest.mark.extra
@pytest.mark.skipif(
    ABSENT is not None and not (os.environ.get("CI") and is_root()), reason=str(ABSENT)
)
class TestOnAKernel:
    def play(self, path: TwoInterfaces, change: Callable[[], object]) -> float:
        """Play while something changes in the middle; return for how long nothing came after it."""
        game = Game()
        with path.inside("server"):
            server = UdpServer(ServerContext(game, channels=CHANNELS), (SERVER, 0))
        client = UdpClient(channels=CHANNELS)
        try:
            with path.inside("client"):
                return self._play(path, change, game, server, client)
        finally:
            client.forceDisconnect()
            server.close()

    def _play(self, path, change, game, server, client) -> float:
        heard: list[float] = []
        got: list[bytes] = []
        said: list[bytes] = []
        results: list[bool] = []

        def frame() -> None:
            end = time.perf_counter() + FRAME
            while time.perf_counter() < end:
                server.update()
                client.update()
            got.extend(client.channel("chat").messages())
            if list(client.channel("position").messages()):
                heard.append(time.perf_counter())

        def run_until(done: Callable[[], object]) -> None:
            end = time.perf_counter() + PATIENCE
            while not done():
                assert time.perf_counter() < end
                frame()

        client.connect(server.address)
        run_until(lambda: client.connected() and heard)
        changed_at = 0.0
        for number in range(120):
            if number == 40:
                change()
                changed_at = time.perf_counter()
            said.append(b"%d" % number)
            client.channel("chat").send(said[-1], results.append)
            game.clients[0].channel("chat").send(said[-1])
            frame()
        run_until(lambda: len(game.chat) == len(got) == len(results) == len(said))
        assert game.chat == got == said, "lost, repeated or out of order"
        assert all(results)
        assert game.left == 0
        return min(when for when in heard if when > changed_at) - changed_at

    @pytest.mark.parametrize("loss", [0, 10], ids=["no loss", "10 % loss"])
    def test_a_client_goes_from_wifi_to_cellular(self, path, loss):
        path.connect_wifi()
        path.lose(loss)
        gap = self.play(path, path.lose_wifi)
        print(f"gap: {gap * 1000:.0f} ms")

    @pytest.mark.parametrize("loss", [0, 10], ids=["no loss", "10 % loss"])
    def test_a_nat_gives_it_another_port(self, path, loss):
        path.connect_wifi()
        path.lose(loss)
        path.translate(40_000)
        gap = self.play(path, lambda: path.translate(50_000))
        print(f"gap: {gap * 1000:.0f} ms")


LATENCY = 0.05
RUNS = 40
TICK = 1 / 60


class TestInVirtualTime:
    """Seconds for which the server's ticks do not reach a client that has moved, at 10 % loss."""

    def gaps(self, change: Callable[[UdpClient], object], seed: int) -> list[float]:
        """Return the gaps of all runs in round trips, the shortest first."""
        return sorted(self.gap(change, f"{seed}/{number}") for number in range(RUNS))

    def gap(self, change: Callable[[UdpClient], object], seed: str) -> float:
        game = Game()
        world = World(
            ServerContext(game, channels=CHANNELS), LinkConditions(latency=LATENCY, loss=0.1), seed
        )
        world.context.setInterval(TICK)
        client = world.connect()
        said, got, results = [], [], []
        heard_at = changed_at = -1.0
        for number in range(70):
            if number == 30:
                change(client)
                changed_at = world.now
            said.append(b"%d" % number)
            client.channel("chat").send(said[-1], results.append)
            game.clients[0].channel("chat").send(said[-1])
            world.run(TICK)
            got += client.channel("chat").messages()
            if list(client.channel("position").messages()) and changed_at >= 0 > heard_at:
                heard_at = world.now
        world.run(2.0)
        got += client.channel("chat").messages()
        assert game.chat == got == said
        assert results == [True] * len(said)
        return (heard_at - changed_at) / (2 * LATENCY)

    @staticmethod
    def rebind(client: UdpClient) -> None:
        """Let a NAT give the client another port; what is in flight is lost."""
        sockets = client._network.sockets
        [(port, sock)] = sockets.items()
        sock.address = sock.address[0], port + 1000
        sockets[port + 1000] = sockets.pop(port)
        sock.relink()

    @staticmethod
    def lose_interface(client: UdpClient) -> None:
        """Let the client's address go, as the system tells whoever sends."""

        def send(datagram: bytes) -> int:
            raise OSError(errno.ENETUNREACH, "the Wi-Fi is gone")

        for sock in client._network.sockets.values():
            sock.relink()
            sock.send = send

    @pytest.mark.parametrize("change", [rebind, lose_interface], ids=["NAT", "interface"])
    def test_nothing_is_lost_and_the_gap_is_short(self, change, seed):
        """Two round trips for the challenge; the rest is frames, of which each way takes one."""
        gaps = self.gaps(change, seed)
        print(f"gap in round trips: median {gaps[RUNS // 2]:.2f}, p90 {gaps[RUNS * 9 // 10]:.2f}")
        assert gaps[RUNS * 9 // 10] <= 3
