"""Paths that take less than 1,500 bytes, over real routers: some fragment, some tell, some drop."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest
from support.namespaces import SERVER, NarrowPath, is_root, missing

from mpgameserver import EventHandler, RetryMode, ServerContext, UdpClient, UdpServer
from mpgameserver.transport.address import host_of, limits_towards

pytestmark = pytest.mark.extra

ABSENT = missing()
# Under CI, root must be able to run them.
if ABSENT is not None and not (os.environ.get("CI") and is_root()):
    pytestmark = [pytestmark, pytest.mark.skip(reason=ABSENT)]

MTUS = (1280, 1400, 1420, 1480, 1492, 1500)
CONNECTS_WITHIN = 1.0
PATIENCE = 20.0
DETECTED_WITHIN = 3.0
"""Seconds in which either side finds that large datagrams vanish."""


@pytest.fixture(scope="module")
def path() -> Iterator[NarrowPath]:
    assert ABSENT is None, ABSENT
    with NarrowPath() as made:
        yield made


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
def test_messages_of_every_size_arrive(path, mtu, errors, family, seed):
    path.narrow(mtu)
    path.drop(errors=errors)
    with Session(path, family) as session:
        session.exchange(messages(family, seed))


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("errors", [False, True], ids=["ICMP", "no ICMP"])
@pytest.mark.parametrize("mtu", MTUS[:-1])
def test_they_arrive_when_the_path_narrows_in_mid_session(path, mtu, errors, family, seed):
    path.narrow(1500)
    path.drop(errors=errors)
    with Session(path, family) as session:
        before, behind = messages(family, seed), messages(family, seed + 1)
        session.exchange(before)
        path.narrow(mtu)
        session.exchange(behind)


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("mtu", MTUS)
def test_the_largest_message_arrives(path, mtu, family):
    path.narrow(mtu)
    path.drop(errors=True)
    largest = limits_towards(host_of((SERVER[family], 1))).message
    with Session(path, family) as session:
        session.exchange([random.Random(largest).randbytes(largest)])


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
