"""A UDP socket of the socket module, with `--seal` AES-GCM each way: the least there can be."""

from __future__ import annotations

import socket
import sys

import peer
from sealing import close, open_

SEAL = "--seal" in sys.argv
if SEAL:
    sys.argv.remove("--seal")


def again(datagram: bytes) -> bytes:
    """The answer to a datagram: opened, and sealed anew."""
    return close(open_(datagram)) if SEAL else datagram


def server(use: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        peer.enlarge(sock)
        sock.bind(("127.0.0.1", 0))
        peer.tell({"port": sock.getsockname()[1], "key": ""})
        recvfrom, sendto = sock.recvfrom, sock.sendto
        while True:
            datagram, address = recvfrom(2048)
            sendto(again(datagram), address)


def echo(port: int, key: str, count: peer.Echo, wait: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(peer.PATIENCE)
        if wait == "spin":
            sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        for _ in range(count.outstanding):
            sock.send(close(peer.MESSAGE) if SEAL else peer.MESSAGE)
        recv, send, answers = sock.recv, sock.send, 0
        while count.counts(answers):
            try:
                send(again(recv(2048)))
                answers = 1
            except BlockingIOError:
                answers = 0


peer.run(server, echo)
