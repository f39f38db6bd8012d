"""Live table of the running demo, with a row per client."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from mpgameserver.cli.demo.player import FILE_SIZE, Player
from mpgameserver.cli.demo.room import Progress
from mpgameserver.cli.demo.traffic import Counts, Kind
from mpgameserver.cli.display import Cell, Table, bar, kilobytes, milliseconds, sparkline
from mpgameserver.connection import ConnectionStats
from mpgameserver.udpproxy import ProxyStats

__all__ = ["LiveView"]

HISTORY = 8
"""Seconds in a sparkline."""
MAX_LOSS = 10.0
"""Per cent, at the upper end of the sparkline unless more were lost."""

_HISTORY_COLUMN = f"last\n{HISTORY} s"
_COLUMNS = (
    *("client", "trip\nms", _HISTORY_COLUMN, "kB/s\nup", "kB/s\ndown"),
    *(f"{kind.name.lower()}\n{direction}" for kind in Kind for direction in ("up", "down")),
)
_SPARE = ("kB/s\nup", "kB/s\ndown", "chat\nup", "chat\ndown", _HISTORY_COLUMN)


class LiveView:
    """Tables of how things are now; of the losses, the last seconds, too."""

    def __init__(self) -> None:
        self._losses: deque[float | None] = deque([None] * HISTORY, HISTORY)
        self._next = 0.0
        self._sent = self._lost = 0

    def table(
        self,
        now: float,
        phase: str,
        players: Sequence[Player],
        progress: Progress,
        link: ProxyStats,
    ) -> Table:
        """The table at the monotonic time `now`; its caption starts with `phase`.

        Of the messages it shows how many have arrived of how many were sent.
        """
        self._note_losses(now, link)
        stats = [player.client.stats() for player in players]
        rows = zip(players, stats, strict=True)
        return Table(
            _COLUMNS,
            [_row(player, each, progress.members.get(player.token)) for player, each in rows],
            caption=Cell(_caption(phase, players, stats, progress, link), "bold"),
            note=f"lost, last {HISTORY} s  {sparkline(self._losses, MAX_LOSS)}",
            spare=_SPARE,
        )

    def _note_losses(self, now: float, link: ProxyStats) -> None:
        if now < self._next:
            return
        self._next = now + 1.0
        datagrams = link.up + link.down
        sent, lost = datagrams.sent - self._sent, datagrams.lost - self._lost
        self._sent, self._lost = datagrams.sent, datagrams.lost
        self._losses.append(100 * lost / max(1, sent))


def _caption(
    phase: str,
    players: Sequence[Player],
    stats: Sequence[ConnectionStats],
    progress: Progress,
    link: ProxyStats,
) -> str:
    """Everything together."""
    up = kilobytes(sum(map(_sent_per_second, stats)))
    down = kilobytes(sum(map(_received_per_second, stats)))
    datagrams = link.up + link.down
    lost = 100 * datagrams.lost / max(1, datagrams.sent)
    connected = sum(player.client.connected() for player in players)
    sides = [player.ledger.counts() for player in players] + list(progress.members.values())
    files = sum(counts.received[Kind.FILE] for counts in sides)
    return (
        f"{phase}: {connected}/{len(players)} connected, {up} kB/s up, {down} down, "
        f"{lost:.1f} % lost, {files}/{2 * len(players)} files"
    )


def _row(player: Player, stats: ConnectionStats, there: Counts | None) -> tuple[str, ...]:
    here = player.ledger.counts()
    cells: list[str] = [
        str(player.number),
        milliseconds(player.client.latency() if player.client.connected() else None),
        sparkline([ms or None for ms in stats.latency[-1 - HISTORY : -1]]),
        kilobytes(_sent_per_second(stats)),
        kilobytes(_received_per_second(stats)),
    ]
    for kind in (Kind.POSITION, Kind.CHAT):
        if there is None:
            cells += ["-", "-"]
        else:
            cells.append(f"{there.received[kind]}/{here.sent[kind]}")
            cells.append(f"{here.received[kind]}/{there.sent[kind]}")
    up = 1 - player.client.pending / FILE_SIZE if here.sent[Kind.FILE] else 0.0
    # The positions and the chat are among them, a few per cent.
    down = sum(stats.bytes_recv) / FILE_SIZE
    is_up = there is not None and there.received[Kind.FILE] > 0
    return (*cells, _file_bar(up, is_up), _file_bar(down, here.received[Kind.FILE] > 0))


def _file_bar(share: float, is_complete: bool) -> Cell:
    """The bar of a file, which is full when all of it has arrived."""
    return bar(1.0 if is_complete else min(max(share, 0.0), 0.99))


def _sent_per_second(stats: ConnectionStats) -> int:
    """Bytes in the last complete second."""
    return stats.bytes_sent[-2]


def _received_per_second(stats: ConnectionStats) -> int:
    return stats.bytes_recv[-2]
