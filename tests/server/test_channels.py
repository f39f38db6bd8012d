"""Channels on a server: declared, sent on, and told apart by the handler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.players2 import ChannelRecorder, Player2
from support.serverworld import Recorder, World
from support.wire2.tables import LATEST, ORDERED, SEQUENCED, UNORDERED
from support.wire2.tables import Channel as Row

from mpgameserver import Channel, EventHandler
from mpgameserver.channels import WINDOW_MESSAGES
from mpgameserver.enums import RetryMode
from mpgameserver.errors import OldPeerError, SendQueueFullError
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.context import ServerContext
from mpgameserver.wire.protocol2.setup import AcceptData

CHANNELS = [
    Channel("chat", window=3000),
    Channel("pose", "latest", priority=1),
    Channel("voice", "sequenced", priority=2),
    Channel("loot", "unordered", priority=-1),
]
WINDOW = (50, 4000)
ROWS = [
    Row(1, ORDERED, WINDOW, "chat"),
    Row(2, LATEST, None, "pose"),
    Row(3, SEQUENCED, None, "voice"),
    Row(4, UNORDERED, None, "loot"),
]
NAMES = ["chat", "pose", "voice", "loot"]


def world(**options: Any) -> World:
    return World(ChannelRecorder(), channels=CHANNELS, **options)


class TestAsking:
    """A handler asks for the channel by a parameter of that name."""

    def test_one_that_asks_gets_the_name_of_the_channel(self) -> None:
        a_world = world()
        player = Player2(a_world, ROWS).join()
        for number, _ in enumerate(["", *NAMES]):
            player.peer.say(number, bytes([number]))
        a_world.run(1)
        expected = [(name, bytes([number])) for number, name in enumerate(["", *NAMES])]
        assert sorted(a_world.handler.heard) == sorted(expected)

    def test_one_that_asks_gets_an_empty_name_from_a_client_of_protocol_1(self) -> None:
        a_world = world()
        a_world.join().send(b"old")
        a_world.run(0.3)
        assert a_world.handler.heard == [("", b"old")]

    @pytest.mark.parametrize(
        "handle_message",
        [
            lambda self, client, seqnum, msg=b"", *, channel: None,
            lambda self, client, seqnum, msg=b"", channel="": None,
        ],
    )
    def test_where_channels_are_declared_it_must_ask(self, handle_message: Any) -> None:
        asking = type("Game", (EventHandler,), {"handle_message": handle_message})()
        assert ServerContext(asking, channels=CHANNELS).names == dict(enumerate(["", *NAMES]))

    def test_one_that_does_not_would_mix_them_up_and_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"Recorder\.handle_message must have a param"):
            ServerContext(Recorder(), channels=CHANNELS)

    def test_one_without_that_event_need_not(self) -> None:
        silent = type("Game", (EventHandler,), {"connect": lambda self, client: None})()
        assert ServerContext(silent, channels=CHANNELS).names is None

    def test_without_channels_it_may_ask_all_the_same(self) -> None:
        a_world = World(ChannelRecorder())
        Player2(a_world).join().peer.say(0, b"plain")
        a_world.run(0.3)
        assert a_world.handler.heard == [("", b"plain")]

    def test_a_measured_server_passes_it_on(self) -> None:
        handler = ChannelRecorder()
        a_world = World(handler, channels=CHANNELS)
        context = ServerContext(handler, a_world.context.root_key, channels=CHANNELS)
        context.enableMeter()
        engine = type(a_world.engine)(context)
        engine.handler.handle_message(None, 1, b"x", channel="chat")  # type: ignore[arg-type, call-arg]
        assert handler.heard == [("chat", b"x")]


class TestSending:
    @pytest.mark.parametrize("seed", range(3))
    def test_each_kind_delivers_as_it_promises(self, seed: int) -> None:
        bad = LinkConditions(loss=0.2, latency=0.03, jitter=0.03)
        a_world = world(conditions=bad, seed=seed)
        player = Player2(a_world, ROWS).join()
        [client] = a_world.engine.clients
        for number in range(60):
            for name in NAMES[:3]:
                client.channel(name).send(number.to_bytes(2, "big"))
            client.channel("loot").send(number.to_bytes(2, "big"), retry=RetryMode.RETRY_ON_TIMEOUT)
            a_world.run(0.05)
        a_world.run(5)
        got = {
            number: [int.from_bytes(m, "big") for c, m in player.messages if c == number]
            for number in (1, 2, 3, 4)
        }
        assert got[1] == list(range(60))
        assert got[2] == sorted(set(got[2]))
        assert got[2][-1] == 59
        assert got[3] == sorted(set(got[3]))
        assert 30 < len(got[3]) < 60
        assert sorted(got[4]) == list(range(60))

    def test_its_callback_says_what_became_of_a_message(self) -> None:
        a_world = world()
        Player2(a_world, ROWS).join()
        outcomes: list[bool] = []
        a_world.engine.clients[0].channel("chat").send(b"hi", callback=outcomes.append)
        assert outcomes == []
        a_world.run(0.3)
        assert outcomes == [True]

    def test_only_an_unordered_channel_leaves_the_mode_to_the_message(self) -> None:
        a_world = world()
        Player2(a_world, ROWS).join()
        [client] = a_world.engine.clients
        client.channel("loot").send(b"", retry=RetryMode.NONE)
        with pytest.raises(
            ValueError, match="retry is not for a message on 'chat': the channel is"
        ):
            client.channel("chat").send(b"", retry=RetryMode.NONE)
        with pytest.raises(ValueError, match="7 is not a valid RetryMode"):
            client.channel("loot").send(b"", retry=7)

    def test_a_channel_that_is_not_declared_is_refused_by_name(self) -> None:
        a_world = world()
        Player2(a_world, ROWS).join()
        with pytest.raises(
            ValueError, match="no channel 'caht' is declared; declared: 'chat', 'po"
        ):
            a_world.engine.clients[0].channel("caht")

    def test_the_windows_that_it_grants_are_in_the_accept_data_byte_for_byte(self) -> None:
        a_world = world()
        player = Player2(a_world, ROWS).join()
        assert player.peer._may_send == {1: (WINDOW_MESSAGES, 3000)}
        windows = a_world.context.channels.windows
        accepted = AcceptData(bytes(range(16)), windows).encode()
        assert accepted == bytes(range(16)) + bytes.fromhex("50004bb8")

    def test_a_message_longer_than_the_peers_window_is_refused(self) -> None:
        a_world = world()
        player = Player2(a_world, ROWS).join()
        chat = a_world.engine.clients[0].channel("chat")
        with pytest.raises(ValueError, match="4000"):
            chat.send(bytes(4001))
        chat.send(bytes(4000))
        a_world.run(2)
        assert player.messages == [(1, bytes(4000))]

    def test_a_client_of_protocol_1_has_none_and_that_is_said(self) -> None:
        a_world = world()
        a_world.join()
        [client] = a_world.engine.clients
        assert client.protocol == 1
        with pytest.raises(OldPeerError, match="speaks protocol 1, which has no channels"):
            client.channel("chat").send(b"hi")

    def test_another_thread_may_send_and_its_mistakes_are_raised_there_or_counted(self) -> None:
        a_world = world()
        player = Player2(a_world, ROWS).join()
        chat = a_world.engine.clients[0].channel("chat")
        outcomes: list[object] = []
        calls: list[Callable[[], object]] = [
            lambda: chat.send(b"from afar", callback=outcomes.append),
            lambda: chat.send(b"", retry=0),
            lambda: chat.send(bytes(4001), callback=outcomes.append),
        ]

        def work() -> None:
            for call in calls:
                try:
                    call()
                except ValueError:
                    outcomes.append("ValueError")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        a_world.run(0.5)
        assert player.messages == [(1, b"from afar")]
        assert outcomes == ["ValueError", False, True]
        assert a_world.engine.stats.messages_refused == 1

    def test_what_was_not_sent_yet_is_pending(self) -> None:
        a_world = world()
        player = Player2(a_world, ROWS).join()
        [client] = a_world.engine.clients
        assert client.pending == 0
        client.send(bytes(300))
        client.channel("chat").send(bytes(200))
        assert client.pending == 500
        a_world.run(0.3)
        assert client.pending == 0
        assert len(player.messages) == 2

    def test_a_channel_says_what_it_is(self) -> None:
        a_world = world()
        Player2(a_world, ROWS).join()
        chat = a_world.engine.clients[0].channel("chat")
        assert chat.name == "chat"
        assert repr(chat).startswith("<ServerChannel 'chat' of <ServerClient 10.0.0.")


class TestSendingToSeveral:
    def test_a_group_and_all_clients_get_messages_on_a_channel(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        a_world = world()
        players = [Player2(a_world, ROWS).join() for _ in range(3)]
        old = a_world.join()
        red = a_world.context.group("red")
        for client in a_world.engine.clients:
            red.add(client)
        red.discard(a_world.engine.clients[0])
        red.send(b"reds", channel="chat")
        a_world.context.broadcast(b"all", channel="pose")
        a_world.context.broadcast(b"plain")
        a_world.run(0.5)
        assert sorted(players[0].messages) == [(0, b"plain"), (2, b"all")]
        for player in players[1:]:
            assert sorted(player.messages) == [(0, b"plain"), (1, b"reds"), (2, b"all")]
        assert old.messages == [b"plain"]
        assert "misses a broadcast: <ServerClient" in caplog.text
        assert "speaks protocol 1" in caplog.text

    def test_one_whose_queue_is_full_is_left_out(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        a_world = world()
        players = [Player2(a_world, ROWS).join() for _ in range(2)]
        full, other = a_world.engine.clients

        def refuse(*_: object) -> None:
            raise SendQueueFullError("full")

        monkeypatch.setattr(full, "_send_on", refuse)
        with caplog.at_level(logging.WARNING):
            a_world.context.broadcast(b"news", channel="chat")
        a_world.run(0.3)
        assert [player.messages for player in players] == [[], [(1, b"news")]]
        assert "misses a broadcast: full" in caplog.text
        assert other.pending == 0

    def test_mistakes_are_raised_whoever_is_there(self) -> None:
        context = ServerContext(ChannelRecorder(), channels=CHANNELS)
        with pytest.raises(ValueError, match="no channel 'x'"):
            context.broadcast(b"", channel="x")
        with pytest.raises(ValueError, match="retry is not for a message on 'pose'"):
            context.broadcast(b"", RetryMode.NONE, channel="pose")
