"""This package: each message a `send`, a `handle_message` and an entry of `getMessages`.

With `--protocol-1` the server knows no other, as one of 0.2.4, and does not say that it could.
"""

from __future__ import annotations

import base64
import os
import select
import sys
import time

import peer

from mpgameserver import EventHandler, Limits, RetryMode, ServerContext, UdpClient, UdpServer
from mpgameserver.server import admission, handshakes
from mpgameserver.wire.handshake import SALT_SIZE

MOST = 65536
"""Of whatever a server counts: more than any crowd has."""
RARE_KEEP_ALIVE = 4.0
"""Seconds: longer than a player is silent, and below the idle timeout of clients."""


class Echo(EventHandler):
    def handle_message(self, client, seqnum, msg=b""):
        client.send(msg)


class Handler(EventHandler):
    def __init__(self) -> None:
        self.bulk = peer.BulkCount()

    def handle_message(self, client, seqnum, msg=b""):
        if msg.startswith(peer.COUNTED):
            client.send_guaranteed(peer.TAKEN)
        elif not self.bulk.takes(msg):
            client.send(msg)
        elif self.bulk.is_over():
            client.send_guaranteed(peer.DONE)


def server(use: str) -> None:
    context = ServerContext(Echo() if use else Handler())
    if use:
        make_room(context)
        context.setKeepAliveInterval(1.0 if use == "idle" else RARE_KEEP_ALIVE)
    listening = UdpServer(context, ("127.0.0.1", 0))
    pem = context.root_key.getPublicKey().getPublicKeyPEM().encode()
    peer.tell({"port": listening.address[1], "key": base64.b64encode(pem).decode()})
    listening.run()


def make_room(context: ServerContext) -> None:
    """Set limits that admit a whole crowd at once."""
    context.limits = Limits(
        clients=MOST,
        clients_per_host=MOST,
        half_open=MOST,
        half_open_per_host=MOST,
        handshake_rate=MOST,
    )
    context.setConnectionTimeout(peer.IDLE_TIMEOUT)


def connected(port: int, key: str) -> UdpClient:
    client = UdpClient(base64.b64decode(key).decode())
    client.connect(("127.0.0.1", port))

    def done() -> bool:
        client.update()
        time.sleep(0.0005)
        return client.connected()

    peer.patiently(done)
    if client.protocol != PROTOCOL:
        raise RuntimeError(f"a session of protocol {client.protocol}")
    return client


def polling(client: UdpClient):
    """A wait until the client can read."""
    poll = select.poll()
    poll.register(client.fileno(), select.POLLIN)
    return poll


def echo(port: int, key: str, count: peer.Echo, wait: str) -> None:
    with connected(port, key) as client:
        poll = polling(client)
        for _ in range(count.outstanding):
            client.send(peer.MESSAGE, RetryMode.NONE)
        client.update()
        answers, sleeps = 0, wait == "sleep"
        while count.counts(answers):
            if sleeps:
                poll.poll(100)
            client.update()
            messages = client.getMessages()
            answers = len(messages)
            for _, message in messages:
                client.send(message, RetryMode.NONE)
            if answers:
                client.update()


def bulk(port: int, key: str, size: int) -> None:
    messages = peer.parts(size)
    with connected(port, key) as client:
        poll = polling(client)
        began = time.perf_counter()
        client.send_guaranteed(peer.BULK + b"%d" % size)
        for message in messages:
            client.send_guaranteed(message)
        client.update()
        while not client.hasMessages():
            poll.poll(1)
            client.update()
        seconds = time.perf_counter() - began
        stats = client.stats()
        peer.tell(
            {
                "seconds": seconds,
                "datagrams": stats.sent,
                "retransmitted": stats.retransmitted,
                "timeouts": stats.timeouts,
            }
        )


def stream(port: int, key: str, span: float) -> None:
    message = os.urandom(1 << 20)
    with connected(port, key) as client:
        poll = polling(client)
        client.send_guaranteed(peer.BULK + b"%d" % (1 << 40))
        before, began = client.stats().acked, time.perf_counter()
        given = 0
        while (elapsed := time.perf_counter() - began) < span:
            while client.pending < 4 << 20:
                client.send_guaranteed(message)
                given += len(message)
            client.update()
            poll.poll(1)
        acked, sent = client.stats().acked - before, given - client.pending
        peer.tell({"seconds": elapsed, "datagrams": acked, "bytes": sent})


def window(port: int, key: str, count: peer.Echo) -> None:
    with connected(port, key) as client:
        poll = polling(client)
        for _ in range(count.outstanding):
            client.send_guaranteed(peer.COUNTED_MESSAGE)
        client.update()
        answers = 0
        while count.counts(answers):
            poll.poll(100)
            client.update()
            answers = len(client.getMessages())
            for _ in range(answers):
                client.send_guaranteed(peer.COUNTED_MESSAGE)
            if answers:
                client.update()


PROTOCOL = 1 if "--protocol-1" in sys.argv else 2
if PROTOCOL == 1:
    sys.argv.remove("--protocol-1")
    admission.has_offer = lambda _: False
    admission.Admission.receive_hello2 = lambda *_: None
    handshakes.downgrade_salt = lambda random_bytes: random_bytes(SALT_SIZE)
peer.run(server, echo, bulk, stream, window)
