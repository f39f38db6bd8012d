"""A client of protocol 2 whose socket has become useless goes on from another one."""

from __future__ import annotations

import errno

import pytest

from mpgameserver import ConnectionStatus, EventHandler, RetryMode
from mpgameserver.client.silence import FIRST_SILENCE, Silence
from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.testing import World, _LinkSocket

DEAD = LinkConditions(loss=1.0)


class Echo(EventHandler):
    """Says again what it hears, for certain."""

    def __init__(self) -> None:
        self.left: list[object] = []

    def handle_message(self, client, seqnum, msg=b""):
        client.send(msg, RetryMode.RETRY_ON_TIMEOUT)

    def disconnect(self, client):
        self.left.append(client)


def cut(client) -> None:
    """Let what the client's sockets send and receive from now on vanish."""
    for sock in client._network.sockets.values():
        sock.links = LinkPair(DEAD)


def fail_to_send(client, number: int) -> None:
    """Let every socket that the client has now fail to send with that error."""

    def send(datagram: bytes) -> int:
        raise OSError(number, "it does not work")

    for sock in client._network.sockets.values():
        sock.send = send


def ports(client) -> list[int]:
    return [port for port, sock in client._network.sockets.items() if not sock.is_closed]


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_game_whose_local_address_is_gone_plays_on(loss, seed):
    echo = Echo()
    world = World(echo, LinkConditions(latency=0.03, loss=loss), seed)
    client = world.connect(minimum_protocol=2)
    (before,) = ports(client)
    heard = []
    for n in range(60):
        if n == 20:
            cut(client)
        client.send(b"%d" % n)
        world.run(0.1)
        heard += [msg for _, msg in client.getMessages()]
    world.run(3)
    heard += [msg for _, msg in client.getMessages()]
    assert sorted(heard) == sorted(b"%d" % n for n in range(60))
    assert client.status() is ConnectionStatus.CONNECTED
    assert echo.left == []
    assert ports(client) != [before]


def test_nobody_who_sees_both_networks_can_tell_that_it_is_the_same_client(seed, monkeypatch):
    def send(sock: _LinkSocket, datagram: bytes) -> int:
        if 8 <= datagram[0] < 16:
            seen.setdefault(sock.address[1], set()).add(datagram[1:9])
        return plain_send(sock, datagram)

    seen: dict[int, set[bytes]] = {}
    plain_send = _LinkSocket.send
    monkeypatch.setattr(_LinkSocket, "send", send)
    world = World(Echo(), LinkConditions(latency=0.03), seed)
    client = world.connect(minimum_protocol=2)
    for n in range(80):
        if n in (20, 40, 60):
            cut(client)
        client.send(b"%d" % n)
        world.run(0.1)
    assert client.status() is ConnectionStatus.CONNECTED
    assert len(seen) >= 4
    ids = [connection_id for each in seen.values() for connection_id in each]
    assert len(ids) == len(set(ids)) == len(seen)


def test_a_silent_server_costs_a_few_sockets():
    world = World(Echo())
    client = world.connect(minimum_protocol=2)
    client._network.conditions = DEAD
    cut(client)
    opened = set(ports(client))
    while client.status() is ConnectionStatus.CONNECTED:
        world.run(0.1)
        opened |= set(ports(client))
    assert 2 <= len(opened) <= 4


def test_a_client_whose_server_has_lost_the_session_learns_it_at_once(seed):
    world = World(Echo(), seed=seed)
    client = world.connect(minimum_protocol=2)
    world._engine.sessions.by_id.clear()  # as in another process, which has the same key
    world.run(0.5)
    assert client.status() is ConnectionStatus.DROPPED
    assert sum(client.stats().drops.values()) == 0


def test_the_silence_that_is_enough_doubles_until_something_is_heard():
    silence = Silence()
    asked = [n / 4 for n in range(24)]
    assert [s for s in asked if silence.is_long(s)] == [FIRST_SILENCE, 2.0, 4.0]
    assert not silence.is_long(0.1)
    assert silence.is_long(FIRST_SILENCE)


def test_an_error_that_says_so_is_not_waited_for(seed):
    """The session goes on after a round trip or two."""
    echo = Echo()
    world = World(echo, LinkConditions(latency=0.03), seed)
    client = world.connect(minimum_protocol=2)
    world.run(1.0)
    (before,) = ports(client)
    fail_to_send(client, errno.ENETUNREACH)
    client.send_guaranteed(b"still here")
    world.run(0.3)
    assert [msg for _, msg in client.getMessages()] == [b"still here"]
    (behind,) = ports(client)
    assert behind != before
    assert echo.left == []


def test_errors_open_sockets_at_a_limited_rate():
    world = World(Echo())
    client = world.connect(minimum_protocol=2)
    opened = []
    new_socket = client._network.new_socket

    def new_dead_socket(family):
        sock = new_socket(family)
        opened.append(sock)
        fail_to_send(client, errno.ENETUNREACH)
        return sock

    client._network.new_socket = new_dead_socket
    fail_to_send(client, errno.ENETUNREACH)
    for _ in range(60):
        client.send(b"all the time")
        world.run(1 / 60)
    assert 5 <= len(opened) <= 12


def test_other_errors_are_none():
    world = World(Echo())
    client = world.connect(minimum_protocol=2)
    (before,) = ports(client)
    fail_to_send(client, errno.EPERM)
    world.run(0.5)
    assert ports(client) == [before]
    assert client.stats().send_errors["EPERM"] > 0
