"""Paths that take less than 1,500 bytes, over real routers: some fragment, some tell, some drop.

Protocol 1 leaves fragments to the routers; protocol 2 finds out what the path takes.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator

import pytest
from support.handshaking2 import SecondClient, version_1_hello
from support.namespaces import SERVER, NarrowPath, is_root, missing

from mpgameserver import EventHandler, RetryMode, ServerContext, UdpClient, UdpServer
from mpgameserver.server.admission2 import Admission2
from mpgameserver.transport.address import host_of, limits_towards
from mpgameserver.transport.sockets import new_udp_socket

pytestmark = pytest.mark.extra

ABSENT = missing()
# Under CI, root must be able to run them.
if ABSENT is not None and not (os.environ.get("CI") and is_root()):
    pytestmark = [pytestmark, pytest.mark.skip(reason=ABSENT)]

MTUS = (1280, 1400, 1420, 1480, 1492, 1500)
CONNECTS_WITHIN = 1.0
PATIENCE = 20.0
FOUND_WITHIN = 3.0
"""Seconds in which both sides find out what the path takes."""
HEADERS = {4: 28, 6: 48}
"""Bytes of the headers of IP and UDP."""
PROTOCOL_1 = ord("F")
"""The first byte of its datagrams."""
HANDSHAKE_2 = 4
"""The first byte of the answer to a hello of protocol 1, which may be as long, and in fragments."""
DETECTED_WITHIN = 3.0
"""Seconds in which either side finds that large datagrams vanish."""


@pytest.fixture(scope="module")
def path() -> Iterator[NarrowPath]:
    assert ABSENT is None, ABSENT
    with NarrowPath() as made:
        yield made


@pytest.fixture(params=[1, 2], ids=["protocol 1", "protocol 2"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The protocol of sessions: servers overhear what clients offer for it to be 1."""
    if request.param == 1:
        monkeypatch.setattr(Admission2, "receive_hello2", lambda *_: None)
        monkeypatch.setattr(Admission2, "receive_offer", lambda *_: False)
        monkeypatch.setattr("mpgameserver.server.handshakes.downgrade_salt", lambda rng: rng(16))
    chosen: int = request.param
    return chosen


class Keeper(EventHandler):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.clients: list = []
        self.messages: list[bytes] = []

    def connect(self, client) -> None:
        self.clients.append(client)

    def handle_message(self, client, seqnum, msg=b"") -> None:
        self.messages.append(msg)


class Session:
    """A client at one end of the path and a server at the other."""

    def __init__(self, path: NarrowPath, family: int) -> None:
        self.handler = Keeper()
        self._path = path
        self._host = SERVER[family]
        with path.inside("server"):
            self.server = UdpServer(ServerContext(self.handler), (self._host, 0))
        self.client = UdpClient()
        self.received: list[bytes] = []

    def __enter__(self) -> Session:
        began = time.perf_counter()
        try:
            with self._path.inside("client"):
                self.client.connect(self.server.address)
                self.run_until(lambda: self.client.connected() and self.handler.clients)
        except BaseException:
            self.__exit__()
            raise
        assert time.perf_counter() - began < CONNECTS_WITHIN
        return self

    def __exit__(self, *_: object) -> None:
        self.client.forceDisconnect()
        self.server.close()

    def step(self) -> None:
        self.server.update()
        self.client.update()
        self.received += [message for _, message in self.client.getMessages()]

    def run_until(self, done) -> None:
        end = time.perf_counter() + PATIENCE
        while not done() and time.perf_counter() < end:
            self.step()
        assert done()

    def run_for(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.step()

    @property
    def sizes(self) -> tuple[int, int]:
        """The largest datagrams of the client and of the server."""
        [player] = self.handler.clients
        return self.client.stats().largest_datagram, player.stats.largest_datagram

    def exchange(self, messages: list[bytes]) -> None:
        """Send messages both ways; each arrives once."""
        [player] = self.handler.clients
        self.received.clear()
        self.handler.messages.clear()
        for message in messages:
            self.client.send_guaranteed(message)
            player.send_guaranteed(message)
        count = len(messages)
        self.run_until(lambda: len(self.handler.messages) == len(self.received) == count)
        assert sorted(self.handler.messages) == sorted(self.received) == sorted(messages)


def sizes(family: int, seed: int) -> list[int]:
    limits = limits_towards(host_of((SERVER[family], 1)))
    edges = [
        limits.payload,
        limits.fragment,
        limits.payload + limits.fragment,
        2 * limits.fragment + 6,
    ]
    edges += [mtu - header for mtu in MTUS for header in (66, 86)]
    chosen = [edge + step for edge in edges for step in (-1, 0, 1)]
    return [0, 1, *chosen, *(random.Random(seed).randrange(20_000) for _ in range(100))]


def messages(family: int, seed: int) -> list[bytes]:
    return [random.Random(size).randbytes(size) for size in sizes(family, seed)]


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("errors", [False, True], ids=["ICMP", "no ICMP"])
@pytest.mark.parametrize("mtu", MTUS)
def test_messages_of_every_size_arrive(path, mtu, errors, family, protocol, seed):
    path.narrow(mtu)
    path.drop(errors=errors)
    with Session(path, family) as session:
        assert session.client.protocol == protocol
        session.exchange(messages(family, seed))


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("errors", [False, True], ids=["ICMP", "no ICMP"])
@pytest.mark.parametrize("mtu", MTUS[:-1])
def test_they_arrive_when_the_path_narrows_in_mid_session(
    path, mtu, errors, family, protocol, seed
):
    path.narrow(1500)
    path.drop(errors=errors)
    with Session(path, family) as session:
        before, behind = messages(family, seed), messages(family, seed + 1)
        session.exchange(before)
        path.narrow(mtu)
        session.exchange(behind)


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("mtu", MTUS)
def test_the_largest_message_arrives(path, mtu, family, protocol):
    path.narrow(mtu)
    path.drop(errors=True)
    largest = limits_towards(host_of((SERVER[family], 1))).message
    with Session(path, family) as session:
        session.exchange([random.Random(largest).randbytes(largest)])


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("errors", [False, True], ids=["ICMP", "no ICMP"])
@pytest.mark.parametrize("mtu", [*MTUS, 1281, 1411])
def test_datagrams_of_protocol_2_are_the_largest_that_the_path_takes(path, mtu, errors, family):
    path.narrow(mtu)
    path.drop(errors=errors, fragments=True)
    with Session(path, family) as session:
        largest = mtu - HEADERS[family]
        began = time.perf_counter()
        session.run_until(lambda: session.sizes == (largest, largest))
        assert time.perf_counter() - began < FOUND_WITHIN
        session.run_for(0.3)
        assert session.sizes == (largest, largest)


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
def test_what_the_interface_refuses_is_no_error(path, family, seed):
    path.narrow(1500)
    path.narrow_interface(1400)
    path.drop(errors=True)
    with Session(path, family) as session:
        session.run_until(lambda: session.sizes[0] == 1400 - HEADERS[family])
        session.exchange(messages(family, seed))
        path.narrow_interface(1300)
        session.exchange(messages(family, seed + 1))
        assert session.client.stats().send_errors == {}


def test_only_protocol_2_forbids_fragments_on_a_server_that_speaks_both(path):
    path.narrow(1500)
    path.drop()
    hello = version_1_hello(SecondClient())
    with path.inside("near"):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
    with path.inside("client"):
        old = new_udp_socket(socket.AF_INET)
    with tap, Session(path, 4) as session, old:
        [player] = session.handler.clients
        for _ in range(20):
            old.sendto(hello, session.server.address)
            session.client.send_guaranteed(bytes(1400))
            player.send_guaranteed(bytes(1400))
            session.run_for(0.01)
        seen = set(_seen(tap))
    assert seen == {
        (to_server, is_old, not is_old) for to_server in (True, False) for is_old in (True, False)
    }


def _seen(tap: socket.socket) -> Iterator[tuple[bool, bool, bool]]:
    """The datagrams at a router: to the server or not, of protocol 1 or not, "don't fragment"."""
    tap.setblocking(False)
    server = socket.inet_aton(SERVER[4])
    while True:
        try:
            packet = tap.recv(65536)
        except BlockingIOError:
            return
        if packet[0] == 0x45 and packet[9] == socket.IPPROTO_UDP and packet[28] != HANDSHAKE_2:
            yield packet[16:20] == server, packet[28] == PROTOCOL_1, bool(packet[6] & 0x40)


def test_over_ipv6_nothing_depends_on_fragments_where_the_path_takes_a_whole_hello(path, seed):
    path.narrow(1500)
    path.drop(errors=True, fragments=True)
    with Session(path, 6) as session:
        session.exchange(messages(6, seed))


def test_over_ipv4_a_session_goes_on_where_fragments_are_dropped_in_mid_session(path, seed):
    path.narrow(1500)
    path.drop(errors=True)
    with Session(path, 4) as session:
        session.exchange(messages(4, seed))
        path.narrow(1400)
        path.drop(errors=True, fragments=True)
        [player] = session.handler.clients
        end = time.perf_counter() + DETECTED_WITHIN
        while time.perf_counter() < end:
            for side in (session.client, player):
                side.send(bytes(1400), RetryMode.NONE)
                side.send(bytes(200), RetryMode.NONE)
            session.run_for(0.02)
        session.exchange(messages(4, seed + 1))
