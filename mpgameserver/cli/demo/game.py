"""The demo: a server and clients in one process, which play over a bad link.

The server has a thread, and so has the link between it and the clients; the clients share the
calling thread, a frame of each in turn. When the time is over nobody starts anything new, and
the frames go on until every reliable message has arrived and every callback was called. Then the
clients disconnect, and the books of both sides are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from mpgameserver.cli.demo.audit import problems_between, tally_of
from mpgameserver.cli.demo.live import LiveView
from mpgameserver.cli.demo.player import Player, file_of
from mpgameserver.cli.demo.report import ClientResult, DatagramTally, DemoReport, DemoSettings
from mpgameserver.cli.demo.room import Progress, Room
from mpgameserver.cli.demo.timeline import Timeline
from mpgameserver.cli.demo.traffic import Counts, Kind
from mpgameserver.cli.display import Display
from mpgameserver.client.udpclient import UdpClient
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import ConnectionStatus
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.context import ServerContext
from mpgameserver.server.udpserver import ThreadedServer
from mpgameserver.udpproxy import UdpProxy

__all__ = ["WAIT_LIMIT", "FramePace", "run_demo"]

FRAME = 1 / 60
"""Seconds of a frame, of the clients and of the server."""
WAIT_LIMIT = 60.0
"""Seconds that the demo waits for outstanding messages when the playing is over."""

_LOOPBACK = ("127.0.0.1", 0)


class FramePace:
    """Begins a frame each `FRAME` seconds, and leaves those out that it is too late for."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.begun: int = 0
        """Frames begun."""
        self.left_out: int = 0
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def wait(self) -> None:
        """Return when the next frame begins."""
        late = self._clock() - self._next
        if late < 0:
            self._sleep(-late)
        else:
            missed = int(late / FRAME)
            self.left_out += missed
            self._next += missed * FRAME
        self.begun += 1
        self._next += FRAME


class _Game:
    """A server and clients that are connecting over a bad link; `stack` closes all of them."""

    def __init__(self, settings: DemoSettings, display: Display, stack: ExitStack) -> None:
        key = EllipticCurvePrivateKey.new()
        self._settings = settings
        self._room = Room(settings.seed)
        self._context = ServerContext(self._room, key)
        self._context.setInterval(FRAME)
        server = stack.enter_context(ThreadedServer(self._context, _LOOPBACK))
        conditions = _conditions(settings)
        self._proxy = stack.enter_context(
            UdpProxy(_LOOPBACK, server.address, conditions, seed=settings.seed)
        )
        self._players = []
        for number in range(1, settings.clients + 1):
            client = stack.enter_context(UdpClient(key.getPublicKey()))
            client.connect(self._proxy.address)
            self._players.append(Player(number, client, file_of(settings.seed, f"up {number}")))
        self._display = stack.enter_context(display)
        self._pace = FramePace()
        self._played = self._waited = 0.0
        self._timeline = Timeline()
        self._view = LiveView()

    def run(self) -> None:
        """Connect, play, wait for what is outstanding, and leave."""
        self._do_frames("connecting", self._nobody_is_connecting)
        end = time.perf_counter() + self._settings.seconds
        self._played = self._do_frames(
            "playing", lambda: self._everybody_has_left() or time.perf_counter() >= end, True
        )
        self._context.call_soon_threadsafe(self._room.stop_playing)
        end = time.perf_counter() + WAIT_LIMIT
        self._waited = self._do_frames(
            "waiting", lambda: self._nothing_is_outstanding() or time.perf_counter() >= end
        )
        self._show("done")
        self._timeline = Timeline.of([player.client.stats() for player in self._players])
        for player in self._players:
            player.leave()
        self._do_frames(None, self._everybody_has_left)

    def report(self) -> DemoReport:
        """Return the result. Close the stack first, since the server's thread writes too."""
        books = [(player.ledger, self._room.ledger_of(player.token)) for player in self._players]
        up, down = books, [(there, here) for here, there in books]
        retried_up = sum(player.client.stats().retransmitted for player in self._players)
        link = self._proxy.stats
        return DemoReport(
            settings=self._settings,
            played=self._played,
            waited=self._waited,
            frames=self._pace.begun,
            frames_left_out=self._pace.left_out,
            messages=tuple(
                tally_of(kind, direction, sides)
                for kind in Kind
                for direction, sides in (("up", up), ("down", down))
            ),
            datagrams=(
                DatagramTally.of("up", link.up, retried_up),
                DatagramTally.of("down", link.down, self._room.retried),
            ),
            clients=tuple(
                ClientResult(
                    player.number,
                    player.client.latency(),
                    (
                        *player.problems,
                        *problems_between("up", here, there),
                        *problems_between("down", there, here),
                    ),
                )
                for player, (here, there) in zip(self._players, books, strict=True)
            ),
            timeline=self._timeline,
        )

    def _do_frames(
        self, phase: str | None, is_over: Callable[[], bool], is_playing: bool = False
    ) -> float:
        """Do frames until `is_over`, shown unless `phase` is None; how many seconds it took."""
        began = time.perf_counter()
        while not is_over():
            self._pace.wait()
            for player in self._players:
                player.frame(is_playing)
            if phase is not None and self._display.is_due():
                self._show(f"{phase} {time.perf_counter() - began:.0f} s")
        return time.perf_counter() - began

    def _show(self, phase: str) -> None:
        progress, link = self._room.progress, self._proxy.stats
        now = time.perf_counter()
        self._display.show(self._view.table(now, phase, self._players, progress, link))

    def _nobody_is_connecting(self) -> bool:
        connecting = ConnectionStatus.CONNECTING
        return all(player.client.status() != connecting for player in self._players)

    def _nothing_is_outstanding(self) -> bool:
        """True when waiting any longer would change nothing."""
        progress = self._room.progress
        return not progress.is_playing and all(
            player.is_over() or _is_settled(player.ledger.counts(), progress, player.token)
            for player in self._players
        )

    def _everybody_has_left(self) -> bool:
        return all(player.is_over() for player in self._players)


def run_demo(settings: DemoSettings, display: Display) -> DemoReport:
    """Run the demo, and tell what it found.

    It takes the time to connect (5 s at most), then the `seconds` of the settings, then the time
    until nothing is outstanding (`WAIT_LIMIT` at most). Raises OSError when it gets no sockets.
    """
    with ExitStack() as stack:
        game = _Game(settings, display, stack)
        game.run()
    return game.report()


def _conditions(settings: DemoSettings) -> LinkConditions:
    return LinkConditions(
        loss=settings.loss / 100,
        duplicate=settings.duplicate / 100,
        latency=settings.latency / 1000,
        jitter=settings.jitter / 1000,
    )


def _is_settled(here: Counts, progress: Progress, token: int) -> bool:
    """True when every reliable message arrived and every callback was called, both ways."""
    there = progress.members.get(token)
    return (
        there is not None
        and here.outstanding == there.outstanding == 0
        and all(
            here.sent[kind] == there.received[kind] and there.sent[kind] == here.received[kind]
            for kind in Kind
            if kind.is_reliable
        )
    )
