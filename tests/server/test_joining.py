"""From a session to the `connect` event: channels, the credential, and what may go wrong."""

from __future__ import annotations

from typing import Any

import pytest
from support.players2 import ChannelRecorder, Player2
from support.serverworld import ROOT_KEY, World
from support.wire2.frames import Accept, Close, Connect, Message, Ping
from support.wire2.tables import LATEST, ORDERED, UNORDERED
from support.wire2.tables import Channel as Row

from mpgameserver import Channel, testing
from mpgameserver.enums import ConnectionStatus
from mpgameserver.errors import RefusedError
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.client import ServerClient
from mpgameserver.server.limits import Limits
from mpgameserver.server.resets import ResetTokens

ADDRESS = ("192.0.2.1", 5000)
CHAT = [Row(1, ORDERED, (100, 10_000), "chat")]


class Doorkeeper(ChannelRecorder):
    """Admits whom `decide` says; the credentials that it was shown are in `shown`."""

    def __init__(self, decide: Any = lambda credential: credential, **on: Any) -> None:
        super().__init__(**on)
        self.decide = decide
        self.shown: list[bytes] = []

    def authenticate(self, client: ServerClient, credential: bytes) -> object:
        self.shown.append(credential)
        return self.decide(credential)


def refuse(text: str) -> Any:
    def decide(_: bytes) -> object:
        raise RefusedError(text)

    return decide


class TestProtocol1:
    """A client of protocol 1 has no credential, and is asked for all the same."""

    def test_an_accepted_one_is_what_authenticate_says(self) -> None:
        world = World(Doorkeeper(lambda _: "guest"))
        player = world.join()
        player.send(b"hello")
        world.run(0.2)
        assert world.handler.shown == [b""]
        assert world.client_of(player).identity == "guest"
        assert world.handler.messages == [b"hello"]

    def test_without_that_event_everybody_is_accepted_and_nobody_known(self) -> None:
        world = World()
        assert world.client_of(world.join()).identity is None

    @pytest.mark.parametrize("decide", [lambda _: None, lambda _: False, refuse("not you")])
    def test_a_refused_one_is_disconnected_without_an_event(self, decide: Any) -> None:
        world = World(Doorkeeper(decide))
        player = world.player()
        for _ in range(60):
            if player.connection is not None and player.connection.is_live:
                player.connection.send(b"let me in")
            world.frame()
        world.run(1)
        assert player.connection is not None
        assert player.connection.status.name == "DISCONNECTED"
        assert [name for name, *_ in world.handler.events] == ["starting"]
        assert len(world.engine.sessions) == len(world.engine.joining) == 0

    @pytest.mark.parametrize("identity", [0, "", b"", True, 7])
    def test_anything_but_none_and_false_is_an_identity(self, identity: object) -> None:
        world = World(Doorkeeper(lambda _: identity))
        assert world.client_of(world.join()).identity is identity

    def test_one_that_raises_is_logged_and_refuses(self, caplog: pytest.LogCaptureFixture) -> None:
        world = World(Doorkeeper(lambda _: 1 // 0))
        player = world.player()
        world.run(1.5)
        assert "authenticate raised" in caplog.text
        assert player.connection is not None
        assert not player.connection.is_live
        assert world.handler.named("connect") == []

    def test_what_is_sent_to_a_client_that_is_refused_comes_back(self) -> None:
        outcomes: list[bool] = []

        class Eager(Doorkeeper):
            def authenticate(self, client: ServerClient, credential: bytes) -> object:
                client.disconnect()
                client.send(b"never", callback=outcomes.append)
                return None

        world = World(Eager())
        world.player()
        world.run(1.5)
        assert outcomes == [False]
        assert world.handler.named("connect") == world.handler.named("disconnect") == []


def answered(world: World, **options: Any) -> Player2:
    """A player that has its answer and has sent no packet: what it sends is the test's."""
    player = Player2(world, **options)
    player.is_held = True
    while player.peer is None:
        world.frame()
    return player


def send(world: World, player: Player2, *datagrams: bytes) -> list[bytes]:
    """Return what the server sends to a player for these datagrams."""
    before = len(world.sent)
    world.serve([(datagram, player.address) for datagram in datagrams])
    return [datagram for datagram, address in world.sent[before:] if address == player.address]


def see(player: Player2, *replies: bytes) -> None:
    assert player.peer is not None
    for reply in replies:
        player.peer.receive(reply)


def connect_pieces(data: bytes, size: int = 400) -> list[Connect]:
    return [Connect(len(data), at, data[at : at + size]) for at in range(0, len(data), size)]


def is_forgotten(world: World) -> bool:
    """True if a world has no trace of any client."""
    engine = world.engine
    table = engine.sessions
    return not (
        len(table)
        or len(engine.joining)
        or table.by_id
        or table._tokens
        or table._client_points
        or table._per_host
        or engine.half_open
        or engine.budgets._groups
        or len(engine.closed)
    )


class TestAccepting:
    @pytest.mark.parametrize("forms", [(1,), (2,), (1, 2)])
    def test_a_client_is_accepted_and_plays(self, forms: tuple[int, ...]) -> None:
        world = World(Doorkeeper(), channels=[Channel("chat", window=10_000)])
        player = Player2(world, CHAT, b"secret", forms=forms).join()
        world.run(0.1)
        [client] = world.engine.clients
        assert (client.identity, client.protocol) == (b"secret", 2)
        assert client.token == int.from_bytes(player.connection_id, "big")
        assert client.addr == player.address
        player.peer.say(0, b"hello")
        player.peer.say(1, b"hello all")
        client.send(b"welcome")
        client.channel("chat").send(b"you are not alone")
        world.run(0.5)
        assert sorted(world.handler.heard) == [("", b"hello"), ("chat", b"hello all")]
        assert sorted(player.messages) == [(0, b"welcome"), (1, b"you are not alone")]
        assert world.engine.half_open == len(world.engine.joining) == 0

    @pytest.mark.parametrize("seed", range(4))
    def test_so_it_is_over_a_bad_link_with_the_longest_credential(self, seed: int) -> None:
        bad = LinkConditions(loss=0.2, latency=0.03, jitter=0.02, duplicate=0.1)
        world = World(Doorkeeper(), bad, seed, channels=[Channel("chat", window=10_000)])
        player = Player2(world, CHAT, bytes(1024), forms=(1, 2)).join()
        for number in range(20):
            player.peer.say(1, bytes([number]))
        world.run(4)
        assert world.handler.shown == [bytes(1024)]
        assert world.handler.heard == [("chat", bytes([number])) for number in range(20)]

    def test_messages_that_leave_right_behind_acceptance_come_in_order(self) -> None:
        greet = lambda client: [client.channel("chat").send(bytes([n])) for n in range(5)]  # noqa: E731
        world = World(ChannelRecorder(connect=greet), channels=[Channel("chat", window=10_000)])
        player = Player2(world, CHAT).join()
        world.run(0.3)
        assert player.messages == [(1, bytes([number])) for number in range(5)]

    def test_its_reset_token_is_that_of_its_connection_id(self) -> None:
        world = World()
        player = Player2(world).join()
        tokens = ResetTokens(ROOT_KEY)
        assert player.peer.reset_token == tokens.of(player.connection_id)
        assert ResetTokens(ROOT_KEY, worker=1).of(player.connection_id) != player.peer.reset_token

    def test_two_clients_and_one_of_protocol_1_share_an_address(self) -> None:
        world = World()
        address = ("10.9.9.9", 5000)
        old = world.join(*address)
        players = [Player2(world, address=address) for _ in range(2)]
        world.players.remove(old)
        for player in players:
            player.join()
        world.players.append(old)
        assert len(world.engine.clients) == 3
        for client in world.engine.clients:
            client.send(f"you are {client.token}".encode())
        world.run(0.3)
        for player in players:
            token = int.from_bytes(player.connection_id, "big")
            assert player.messages == [(0, f"you are {token}".encode())]
        assert old.messages == [f"you are {old.token}".encode()]

    def test_nothing_can_be_sent_before_it(self) -> None:
        outcomes: list[bool] = []

        class Early(Doorkeeper):
            def authenticate(self, client: ServerClient, credential: bytes) -> object:
                assert client.status is ConnectionStatus.CONNECTING
                assert client not in world.engine.clients
                client.send(b"early", callback=outcomes.append)
                return True

        world = World(Early())
        player = Player2(world).join()
        world.run(0.3)
        assert outcomes == [False]
        assert player.messages == []

    def test_nothing_is_remembered_of_those_who_left(self) -> None:
        world = World(Doorkeeper())
        players = [Player2(world, credential=b"x").join() for _ in range(5)]
        for player in players:
            player.peer.close(300, "bye")
        world.run(2)
        reasons = [client.close_reason for (client,) in world.handler.named("disconnect")]
        assert reasons == [(300, "bye")] * 5
        assert world.handler.reasons == ["closed by client"] * 5
        world.run(6)
        assert is_forgotten(world)


class TestBinding:
    """A credential can be bound to its session, by bytes that both sides have."""

    def test_the_client_is_asked_for_its_credential_with_the_bytes_that_the_server_has(
        self,
    ) -> None:
        handler = Doorkeeper()
        world = testing.World(handler)
        for _ in range(2):
            world.connect(credential=lambda binding: binding)
        bindings = [client.binding for client in world.clients]
        assert handler.shown == bindings
        assert [len(each) for each in bindings] == [32, 32]
        assert bindings[0] != bindings[1]

    def test_in_protocol_1_there_are_none(self) -> None:
        world = World()
        assert world.client_of(world.join()).binding == b""


class TestRefusing:
    @pytest.mark.parametrize(
        ("decide", "text"),
        [
            (lambda _: None, ""),
            (lambda _: False, ""),
            (refuse("no such ticket"), "no such ticket"),
            (refuse("é" * 200), "é" * 128),
            (refuse("\udc80"), "?"),
        ],
    )
    def test_a_refused_client_is_told_why(self, decide: Any, text: str) -> None:
        world = World(Doorkeeper(decide))
        player = Player2(world, credential=b"ticket")
        world.run(1)
        assert player.closed == (3, text)
        assert not player.is_in
        assert [name for name, *_ in world.handler.events] == ["starting"]
        world.run(6)
        assert is_forgotten(world)

    def test_one_that_raises_is_logged_and_refuses(self, caplog: pytest.LogCaptureFixture) -> None:
        world = World(Doorkeeper(lambda _: 1 // 0))
        player = Player2(world)
        world.run(1)
        assert player.closed == (3, "")
        assert "authenticate raised" in caplog.text

    @pytest.mark.parametrize(
        ("rows", "text"),
        [
            ([], "channel 1 is ordered 'chat' here and not declared at the peer"),
            (
                [Row(1, LATEST, None, "chat")],
                "channel 1 is ordered 'chat' here and latest 'chat' at the peer",
            ),
            (
                [*CHAT, *[Row(n, UNORDERED, None, f"{n}") for n in range(2, 256)]],
                "channel 2 is not declared here and unordered '2' at the peer",
            ),
            (
                [Row(1, ORDERED, (100, 9_999), "chat")],
                "the window of channel 1 'chat' is 10000 here and 9999 at the peer",
            ),
        ],
    )
    def test_other_channels_are_refused_before_the_credential_is_looked_at(
        self, rows: list[Row], text: str
    ) -> None:
        world = World(Doorkeeper(), channels=[Channel("chat", window=10_000)])
        player = Player2(world, rows, b"secret")
        world.run(2)
        assert player.closed == (2, text)
        assert world.handler.shown == []

    @pytest.mark.parametrize(
        "data",
        [
            b"\x04\x01" + bytes(1025) + b"\0\0\0",  # a credential of 1,025 bytes
            b"\0\0" + b"\x01" + b"\x00\x00\x01a" + b"\0\0",  # channel 0
            b"\0\0" + b"\x01" + b"\x01\x00\x00" + b"\0\0",  # no name
            b"\0\0\0\0\0left over",
            b"\0",
            bytes(8192),
        ],
    )
    def test_malformed_connect_data_end_the_session(self, data: bytes) -> None:
        world = World(Doorkeeper())
        player = answered(world)
        packets = [player.peer.packet_of(piece) for piece in connect_pieces(data)]
        see(player, *send(world, player, *packets))
        world.run(0.3)
        see(player, *[datagram for datagram, _ in world.sent if datagram[0] != 4])
        assert player.closed[0] == 1
        assert world.handler.shown == []

    def test_pieces_that_contradict_each_other_end_the_session(self) -> None:
        world = World(Doorkeeper())
        player = answered(world)
        packets = [
            player.peer.packet_of(Connect(100, 0, bytes(50))),
            player.peer.packet_of(Connect(100, 0, b"x" + bytes(49))),
        ]
        see(player, *send(world, player, *packets))
        assert player.closed[0] == 1
        assert world.handler.shown == []

    def test_a_message_before_acceptance_ends_the_session(self) -> None:
        world = World(Doorkeeper())
        player = answered(world)
        see(player, *send(world, player, player.peer.packet_of(Message(0, 1, b"early"))))
        assert player.closed[0] == 1
        assert world.handler.events == [("starting",)]

    def test_a_client_that_closes_before_it_connects_had_no_event(self) -> None:
        world = World(Doorkeeper())
        player = answered(world)
        send(world, player, player.peer.packet_of(Close(300, b"changed my mind")))
        world.run(6)
        assert world.handler.events == [("starting",)]
        assert is_forgotten(world)


class TestTime:
    def test_who_never_says_who_it_is_is_refused_and_counts_until_then(self) -> None:
        world = World(Doorkeeper(), limits=Limits(clients=1))
        player = answered(world)
        send(world, player, player.peer.packet_of(Connect(100, 0, bytes(50))))
        assert world.engine.stats.clients == world.engine.stats.joining == 1
        for _ in range(20):  # it keeps the session alive
            world.run(0.25)
            before = len(world.sent)
            send(world, player, player.peer.packet_of(Ping()))
        see(player, *[datagram for datagram, _ in world.sent[before - 40 :]])
        assert player.closed == (4, "")
        world.run(5)
        assert world.handler.events == [("starting",)]
        assert is_forgotten(world)

    def test_who_has_not_joined_keeps_others_of_its_host_out_no_further_than_players_do(
        self,
    ) -> None:
        world = World(Doorkeeper(), limits=Limits(clients_per_host=2))
        for _ in range(2):
            lurker = answered(world, address=("10.0.0.1", 5000 + len(world.players)))
            send(world, lurker, lurker.peer.packet_of(Ping()))
        third = Player2(world, address=("10.0.0.1", 6000))
        guest = Player2(world, address=("10.0.0.2", 6000), credential=b"me").join()
        assert guest.is_in
        world.run(0.5)
        assert third.closed == (5, "The server is full.")

    def test_a_handshake_may_take_as_long_as_the_setting_says(self) -> None:
        world = World(Doorkeeper())
        world.context.setTempConnectionTimeout(1.0)
        player = answered(world)
        send(world, player, player.peer.packet_of(Connect(100, 0, bytes(50))))
        world.run(0.9)
        assert world.engine.stats.joining == 1
        world.run(0.2)
        assert world.engine.stats.joining == 0


class TestRoom:
    def test_a_full_server_says_so_and_as_often_as_it_is_asked(self) -> None:
        world = World(ChannelRecorder(), limits=Limits(clients=1))
        Player2(world).join()
        player = answered(world)
        first = send(world, player, player.peer.packet_of(Ping()))
        again = send(world, player, player.peer.packet_of(Ping()))
        assert first == again != []
        see(player, *first)
        assert player.closed == (5, "The server is full.")
        assert world.handler.named("full") == [(player.address,)]
        assert world.engine.drops["full"] == 2
        replies = [send(world, player, player.peer.packet_of(Ping())) for _ in range(30)]
        assert sum(map(len, replies)) == Limits().answers_per_hello - 2

    def test_there_is_room_again_when_somebody_leaves(self) -> None:
        world = World(limits=Limits(clients=1))
        first = Player2(world).join()
        Player2(world)
        world.run(0.5)
        first.peer.close()
        world.run(1.5)
        Player2(world).join()
        assert len(world.engine.clients) == 1


class TestForging:
    def test_forged_packets_for_an_answered_hello_leave_one_key_to_try_and_no_session(self) -> None:
        world = World(Doorkeeper())
        player = answered(world, credential=b"me")
        [half_open] = world.engine.admission.handshakes2.half_open.all()
        forged = b"\x08" + player.connection_id + bytes(30)
        assert send(world, player, forged, forged, forged) == []
        made = half_open.connection
        assert send(world, player, *[forged] * 20) == []
        assert half_open.connection is made is not None
        assert world.engine.drops == {"authentication failed": 23}
        assert len(world.engine.sessions) == 0
        player.is_held = False
        player.join()

    def test_from_another_address_not_even_a_key_is_tried(self) -> None:
        world = World(Doorkeeper())
        player = answered(world, credential=b"me")
        packet = player.peer.packet_of(*connect_pieces(b"\0\2me\0\0\0"))
        world.serve([(packet, ("10.6.6.6", 666))])
        [half_open] = world.engine.admission.handshakes2.half_open.all()
        assert half_open.connection is None
        assert world.engine.drops == {"other address": 1}
        assert send(world, player, packet) != []
        assert len(world.engine.clients) == 1

    def test_a_replayed_hello_of_an_open_session_is_stale(self) -> None:
        world = World()
        player = Player2(world, forms=(1, 2)).join()
        before = len(world.sent)
        world.serve([(player.hellos.datagram(form), ADDRESS) for form in (1, 2)])
        assert world.engine.drops["stale hello"] == 2
        assert [to for _, to in world.sent[before:] if to == ADDRESS] == []
        assert len(world.engine.sessions) == 1

    def test_the_first_session_of_a_client_ends_its_other_answers(self) -> None:
        world = World()
        Player2(world, forms=(1, 2)).join()
        assert world.engine.stats.hellos_answered == 2
        assert world.engine.half_open == 0

    def test_replayed_packets_of_a_session_are_dropped(self) -> None:
        world = World(ChannelRecorder())
        player = Player2(world).join()
        player.peer.say(0, b"once")
        world.run(0.3)
        sealed = [datagram for datagram in player.sent if datagram[0] & 0xF8 == 8]
        world.serve([(datagram, player.address) for datagram in sealed])
        assert world.handler.messages == [b"once"]
        assert world.engine.drops["repeated"] >= len(sealed) - 1
        player.peer.close()
        world.run(6)
        world.serve([(datagram, player.address) for datagram in sealed])
        assert world.engine.drops["no session"] >= len(sealed)
        assert is_forgotten(world)


class TestTheEnd:
    def test_a_kicked_client_is_told_the_code_and_the_text(self) -> None:
        world = World()
        player = Player2(world).join()
        [client] = world.engine.clients
        client.send_guaranteed(b"last words")
        client.disconnect(400, "for cheating")
        world.run(1)
        assert player.messages == [(0, b"last words")]
        assert player.closed == (400, "for cheating")
        assert client.close_reason == (400, "for cheating")
        assert world.handler.reasons == ["kicked"]

    @pytest.mark.parametrize(
        ("code", "text", "error"),
        [
            (1, "", ValueError),
            (255, "", ValueError),
            (300, "é" * 129, ValueError),
            ("", "", TypeError),
        ],
    )
    def test_a_code_that_is_not_the_games_is_refused(
        self, code: Any, text: str, error: type[Exception]
    ) -> None:
        world = World()
        Player2(world).join()
        with pytest.raises(error):
            world.engine.clients[0].disconnect(code, text)

    def test_a_stopping_server_says_so_to_players_and_to_those_who_join(self) -> None:
        world = World()
        player, newcomer = Player2(world).join(), answered(world)
        send(world, newcomer, newcomer.peer.packet_of(Ping()))
        world.context.shutdown()
        before = len(world.sent)
        world.run(1.5)
        assert player.closed[0] == 6
        see(newcomer, *[each for each, to in world.sent[before:] if to == newcomer.address])
        assert newcomer.closed[0] == 6
        assert world.handler.reasons == ["shutdown"]
        assert world.engine.is_stopped

    def test_blocking_a_host_ends_its_sessions_whether_they_have_joined_or_not(self) -> None:
        world = World()
        Player2(world, address=("10.0.0.7", 1)).join()
        lurker = answered(world, address=("10.0.0.7", 2))
        send(world, lurker, lurker.peer.packet_of(Ping()))
        assert len(world.engine.sessions) == 2
        world.context.setBlockList(["10.0.0.0/8"])
        world.run(0.1)
        assert len(world.engine.sessions) == 0
        assert world.handler.reasons == ["kicked"]

    def test_a_silent_client_is_dropped_after_the_idle_timeout(self) -> None:
        world = World()
        player = Player2(world).join()
        world.players.clear()
        world.run(4.8)
        assert world.handler.reasons == []
        world.run(0.5)
        assert world.handler.reasons == ["timeout"]
        assert player.closed is None

    def test_a_client_that_breaks_a_rule_is_dropped_for_it(self) -> None:
        world = World()
        player = Player2(world).join()
        world.serve([(player.peer.packet_of(Accept(10, 0, bytes(10))), player.address)])
        world.run(0.3)
        assert player.closed[0] == 1
        assert world.handler.reasons == ["protocol violated"]


class Decision:
    """The result of a coroutine, as a future has it."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = []
        self.outcome: Any = None
        self.is_cancelled = False

    def __await__(self) -> Any:
        raise NotImplementedError

    def add_done_callback(self, function: Any) -> None:
        self.callbacks.append(function)

    def cancel(self) -> None:
        self.is_cancelled = True
        self.finish(None)

    def cancelled(self) -> bool:
        return self.is_cancelled

    def result(self) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def finish(self, outcome: Any) -> None:
        self.outcome = outcome
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback(self)


class TestDecidingLater:
    """Where `authenticate` is a coroutine, its result comes while the server serves others."""

    def world(self, **options: Any) -> tuple[World, Decision]:
        decision = Decision()
        return World(Doorkeeper(lambda _: decision), **options), decision

    def test_others_play_meanwhile_and_the_client_is_accepted_then(self) -> None:
        world, decision = self.world()
        player = Player2(world, credential=b"me")
        world.run(1)
        assert not player.is_in
        assert player.closed is None
        assert world.engine.stats.joining == 1
        decision.finish("somebody")
        world.run(0.2)
        assert player.is_in
        assert world.engine.clients[0].identity == "somebody"
        assert world.handler.shown == [b"me"]

    @pytest.mark.parametrize(
        ("outcome", "text"), [(None, ""), (RefusedError("banned"), "banned"), (OSError("db"), "")]
    )
    def test_or_refused_then(self, outcome: object, text: str) -> None:
        world, decision = self.world()
        player = Player2(world)
        world.run(0.5)
        decision.finish(outcome)
        world.run(1.5)
        assert player.closed == (3, text)
        assert len(world.engine.joining) == 0

    def test_one_that_takes_too_long_is_cancelled_and_the_client_told(self) -> None:
        world, decision = self.world()
        player = Player2(world)
        world.run(4.9)
        assert player.closed is None
        world.run(0.4)
        assert player.closed == (4, "")
        assert decision.is_cancelled
        world.run(6)
        assert world.handler.events == [("starting",)]
        assert is_forgotten(world)

    def test_one_whose_client_leaves_is_cancelled(self) -> None:
        world, decision = self.world()
        player = Player2(world)
        world.run(0.5)
        player.peer.close(300, "too slow")
        world.run(0.2)
        assert decision.is_cancelled
        world.run(6)
        assert is_forgotten(world)

    def test_a_stopping_server_cancels_it(self) -> None:
        world, decision = self.world()
        player = Player2(world)
        world.run(0.5)
        world.context.shutdown()
        world.run(1.5)
        assert decision.is_cancelled
        assert player.closed[0] == 6
        assert world.engine.is_stopped

    def test_one_that_cancels_itself_refuses(self) -> None:
        world, decision = self.world()
        player = Player2(world)
        world.run(0.5)
        decision.cancel()
        world.run(1)
        assert player.closed == (3, "")

    def test_messages_of_a_client_of_protocol_1_wait_for_it(self) -> None:
        world, decision = self.world()
        player = world.join()
        player.send(b"first")
        world.run(0.5)
        assert world.handler.events == [("starting",)]
        decision.finish(True)
        player.send(b"second")
        world.run(0.2)
        assert [name for name, *_ in world.handler.events[1:]] == [
            "connect",
            "handle_message",
            "handle_message",
        ]
        assert world.handler.messages == [b"first", b"second"]


def test_a_forked_process_keeps_nothing_that_it_could_seal_with() -> None:
    world = World()
    player, other, newcomer = Player2(world).join(), Player2(world).join(), answered(world)
    other.peer.close()
    world.run(0.5)
    send(world, newcomer, b"\x08" + newcomer.connection_id + bytes(30))
    engine = world.engine
    assert (len(engine.sessions), len(engine.closed), engine.half_open) == (1, 1, 1)
    engine.end_in_child()
    assert (len(engine.closed), engine.half_open) == (0, 0)
    [session] = engine.sessions
    assert not session.connection.is_live
    before = len(world.sent)
    world.flush()
    assert len(world.sent) == before
    assert player.closed is None
