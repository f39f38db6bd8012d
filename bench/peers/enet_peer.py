"""ENet, by way of pyenet: reliable and unreliable packets, in C, without encryption."""

from __future__ import annotations

import os
import select
import socket
import time

import enet
import load
import peer

MOST_PEERS = 4095
PEERS_OF_A_HOST = 64
"""Bots that share a host, and so a socket: each call looks at all the peers of its host."""
NO_THROTTLE = 0
"""ENet would drop unreliable packets on purpose when round trips become longer."""


class _Nothing:
    type = enet.EVENT_TYPE_NONE


_NOTHING = _Nothing()


def server(use: str) -> None:
    host = enet.Host(enet.Address(b"127.0.0.1", 0), 1 if use == "single" else MOST_PEERS, 1, 0, 0)
    if use:
        with socket.socket(fileno=os.dup(host.socket.fileno())) as sock:
            peer.enlarge(sock)
    peer.tell({"port": host.address.port, "key": ""})
    bulk = peer.BulkCount()
    takes = (lambda data: False) if use else bulk.takes
    while True:
        event = host.service(1000)
        while event.type != enet.EVENT_TYPE_NONE:
            if event.type == enet.EVENT_TYPE_RECEIVE:
                if event.packet.data.startswith(peer.COUNTED):
                    event.peer.send(0, enet.Packet(peer.TAKEN, enet.PACKET_FLAG_RELIABLE))
                elif not takes(event.packet.data):
                    event.peer.send(0, enet.Packet(event.packet.data))
                elif bulk.is_over():
                    event.peer.send(0, enet.Packet(peer.DONE, enet.PACKET_FLAG_RELIABLE))
            elif event.type == enet.EVENT_TYPE_CONNECT and use:
                event.peer.packetThrottleDeceleration = NO_THROTTLE
            event = host.check_events() or _NOTHING
        host.flush()


def connected(port: int):
    host = enet.Host(None, 1, 1, 0, 0)
    link = host.connect(enet.Address(b"127.0.0.1", port), 1)
    peer.patiently(lambda: host.service(100).type == enet.EVENT_TYPE_CONNECT)
    return host, link


def echo(port: int, key: str, count: peer.Echo, wait: str) -> None:
    host, link = connected(port)
    for _ in range(count.outstanding):
        link.send(0, enet.Packet(peer.MESSAGE))
    host.flush()
    answers, timeout = 0, 100 if wait == "sleep" else 0
    while count.counts(answers):
        answers = 0
        event = host.service(timeout)
        while event.type != enet.EVENT_TYPE_NONE:
            if event.type == enet.EVENT_TYPE_RECEIVE:
                answers += 1
                link.send(0, enet.Packet(event.packet.data))
            event = host.check_events() or _NOTHING
        host.flush()
    link.disconnect_now()


def bulk(port: int, key: str, size: int) -> None:
    messages = peer.parts(size)
    host, link = connected(port)
    began = time.perf_counter()
    link.send(0, enet.Packet(peer.BULK + b"%d" % size, enet.PACKET_FLAG_RELIABLE))
    for message in messages:
        link.send(0, enet.Packet(message, enet.PACKET_FLAG_RELIABLE))
    peer.patiently(lambda: host.service(100).type == enet.EVENT_TYPE_RECEIVE)
    peer.tell({"seconds": time.perf_counter() - began})
    link.disconnect_now()


def window(port: int, key: str, count: peer.Echo) -> None:
    host, link = connected(port)
    send = enet.PACKET_FLAG_RELIABLE
    for _ in range(count.outstanding):
        link.send(0, enet.Packet(peer.COUNTED_MESSAGE, send))
    host.flush()
    answers = 0
    while count.counts(answers):
        answers = 0
        event = host.service(100)
        while event.type != enet.EVENT_TYPE_NONE:
            if event.type == enet.EVENT_TYPE_RECEIVE:
                answers += 1
                link.send(0, enet.Packet(peer.COUNTED_MESSAGE, send))
            event = host.check_events() or _NOTHING
        host.flush()
    link.disconnect_now()


class Bots(load.Swarm):
    """Peers of many hosts."""

    def __init__(self, port: int, key: str, count: int) -> None:
        super().__init__(count)
        self._hosts, self._links, self._connected = [], [], 0
        self._epoll, self._by_file = select.epoll(), {}
        for first in range(0, count, PEERS_OF_A_HOST):
            host = enet.Host(None, PEERS_OF_A_HOST, 1, 0, 0)
            self._hosts.append(host)
            self._by_file[host.socket.fileno()] = host
            self._epoll.register(host.socket.fileno(), select.EPOLLIN)
            for _ in range(min(PEERS_OF_A_HOST, count - first)):
                self._links.append(host.connect(enet.Address(b"127.0.0.1", port), 1))
            host.flush()
            self._wait_until_connected()

    def _wait_until_connected(self) -> None:
        end = time.monotonic() + peer.PATIENCE
        while self._connected < len(self._links):
            self.read()
            if time.monotonic() > end:
                raise TimeoutError(f"{self._connected} of {len(self._links)} are connected")

    def play(self, turn: load.Turn) -> None:
        message = load.message(turn.due)
        for link in self._links[turn.first : turn.last]:
            link.send(0, enet.Packet(message))
        self._hosts[turn.first // PEERS_OF_A_HOST].flush()

    def read(self) -> int:
        found = 0
        for descriptor, _ in self._epoll.poll(0):
            host = self._by_file[descriptor]
            event = host.service(0)
            while event.type != enet.EVENT_TYPE_NONE:
                self._take(event)
                found += 1
                event = host.check_events() or _NOTHING
        return found

    def _take(self, event) -> None:
        if event.type == enet.EVENT_TYPE_RECEIVE:
            (due,) = load.STAMP.unpack_from(event.packet.data)
            self.delays.append(time.monotonic() - self.began - due)
        elif event.type == enet.EVENT_TYPE_CONNECT:
            event.peer.packetThrottleDeceleration = NO_THROTTLE
            self._connected += 1


peer.run(server, echo, bulk, window=window, crowd=Bots)
