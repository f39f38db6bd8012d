"""A router that translates addresses, with few ports: what one client leaves another one gets.

So a server sees clients come from an address at which it still holds the session of somebody
else, and clients are sent what was meant for somebody else.
"""

from __future__ import annotations

import selectors
import socket
from collections import OrderedDict

from mpgameserver._core.datagrams import RECEIVE_SIZE
from mpgameserver.transport.sockets import new_udp_socket

__all__ = ["Nat"]

READS_PER_TURN = 64

Address = tuple[str, int]


class Nat:
    """Forwards between any number of clients, at `address`, and a server, from `ports` sockets.

    A client that has no port gets the one that was used the least recently. While `unplugged`,
    what arrives is lost.
    """

    def __init__(self, server: Address, ports: int) -> None:
        self.unplugged = False
        self.handed_on = 0
        """The number of times that a client got another client's former port."""
        self._server = server
        self._inside = _bound_socket()
        self.address: Address = self._inside.getsockname()
        # The least recently used port first.
        self._clients: OrderedDict[socket.socket, Address | None] = OrderedDict(
            (_bound_socket(), None) for _ in range(ports)
        )
        self._ports: dict[Address, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        for sock in (self._inside, *self._clients):
            self._selector.register(sock, selectors.EVENT_READ)

    def forward(self) -> None:
        """Send on what has arrived."""
        for key, _ in self._selector.select(0):
            self._forward_from(key.fileobj)  # type: ignore[arg-type]

    def _forward_from(self, sock: socket.socket) -> None:
        for _ in range(READS_PER_TURN):
            try:
                datagram, sender = sock.recvfrom(RECEIVE_SIZE)
            except BlockingIOError:
                return
            if self.unplugged:
                continue
            if sock is self._inside:
                self._port_of(sender).sendto(datagram, self._server)
            elif (client := self._clients[sock]) is not None and sender == self._server:
                self._inside.sendto(datagram, client)

    def _port_of(self, client: Address) -> socket.socket:
        port = self._ports.get(client)
        if port is None:
            port, before = next(iter(self._clients.items()))
            if before is not None:
                del self._ports[before]
                self.handed_on += 1
            self._clients[port] = client
            self._ports[client] = port
        self._clients.move_to_end(port)
        return port

    def close(self) -> None:
        self._selector.close()
        for sock in (self._inside, *self._clients):
            sock.close()


def _bound_socket() -> socket.socket:
    sock = new_udp_socket(socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    return sock
