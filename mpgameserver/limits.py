"""What strangers may make a server hold, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """The caps of a server, all of them counts."""

    clients: int = 8192
    """Sessions. Twice what one core serves; a session takes some 13 kB while it is idle."""
    half_open: int = 2048
    """Handshakes that wait for their CHALLENGE_RESP. An honest one is over in a round trip, so
    the one that goes at the cap, the oldest, is unlikely to be honest. Some 3 kB each."""
    half_open_per_host: int = 128
    """Those of one IPv4 address or IPv6 /64: dozens of players behind one router that all join a
    match at once. One host cannot push out the handshakes of all others."""
    half_open_per_address: int = 4
    """Those of one host and port: a client that restarts, and recorded hellos beside it."""
    answers_per_hello: int = 16
    """Times that one hello is answered: a client repeats it until it has heard, a flood more
    often. The answers share the packet numbers with the session that comes of them."""
    unsent_answers: int = 1024
    """Datagrams that belong to no session and wait for the socket to take them; more are dropped
    and counted."""
