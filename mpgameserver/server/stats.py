"""What a server as a whole has done so far, in figures."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from mpgameserver.reprs import even_unmade

__all__ = ["ServerStats"]


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
        """What is not 0, by name."""
        counts = {each.name: getattr(self, each.name) for each in fields(self)}
        shown = ", ".join(f"{name}={count!r}" for name, count in counts.items() if count)
        return f"ServerStats({shown})"
