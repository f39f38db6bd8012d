"""Live table of the running demo, with a row per client."""

from __future__ import annotations

from collections.abc import Sequence

from mpgameserver.cli.demo.player import Player
from mpgameserver.cli.demo.room import Progress
from mpgameserver.cli.demo.traffic import Counts, Kind
from mpgameserver.cli.display import Table, kilobytes, milliseconds
from mpgameserver.connection import ConnectionStats
from mpgameserver.udpproxy import ProxyStats

__all__ = ["live_table"]

_COLUMNS = (
    *("client", "trip\nms", "kB/s\nup", "kB/s\ndown"),
    *(f"{kind.name.lower()}\n{direction}" for kind in Kind for direction in ("up", "down")),
)


def live_table(
    phase: str, players: Sequence[Player], progress: Progress, link: ProxyStats
) -> Table:
    """The table; its caption starts with `phase`, and counts everything together.

    Of the messages it shows how many have arrived of how many were sent.
    """
    stats = [player.client.stats() for player in players]
    up = kilobytes(sum(map(_sent_per_second, stats)))
    down = kilobytes(sum(map(_received_per_second, stats)))
    datagrams = link.up + link.down
    lost = 100 * datagrams.lost / max(1, datagrams.sent)
    connected = sum(player.client.connected() for player in players)
    sides = [player.ledger.counts() for player in players] + list(progress.members.values())
    files = sum(counts.received[Kind.FILE] for counts in sides)
    return Table(
        _COLUMNS,
        [_row(p, s, progress.members.get(p.token)) for p, s in zip(players, stats, strict=True)],
        f"{phase}: {connected}/{len(players)} connected, {up} kB/s up, {down} down, "
        f"{lost:.1f} % lost, {files}/{2 * len(players)} files",
    )


def _row(player: Player, stats: ConnectionStats, there: Counts | None) -> tuple[str, ...]:
    here = player.ledger.counts()
    cells = [
        str(player.number),
        milliseconds(player.client.latency() if player.client.connected() else None),
        kilobytes(_sent_per_second(stats)),
        kilobytes(_received_per_second(stats)),
    ]
    for kind in Kind:
        if there is None:
            cells += ["-", "-"]
        else:
            cells.append(f"{there.received[kind]}/{here.sent[kind]}")
            cells.append(f"{here.received[kind]}/{there.sent[kind]}")
    return tuple(cells)


def _sent_per_second(stats: ConnectionStats) -> int:
    """Bytes in the last complete second."""
    return stats.bytes_sent[-2]


def _received_per_second(stats: ConnectionStats) -> int:
    return stats.bytes_recv[-2]
