"""Statistics of a whole server, with more of them for one that is measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields

from mpgameserver.errors import ProtocolError
from mpgameserver.reprs import even_unmade

__all__ = ["ConnectionFigures", "ServerFigures", "ServerStats"]


@dataclass(frozen=True, repr=False)
class ServerStats:
    """A snapshot of a server's statistics. Those of one client are in its own `stats`."""

    clients: int = 0
    """Sessions, including those that are about to end."""
    protocols: dict[str, int] = field(default_factory=lambda: {"1": 0, "2": 0})
    """Those of them that speak protocol "1" and "2"."""
    joining: int = 0
    """Those of them whose clients are not admitted yet: they have yet to say who they are, or
    `authenticate` has yet to decide. They have no `connect` event yet."""
    half_open: int = 0
    """Handshakes that were replied to and are not a session yet."""
    waiting_hellos: int = 0
    """Hellos that wait for a reply, because the rate of replies is limited."""
    hellos_put_off: int = 0
    """Deferred hellos, which found no room to wait and are remembered: above 0 in a flood, or a
    great rush."""
    hellos_answered: int = 0
    """Handshakes started, each with the public-key work of a reply."""
    answers_repeated: int = 0
    """Replies that were repeated, to clients that had not received them."""
    retries: int = 0
    """Hellos of protocol 2 to which a RETRY was sent, which costs next to nothing: above 0 in a
    flood."""
    key_exchanges: int = 0
    """Session keys computed because a supposed CHALLENGE_RESP arrived."""
    handshakes_proved: int = 0
    """Handshakes that became a session."""
    handshakes_evicted: int = 0
    """Handshakes evicted at a limit, before their timeout."""
    waiting_sessions: int = 0
    """Sessions with more messages than one turn has room for: above 0 if the handler is too
    slow."""
    ends: dict[str, int] = field(default_factory=dict)
    """Sessions that have ended, those of clients that were not admitted included, by the value of
    their `DisconnectReason`. If it was not the game that made a client of protocol 2 close its
    session, the `CloseCode` follows, as in "closed by client: PROTOCOL"."""
    moves: int = 0
    """Times that a client of protocol 2 has changed its address."""
    resets: int = 0
    """Stateless resets sent to clients of protocol 2 whose session is not here: above 0 after a
    restart."""
    send_errors: dict[str, int] = field(default_factory=dict)
    """Datagrams that the system refused to send, by the name of the error, such as "EPERM"."""
    messages_refused: int = 0
    """Messages from other threads that were dropped, because too much was queued for the server's
    thread or for their client."""
    drops: dict[str, int] = field(default_factory=dict)
    """Datagrams dropped, by reason: those of `ConnectionStats.drops` and, for datagrams that belong
    to no session, "no session", "malformed hello", "stale hello" (for an existing session, or
    replied to often enough), "busy" (no room to wait), "invalid response" (an invalid
    CHALLENGE_RESP), "no port", "blocked", "full", "host full", "stopping", "old protocol" (below
    the server's `minimum_protocol`), "other audience", "other worker", "other address" (the first
    packet of a session came from elsewhere than its hello) and "unsent" (the socket was not
    writable)."""

    @even_unmade
    def __repr__(self) -> str:
        """The statistics that are not 0, by name."""
        counts = {each.name: getattr(self, each.name) for each in fields(self)}
        shown = ", ".join(f"{name}={count!r}" for name, count in counts.items() if _total(count))
        return f"ServerStats({shown})"


def _total(counts: int | dict[str, int]) -> int:
    return sum(counts.values()) if isinstance(counts, dict) else counts


@dataclass(frozen=True)
class ConnectionFigures:
    """A snapshot of a session; counts are of its whole life."""

    address: str
    protocol: int
    connected_for: float
    """Seconds since the handshake."""
    latency: float
    """Seconds, smoothed; 0.0 before the first ack."""
    sent: int
    received: int
    timeouts: int
    """Ack-eliciting packets sent that were not acked in time."""
    retransmitted: int
    """Messages or fragments that were retransmitted."""
    dropped: int
    send_queue_bytes: int


@dataclass(frozen=True)
class ServerFigures:
    """A snapshot of a measured server. Counters start when the server is made."""

    uptime: float = 0.0
    """Seconds since it began to serve."""
    ticks: int = 0
    receive_seconds: float = 0.0
    """Seconds spent on receiving and on timers: reading, decrypting, acks."""
    handler_seconds: float = 0.0
    """Seconds spent in the handler's events."""
    send_seconds: float = 0.0
    """Seconds spent on sending: building, encrypting and writing datagrams, and the keys of
    handshakes."""
    datagrams_received: int = 0
    """Datagrams read, including those that were dropped."""
    bytes_received: int = 0
    datagrams_sent: int = 0
    bytes_sent: int = 0
    packets_sent: int = 0
    """Packets of sessions, as `ConnectionStats.sent`, including sessions that have ended."""
    packets_acked: int = 0
    packets_timed_out: int = 0
    retransmitted: int = 0
    """Messages or fragments that were retransmitted."""
    messages_repeated: int = 0
    """Duplicate messages, which were not handled again."""
    messages_discarded: int = 0
    """Incomplete messages discarded: their fragments contradicted each other, or stopped coming."""
    send_queue_bytes: int = 0
    """Bytes queued, of all clients."""
    reassembly_bytes: int = 0
    """Bytes of incomplete messages, of all clients."""
    inbox_bytes: int = 0
    """Bytes of messages waiting for the handler, of all clients."""
    unacked_bytes: int = 0
    """Bytes of messages queued or not yet acked, of all clients."""
    events_running: int = 0
    """Coroutine events in progress, where `mpgameserver.aio` serves."""
    events_waiting: int = 0
    """Messages and other events of clients that wait for those."""
    events_waiting_bytes: int = 0
    events_dropped: int = 0
    """Messages that were waiting for those when their client left, and were not handled."""
    latency_median: float | None = None
    """Seconds, over the clients that have a measured latency; None if there is none."""
    latency_p99: float | None = None
    stats: ServerStats = field(default_factory=ServerStats)
    connections: tuple[ConnectionFigures, ...] = ()
    """Those with the longest round trips: not all of them, if there are many."""

    def to_bytes(self) -> bytes:
        """Encode it as JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> ServerFigures:
        """Decode what `to_bytes` encoded. Raises ProtocolError for any other bytes."""
        try:
            fields = json.loads(data)
            stats = ServerStats(**fields.pop("stats"))
            connections = tuple(ConnectionFigures(**each) for each in fields.pop("connections"))
            return cls(**fields, stats=stats, connections=connections)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"not statistics of this version: {error}") from error
