"""The proxy on loopback: what is sent through it meets the seeded links, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from support.patience import PATIENCE

from mpgameserver import udpproxy
from mpgameserver._core.datagrams import TELLS_LOCAL
from mpgameserver.netsim import Blackout, Link, LinkConditions
from mpgameserver.udpproxy import UdpProxy

PERFECT = LinkConditions()
LOCALHOSTS = ["127.0.0.1", "::1"]
SEED = 6

OpenPeer = Callable[..., socket.socket]
OpenProxy = Callable[..., UdpProxy]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def open_peer() -> Iterator[OpenPeer]:
    """Open UDP sockets on loopback, as clients and servers have; closed at the end."""
    peers: list[socket.socket] = []

    def open_peer(host: str = "127.0.0.1") -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        peer = socket.socket(family, socket.SOCK_DGRAM)
        peers.append(peer)
        peer.settimeout(PATIENCE)
        try:
            peer.bind((host, 0))
        except OSError as error:
            pytest.skip(f"no {host} on this machine: {error}")
        return peer

    yield open_peer
    for peer in peers:
        peer.close()


@pytest.fixture
def open_proxy() -> Iterator[OpenProxy]:
    """Make proxies to a server socket; stopped at the end."""
    proxies: list[UdpProxy] = []

    def open_proxy(
        server: socket.socket,
        up: LinkConditions = PERFECT,
        down: LinkConditions | None = None,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
    ) -> UdpProxy:
        target = server.getsockname()[:2]
        proxy = UdpProxy((host, 0), target, up, down, SEED, clock=clock or Clock())
        proxies.append(proxy)
        return proxy

    yield open_proxy
    for proxy in proxies:
        proxy.stop()


def echo(server: socket.socket, count: int = 1) -> None:
    for _ in range(count):
        datagram, address = server.recvfrom(65_536)
        server.sendto(datagram, address)


def all_received(peer: socket.socket) -> list[bytes]:
    """Return the datagrams that have arrived at `peer`."""
    peer.setblocking(False)
    received = []
    try:
        while True:
            received.append(peer.recv(65_536))
    except BlockingIOError:
        return received
    finally:
        peer.settimeout(PATIENCE)


def step_until_idle(proxy: UdpProxy) -> None:
    """Step until there is nothing more to read: what is sent on loopback is there at once."""
    before = None
    while (now := proxy.stats) != before:
        before = now
        proxy.run_once(0.01)


# Forwarding


@pytest.mark.parametrize("server_host", LOCALHOSTS)
@pytest.mark.parametrize("host", LOCALHOSTS)
def test_datagrams_travel_both_ways(open_peer: OpenPeer, host: str, server_host: str) -> None:
    server, client = open_peer(server_host), open_peer(host)
    with UdpProxy((host, 0), server.getsockname()[:2], PERFECT) as proxy:
        for datagram in (b"hello", b"", bytes(9_000)):
            client.sendto(datagram, proxy.address)
            echo(server)
            assert client.recvfrom(65_536)[0] == datagram
    assert proxy.address[0] == host
    assert (proxy.stats.up.delivered, proxy.stats.down.delivered) == (3, 3)


def test_the_server_sees_one_address_for_each_client(
    open_peer: OpenPeer, open_proxy: OpenProxy
) -> None:
    server, clients = open_peer(), [open_peer() for _ in range(4)]
    proxy = open_proxy(server)
    addresses = {}
    for turn in range(2):
        for number, client in enumerate(clients):
            client.sendto(b"%d" % number, proxy.address)
            proxy.run_once(PATIENCE)
            datagram, addresses[number, turn] = server.recvfrom(100)
            server.sendto(datagram, addresses[number, turn])
    step_until_idle(proxy)
    assert len(set(addresses.values())) == 4
    assert all(addresses[number, 0] == addresses[number, 1] for number in range(4))
    assert [all_received(client) for client in clients] == [
        [b"%d" % number] * 2 for number in range(4)
    ]
    assert (proxy.stats.clients, proxy.stats.clients_seen) == (4, 4)


def test_bulk_both_ways_arrives_whole_in_the_thread(open_peer: OpenPeer) -> None:
    server, clients = open_peer(), [open_peer() for _ in range(4)]
    sent = [(b"%05d" % number).ljust(1_400, b".") for number in range(750)]
    with UdpProxy(("127.0.0.1", 0), server.getsockname(), PERFECT) as proxy:
        for start in range(0, 750, 30):  # as many as any socket buffer takes
            for client in clients:
                for datagram in sent[start : start + 30]:
                    client.sendto(datagram, proxy.address)
                echo(server, 30)
            for client in clients:
                assert [client.recv(2_000) for _ in range(30)] == sent[start : start + 30]
    stats = proxy.stats
    assert (stats.up.sent_bytes, stats.down.sent_bytes) == (4 * 750 * 1_400,) * 2
    assert (stats.up.lost, stats.down.lost, stats.socket_errors) == (0, 0, 0)


# The links


def test_each_client_and_direction_has_the_link_of_its_number(
    open_peer: OpenPeer, open_proxy: OpenProxy
) -> None:
    server, clients = open_peer(), [open_peer() for _ in range(2)]
    up, down = LinkConditions(loss=0.5), LinkConditions(loss=0.25)
    proxy = open_proxy(server, up, down)
    sent = [b"%d" % number for number in range(40)]

    def survivors(conditions: LinkConditions, seed: str, datagrams: list[bytes]) -> list[bytes]:
        link = Link(conditions, seed)
        for datagram in datagrams:
            link.send(datagram, 0.0)
        return link.receive(0.0)

    for number, client in enumerate(clients):
        for datagram in sent:
            client.sendto(datagram, proxy.address)
        step_until_idle(proxy)
        there = survivors(up, f"{SEED}/client {number}/up", sent)
        echo(server, len(there))
        step_until_idle(proxy)
        back = survivors(down, f"{SEED}/client {number}/down", there)
        assert all_received(client) == back
    assert proxy.stats.up.lost_random == 80 - proxy.stats.up.delivered


def test_a_datagram_is_forwarded_when_it_is_due(open_peer: OpenPeer, open_proxy: OpenProxy) -> None:
    server, client, clock = open_peer(), open_peer(), Clock()
    proxy = open_proxy(server, LinkConditions(latency=0.25), LinkConditions(latency=0.5), clock)
    client.sendto(b"there", proxy.address)
    proxy.run_once(PATIENCE)
    clock.now += 0.249
    proxy.run_once(0)
    assert all_received(server) == []
    clock.now += 0.001
    proxy.run_once(0)
    datagram, address = server.recvfrom(100)
    assert datagram == b"there"
    server.sendto(b"back", address)
    proxy.run_once(PATIENCE)
    clock.now += 0.5
    proxy.run_once(0)
    assert client.recv(100) == b"back"


def test_one_that_overtakes_is_forwarded_when_it_is_due(
    open_peer: OpenPeer, open_proxy: OpenProxy
) -> None:
    server, client, clock = open_peer(), open_peer(), Clock()
    conditions = LinkConditions(latency=0.5, jitter=0.5)
    link = Link(conditions, f"{SEED}/client 0/up")
    proxy = open_proxy(server, conditions, clock=clock)
    for number in range(20):
        client.sendto(b"%d" % number, proxy.address)
        link.send(b"%d" % number, 0.0)
    step_until_idle(proxy)
    order = []
    for step in range(1, 17):
        clock.now = 1_000.0 + step / 16
        proxy.run_once(0)
        arrived = link.receive(step / 16)
        assert all_received(server) == arrived
        order += arrived
    assert len(order) == 20
    assert order[0] != b"0"


def test_blackouts_count_from_when_the_proxy_was_made(
    open_peer: OpenPeer, open_proxy: OpenProxy
) -> None:
    server, client, clock = open_peer(), open_peer(), Clock()
    proxy = open_proxy(server, LinkConditions(blackouts=(Blackout(5.0, 1.0),)), clock=clock)
    for second in (4, 5, 6):
        clock.now = 1_000.0 + second
        client.sendto(b"%d" % second, proxy.address)
        proxy.run_once(PATIENCE)
    assert all_received(server) == [b"4", b"6"]


def test_waiting_ends_when_a_datagram_is_due(open_peer: OpenPeer, open_proxy: OpenProxy) -> None:
    server, client, clock = open_peer(), open_peer(), Clock()
    proxy = open_proxy(server, LinkConditions(latency=0.05), clock=clock)
    clock.now += 100.0
    client.sendto(b"there", proxy.address)
    proxy.run_once(PATIENCE)
    before = time.perf_counter()
    proxy.run_once(PATIENCE)
    assert time.perf_counter() - before < PATIENCE / 2


def test_the_thread_forwards_what_is_due_without_being_woken(open_peer: OpenPeer) -> None:
    server, client = open_peer(), open_peer()
    with UdpProxy(("127.0.0.1", 0), server.getsockname(), LinkConditions(latency=0.05)) as proxy:
        client.sendto(b"there", proxy.address)
        assert server.recv(100) == b"there"


# Clients that come and go


def test_clients_beyond_the_cap_are_refused_until_one_is_idle(
    open_peer: OpenPeer, open_proxy: OpenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udpproxy, "MAX_CLIENTS", 2)
    server, clients, clock = open_peer(), [open_peer() for _ in range(3)], Clock()
    proxy = open_proxy(server, clock=clock)

    def send_from(numbers: tuple[int, ...]) -> list[bytes]:
        for number in numbers:
            clients[number].sendto(b"%d" % number, proxy.address)
            proxy.run_once(PATIENCE)
        return all_received(server)

    assert send_from((0, 1, 2)) == [b"0", b"1"]
    assert (proxy.stats.clients, proxy.stats.refused) == (2, 1)
    clock.now += udpproxy.CLIENT_IDLE_SECONDS - 1.0
    assert send_from((1, 2)) == [b"1"]
    clock.now += 1.0
    proxy.run_once(0)
    assert proxy.stats.clients == 1
    assert send_from((1, 2)) == [b"1", b"2"]
    stats = proxy.stats
    assert (stats.clients, stats.clients_seen, stats.refused) == (2, 3, 2)
    assert stats.up.delivered == 5


def test_a_client_that_returns_is_a_new_one(open_peer: OpenPeer, open_proxy: OpenProxy) -> None:
    server, client, clock = open_peer(), open_peer(), Clock()
    proxy = open_proxy(server, clock=clock)
    client.sendto(b"first", proxy.address)
    proxy.run_once(PATIENCE)
    clock.now += udpproxy.CLIENT_IDLE_SECONDS
    proxy.run_once(0)
    assert proxy.stats.clients == 0
    client.sendto(b"second", proxy.address)
    proxy.run_once(PATIENCE)
    assert all_received(server) == [b"first", b"second"]
    assert (proxy.stats.clients_seen, proxy.stats.up.delivered) == (2, 2)


def test_a_server_that_keeps_sending_keeps_its_client(
    open_peer: OpenPeer, open_proxy: OpenProxy
) -> None:
    server, client, clock = open_peer(), open_peer(), Clock()
    proxy = open_proxy(server, clock=clock)
    client.sendto(b"subscribe", proxy.address)
    proxy.run_once(PATIENCE)
    _, address = server.recvfrom(100)
    for _ in range(3):
        clock.now += udpproxy.CLIENT_IDLE_SECONDS * 0.9
        server.sendto(b"news", address)
        proxy.run_once(PATIENCE)
    assert all_received(client) == [b"news"] * 3


def test_what_is_under_way_keeps_a_client(open_peer: OpenPeer, open_proxy: OpenProxy) -> None:
    server, client, clock = open_peer(), open_peer(), Clock()
    latency = 2 * udpproxy.CLIENT_IDLE_SECONDS
    proxy = open_proxy(server, LinkConditions(latency=latency), clock=clock)
    client.sendto(b"slow", proxy.address)
    proxy.run_once(PATIENCE)
    clock.now += latency - 1.0
    proxy.run_once(0)
    assert proxy.stats.clients == 1
    clock.now += 1.0
    proxy.run_once(0)
    assert all_received(server) == [b"slow"]
    assert proxy.stats.clients == 0


@pytest.mark.skipif(not TELLS_LOCAL, reason="this platform does not tell local addresses")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_a_proxy_on_all_addresses_answers_from_the_one_spoken_to(
    open_peer: OpenPeer, open_proxy: OpenProxy, host: str
) -> None:
    open_peer(host)  # skips where this host does not have the address
    server, client = open_peer(), open_peer("0.0.0.0")
    proxy = open_proxy(server, host="0.0.0.0")
    client.connect((host, proxy.address[1]))
    client.send(b"question")
    proxy.run_once(PATIENCE)
    echo(server)
    proxy.run_once(PATIENCE)
    assert client.recv(100) == b"question"


# Errors


def test_a_server_that_is_not_there_yet_does_no_harm(
    open_peer: OpenPeer, open_proxy: OpenProxy
) -> None:
    server, client = open_peer(), open_peer()
    target = server.getsockname()
    proxy = open_proxy(server)
    server.close()
    for _ in range(3):
        client.sendto(b"anyone?", proxy.address)
        proxy.run_once(PATIENCE)
    step_until_idle(proxy)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as restarted:
        restarted.settimeout(PATIENCE)
        restarted.bind(target)
        client.sendto(b"now", proxy.address)
        step_until_idle(proxy)
        assert restarted.recv(100) == b"now"


def test_a_client_that_cannot_be_served_is_refused(
    open_peer: OpenPeer, open_proxy: OpenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor_left(family: int, target: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    server, client = open_peer(), open_peer()
    proxy = open_proxy(server)
    with monkeypatch.context() as patch:
        patch.setattr(udpproxy, "_connect", no_descriptor_left)
        client.sendto(b"lost", proxy.address)
        proxy.run_once(PATIENCE)
    assert (proxy.stats.refused, proxy.stats.socket_errors, proxy.stats.clients) == (1, 1, 0)
    client.sendto(b"passed", proxy.address)
    proxy.run_once(PATIENCE)
    assert all_received(server) == [b"passed"]


def test_a_port_in_use_is_an_error_that_names_it(open_peer: OpenPeer) -> None:
    taken = open_peer().getsockname()
    with pytest.raises(OSError, match=f"cannot listen on .*{taken[1]}"):
        UdpProxy(taken, ("127.0.0.1", 9), PERFECT)


def test_an_unknown_host_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match=r"cannot resolve \('nowhere', 9\): Name or service"):
        UdpProxy(("127.0.0.1", 0), ("nowhere", 9), PERFECT)


@pytest.mark.parametrize("place", ["listen", "target"])
def test_a_host_with_a_nul_character_is_refused(place):
    good, bad = ("127.0.0.1", 9), ("127.0.0.1\0.example.net", 9)
    with pytest.raises(ValueError, match="without a NUL"):
        UdpProxy(*((bad, good) if place == "listen" else (good, bad)), PERFECT)


# Starting and stopping; that nothing is left behind is checked for every test


def test_run_once_returns_when_nothing_happens(open_peer: OpenPeer, open_proxy: OpenProxy) -> None:
    proxy = open_proxy(open_peer())
    proxy.run_once(0)
    proxy.run_once(0.001)
    assert proxy.stats.up.sent == 0


def test_a_stopped_proxy_frees_its_port_and_threads(open_peer: OpenPeer) -> None:
    server, client = open_peer(), open_peer()
    threads = set(threading.enumerate())
    with UdpProxy(("127.0.0.1", 0), server.getsockname(), PERFECT) as proxy:
        client.sendto(b"hello", proxy.address)
        server.recv(100)
        assert set(threading.enumerate()) > threads
    assert set(threading.enumerate()) == threads
    with UdpProxy(proxy.address, server.getsockname(), PERFECT) as second:
        assert second.address == proxy.address


def test_stop_may_be_called_again_and_without_start(open_peer: OpenPeer) -> None:
    proxy = UdpProxy(("127.0.0.1", 0), open_peer().getsockname(), PERFECT)
    proxy.stop()
    proxy.stop()
    assert proxy.stats.clients == 0


def test_a_proxy_works_in_one_way_at_a_time_and_ends_once(open_peer: OpenPeer) -> None:
    with UdpProxy(("127.0.0.1", 0), open_peer().getsockname(), PERFECT) as proxy:
        for call in (proxy.start, proxy.run_once):
            with pytest.raises(RuntimeError, match="started"):
                call()
    for call in (proxy.start, proxy.run_once):
        with pytest.raises(RuntimeError, match="stopped"):
            call()
