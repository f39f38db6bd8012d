"""The books of both sides of a connection, compared: what became of every message."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mpgameserver.cli.demo.traffic import Kind, Ledger, Received, Sent
from mpgameserver.stats import percentile

__all__ = ["Books", "Tally", "problems_between", "tally_of"]

MAX_SEQUENCES_NAMED = 5
"""Messages that a problem names by number; of the others it gives the count."""

Books = Sequence[tuple[Ledger, Ledger]]
"""Of each connection: the books of the side that sent, and of the side that received."""


@dataclass(frozen=True)
class Tally:
    """The outcome of the messages of one kind in one direction, over all connections."""

    kind: str
    direction: str
    """Up is to the server, down is to the clients."""
    reliable: bool
    sent: int
    delivered: int
    """Those that arrived, each counted once."""
    lost: int
    """Those that did not."""
    duplicated: int
    """Arrivals of messages that had arrived before."""
    acked: int
    """Those whose callback said so."""
    callbacks: int
    """Calls of callbacks: one for each message, if all is well."""
    bytes_sent: int
    bytes_delivered: int
    """Duplicates among them."""
    latency_median: float | None
    """Seconds from `send` to the reader, frames and retries included; None if none arrived."""
    latency_p99: float | None
    throughput: float | None
    """Bytes delivered per second, from the first `send` to the last arrival."""


def tally_of(kind: Kind, direction: str, books: Books) -> Tally:
    """Add up what became of the messages of one kind."""
    sent = [sender.sent[kind] for sender, _ in books]
    received = [receiver.received[kind] for _, receiver in books]
    count = sum(len(each.digests) for each in sent)
    delivered = sum(
        len(there.digests.keys() & range(len(here.digests)))
        for here, there in zip(sent, received, strict=True)
    )
    latencies = [latency for each in received for latency in each.latencies]
    return Tally(
        kind=kind.name.lower(),
        direction=direction,
        reliable=kind.is_reliable,
        sent=count,
        delivered=delivered,
        lost=count - delivered,
        duplicated=sum(each.arrivals.total() - len(each.arrivals) for each in received),
        acked=sum(len(each.acked) for each in sent),
        callbacks=sum(each.calls.total() for each in sent),
        bytes_sent=sum(each.bytes for each in sent),
        bytes_delivered=sum(each.bytes for each in received),
        latency_median=percentile(latencies, 50) if latencies else None,
        latency_p99=percentile(latencies, 99) if latencies else None,
        throughput=_throughput(sent, received),
    )


def _throughput(sent: list[Sent], received: list[Received]) -> float | None:
    begins = [each.first_at for each in sent if each.first_at is not None]
    ends = [each.last_at for each in received if each.last_at is not None]
    if not begins or not ends or max(ends) <= min(begins):
        return None
    return sum(each.bytes for each in received) / (max(ends) - min(begins))


def problems_between(direction: str, sender: Ledger, receiver: Ledger) -> list[str]:
    """Broken promises in one direction of one connection, a line each."""
    problems = []
    if receiver.unreadable:
        problems.append(f"{direction}: {receiver.unreadable} messages that were never sent")
    for kind in Kind:
        sent, received = sender.sent[kind], receiver.received[kind]
        problems += [
            f"{kind.name.lower()} {direction}: {len(which)} of {len(sent.digests)} {what} "
            f"({_shortened(which)})"
            for what, which in _broken_promises(kind, sent, received).items()
            if which
        ]
    return problems


def _broken_promises(kind: Kind, sent: Sent, received: Received) -> dict[str, Collection[int]]:
    """The messages with which a promise was broken, by what happened instead."""
    there, here = received.digests, dict(enumerate(sent.digests))
    broken: dict[str, Collection[int]] = {
        "arrived, but were never sent": there.keys() - here.keys(),
        "arrived more than once": [n for n, times in received.arrivals.items() if times > 1],
        "arrived damaged": [n for n in there.keys() & here.keys() if there[n] != here[n]],
        "had no callback": here.keys() - sent.calls.keys(),
        "had more than one callback": [n for n, times in sent.calls.items() if times > 1],
        "were acked, but did not arrive": sent.acked - there.keys(),
    }
    if kind.is_reliable:
        broken["did not arrive"] = here.keys() - there.keys()
        broken["were not acked"] = here.keys() - sent.acked
    return broken


def _shortened(sequences: Collection[int]) -> str:
    numbers = sorted(sequences)
    shown = ", ".join(map(str, numbers[:MAX_SEQUENCES_NAMED]))
    return shown + (", ..." if len(numbers) > MAX_SEQUENCES_NAMED else "")
