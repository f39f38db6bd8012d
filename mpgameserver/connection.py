"""A session without a socket or a clock: status, delivery, goodbye.

The owner gives it every datagram that came from the other side's address (`receive`), tells it
the time once per frame or tick (`advance`), sends what `next_datagram` makes until that is None,
and calls the callbacks of `take_settled`. Nothing here raises for what the other side does.

    CONNECTED ── disconnect() ──> DISCONNECTING ── answer, or 1 s ──> DISCONNECTED
        │ └─────── the other side's goodbye ──────────────────────────────^
        └───────── silence ──> DROPPED

A goodbye is a DISCONNECT message behind everything that was queued before it. The side that gets
one is disconnected at once and answers with one DISCONNECT.

The names that users of the protocol know (`SeqNum`, `PacketHeader`, ...) are importable from here.
"""

from __future__ import annotations

from collections.abc import Callable

from mpgameserver._core.endpoint import DROP_REASONS, Endpoint
from mpgameserver._core.seqnum import SeqNum
from mpgameserver.enums import ConnectionStatus, PacketIdentifier, PacketType, RetryMode
from mpgameserver.errors import (
    DuplicationError,
    NotConnectedError,
    PacketError,
    ProtocolError,
)
from mpgameserver.packet import BitField, Packet, PacketHeader, PendingMessage
from mpgameserver.stats import ConnectionStats
from mpgameserver.timing import Timing

__all__ = [
    "BitField",
    "Connection",
    "ConnectionStats",
    "ConnectionStatus",
    "DuplicationError",
    "Packet",
    "PacketError",
    "PacketHeader",
    "PacketIdentifier",
    "PacketType",
    "PendingMessage",
    "ProtocolError",
    "RetryMode",
    "SeqNum",
]

GOODBYE_TIMEOUT = 1.0
"""Seconds that a goodbye waits for what was queued before it and for its answer."""


class Connection:
    """An established session, seen from one side.

    `endpoint` has the session's key, `token` names the session, `timing` is read when the
    connection starts and on `retime`.
    """

    def __init__(self, endpoint: Endpoint, token: int, timing: Timing) -> None:
        self.endpoint = endpoint
        self.token = token
        self.status = ConnectionStatus.CONNECTED
        self.is_live = True
        """True until the connection has ended."""
        # What is called for every message and datagram is the endpoint's own, until the end.
        self.send: Callable[..., None] = endpoint.queue
        """Queue a message, as `Endpoint.queue` does; NotConnectedError unless CONNECTED."""
        self.next_datagram: Callable[[float], bytes | None] = endpoint.next_datagram
        """The next datagram to send at that time; None when there is none."""
        self.take_settled: Callable[[], list[tuple[Callable[[bool], object], bool]]] = (
            endpoint.take_settled
        )
        """Take the callbacks of the messages that are over, each with what to call it with."""
        self._goodbye_deadline = 0.0
        self._answer_goodbye = False
        endpoint.established = True
        self.retime(timing)

    def retime(self, timing: Timing) -> None:
        """Use other intervals from now on."""
        self.endpoint.keep_alive_interval = timing.keep_alive
        self.endpoint.message_timeout = timing.message
        self._silence_timeout = timing.silence

    # -- messages ---------------------------------------------------------------------------

    def _refuse_to_send(self, *arguments: object) -> None:
        raise NotConnectedError(f"cannot send while {self.status.name}")

    @property
    def latency(self) -> float:
        """The weighted average round trip in seconds, 0.0 before the first ack."""
        return self.endpoint.round_trip.smoothed

    @property
    def pending(self) -> int:
        """The bytes of messages that wait to be sent for the first time."""
        return self.endpoint.outbox.pending

    def stats(self, now: float) -> ConnectionStats:
        """A snapshot of the figures."""
        return ConnectionStats.of(self.endpoint, now)

    # -- datagrams --------------------------------------------------------------------------

    def receive(self, datagram: bytes, now: float) -> str | None:
        """Take a datagram; the reason (of `DROP_REASONS`) when it was dropped, else None."""
        verdict = self.endpoint.receive(datagram, now)
        if self.endpoint.goodbye_received and self.is_live:
            self._answer_goodbye = self.status == ConnectionStatus.CONNECTED
            self._end(ConnectionStatus.DISCONNECTED)
        return DROP_REASONS[verdict - 1] if verdict else None

    def advance(self, now: float) -> None:
        """Do what the time asks for, once per frame or tick."""
        if not self.is_live:
            return
        self.endpoint.advance(now)
        if self.status is ConnectionStatus.DISCONNECTING:
            if self.endpoint.goodbye_acked or now >= self._goodbye_deadline:
                self._end(ConnectionStatus.DISCONNECTED)
        elif now >= self.endpoint.last_received + self._silence_timeout:
            self._end(ConnectionStatus.DROPPED)

    def _answer(self, now: float) -> bytes | None:
        """What is left to send after the end: the answer to a goodbye, once."""
        if self._answer_goodbye:
            self._answer_goodbye = False
            return self.endpoint.farewell(now)
        return None

    def next_timer(self) -> float:
        """When `advance` and `next_datagram` should be called, if nothing happens before."""
        if not self.is_live:
            return 0.0 if self._answer_goodbye else float("inf")
        if self.status is ConnectionStatus.DISCONNECTING:
            return min(self.endpoint.next_timer(), self._goodbye_deadline)
        silence = self.endpoint.last_received + self._silence_timeout
        timer = self.endpoint.next_timer()
        return timer if timer < silence else silence

    # -- the end ----------------------------------------------------------------------------

    def disconnect(self, now: float) -> None:
        """Say goodbye, behind what was queued before; of no effect unless CONNECTED."""
        if self.status == ConnectionStatus.CONNECTED:
            self.status = ConnectionStatus.DISCONNECTING
            self.send = self._refuse_to_send
            self._goodbye_deadline = now + GOODBYE_TIMEOUT
            self.endpoint.begin_goodbye()

    def abandon(self, now: float) -> bytes | None:
        """End at once; one last datagram that tells the other side, None when it was over."""
        if not self.is_live:
            return None
        self._end(ConnectionStatus.DISCONNECTED)
        return self.endpoint.farewell(now)

    def _end(self, status: ConnectionStatus) -> None:
        self.status = status
        self.is_live = False
        self.send = self._refuse_to_send
        self.next_datagram = self._answer
        self.endpoint.close()
