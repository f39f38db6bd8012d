"""A server on loopback, in a thread, that echoes and writes down what happens."""

from __future__ import annotations

import threading

from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import RetryMode
from mpgameserver.server import EventHandler, ServerClient, ServerContext, ThreadedServer


class EchoServer(EventHandler):
    """Echoes every message; a context manager."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        key = EllipticCurvePrivateKey.new()
        self.public_key = key.getPublicKey()
        self.echo = True
        self.kick_after: bytes | None = None
        """The message whose sender is disconnected."""
        self.sizes: list[int] = []
        """Of the messages received."""
        self.connections = 0
        self.ended: list[str] = []
        """The reasons of the disconnections."""
        self._silent = threading.Event()
        self._context = ServerContext(self, key)
        self._server = ThreadedServer(self._context, (host, 0))

    def __enter__(self) -> EchoServer:
        self._server.start()
        self.address = self._server.address
        return self

    def __exit__(self, *error: object) -> None:
        self._silent.set()
        self._server.stop()

    def vanish(self) -> None:
        """Do nothing any more, until the server is stopped."""
        stopped = threading.Event()

        def sleep() -> None:
            stopped.set()
            self._silent.wait()

        self._context.call_soon_threadsafe(sleep)
        stopped.wait()

    def send_garbage(self, address: tuple[object, ...]) -> None:
        """Send what is no packet, from the server's own address."""
        running = self._server._server
        assert running is not None
        datagrams = running._loop.socket.datagrams
        self._context.call_soon_threadsafe(lambda: datagrams.send(bytes(50), address))

    def connect(self, client: ServerClient) -> None:
        self.connections += 1

    @property
    def players(self) -> int:
        """Return the number of sessions."""
        return self._context.stats.clients

    def disconnect(self, client: ServerClient) -> None:
        assert client.reason is not None
        self.ended.append(client.reason.value)

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        self.sizes.append(len(msg))
        if self.echo:
            client.send(msg, RetryMode.RETRY_ON_TIMEOUT)
        if msg == self.kick_after:
            client.disconnect()
