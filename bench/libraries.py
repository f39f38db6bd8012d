"""The compared libraries: their programs, and the programs' abilities.

Each is a program of `peers/`, its server on one core and its client on the other. A library's own
environment runs its programs; the bots of this package's protocol also play on the server of the
published package.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from environments import python_with

__all__ = [
    "BULK_SIZE",
    "ENET",
    "OURS",
    "PROGRAMS",
    "PUBLISHED",
    "QUIC",
    "SEALED",
    "SECOND",
    "SOCKET",
    "TCP",
    "TUNED",
    "Library",
    "libraries",
]

PROGRAMS = Path(__file__).parent / "peers"
BULK_SIZE = 10_000_000
OURS, SECOND = "this package", "this package, protocol 2"
"""The first by protocol 1, which everything here was first measured with, and others speak too."""
SOCKET, SEALED = "UDP socket", "UDP socket with AES-GCM"
ENET, QUIC, TCP = "pyenet", "aioquic", "TCP socket"
PUBLISHED, TUNED = "mpgameserver 0.2.4", "mpgameserver 0.2.4, shortest tick"
BOTH_WAYS = ("sleep", "spin")
ENET_PEERS = 4095
"""The peers that an ENet host allocates room for in advance."""


@dataclass(frozen=True)
class Library:
    """The programs that measure it, and what they can do."""

    python: str
    program: tuple[str, ...]
    waits: tuple[str, ...] = ("sleep",)
    """The ways in which its echo client can wait."""
    echoes: bool = True
    bulk_size: int = 0
    """Bytes of a bulk transfer; 0 where there is none."""
    crowd: tuple[str, ...] = ()
    """The program of its bots, where it is this package that makes them."""
    most_players: int = 0
    """More than one core serves; 0 where that is not asked."""
    idlers: int = 0
    """Connections over which their memory is told; 0 where there is none for each."""
    allocated: int = 0
    """Connections for which memory is there from the start."""

    def command(self, *arguments: object) -> list[str]:
        """The command line of its client or server."""
        return [self.python, str(PROGRAMS / self.program[0]), *self.program[1:], *_text(arguments)]

    def crowd_command(self, *arguments: object) -> list[str]:
        """The command line of its bots."""
        if not self.crowd:
            return self.command("crowd", *arguments)
        program = (str(PROGRAMS / self.crowd[0]), *self.crowd[1:])
        return [sys.executable, *program, "crowd", *_text(arguments)]


def _text(arguments: tuple[object, ...]) -> list[str]:
    return [str(argument) for argument in arguments]


def libraries() -> dict[str, Library]:
    """All that can be had here."""
    here, bots = sys.executable, ("crowd.py",)
    found = {
        OURS: Library(
            here, ("ours.py", "--protocol-1"), BOTH_WAYS, True, BULK_SIZE, bots, 8192, 4000
        ),
        SECOND: Library(here, ("ours.py",), BOTH_WAYS, bulk_size=BULK_SIZE),
        SOCKET: Library(
            here, ("plain.py",), BOTH_WAYS, crowd=("crowd.py", "--plain"), most_players=8192
        ),
        SEALED: Library(
            here, ("plain.py", "--seal"), BOTH_WAYS, crowd=("crowd.py", "--seal"), most_players=8192
        ),
        TCP: Library(here, ("tcp.py",), echoes=False, bulk_size=BULK_SIZE),
    }
    if python := python_with("enet"):
        found[ENET] = Library(
            python, ("enet_peer.py",), BOTH_WAYS, True, BULK_SIZE, (), 4032, 1000, ENET_PEERS
        )
    if python := python_with("quic"):
        found[QUIC] = Library(
            python, ("quic.py",), bulk_size=BULK_SIZE, most_players=256, idlers=200
        )
    if python := python_with("published"):
        found[PUBLISHED] = Library(
            python, ("published.py",), bulk_size=50_000, crowd=bots, most_players=1024, idlers=500
        )
        found[TUNED] = Library(python, ("published.py", "--tuned"), bulk_size=200_000)
    return found
