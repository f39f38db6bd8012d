"""The demo's settings and results, as tables to read and for the json module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from mpgameserver.cli.demo.audit import Tally
from mpgameserver.cli.demo.timeline import Timeline
from mpgameserver.cli.display import Table, kilobytes, milliseconds
from mpgameserver.netsim import LinkStats

__all__ = ["ClientResult", "DatagramTally", "DemoReport", "DemoSettings"]


@dataclass(frozen=True)
class DemoSettings:
    """The settings of a demo."""

    seconds: float
    """The time that the clients play."""
    loss: float
    """Per cent of the datagrams of each direction."""
    latency: float
    """Milliseconds from sending to arrival, one way."""
    jitter: float
    """Milliseconds by which the latency varies, up and down."""
    duplicate: float
    """Per cent of the datagrams of each direction."""
    clients: int
    seed: int
    """Decides what the link does, and what is in the files."""

    def summary(self) -> str:
        """One line that tells all of it."""
        return (
            f"{self.clients} clients play for {self.seconds:g} s; {self.loss:g} % lost, "
            f"{self.duplicate:g} % duplicated and {self.latency:g} ± {self.jitter:g} ms each way; "
            f"seed {self.seed}"
        )


@dataclass(frozen=True)
class DatagramTally:
    """Effects of the link on the datagrams of one direction, over all clients."""

    direction: str
    sent: int
    delivered: int
    """Duplicates among them."""
    lost: int
    duplicated: int
    bytes_sent: int
    bytes_delivered: int
    retried: int
    """Messages and fragments that were retransmitted."""

    @classmethod
    def of(cls, direction: str, link: LinkStats, retried: int) -> DatagramTally:
        """The tally of a link."""
        return cls(
            direction=direction,
            sent=link.sent,
            delivered=link.delivered,
            lost=link.lost,
            duplicated=link.duplicated,
            bytes_sent=link.sent_bytes,
            bytes_delivered=link.delivered_bytes,
            retried=retried,
        )


@dataclass(frozen=True)
class ClientResult:
    """The outcome for one client."""

    number: int
    round_trip: float
    """Seconds, smoothed, at the end; 0.0 when there was none."""
    problems: tuple[str, ...]
    """Problems, a line each."""


@dataclass(frozen=True)
class DemoReport:
    """All that the demo found; times are in seconds."""

    settings: DemoSettings
    played: float
    waited: float
    """From the end of the playing until nothing was outstanding."""
    frames: int
    frames_left_out: int
    """Frames that it was too late for when the one before was done."""
    messages: tuple[Tally, ...]
    datagrams: tuple[DatagramTally, ...]
    clients: tuple[ClientResult, ...]
    timeline: Timeline = field(default_factory=Timeline)
    """Second by second, until nothing was outstanding."""

    @property
    def problems(self) -> list[str]:
        """Problems, a line each; empty if the demo has succeeded."""
        return [f"client {c.number}: {problem}" for c in self.clients for problem in c.problems]

    def as_json(self) -> dict[str, Any]:
        """The fields by name, for the json module, behind `ok` and `problems`."""
        return {"ok": not self.problems, "problems": self.problems} | asdict(self)

    def as_tables(self) -> Iterator[Table | str]:
        """The tables, with a line of text between them."""
        yield ""
        yield Table(
            ("datagrams", "sent", "delivered", "lost", "duplicated", "bytes sent", "retried"),
            [_datagram_row(tally) for tally in self.datagrams],
            "",
        )
        yield ""
        yield Table(
            ("messages", "sent", "delivered", "lost", "duplicated", "median ms", "p99 ms", "kB/s"),
            [_message_row(tally) for tally in self.messages],
            "",
        )
        yield ""
        yield (
            f"played {self.played:.1f} s, then waited {self.waited:.1f} s for outstanding "
            f"messages; {self.frames} frames, {self.frames_left_out} skipped"
        )


def _datagram_row(tally: DatagramTally) -> tuple[str, ...]:
    numbers = (tally.sent, tally.delivered, tally.lost, tally.duplicated)
    shown = (f"{number:,}" for number in (*numbers, tally.bytes_sent, tally.retried))
    return (tally.direction, *shown)


def _message_row(tally: Tally) -> tuple[str, ...]:
    numbers = (tally.sent, tally.delivered, tally.lost, tally.duplicated)
    return (
        f"{tally.kind} {tally.direction}",
        *(f"{number:,}" for number in numbers),
        milliseconds(tally.latency_median),
        milliseconds(tally.latency_p99),
        kilobytes(tally.throughput),
    )
