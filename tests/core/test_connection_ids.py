"""Further connection ids: those that a client has, and those that a server has issued."""

from __future__ import annotations

import pytest
from support.endpoints2 import (
    CHAT,
    CONNECTION_ID,
    Hand,
    SecondPeer,
    SessionPair,
    Side,
    accepted,
)
from support.wire2.frames import (
    Accept,
    Frame,
    Message,
    NewConnectionId,
    Padding,
    Ping,
    RetireConnectionId,
)

from mpgameserver._core.connection_ids import MAX_CONNECTION_IDS, REMEMBERED_IDS
from mpgameserver.netsim import LinkConditions
from mpgameserver.wire.protocol2.limits import LEAST_DATAGRAM

PROTOCOL = 1
BAD = LinkConditions(latency=0.02, jitter=0.02, loss=0.4, duplicate=0.2)


def an_id(number: int) -> bytes:
    """An id of the same worker as that of the session."""
    return CONNECTION_ID[:1] + number.to_bytes(7, "big")


def new_id(sequence: int, number: int | None = None) -> NewConnectionId:
    number = sequence if number is None else number
    return NewConnectionId(sequence, an_id(number), bytes([number]) * 16)


def id_in_use(side: Side) -> bytes:
    """The id under which a client seals."""
    side.say(CHAT, b"x")
    return side.datagrams(side.now + 1.0)[-1][1:9]


def said_under(connection_id: bytes, side: Side, hand: Hand, start: float) -> list[Frame]:
    """The frames that a client sends under an id in two seconds."""
    datagrams = [each for n in range(20) for each in side.datagrams(start + n / 10)]
    return hand.take([each for each in datagrams if each[1:9] == connection_id], connection_id)


class TestAClient:
    def test_goes_on_under_the_next_id_and_retires_the_former(self):
        side, hand = accepted()
        side.receive(hand.make(new_id(2), new_id(1)), 0.0)
        side.endpoint.on_path_changed(LEAST_DATAGRAM)
        assert id_in_use(side) == an_id(1)
        assert side.endpoint.peer_ids.token == bytes([1]) * 16
        side.endpoint.on_path_changed(LEAST_DATAGRAM)
        assert id_in_use(side) == an_id(2)

    def test_says_so_until_it_is_acked(self):
        side, hand = accepted()
        side.receive(hand.make(new_id(1)), 0.0)
        side.endpoint.on_path_changed(LEAST_DATAGRAM)
        assert said_under(an_id(1), side, hand, 0.0).count(RetireConnectionId(0)) > 1
        side.receive(hand.make(hand.ack()), 2.0)
        assert RetireConnectionId(0) not in said_under(an_id(1), side, hand, 2.0)

    def test_keeps_its_id_where_it_has_no_other(self):
        side, _ = accepted()
        side.endpoint.on_path_changed(LEAST_DATAGRAM)
        assert id_in_use(side) == CONNECTION_ID

    def test_has_the_token_of_its_first_id_from_the_accept_data(self):
        side, hand = accepted()
        token = side.endpoint.peer_ids.token
        side.receive(hand.make(new_id(1)), 0.0)
        assert side.endpoint.peer_ids.token == token

    def test_ignores_what_it_has_been_told(self):
        side, hand = accepted()
        for _ in range(3):
            side.receive(hand.make(new_id(1)), 0.0)
        side.endpoint.on_path_changed(LEAST_DATAGRAM)
        side.receive(hand.make(new_id(1)), 0.0)
        side.endpoint.on_path_changed(LEAST_DATAGRAM)
        assert side.endpoint.error_code == 0
        assert id_in_use(side) == an_id(1)

    @pytest.mark.parametrize(
        "frames",
        [
            [new_id(0)],
            [new_id(1), new_id(1, number=2)],
            [new_id(1), new_id(2, number=1)],
            [NewConnectionId(1, CONNECTION_ID, bytes(16))],
            [NewConnectionId(1, b"\x01" + bytes(7), bytes(16))],
            [new_id(n) for n in range(1, MAX_CONNECTION_IDS + 1)],
        ],
        ids=["0 again", "other contents", "twice", "the first again", "other worker", "a fifth"],
    )
    @pytest.mark.parametrize("at_once", [True, False])
    def test_ends_the_session_for_what_no_server_issues(self, frames, at_once):
        side, hand = accepted()
        packets = [frames] if at_once else [[frame] for frame in frames]
        for packet in packets:
            assert side.endpoint.error_code == 0
            side.receive(hand.make(*packet), 0.0)
        assert side.endpoint.error_code == PROTOCOL

    def test_remembers_a_bounded_number(self):
        side, hand = accepted()
        for sequence in range(1, REMEMBERED_IDS + 3):
            side.receive(hand.make(new_id(sequence)), 0.0)
            side.endpoint.on_path_changed(LEAST_DATAGRAM)
        side.receive(hand.make(new_id(1, number=200)), 0.0)
        assert side.endpoint.error_code == 0
        assert id_in_use(side) == an_id(REMEMBERED_IDS + 2)


class TestAServer:
    def test_issues_as_many_as_may_be_alive(self):
        side, hand = accepted(is_server=True, issues_ids=True)
        issued = [frame for frames in hand.read.values() for frame in frames]
        assert [frame for frame in issued if isinstance(frame, NewConnectionId)] == [
            NewConnectionId(n, side.ids.issued[n], bytes([n]) * 16)
            for n in range(1, MAX_CONNECTION_IDS)
        ]

    def test_says_nothing_of_them_beside_a_piece_of_the_accept_data(self, seed):
        """A client that is not accepted takes no packet with them, not even the piece."""
        pair = SessionPair(BAD, seed, SecondPeer(False), Side(True, issues_ids=True))
        pair.open()
        from_server = [each for each in pair.datagrams if each[1:9] != CONNECTION_ID]
        hand = Hand(is_server=False)
        packets = [hand.take([each]) for each in from_server]
        with_piece = [each for each in packets if any(isinstance(one, Accept) for one in each)]
        assert with_piece
        assert not any(isinstance(one, NewConnectionId) for each in with_piece for one in each)

    def test_issues_another_for_one_that_is_retired(self):
        side, hand = accepted(is_server=True, issues_ids=True)
        side.receive(hand.make(RetireConnectionId(0), connection_id=side.ids.issued[1]), 0.0)
        assert side.ids.retired == [CONNECTION_ID]
        frames = hand.take(side.datagrams(0.0))
        assert NewConnectionId(4, side.ids.issued[4], bytes([4]) * 16) in frames
        side.receive(hand.make(RetireConnectionId(0), connection_id=side.ids.issued[1]), 0.0)
        assert side.ids.retired == [CONNECTION_ID]
        assert len(side.ids.issued) == MAX_CONNECTION_IDS + 1

    @pytest.mark.parametrize(
        ("frames", "under"),
        [
            ([RetireConnectionId(0)], 0),
            ([RetireConnectionId(2)], 2),
            ([RetireConnectionId(4)], 0),
            ([RetireConnectionId(1), RetireConnectionId(4)], 0),
        ],
        ids=["its own", "its own", "never issued", "not issued yet"],
    )
    def test_ends_the_session_for_what_no_client_retires(self, frames, under):
        side, hand = accepted(is_server=True, issues_ids=True)
        side.receive(hand.make(*frames, connection_id=side.ids.issued[under]), 0.0)
        is_issued_by_then = len(frames) == 2
        assert (side.endpoint.error_code == PROTOCOL) != is_issued_by_then

    def test_takes_no_retirement_where_it_has_issued_none(self):
        side, hand = accepted(is_server=True)
        side.receive(hand.make(RetireConnectionId(1)), 0.0)
        assert side.endpoint.error_code == PROTOCOL

    def test_takes_no_retirement_before_the_client_is_accepted(self):
        side, hand = Side(True, issues_ids=True), Hand(is_server=False)
        side.receive(hand.make(RetireConnectionId(0)), 0.0)
        assert side.endpoint.error_code == PROTOCOL

    def test_forgets_the_source_at_the_end(self):
        side, hand = accepted(is_server=True, issues_ids=True)
        side.endpoint.stop_issuing_ids()
        side.receive(hand.make(Ping(), Padding(), Message(CHAT, 1, b"")), 0.0)
        assert side.endpoint.error_code == 0


@pytest.mark.parametrize("ours", ["both", "client", "server"])
def test_over_a_bad_link_ids_change_and_no_message_is_lost(ours, seed):
    client = SecondPeer(False) if ours == "server" else Side(False)
    server = SecondPeer(True) if ours == "client" else Side(True, issues_ids=True)
    pair = SessionPair(BAD, seed, client, server).open()
    if isinstance(server, SecondPeer):
        for n in range(1, MAX_CONNECTION_IDS):
            server.peer.issue(an_id(n), bytes([n]) * 16)
    for number in range(40):
        for side in (client, server):
            side.say(CHAT, b"%d" % number)
        pair.run(0.25)
        if number % 10 == 9:
            if isinstance(client, Side):
                client.endpoint.on_path_changed(LEAST_DATAGRAM)
            elif len(client.peer.connection_ids) > 1:
                client.peer.change_id()
    pair.run_until(lambda: len(client.delivered) == len(server.delivered) == 40)
    assert client.closed is None
    assert server.closed is None
    sent_under = {datagram[1:9] for datagram in pair.datagrams} & ids_of(server)
    assert len(sent_under) >= MAX_CONNECTION_IDS


def ids_of(server: Side | SecondPeer) -> set[bytes]:
    if isinstance(server, SecondPeer):
        return {connection_id for connection_id, _ in server.peer._session.ids.values()}
    assert server.ids is not None
    return set(server.ids.issued)
