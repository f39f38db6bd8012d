"""ENet, by way of pyenet: reliable and unreliable packets, in C, without encryption."""

from __future__ import annotations

import time

import enet
import peer


def server() -> None:
    host = enet.Host(enet.Address(b"127.0.0.1", 0), 4095, 1, 0, 0)
    peer.tell({"port": host.address.port, "key": ""})
    bulk = peer.BulkCount()
    while True:
        event = host.service(1000)
        while event.type != enet.EVENT_TYPE_NONE:
            if event.type == enet.EVENT_TYPE_RECEIVE:
                if not bulk.takes(event.packet.data):
                    event.peer.send(0, enet.Packet(event.packet.data))
                elif bulk.is_over():
                    event.peer.send(0, enet.Packet(peer.DONE, enet.PACKET_FLAG_RELIABLE))
            event = host.check_events() or _NOTHING
        host.flush()


class _Nothing:
    type = enet.EVENT_TYPE_NONE


_NOTHING = _Nothing()


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


peer.run(server, echo, bulk)
