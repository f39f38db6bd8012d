"""A server with a monitor channel, and clients that keep it busy over links of several kinds."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mpgameserver import (
    EllipticCurvePrivateKey,
    EventHandler,
    RetryMode,
    ServerClient,
    ServerContext,
    ThreadedServer,
    UdpClient,
)
from mpgameserver.monitorchannel import MonitorChannel
from mpgameserver.netsim import LinkConditions
from mpgameserver.udpproxy import UdpProxy

ANY_PORT = ("127.0.0.1", 0)
FRAME = 1 / 60
SECONDS = 12
"""The time that the server is watched."""
LINKS = (
    LinkConditions(latency=0.01),
    LinkConditions(latency=0.02, jitter=0.005, loss=0.005),
    LinkConditions(latency=0.04, jitter=0.01, loss=0.03),
    LinkConditions(latency=0.08, jitter=0.03, loss=0.1, duplicate=0.02),
)
CLIENTS_PER_LINK = 2


class Echo(EventHandler):
    """Sends everything back."""

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """Send it back."""
        client.send(msg)


def play(clients: list[UdpClient], is_over: threading.Event) -> None:
    """Send a position in each frame, and a longer message that has to arrive in each second."""
    frame = 0
    while not is_over.wait(FRAME):
        frame += 1
        for client in clients:
            if client.connected():
                client.send(bytes(40), RetryMode.NONE)
                if frame % 60 == 0:
                    client.send_guaranteed(bytes(4000))
            client.update()
            client.getMessages()


@contextmanager
def server() -> Iterator[str]:
    """Let a server be played on; the arguments of `mpgameserver monitor` that watch it."""
    key, monitor_key = EllipticCurvePrivateKey.new(), EllipticCurvePrivateKey.new()
    context = ServerContext(Echo(), key)
    context.enableMeter()
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "monitor.pem"
        monitor_key.savePEM(path)
        game = stack.enter_context(ThreadedServer(context, ANY_PORT))
        channel = stack.enter_context(MonitorChannel(context, monitor_key, ANY_PORT))
        clients = []
        for seed, link in enumerate(LINKS):
            proxy = stack.enter_context(UdpProxy(ANY_PORT, game.address, link, seed=seed))
            for _ in range(CLIENTS_PER_LINK):
                clients.append(stack.enter_context(UdpClient(key.getPublicKey())))
                clients[-1].connect(proxy.address)
        is_over = threading.Event()
        player = threading.Thread(target=play, args=(clients, is_over))
        player.start()
        try:
            host, port = channel.address
            yield f"{host}:{port} --key {path} --seconds {SECONDS}"
        finally:
            is_over.set()
            player.join()
