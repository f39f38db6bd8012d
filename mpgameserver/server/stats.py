"""Statistics of a whole server, with more of them for one that is measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields

from mpgameserver.errors import ProtocolError
from mpgameserver.reprs import even_unmade

__all__ = ["ConnectionFigures", "ServerFigures", "ServerStats"]


@dataclass(frozen=True, repr=False)
class ServerStats:
    """A snapshot of a server's figures. Those of one client are in its own `stats`."""

    clients: int = 0
    """Sessions, those included that are about to end."""
    half_open: int = 0
    """Handshakes that were answered and wait for their proof."""
    waiting_hellos: int = 0
    """Hellos that wait to be answered, for there is a rate for that."""
    hellos_put_off: int = 0
    """Hellos remembered that found no room to wait: above 0 in a flood, or a great rush."""
    hellos_answered: int = 0
    """Handshakes begun, each with the public-key work of an answer."""
    answers_repeated: int = 0
    """Answers that were sent again, to clients that had not heard them."""
    key_exchanges: int = 0
    """Keys made because what might have been a proof came."""
    handshakes_proved: int = 0
    """Handshakes that became a session."""
    handshakes_evicted: int = 0
    """Handshakes that had to make room for newer ones, before their time."""
    waiting_sessions: int = 0
    """Sessions with more messages than one turn has room for: above 0, the handler is slower."""
    sessions_stalled: int = 0
    """Sessions ended because they acked nothing of what waited for them."""
    sessions_evicted: int = 0
    """Sessions ended because unfinished messages needed room, and theirs held the most."""
    send_errors: dict[str, int] = field(default_factory=dict)
    """Datagrams that the system refused to send, by the name of the error, such as "EPERM"."""
    messages_refused: int = 0
    """Messages sent by other threads that were given up: too many waited for the server's thread,
    or for their client."""
    drops: dict[str, int] = field(default_factory=dict)
    """Datagrams that came to nothing, by reason: those of `ConnectionStats.drops`, and for those
    that belong to no session "no session", "malformed hello", "late hello" (of a session that is
    there, or answered often enough), "busy" (no room to wait), "unproved" (a proof that is none),
    "no port", "blocked", "full", "host full", "stopping" and "unsent" (the socket took no more)."""

    @even_unmade
    def __repr__(self) -> str:
        """The statistics that are not 0, by name."""
        counts = {each.name: getattr(self, each.name) for each in fields(self)}
        shown = ", ".join(f"{name}={count!r}" for name, count in counts.items() if count)
        return f"ServerStats({shown})"


@dataclass(frozen=True)
class ConnectionFigures:
    """A session as it stands; counts are of its whole life."""

    address: str
    connected_for: float
    """Seconds."""
    latency: float
    """Seconds, smoothed; 0.0 before the first ack."""
    sent: int
    received: int
    timeouts: int
    """Packets sent that owed an ack and were not acked in time."""
    retransmitted: int
    """Messages, or pieces of one, that were sent again."""
    dropped: int
    send_queue_bytes: int


@dataclass(frozen=True)
class ServerFigures:
    """A snapshot of a server. What counts up does so from when it was made."""

    uptime: float = 0.0
    """Seconds since it began to serve."""
    ticks: int = 0
    receive_seconds: float = 0.0
    """Spent on what came and on what the time asks for: reading, opening, acks, timers."""
    handler_seconds: float = 0.0
    """Spent in the handler's events."""
    send_seconds: float = 0.0
    """Spent on what leaves: making, sealing and sending it, and the keys of handshakes."""
    datagrams_received: int = 0
    """All that were read, those that were dropped among them."""
    bytes_received: int = 0
    datagrams_sent: int = 0
    bytes_sent: int = 0
    packets_sent: int = 0
    """Those of sessions, as `ConnectionStats.sent`; of sessions that have ended, too."""
    packets_acked: int = 0
    packets_timed_out: int = 0
    retransmitted: int = 0
    """Messages, or pieces of one, that were sent again."""
    messages_repeated: int = 0
    """Messages that had come before in another packet, and were not handled again."""
    messages_discarded: int = 0
    """Fragmented messages given up: their pieces contradicted each other, or stopped coming."""
    send_queue_bytes: int = 0
    """Bytes queued, of all clients."""
    reassembly_bytes: int = 0
    """Bytes of incomplete messages, of all clients."""
    inbox_bytes: int = 0
    """Bytes of messages waiting for the handler, of all clients."""
    unacked_bytes: int = 0
    """Bytes of messages queued or not yet acked, of all clients."""
    events_running: int = 0
    """Events of the handler that are coroutines and under way, where `mpgameserver.aio` serves."""
    events_waiting: int = 0
    """Messages and other events of clients that wait for those."""
    events_waiting_bytes: int = 0
    events_dropped: int = 0
    """Messages that waited for those when their client was gone, and were not handled."""
    latency_median: float | None = None
    """Seconds, over the clients that have one; None while there is none."""
    latency_p99: float | None = None
    stats: ServerStats = field(default_factory=ServerStats)
    connections: tuple[ConnectionFigures, ...] = ()
    """Those with the longest round trips: not all of them, where there are many."""

    def to_bytes(self) -> bytes:
        """As JSON."""
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
            raise ProtocolError(f"no figures of a server of this version: {error}") from error
