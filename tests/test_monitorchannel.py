"""The monitor's channel: who gets the figures of a server, and who does not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.serverworld import ROOT_KEY, Player, World

from mpgameserver.cli.connect import UnreachableError
from mpgameserver.cli.display import Display, Table
from mpgameserver.cli.monitor import monitor
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.monitorchannel import (
    MAX_CHANNEL_CLIENTS,
    MAX_CHANNEL_CLIENTS_PER_HOST,
    MAX_CHANNEL_QUEUE,
    MAX_WATCHERS,
    PROOF_TIMEOUT,
    MonitorChannel,
    Watchers,
    make_proof,
)
from mpgameserver.server import ThreadedServer
from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.meter import MAX_CONNECTIONS_LISTED
from mpgameserver.server.stats import ConnectionFigures, ServerFigures

LOOPBACK = ("127.0.0.1", 0)
WRONG_KEY = EllipticCurvePrivateKey.new()


class Asker:
    """Answers at once, with figures that count the questions."""

    def __init__(self) -> None:
        self.questions = 0
        self._answer: ServerFigures | None = None

    def ask(self) -> None:
        self.questions += 1
        self._answer = ServerFigures(ticks=self.questions)

    def take(self) -> ServerFigures | None:
        answer, self._answer = self._answer, None
        return answer


class Channel(World):
    """A channel in memory; its players watch, or try to."""

    def __init__(self) -> None:
        self.asker = Asker()
        super().__init__(Watchers(self.asker, ROOT_KEY.getPublicKey()))  # type: ignore[arg-type]
        self.context.setInterval(0.25)

    def watcher(self) -> Player:
        player = self.join()
        player.send(make_proof(ROOT_KEY, player.token))
        return player

    def is_in(self, player: Player) -> bool:
        return any(client.token == player.token for client in self.engine.clients)


@pytest.fixture
def channel() -> Channel:
    return Channel()


def ticks(player: Player) -> list[int]:
    """Return the identity of the figures that arrived."""
    return [ServerFigures.from_bytes(message).ticks for message in player.messages]


class TestProof:
    def test_who_proves_the_key_gets_the_figures_every_second(self, channel: Channel) -> None:
        watcher = channel.watcher()
        channel.run(5.0)
        assert ticks(watcher) == list(range(1, len(watcher.messages) + 1))
        assert len(watcher.messages) in (4, 5)
        assert channel.is_in(watcher)

    def test_nobody_is_asked_while_nobody_watches(self, channel: Channel) -> None:
        channel.run(2.0)
        channel.join()
        channel.run(1.0)
        assert channel.asker.questions == 0
        watcher = channel.watcher()
        channel.run(2.0)
        asked = channel.asker.questions
        assert asked > 0
        watcher.connection.disconnect(channel.now)
        channel.run(3.0)
        assert channel.asker.questions <= asked + 1

    @pytest.mark.parametrize(
        "proof",
        [
            lambda token: b"",
            lambda token: b"\0" * 70,
            lambda token: make_proof(WRONG_KEY, token),
            lambda token: make_proof(ROOT_KEY, token ^ 1),
            lambda token: ROOT_KEY.sign(token.to_bytes(4, "big")),
            lambda token: make_proof(ROOT_KEY, token) + b"\0",
            lambda token: bytes(5000),
        ],
        ids=["nothing", "zeros", "other key", "other session", "other text", "longer", "long"],
    )
    def test_what_is_no_proof_ends_the_session(
        self, channel: Channel, proof: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        player = channel.join()
        player.send(proof(player.token))
        channel.run(1.5)
        assert not channel.is_in(player)
        assert player.messages == []
        assert channel.asker.questions == 0
        assert "does not have the key" in caplog.text

    def test_the_idle_timeout_ends_the_session(self, channel: Channel) -> None:
        player = channel.join()
        channel.run(PROOF_TIMEOUT - 0.5)
        assert channel.is_in(player)
        channel.run(1.5)
        assert not channel.is_in(player)

    def test_who_says_more_than_a_proof_is_thrown_out(self, channel: Channel) -> None:
        watcher = channel.watcher()
        channel.run(1.0)
        assert channel.is_in(watcher)
        watcher.send(make_proof(ROOT_KEY, watcher.token))
        channel.run(1.5)
        assert not channel.is_in(watcher)

    def test_no_more_watch_than_may(self, channel: Channel) -> None:
        watchers = [channel.watcher() for _ in range(MAX_WATCHERS)]
        channel.run(1.0)
        late = channel.watcher()
        channel.run(1.5)
        assert not channel.is_in(late)
        assert all(channel.is_in(watcher) for watcher in watchers)
        watchers[0].connection.disconnect(channel.now)
        channel.run(1.0)
        later = channel.watcher()
        channel.run(1.5)
        assert channel.is_in(later)
        assert later.messages


class Recording(Display):
    """A display that keeps what it was to show."""

    interval = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[Table, ...]] = []

    def show(self, *tables: Table) -> None:
        self.shown.append(tables)


@pytest.fixture
def context() -> ServerContext:
    return ServerContext(EventHandler())


@pytest.fixture
def key() -> EllipticCurvePrivateKey:
    return EllipticCurvePrivateKey.new()


@pytest.fixture
def address(context: ServerContext, key: EllipticCurvePrivateKey) -> Iterator[tuple[str, int]]:
    """Of the channel to a server that runs."""
    with MonitorChannel(context, key, LOOPBACK) as channel, ThreadedServer(context, LOOPBACK):
        yield channel.address


class TestOverSockets:
    def test_a_running_server_is_watched(
        self, address: tuple[str, int], key: EllipticCurvePrivateKey
    ) -> None:
        display = Recording()
        monitor(address, key, display, seconds=1.0)
        assert display.shown
        assert display.shown[0][0].caption.startswith("up ")
        assert "0 clients" in display.shown[0][0].caption

    def test_a_server_that_does_not_answer_is_told_of(
        self,
        address: tuple[str, int],
        context: ServerContext,
        key: EllipticCurvePrivateKey,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("mpgameserver.cli.monitor.PATIENCE", 0.1)
        is_over = threading.Event()
        context.call_soon_threadsafe(is_over.wait)
        display = Recording()
        try:
            monitor(address, key, display, seconds=0.5)
        finally:
            is_over.set()
        assert display.shown
        assert all(shown[0].caption.startswith("no statistics for") for shown in display.shown)

    def test_another_key_never_connects(
        self, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mpgameserver.client.udpclient.CONNECTION_TIMEOUT", 0.3)
        display = Recording()
        with pytest.raises(UnreachableError, match="the monitor channel") as raised:
            monitor(address, WRONG_KEY, display)
        assert "does not have the expected key" in str(raised.value)
        assert display.shown == []

    def test_one_that_is_thrown_out_is_told_why(
        self,
        address: tuple[str, int],
        key: EllipticCurvePrivateKey,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr("mpgameserver.cli.monitor.make_proof", lambda key, token: b"no proof")
        with caplog.at_level(logging.CRITICAL), pytest.raises(UnreachableError, match="too many"):
            monitor(address, key, Recording())

    def test_it_is_bounded(self, context: ServerContext, key: EllipticCurvePrivateKey) -> None:
        channel = MonitorChannel(context, key, LOOPBACK)
        limits = channel._server._context.settings.limits
        assert limits.clients == MAX_CHANNEL_CLIENTS
        assert limits.clients_per_host == MAX_CHANNEL_CLIENTS_PER_HOST
        assert limits.reassembly_bytes < 1 << 20 >= limits.send_queue_bytes
        assert limits.handshake_rate * 2 <= limits.half_open

    def test_it_can_be_started_again(
        self, context: ServerContext, key: EllipticCurvePrivateKey
    ) -> None:
        channel = MonitorChannel(context, key, LOOPBACK)
        for _ in range(2):
            with channel:
                assert channel.address[1] != 0

    def test_the_key_of_the_server_is_refused(self, context: ServerContext) -> None:
        with pytest.raises(ValueError, match="a key of its own"):
            MonitorChannel(context, context.root_key, LOOPBACK)
        with pytest.raises(TypeError, match="EllipticCurvePrivateKey"):
            MonitorChannel(context, context.root_key.getPublicKey(), LOOPBACK)  # type: ignore[arg-type]

    def test_without_a_channel_nothing_is_measured(self, context: ServerContext) -> None:
        assert context.meter is None


def test_figures_of_another_version_are_told(
    address: tuple[str, int], key: EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerFigures, "to_bytes", lambda figures: b"{}")
    with pytest.raises(UnreachableError, match="this version"):
        monitor(address, key, Recording())


def test_what_a_watcher_leaves_unread_is_bounded_and_a_minute_of_it_fits() -> None:
    listed = ConnectionFigures("[2001:db8::1]:50000", 2, 1e6 / 3, 1 / 3, *[1 << 40] * 6)
    figures = ServerFigures(connections=(listed,) * MAX_CONNECTIONS_LISTED)
    assert 60 * len(figures.to_bytes()) < MAX_CHANNEL_QUEUE
