"""One side of a session of protocol 2: what it sends, what it takes, and how it ends."""

from __future__ import annotations

import random

import pytest
from support.damage import prefixes, single_bit_flips
from support.endpoints2 import (
    CHANNELS,
    CHAT,
    CONNECTION_ID,
    LOOT,
    POSITION,
    RESET_TOKEN,
    SCORE,
    TICK,
    WINDOW,
    Hand,
    SecondPeer,
    SessionPair,
    Side,
    accepted,
    new_endpoint2,
)
from support.handshaking2 import ML_KEM
from support.wire2 import keys
from support.wire2.frames import (
    Accept,
    Ack,
    Close,
    Connect,
    Fragment,
    Frame,
    Kem,
    Message,
    NewConnectionId,
    Padding,
    PathChallenge,
    PathResponse,
    Ping,
    Reserved,
    RetireConnectionId,
    Time,
    TimeReply,
    Window,
    ack_of,
)

from mpgameserver._core.receiving2 import MAX_EARLY_PACKETS
from mpgameserver._core.session import Session
from mpgameserver.enums import ConnectionStatus, DisconnectReason
from mpgameserver.netsim import LinkConditions
from mpgameserver.wire.protocol2.kem_frames import LateDecapsulation, LateEncapsulation
from mpgameserver.wire.protocol2.ml_kem import DecapsulationKey
from mpgameserver.wire.protocol2.setup import ConnectData

PROTOCOL, WINDOW_BROKEN = 1, 7
HIDDEN = Message(0, 1, b"must not be delivered")


def of_type(kind: type, frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if isinstance(frame, kind)]


class TestStart:
    def test_connect_data_of_any_length_arrives_over_a_bad_link(self, seed):
        credential = bytes(range(256)) * 4
        pair = SessionPair(
            LinkConditions(latency=0.02, jitter=0.005, loss=0.3), seed, Side(False, 0.0, credential)
        )
        pair.open()
        assert pair.server.credential == credential

    def test_a_client_sends_no_message_before_it_is_accepted(self):
        side, hand = Side(is_server=False), Hand(is_server=True)
        frames = hand.take(side.datagrams(0.0)) + hand.take(side.datagrams(0.3))
        assert {type(frame) for frame in frames} == {Connect}

    def test_a_server_sends_nothing_before_a_packet_has_opened(self):
        side = Side(is_server=True)
        assert not any(side.datagrams(now) for now in (0.0, 0.1, 1.0, 3.0))

    @pytest.mark.parametrize(
        "frame",
        [HIDDEN, Window(CHAT, 50, 70_000), Reserved(64, b""), Fragment(0, 1, 100, 0, b"a" * 64)],
    )
    def test_a_client_that_is_not_accepted_may_not_send_it(self, frame):
        side, hand = Side(is_server=True), Hand(is_server=False)
        side.receive(hand.make(Ping(), frame), 0.0)
        assert side.endpoint.error_code == PROTOCOL

    def test_messages_that_have_overtaken_the_accept_are_delivered_after_it(self):
        side, hand = Side(is_server=False), Hand(is_server=True)
        early = [hand.make(Message(CHAT, n, b"%d" % n)) for n in (1, 2)]
        for datagram in early:
            side.receive(datagram, 0.0)
        assert not side.delivered
        assert not of_type(Ack, hand.take(side.datagrams(0.1)))
        _, whole = accepted_frames()
        side.receive(hand.make(whole), 0.1)
        assert [message for _, _, message in side.delivered] == [b"1", b"2"]

    def test_a_client_keeps_a_bounded_number_of_early_packets(self):
        side, hand = Side(is_server=False), Hand(is_server=True)
        for n in range(MAX_EARLY_PACKETS + 3):
            side.receive(hand.make(Message(LOOT, n + 1, b"%d" % n)), 0.0)
        assert side.drops == ["unexpected"] * 3
        side.receive(hand.make(accepted_frames()[1]), 0.1)
        assert len(side.delivered) == MAX_EARLY_PACKETS

    def test_nothing_that_a_client_could_not_take_stands_beside_a_piece(self):
        side, hand = Side(is_server=True), Hand(is_server=False)
        data = ConnectData(b"", CHANNELS).encode()
        side.receive(hand.make(Connect(len(data), 0, data)), 0.0)
        side.say(CHAT, b"welcome")
        packets = [hand.take([datagram]) for datagram in side.datagrams(0.0)]
        with_pieces = [frames for frames in packets if of_type(Accept, frames)]
        assert len(with_pieces) == 1
        assert {type(frame) for frame in with_pieces[0]} <= {Accept, Ack, Ping, Padding}
        assert of_type(Message, packets[-1])

    def test_pieces_that_contradict_each_other_end_the_session(self):
        side, hand = Side(is_server=True), Hand(is_server=False)
        side.receive(hand.make(Connect(100, 0, b"a" * 20)), 0.0)
        side.receive(hand.make(Connect(100, 10, b"b" * 20)), 0.0)
        assert side.endpoint.error_code == PROTOCOL

    def test_it_refuses_what_no_session_has(self):
        with pytest.raises(ValueError, match="max_datagram cannot be 1199 bytes"):
            new_endpoint2(max_datagram=1199)
        endpoint = new_endpoint2()
        for channel, kind in ((0, 0), (256, 0), (1, 4)):
            with pytest.raises((ValueError, IndexError)):
                endpoint.open_channel(channel, kind)


def accepted_frames() -> tuple[Side, Accept]:
    """The ACCEPT that opens the session of a client."""
    side, hand = Side(is_server=True), Hand(is_server=False)
    data = ConnectData(b"", CHANNELS).encode()
    side.receive(hand.make(Connect(len(data), 0, data)), 0.0)
    (accept,) = of_type(Accept, hand.take(side.datagrams(0.0)))
    assert isinstance(accept, Accept)
    return side, accept


class TestRules:
    """A packet that opens and breaks a rule has no effect but the end of the session."""

    BROKEN_BY_ANYBODY = (
        Message(77, 1, b"no such channel"),
        Window(POSITION, 9, 9),
        Window(99, 9, 9),
        Ack(0, ((900, 900),)),
        Fragment(0, 1, 100, 1, b"b" * 7),
        Kem(1184, 0, b"k" * 20),
        RetireConnectionId(0),
    )

    @pytest.mark.parametrize("is_server", [False, True])
    @pytest.mark.parametrize("frame", BROKEN_BY_ANYBODY, ids=lambda f: type(f).__name__)
    def test_it_is_closed_with_protocol(self, frame, is_server):
        side, hand = accepted(is_server)
        side.receive(hand.make(HIDDEN, frame), 1.0)
        assert side.drops == ["malformed"]
        assert side.delivered == []
        frames = hand.take(side.datagrams(1.0))
        assert [(f.code, f.text) for f in of_type(Close, frames)] == [(PROTOCOL, b"")]
        assert side.connection.status is ConnectionStatus.DROPPED
        assert side.closed == (PROTOCOL, "")
        acks = of_type(Ack, frames)
        assert not acks or max(acks[-1].ranges[0]) < hand.number, "the packet was acked"

    @pytest.mark.parametrize(
        ("is_server", "frame"),
        [
            (True, Accept(16, 0, b"t" * 16)),
            (False, Connect(16, 0, b"c" * 16)),
            (True, NewConnectionId(1, bytes(8), bytes(16))),
        ],
    )
    def test_a_frame_of_the_other_side_is_against_the_rules(self, is_server, frame):
        side, hand = accepted(is_server)
        side.receive(hand.make(HIDDEN, frame), 1.0)
        assert (side.endpoint.error_code, side.delivered) == (PROTOCOL, [])

    def test_what_is_sent_above_a_window_ends_the_session_with_window(self):
        side, hand = accepted()
        side.receive(hand.make(HIDDEN, Message(CHAT, WINDOW.number + 1, b"")), 1.0)
        assert (side.endpoint.error_code, side.delivered) == (WINDOW_BROKEN, [])

    def test_an_ack_of_a_number_that_was_skipped_is_against_the_rules(self):
        side, hand = accepted()
        now = 1.0
        while hand.read.keys() == set(range(1, max(hand.read) + 1)):
            assert hand.number < 1000
            for _ in range(40):
                side.say(0, bytes(1000))
            hand.take(side.datagrams(now))
            side.receive(hand.make(hand.ack()), now)
            now += 0.05
        skipped = min(set(range(1, max(hand.read))) - hand.read.keys())
        side.receive(hand.make(Ack(0, ((skipped, skipped),))), now)
        assert side.endpoint.error_code == PROTOCOL

    def test_the_second_walk_of_frames_has_one_effect_of_each(self):
        side, hand = accepted(is_server=True)
        datagram = hand.make(Message(0, 1, b"once"))
        side.receive(datagram, 1.0)
        side.receive(datagram, 1.0)
        side.receive(hand.make(Message(0, 1, b"once")), 1.0)
        assert [message for _, _, message in side.delivered] == [b"once"]
        assert side.drops == ["repeated"]
        assert side.endpoint.repeated_messages == 1


class TestDrops:
    def test_no_flipped_bit_and_no_prefix_of_a_packet_changes_anything(self):
        side, hand = accepted(is_server=True)
        genuine = hand.make(Message(0, 1, b"hello"))
        for damaged in (*single_bit_flips(genuine), *prefixes(genuine)):
            if len(damaged) < len(genuine) or damaged[1:9] == CONNECTION_ID:
                side.receive(damaged, 1.0)  # of another id, it would be for another session
        assert side.delivered == []
        assert set(side.drops) <= {"malformed", "authentication failed", "repeated", "too old"}
        side.receive(genuine, 1.0)
        assert [message for _, _, message in side.delivered] == [b"hello"]

    def test_a_number_below_those_remembered_is_too_old(self):
        side, hand = accepted(is_server=True)
        side.receive(hand.make(Ping(), number=9000), 1.0)
        side.receive(hand.make(Ping(), number=800), 1.0)
        assert side.drops == ["too old"]


class TestAcks:
    def test_the_first_packets_are_acked_at_once_and_later_ones_within_25_ms(self):
        side, hand = accepted(is_server=True)
        for n in range(1, 17):
            side.receive(hand.make(Message(0, n, b"x")), 1.0)
        assert len(of_type(Ack, hand.take(side.datagrams(1.0)))) >= 14
        side.receive(hand.make(Message(0, 17, b"x")), 1.01)
        assert not side.datagrams(1.02)
        (ack,) = of_type(Ack, hand.take(side.datagrams(1.036)))
        assert ack.ranges[0][1] == hand.number
        assert 25_000 <= ack.delay < 27_000

    def test_an_ack_alone_asks_for_one_only_while_it_has_older_ranges_to_report(self):
        side, hand = accepted(is_server=True)
        for n in range(1, 40):
            side.receive(hand.make(Message(0, n, b"x")), 1.0)
        hand.take(side.datagrams(1.0))
        for skipped, has_ping in ((0, False), (1, True)):
            hand.number += skipped
            side.receive(hand.make(Message(0, hand.number, b"x")), 1.1)
            frames = hand.take(side.datagrams(1.2))
            assert of_type(Ack, frames)
            assert bool(of_type(Ping, frames)) is has_ping

    def test_a_small_message_costs_29_bytes_to_the_server_and_21_to_the_client(self):
        for is_server, cost in ((False, 29), (True, 21)):
            side, hand = accepted(is_server)
            for _ in range(64):
                side.say(0, b"")
            hand.take(side.datagrams(1.0))
            side.receive(hand.make(hand.ack()), 1.0)
            side.say(0, b"ten bytes.")
            (datagram,) = side.datagrams(1.0)
            assert len(datagram) == 10 + cost
            assert of_type(Message, hand.take([datagram]))

    def test_the_round_trip_time_is_without_the_delay_that_the_peer_reports(self):
        side, hand = accepted()
        now = 1.0
        for _ in range(40):
            side.say(0, b"x")
            hand.take(side.datagrams(now))
            ack = hand.ack()
            side.receive(hand.make(Ack(20_000, ack.ranges)), now + 0.05)
            now += 0.1
        assert side.connection.latency == pytest.approx(0.03, abs=0.003)


class TestReplies:
    def test_the_last_challenge_and_the_last_time_are_answered(self):
        side, hand = accepted()
        side.receive(
            hand.make(PathChallenge(b"1" * 8), PathChallenge(b"2" * 8), Time(5), Time(7)), 2.0
        )
        frames = hand.take(side.datagrams(2.0))
        assert of_type(PathResponse, frames) == [PathResponse(b"2" * 8)]
        assert of_type(TimeReply, frames) == [TimeReply(7, 2_000_000, 2_000_000)]

    def test_they_are_answered_while_as_much_is_in_flight_as_may_be(self):
        """A client that has moved has lost the acks of what is in flight, and must not wait."""
        side, hand = accepted()
        for size in (1_000_000, *[900] * 1000):
            side.say(0, bytes(size))
        while side.datagrams(1.0):
            pass
        side.receive(hand.make(PathChallenge(b"1" * 8), Time(5)), 1.0)
        frames = hand.take(side.datagrams(1.0))
        assert of_type(PathResponse, frames) == [PathResponse(b"1" * 8)]
        assert of_type(TimeReply, frames) == [TimeReply(5, 1_000_000, 1_000_000)]

    def test_a_reserved_frame_is_skipped_and_acked(self):
        side, hand = accepted()
        side.receive(hand.make(Reserved(90, b"unknown"), Message(0, 1, b"hello")), 1.0)
        assert [message for _, _, message in side.delivered] == [b"hello"]
        assert of_type(Ack, hand.take(side.datagrams(1.03)))


class TestWindows:
    def test_a_sender_stops_at_the_window_until_the_game_reads(self):
        pair = SessionPair().open()
        reading, pair.server._read = pair.server._read, lambda: None
        for n in range(200):
            pair.client.say(CHAT, b"%d" % n)
        pair.run(3)
        assert pair.server.endpoint.inbox_size == WINDOW.number
        pair.server._read = reading
        pair.run_until(lambda: len(pair.server.delivered) == 200)
        assert [m for _, _, m in pair.server.delivered] == [b"%d" % n for n in range(200)]

    def test_a_lost_window_is_renewed(self, seed):
        pair = SessionPair(LinkConditions(latency=0.02, jitter=0.0, loss=0.4), seed).open()
        for n in range(300):
            pair.client.say(CHAT, bytes(500) + b"%d" % n)
        pair.run_until(lambda: len(pair.server.delivered) == 300, 120)
        assert pair.client.closed is None

    def test_an_unread_channel_holds_up_no_other(self):
        pair = SessionPair().open()
        client = pair.client
        client._read = lambda: None
        for n in range(100):
            pair.server.say(CHAT, b"unread")
            pair.server.say(0, b"%d" % n)
        pair.run(3)
        assert client.connection.channel_inbox_size(CHAT) == WINDOW.number
        assert client.endpoint.inbox_size == 100


class TestEnd:
    def test_code_and_text_reach_the_peer_behind_all_that_was_queued(self, seed):
        pair = SessionPair(LinkConditions(latency=0.01, jitter=0.0, loss=0.1), seed).open()
        for n in range(50):
            pair.server.say(CHAT, b"%d" % n)
        pair.server.close(300, "match over \N{PARTY POPPER}")
        pair.run_until(lambda: pair.client.closed)
        assert pair.client.closed == (300, "match over \N{PARTY POPPER}")
        assert [m for _, _, m in pair.client.delivered] == [b"%d" % n for n in range(50)]
        pair.run_until(lambda: not pair.server.connection.is_live)
        assert pair.server.connection.status is ConnectionStatus.DISCONNECTED
        assert pair.client.connection.status is ConnectionStatus.DISCONNECTED

    def test_sides_that_close_at_the_same_time_ack_each_other(self):
        pair = SessionPair(LinkConditions(latency=0.03, jitter=0.0, loss=0.0)).open()
        pair.client.close(256, "mine")
        pair.server.close(257, "yours")
        took = pair.run_until(
            lambda: not (pair.client.connection.is_live or pair.server.connection.is_live)
        )
        assert took < 0.3

    def test_a_close_that_has_crossed_ours_is_acked_although_ours_was_acked(self):
        side, hand = accepted()
        side.close(400, "mine")
        hand.take(side.datagrams(1.0))
        side.receive(hand.make(hand.ack(), Close(0, b"")), 1.0)
        assert of_type(Ack, hand.take(side.datagrams(1.0)))

    def test_a_close_that_is_never_acked_is_sent_for_three_probe_timeouts(self):
        side, hand = accepted()
        side.close(400, "bye")
        closes, now = 0, 0.0
        while side.connection.is_live:
            closes += len(of_type(Close, hand.take(side.datagrams(now))))
            now += 0.01
        assert 2 <= closes <= 4
        assert now < 1.2

    def test_a_session_may_end_before_it_was_accepted(self):
        pair = SessionPair()
        pair.client.close(256, "changed my mind")
        pair.run_until(lambda: pair.server.closed)
        assert pair.server.closed == (256, "changed my mind")

    def test_after_the_peer_has_closed_nothing_but_acks_is_sent(self):
        side, hand = accepted()
        side.say(0, b"too late")
        side.receive(hand.make(Close(0, b"")), 1.0)
        frames = hand.take(side.datagrams(1.0))
        assert {type(frame) for frame in frames} == {Ack}
        assert side.datagrams(1.5) == []
        side.receive(hand.make(Close(0, b"")), 1.6)
        assert {type(frame) for frame in hand.take(side.datagrams(1.6))} == {Ack}

    def test_a_silent_peer_is_dropped_after_the_idle_timeout(self):
        side, hand = accepted()
        now = 0.0
        while side.connection.is_live:
            hand.take(side.datagrams(now))
            now += TICK
        assert 5.0 <= now < 5.1
        assert side.connection.status is ConnectionStatus.DROPPED

    def test_an_idle_session_lives_and_is_measured(self):
        pair = SessionPair(LinkConditions(latency=0.04, jitter=0.0, loss=0.0)).open()
        pair.run(30)
        for side in (pair.client, pair.server):
            assert side.connection.status is ConnectionStatus.CONNECTED
            assert side.connection.latency == pytest.approx(0.08, abs=0.02)
        assert len(pair.datagrams) < 30 * 2 * 25


class TestReset:
    """A server that has lost its sessions says so."""

    def test_a_client_that_gets_its_token_ends_without_a_word(self):
        side, _ = accepted()
        side.endpoint.peer_ids.learn_token(RESET_TOKEN)
        side.receive(b"\x04\xff\x04" + RESET_TOKEN, 1.0)
        assert side.connection.status is ConnectionStatus.DROPPED
        assert side.datagrams(1.0) == []

    @pytest.mark.parametrize("token", [bytes(16), RESET_TOKEN[:-1], RESET_TOKEN + b"t"])
    def test_another_token_is_no_reset(self, token):
        side, _ = accepted()
        side.endpoint.peer_ids.learn_token(RESET_TOKEN)
        side.receive(b"\x04\xff\x04" + token, 1.0)
        assert side.connection.status is ConnectionStatus.CONNECTED

    def test_a_client_that_knows_no_token_cannot_be_told(self):
        side, _ = accepted()
        side.receive(b"\x04\xff\x04" + RESET_TOKEN, 1.0)
        assert side.connection.status is ConnectionStatus.CONNECTED


class TestKeys:
    def test_an_update_in_the_middle_of_traffic_loses_nothing(self, seed):
        pair = SessionPair(LinkConditions(latency=0.03, jitter=0.02, loss=0.1), seed).open()
        for n in range(300):
            for side in (pair.client, pair.server):
                side.say(CHAT, b"%d" % n)
            if n % 100 == 50:
                pair.client.endpoint.request_key_update()
            pair.tick()
        pair.run_until(lambda: pair.is_done)
        for side in (pair.client, pair.server):
            assert side.endpoint.key_phase == (3, 3)
            assert [m for _, _, m in side.delivered] == [b"%d" % n for n in range(300)]
            assert side.endpoint.drops["authentication failed"] == 0

    def test_a_second_update_waits_for_the_first_to_be_acked(self):
        side, hand = accepted()
        side.endpoint.request_key_update()
        side.datagrams(2.0)
        side.endpoint.request_key_update()
        side.say(0, b"x")
        side.datagrams(2.1)
        assert side.endpoint.key_phase == (1, 0)
        assert hand

    def test_a_side_follows_the_key_of_its_peer(self):
        side, hand = accepted()
        hand.update_key()
        side.receive(hand.make(Ping()), 1.0)
        assert of_type(Ack, hand.take(side.datagrams(1.0)))
        assert side.endpoint.key_phase == (1, 1)


@pytest.mark.skipif(ML_KEM is None, reason="this cryptography has no ML-KEM")
class TestKeyExchange:
    """ML-KEM in KEM frames, which the handshake of these sessions has agreed on."""

    SEED = bytes(range(64))

    def client(self, secrets: list[bytes] | None = None) -> Side:
        key = DecapsulationKey(keys.kem_private_key(self.SEED))
        told = (secrets if secrets is not None else []).append
        return Side(is_server=False, credential=b"who", exchange=LateDecapsulation(key, told))

    def server(self, secrets: list[bytes] | None = None) -> Side:
        told = (secrets if secrets is not None else []).append
        return Side(is_server=True, exchange=LateEncapsulation(ML_KEM, told))

    def second_client(self) -> SecondPeer:
        return SecondPeer(
            is_server=False, credential=b"who", kem_key=keys.kem_private_key(self.SEED)
        )

    def second_server(self) -> SecondPeer:
        return SecondPeer(is_server=True, takes_key=True)

    @pytest.mark.parametrize("ours", ["both", "client", "server"])
    def test_the_credential_goes_under_a_key_that_depends_on_the_secret(self, ours, seed):
        pair = SessionPair(
            LinkConditions(latency=0.02, jitter=0.02, loss=0.3, duplicate=0.2),
            seed,
            self.second_client() if ours == "server" else self.client(),
            self.second_server() if ours == "client" else self.server(),
        ).open()
        assert (pair.server if ours != "client" else pair.server.peer).credential == b"who"
        for side in (pair.client, pair.server):
            side.say(CHAT, b"hello")
        pair.run_until(lambda: pair.client.delivered and pair.server.delivered)
        pair.run(0.5)
        for side in (pair.client, pair.server):
            if isinstance(side, Side):
                assert side.endpoint.key_phase == (1, 1)
            else:
                assert side.peer.phase == 1

    def test_both_sides_tell_the_same_secret_once(self, seed):
        at_client, at_server = [], []
        SessionPair(
            LinkConditions(latency=0.02, loss=0.3, duplicate=0.5),
            seed,
            self.client(at_client),
            self.server(at_server),
        ).open()
        assert len(at_client) == 1
        assert at_client == at_server

    def test_later_updates_follow(self):
        pair = SessionPair(client=self.client(), server=self.server()).open()
        for phases in ((2, 2), (3, 3)):
            pair.run(1.0)
            pair.server.endpoint.request_key_update()
            pair.run(1.0)
            assert pair.client.endpoint.key_phase == phases

    def test_no_key_is_updated_before(self):
        server, hand = self.server(), Hand(is_server=False)
        server.endpoint.request_key_update()
        server.receive(hand.make(Ping()), 0.0)
        for n in range(1, 20):
            hand.take(server.datagrams(n / 10))
            server.receive(hand.make(Ping(), hand.ack()), n / 10)
        assert server.endpoint.key_phase == (0, 0)

    def test_a_client_may_do_without(self):
        pair = SessionPair(client=Side(is_server=False), server=self.server()).open()
        pair.server.endpoint.request_key_update()
        pair.run(1.0)
        assert pair.client.endpoint.key_phase == (1, 1)

    def test_a_forged_packet_of_the_next_phase_does_no_harm(self):
        pair = SessionPair(client=self.client(), server=self.server())
        for datagram in pair.client.datagrams(0.0):
            forged = bytearray(datagram)
            for bits in range(8):
                forged[0] = datagram[0] ^ bits
                pair.server.receive(bytes(forged), 0.0)
        pair.open()
        assert pair.server.endpoint.key_phase[1] == 1

    @pytest.mark.parametrize(
        ("frame", "reason"),
        [
            (Kem(1184, 0, b"\xff" * 1184), "no key at all"),
            (Kem(1088, 0, b"a"), "another total"),
        ],
    )
    def test_what_is_no_key_ends_the_session(self, frame, reason):
        side, hand = self.server(), Hand(is_server=False)
        side.receive(hand.make(frame), 0.0)
        assert side.endpoint.error_code == PROTOCOL, reason

    def test_pieces_that_contradict_each_other_end_the_session(self):
        side, hand = self.server(), Hand(is_server=False)
        side.receive(hand.make(Kem(1184, 0, b"a" * 20)), 0.0)
        assert side.endpoint.error_code == 0
        side.receive(hand.make(Kem(1184, 10, b"b" * 20)), 0.0)
        assert side.endpoint.error_code == PROTOCOL

    def test_a_key_that_comes_behind_the_connect_data_ends_the_session(self):
        side, hand = self.server(), Hand(is_server=False)
        side.receive(hand.make(Connect(100, 0, b"a" * 20)), 0.0)
        side.receive(hand.make(Kem(1184, 0, b"a" * 20)), 0.0)
        assert side.endpoint.error_code == PROTOCOL


class TestKeyLimit:
    """Of 2^23 packets that one key may seal."""

    LIMIT = 1 << 23

    def worn(self, left: int, is_server: bool = False) -> tuple[Side, Hand]:
        """A side that may seal so many packets, and a peer that never acks what it has sent."""
        side = Side(is_server, sealed_before=self.LIMIT - left)
        return side, Hand(not is_server)

    def test_half_of_it_is_enough_to_go_on_to_the_next_one(self):
        pair = SessionPair(client=Side(is_server=False, sealed_before=self.LIMIT // 2 - 20)).open()
        for _ in range(30):
            pair.client.say(0, b"text")
            pair.run(0.1)
        assert pair.client.endpoint.key_phase == pair.server.endpoint.key_phase == (1, 1)
        assert pair.client.closed is None

    def test_a_side_whose_peer_lets_it_not_update_closes_with_keys(self):
        side, hand = self.worn(left=150)
        found: list[Frame] = []
        for n in range(400):
            found += hand.take(side.datagrams(n * 0.02))
            side.receive(hand.make(Ping()), n * 0.02)
        assert side.closed == (8, "")
        assert set(of_type(Close, found)) == {Close(8, b"")}
        assert side.connection.status == ConnectionStatus.DROPPED
        assert 10 < len(hand.read) <= 150

    def test_the_servers_reason_says_so(self):
        class Owner:
            now = 0.0

        side, hand = self.worn(left=100, is_server=True)
        side.receive(hand.make(Ping()), 0.0)
        side.datagrams(0.0)
        side.datagrams(0.1)
        session = Session(side.connection, ("192.0.2.1", 5000), b"", Owner(), CONNECTION_ID)
        assert session.end() == DisconnectReason.KEY_LIMIT


class TestReordering:
    def test_a_packet_that_hundreds_of_others_overtake_still_opens(self):
        """Its number is sent in two bytes: one would be taken for that of a later packet."""
        pair = SessionPair(LinkConditions(latency=0.01)).open()
        pair.client.say(0, bytes(2_000_000))
        pair.run_until(lambda: pair.is_done)
        pair.run(0.5)
        pair.client.say(0, b"overtaken")
        (late,) = pair.client.datagrams(pair.now)
        pair.client.say(0, bytes(400_000))
        others = pair.client.datagrams(pair.now)
        assert len(others) > 128
        for datagram in [*others, late]:
            pair.server.receive(datagram, pair.now)
        assert pair.server.drops == []
        assert b"overtaken" in [message for _, _, message in pair.server.delivered]

    def test_what_comes_late_again_and_again_is_not_sent_again(self):
        """The round trip is 0.1 s; of two packets the first is acked 0.05 s after the second."""
        side, hand = accepted(is_server=True)
        sent_again = []
        for now in range(1, 9):
            before = side.endpoint.send_queue.retransmitted
            side.say(0, b"late")
            hand.take(side.datagrams(now))
            late = max(hand.read)
            side.say(0, b"early")
            hand.take(side.datagrams(now + 0.001))
            for after, numbers in ((0.1, {max(hand.read)}), (0.15, {late, max(hand.read)})):
                side.receive(hand.make(ack_of(numbers, 0)), now + after)
                hand.take(side.datagrams(now + after + 0.02))
            side.receive(hand.make(hand.ack()), now + 0.3)
            sent_again.append(side.endpoint.send_queue.retransmitted - before)
        assert sent_again[0] > 0
        assert sent_again[-1] == 0


class TestTimers:
    def test_next_timer_tells_of_all_that_is_due(self, seed):
        """Nothing is sent before the time that it announces."""
        pair = SessionPair(LinkConditions(latency=0.02, jitter=0.01, loss=0.2), seed).open()
        rng = random.Random(seed)
        for turn in range(600):
            for side in (pair.client, pair.server):
                if rng.random() < 0.1:
                    side.say(
                        rng.choice((0, CHAT, POSITION, SCORE)), rng.randbytes(rng.choice((9, 3000)))
                    )
                due = side.connection.next_timer()
                if due > pair.now + 0.002 and turn % 2:
                    assert side.datagrams(min(due - 0.001, pair.now + 0.001)) == []
            pair.tick()
