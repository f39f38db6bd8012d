"""Limits on what clients and unknown addresses can make a server hold and do.

The defaults are for a server that carries a few thousand players, dozens of them behind one
address.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Limits"]

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The limits of a server: `ServerContext(handler, key, limits=Limits(clients=500))`.

    A host is an IPv4 address or an IPv6 /64 throughout. Each limit per host is also one per IPv6
    /56, which may have twice as much, and per /48, which may have four times as much, because one
    subscriber may have all the /64s of either.

    Counts and bytes are ints above 0, rates are finite numbers above 0 per second. Anything else
    raises TypeError or ValueError, which names the field.
    """

    clients: int = 8192
    """Sessions. Twice what one core serves; an idle session takes some 13 kB."""
    clients_per_host: int = 256
    """Sessions of one host: several times the dozens of players that share a router, while it takes
    32 hosts to fill a server."""
    send_queue_bytes: int = 16 * MIB
    """Bytes queued for one client, each message counted with some overhead: the largest message
    twice. A client that acks nothing makes the queue grow."""
    send_queues_bytes: int = 1024 * MIB
    """Bytes queued for all clients or not yet acked by them: 128 kB for each of 8,192. Beyond it
    nothing more is queued for a client, except the 16 KiB that each may have."""
    send_queues_bytes_per_host: int = 256 * MIB
    """The same for the clients of one host: a dozen that are each sent the largest message."""
    reassembly_bytes: int = 256 * MIB
    """Bytes of incomplete messages of all clients: what a dozen clients can hold at most, or 32 kB
    for each of 8,192. Beyond it the session that holds the most, of the host that holds the most,
    is ended."""
    reassembly_bytes_per_host: int = 64 * MIB
    """The same for the clients of one host: seven of the largest messages at once, and a quarter of
    the total."""
    inboxes_bytes: int = 256 * MIB
    """Bytes of messages of all clients that wait for the handler: what four clients can hold at
    most. Beyond it a client's packets are dropped and not acked, except for 16 KiB that each may
    have."""
    inboxes_bytes_per_host: int = 128 * MIB
    """The same for the clients of one host, which cannot take the room of all others."""
    message_rate: float = 1_000_000.0
    """Messages and fragments accepted per second from one client; a second's worth may come at
    once. Above what a client of this package sends on a fast machine, some 700,000 a second. Beyond
    it packets are dropped and not acked."""
    half_open: int = 4096
    """Handshakes of each protocol that were answered and are not a session yet, in protocol 1
    because their CHALLENGE_RESP is missing: more than `handshake_rate` opens within the 5 s that
    one may take. Some 3 kB each, and 16 kB more in protocol 2 once a packet has claimed to
    be of its session. At the limit a random one is evicted."""
    half_open_per_host: int = 256
    """The same for one host: dozens of players behind one router who all join a match at once. One
    host cannot evict the handshakes of all others."""
    half_open_per_address: int = 128
    """The same for one host and port: 100 hellos a second that are spoofed in a player's name evict
    that player's within a round trip of 0.2 s once in seven times. Each is a key to try on a
    supposed CHALLENGE_RESP, 1 us, within `handshakes.TRIALS_PER_SECOND`."""
    handshake_rate: float = 500.0
    """New hellos replied to per second. A handshake takes some 0.2 ms of public-key work in all: a
    flood gets at most a tenth of a core, and 2,500 players of a server that restarts are back
    within the 5 s that a client waits."""
    waiting_hellos: int = 256
    """Hellos of each kind, repeated and new, that wait for that rate: half a second's worth. A
    client repeats its hello after a quarter of a second. Some 0.5 kB each."""
    waiting_hellos_per_host: int = 64
    """The same for one host, of each kind: the players behind one router, and a quarter of the room
    for one host that floods."""
    hellos_put_off: int = 16384
    """Deferred hellos, which found no room to wait and are remembered by a hash. A client repeats
    its hello after 0.25 s and is then preferred: enough for 60,000 hellos per second, more than one
    core reads. Some 0.2 kB each."""
    answers_per_hello: int = 16
    """Replies to one hello: a client repeats it until it gets one, a flood more often. The replies
    share their packet numbers with the session that results."""
    unsent_answers: int = 1024
    """Datagrams of no session that wait for the socket to become writable; further ones are dropped
    and counted."""

    def __post_init__(self) -> None:
        for field in fields(self):
            check = _check_rate if field.name.endswith("_rate") else _check_count
            check(field.name, getattr(self, field.name))


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be above 0, not {value!r}")


def _check_rate(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number per second, not {type(value).__name__}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be above 0 per second, not {value!r}")
