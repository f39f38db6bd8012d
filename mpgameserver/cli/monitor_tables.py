"""A server's figures as tables: what happened between two snapshots, and how things stand."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from mpgameserver.cli.display import Cell, Table, kilobytes, milliseconds, sparkline
from mpgameserver.server.stats import ConnectionFigures, ServerFigures

__all__ = ["MonitorView", "nothing_came"]

HISTORY = 8
"""Snapshots in a sparkline."""
NOTABLE_LOSS, BAD_LOSS = 0.01, 0.05
"""Shares of lost packets above which the figure is yellow, and red."""
HIGH_LOAD = 0.8
"""The share of a core above which the caption is red: ticks are about to come late."""


def nothing_came(seconds: float) -> Table:
    """Return the table to show when no new statistics have arrived for so many seconds."""
    reason = "its handler is slow, or it has stopped"
    return Table(("",), [], f"no statistics for {seconds:.0f} s: {reason}")


class MonitorView:
    """The tables for the newest of the snapshots that it was given."""

    def __init__(self) -> None:
        self._before = self._now = ServerFigures()
        self._latencies: deque[float | None] = deque([None] * HISTORY, HISTORY)
        self._losses: deque[float | None] = deque([None] * HISTORY, HISTORY)

    def take(self, figures: ServerFigures) -> list[Table]:
        """The tables; rates are those since the snapshot before, or since the server began."""
        restarted = figures.uptime < self._now.uptime
        self._before = ServerFigures() if restarted else self._now
        self._now = figures
        self._latencies.append(figures.latency_median)
        self._losses.append(_share(self._since("packets_timed_out"), self._since("packets_sent")))
        return [
            self._loop(),
            self._traffic(),
            self._links(),
            self._queues(),
            self._drops(),
            *self._send_errors(),
            *self._sessions(),
            self._connections(),
        ]

    def _since(self, name: str) -> float:
        """By how much a figure has grown."""
        return float(getattr(self._now, name) - getattr(self._before, name))

    def _rate(self, name: str) -> float:
        return _share(self._since(name), self._since("uptime"))

    def _loop(self) -> Table:
        names = ("receive_seconds", "handler_seconds", "send_seconds")
        ticks = self._since("ticks")
        spent = [self._since(name) for name in names]
        load = _share(sum(spent), self._since("uptime"))
        trips = [milliseconds(t) for t in (self._now.latency_median, self._now.latency_p99)]
        caption = (
            f"up {self._now.uptime:.0f} s, {self._clients()}, "
            f"{self._rate('ticks'):.0f} ticks/s, load {load:.0%}, "
            f"{self._rate('datagrams_received'):,.0f} datagrams/s in, "
            f"{self._rate('datagrams_sent'):,.0f} out, latency {trips[0]} ms, p99 {trips[1]}"
        )
        rows = [
            (name.partition("_")[0], f"{_share(1000 * seconds, ticks):.3f}")
            for name, seconds in zip(names, spent, strict=True)
        ]
        rows.append(("all", f"{_share(1000 * sum(spent), ticks):.3f}"))
        style = "bold red" if load > HIGH_LOAD else "bold"
        return Table(("tick", "ms"), rows, Cell(caption, style))

    def _clients(self) -> str:
        """The number of clients; and of those of them that speak protocol 1, if any."""
        of_protocol_1 = self._now.stats.protocols.get("1", 0)
        more = f" ({of_protocol_1} by protocol 1)" if of_protocol_1 else ""
        return f"{self._now.stats.clients} clients{more}"

    def _traffic(self) -> Table:
        rows = [
            (
                direction,
                f"{self._rate(f'datagrams_{name}'):,.0f}",
                kilobytes(self._rate(f"bytes_{name}")),
            )
            for direction, name in (("in", "received"), ("out", "sent"))
        ]
        return Table(("traffic", "datagrams/s", "kB/s"), rows, "")

    def _links(self) -> Table:
        now = self._now
        rows = [
            (
                "latency, median",
                f"{milliseconds(now.latency_median)} ms",
                sparkline(self._latencies),
            ),
            ("latency, p99", f"{milliseconds(now.latency_p99)} ms", ""),
            ("packets lost", _loss(self._losses[-1] or 0.0), sparkline(self._losses, BAD_LOSS)),
            ("retransmitted", f"{self._rate('retransmitted'):,.0f}/s", ""),
        ]
        return Table(("links", "", f"last {HISTORY}"), rows, "")

    def _queues(self) -> Table:
        now, stats = self._now, self._now.stats
        rows = [
            ("send queues", f"{kilobytes(now.send_queue_bytes)} kB"),
            ("unread messages", f"{kilobytes(now.inbox_bytes)} kB"),
            ("incomplete messages", f"{kilobytes(now.reassembly_bytes)} kB"),
            ("events", f"{now.events_waiting:,}"),
            ("half-open handshakes", f"{stats.half_open:,}"),
            ("hellos", f"{stats.waiting_hellos:,}"),
            ("hellos deferred", f"{stats.hellos_put_off:,}"),
        ]
        return Table(("waiting", ""), rows, "")

    def _drops(self) -> Table:
        drops = sorted(_drops(self._now).items(), key=lambda drop: -drop[1])
        rows = self._counts(dict(drops), _drops(self._before))
        return Table(("dropped", "per s", "in all"), rows or [("nothing", "", "")], "")

    def _send_errors(self) -> list[Table]:
        """No table while there are none: they are rare."""
        now, before = self._now.stats.send_errors, self._before.stats.send_errors
        rows = self._counts(dict(sorted(now.items())), before)
        return [Table(("cannot send", "per s", "in all"), rows, "")] if rows else []

    def _sessions(self) -> list[Table]:
        """No table before the first session has ended or moved."""
        now = sorted(_changes(self._now).items(), key=lambda change: -change[1])
        rows = self._counts(dict(now), _changes(self._before))
        return [Table(("sessions", "per s", "in all"), rows, "")] if rows else []

    def _counts(self, now: dict[str, int], before: dict[str, int]) -> list[tuple[str, str, str]]:
        """The rows of a table of counters: since the snapshot before, and in all."""
        seconds = self._since("uptime")
        return [
            (name, f"{_share(count - before.get(name, 0), seconds):,.1f}", f"{count:,}")
            for name, count in now.items()
        ]

    def _connections(self) -> Table:
        listed = self._now.connections
        left_out = self._now.stats.clients - len(listed)
        columns = (
            *("client", "protocol", "for s", "trip ms", "sent", "received"),
            *("lost", "resent", "dropped", "queued kB"),
        )
        more = f"and {left_out:,} with shorter round trips" if left_out > 0 else ""
        spare = ("dropped", "resent", "protocol", "for s", "queued kB", "received")
        return Table(columns, list(map(_connection_row, listed)), more, spare=spare)


def _drops(figures: ServerFigures) -> dict[str, int]:
    """Drops by reason: datagrams, and messages in datagrams that were accepted."""
    messages = {
        "message repeated": figures.messages_repeated,
        "message discarded": figures.messages_discarded,
        "message, client gone": figures.events_dropped,
    }
    return figures.stats.drops | {reason: count for reason, count in messages.items() if count}


def _changes(figures: ServerFigures) -> dict[str, int]:
    """Why sessions have ended, and how often one went on from another address."""
    moves = {"changed address": figures.stats.moves} if figures.stats.moves else {}
    return figures.stats.ends | moves


def _loss(share: float) -> str:
    style = "red" if share > BAD_LOSS else "yellow" if share > NOTABLE_LOSS else ""
    return Cell(f"{share:.1%}", style)


def _connection_row(figures: ConnectionFigures) -> Sequence[str]:
    return (
        figures.address,
        f"{figures.protocol}",
        f"{figures.connected_for:,.0f}",
        milliseconds(figures.latency or None),
        f"{figures.sent:,}",
        f"{figures.received:,}",
        _loss(_share(figures.timeouts, figures.sent)),
        f"{figures.retransmitted:,}",
        f"{figures.dropped:,}",
        kilobytes(figures.send_queue_bytes),
    )


def _share(part: float, whole: float) -> float:
    """`part` by `whole`; 0.0 where there is no whole."""
    return part / whole if whole > 0 else 0.0
