"""A TCP connection over loopback: how fast bytes travel where nothing is lost or sealed."""

from __future__ import annotations

import socket
import time

import peer


def server(use: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer.tell({"port": listener.getsockname()[1], "key": ""})
        while True:
            connection, _ = listener.accept()
            with connection:
                left = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
                while left > 0:
                    left -= len(connection.recv(1 << 20))
                connection.sendall(peer.DONE)


def bulk(port: int, key: str, size: int) -> None:
    data = b"".join(peer.parts(size))
    with socket.create_connection(("127.0.0.1", port), timeout=peer.PATIENCE) as sock:
        began = time.perf_counter()
        sock.sendall(size.to_bytes(8, "big"))
        sock.sendall(data)
        sock.recv(len(peer.DONE), socket.MSG_WAITALL)
        peer.tell({"seconds": time.perf_counter() - began})


peer.run(server, bulk=bulk)
