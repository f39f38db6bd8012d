"""The client's side of the handshake: what it sends, and what convinces it."""

from __future__ import annotations

import pytest
from support.answering import WALL_START, Answer, answer

from mpgameserver._core.packet_header import decode_header
from mpgameserver.client import candidates
from mpgameserver.client.handshake import (
    HELLO_INTERVAL,
    MAX_TRIALS,
    MAX_VERIFICATIONS,
    ClientHandshake,
    EstablishedSession,
)
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.wire.handshake import decode_challenge_response, decode_clear_packet

PATH, OTHER_PATH = "first port", "fresh port"
ROOT_KEY = EllipticCurvePrivateKey.new()
WRONG_KEY = EllipticCurvePrivateKey.new()


def handshake(trusted: EllipticCurvePrivateKey | None = ROOT_KEY) -> ClientHandshake:
    attempt = ClientHandshake(trusted and trusted.getPublicKey(), 0.0, WALL_START)
    attempt.add_path(PATH, 0.0, 1434, 1472)
    return attempt


def hello_of(attempt: ClientHandshake, now: float = 0.0) -> bytes:
    [(_, datagram)] = attempt.datagrams(now)
    return datagram


def sealed_by(server: Answer, now: float = 1.0) -> bytes:
    """A keep-alive of the server."""
    server.endpoint.established = True
    datagram = server.endpoint.next_datagram(now)
    assert datagram is not None
    return datagram


class TestHello:
    def test_it_is_packet_1_message_1_of_the_size_that_the_mtu_asks_for(self) -> None:
        packet = decode_clear_packet(hello_of(handshake()), PacketType.CLIENT_HELLO)
        assert (packet.header.seq, packet.message_seq) == (1, 1)
        assert packet.header.time == WALL_START
        assert len(packet.message) == 1412

    def test_it_is_sent_again_the_same_but_for_the_packet_number(self) -> None:
        attempt = handshake()
        first = decode_clear_packet(hello_of(attempt), PacketType.CLIENT_HELLO)
        assert attempt.datagrams(HELLO_INTERVAL / 2) == []
        assert attempt.next_timer() == HELLO_INTERVAL
        second = decode_clear_packet(hello_of(attempt, HELLO_INTERVAL), PacketType.CLIENT_HELLO)
        assert second.message == first.message
        assert (second.header.seq, second.message_seq) == (2, 1)

    def test_every_second_one_is_long_where_that_has_it_fragmented(self) -> None:
        attempt = ClientHandshake(ROOT_KEY.getPublicKey(), 0.0, 1_800_000_000.0)
        attempt.add_path(PATH, 0.0, 1434, 1232, 1453)
        attempt.add_path(OTHER_PATH, 0.0, 1434, 1232, 1200)
        sent = [attempt.datagrams(now) for now in (0.0, 0.25, 0.5)]
        assert [[len(datagram) for _, datagram in pairs] for pairs in sent] == [
            [1438, 1438],
            [1453, 1438],
            [1438, 1438],
        ]

    def test_every_path_has_packet_numbers_of_its_own(self) -> None:
        attempt = handshake()
        attempt.datagrams(0.0)
        attempt.add_path(OTHER_PATH, 1.0, 1434, 1472)
        numbers = {
            path: decode_clear_packet(datagram, PacketType.CLIENT_HELLO).header.seq
            for path, datagram in attempt.datagrams(1.0)
        }
        assert numbers == {PATH: 2, OTHER_PATH: 1}

    def test_a_path_that_ends_while_somebody_asks_for_the_time_harms_nothing(self) -> None:
        attempt = handshake()
        attempt.add_path(OTHER_PATH, 1.0, 1434, 1472)

        class Ending:
            """A path that a finalizer ends while its next hello is looked up."""

            @property
            def next_hello(self) -> float:
                attempt.remove_path(PATH)
                return 2.0

        attempt._paths[PATH] = Ending()  # type: ignore[assignment]
        assert attempt.next_timer() == 1.0
        assert list(attempt._paths) == [OTHER_PATH]


class TestAnswer:
    def test_the_challenge_is_answered_with_packet_2_message_2(self) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY)
        assert attempt.receive(PATH, server.datagram, 0.1) is None
        [(path, response)] = attempt.datagrams(0.1)
        assert path == PATH
        assert response[8:10] == b"\0\2"
        assert server.endpoint.receive(response, 0.2) == 0
        assert server.endpoint.challenge is not None
        assert decode_challenge_response(server.endpoint.challenge) == server.token

    @pytest.mark.parametrize("number", [1, 7, 65535])
    def test_the_challenge_response_acks_the_hello_that_it_answers(self, number: int) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY, number)
        attempt.receive(PATH, server.datagram, 0.1)
        for now in (0.1, 2.0):  # also when it is sent again
            response = decode_header(attempt.datagrams(now)[-1][1])
            assert response.packet_type == PacketType.CHALLENGE_RESP
            assert (response.ack, response.ack_bits) == (number, 0)

    def test_the_number_of_a_hello_does_not_enter_the_receive_window(self) -> None:
        # A hello's header is not authenticated: a copy of the true hello with another number
        # would push all that the server sends out of the window.
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY, 30_000)
        attempt.receive(PATH, server.datagram, 0.1)
        session = attempt.receive(PATH, sealed_by(server), 0.2)
        assert session is not None
        assert session.endpoint.received_packets.ack() == 2

    def test_the_challenge_response_is_sent_again_until_a_sealed_packet_opens(self) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY)
        attempt.receive(PATH, server.datagram, 0.0)
        sent = [
            datagram
            for tick in range(40)
            for _, datagram in attempt.datagrams(tick / 10)
            if datagram[12] == PacketType.CHALLENGE_RESP
        ]
        assert len(sent) >= 12
        assert len({datagram[8:10] for datagram in sent}) == len(sent)

    def test_a_sealed_packet_proves_the_session(self) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY)
        attempt.receive(PATH, server.datagram, 0.1)
        session = attempt.receive(PATH, sealed_by(server), 0.2)
        assert isinstance(session, EstablishedSession)
        assert (session.path, session.token) == (PATH, server.token)

    def test_it_counts_only_on_the_path_that_it_came_from(self) -> None:
        attempt = handshake()
        attempt.add_path(OTHER_PATH, 0.0, 1434, 1472)
        server = answer(attempt.datagrams(0.0)[0][1], ROOT_KEY)
        attempt.receive(PATH, server.datagram, 0.1)
        assert attempt.receive(OTHER_PATH, sealed_by(server), 0.2) is None

    def test_without_a_trusted_key_any_server_is_taken(self) -> None:
        attempt = handshake(trusted=None)
        server = answer(hello_of(attempt), WRONG_KEY)
        attempt.receive(PATH, server.datagram, 0.1)
        assert attempt.receive(PATH, sealed_by(server), 0.2) is not None


class TestForgery:
    def test_another_root_key_is_never_believed(self) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), WRONG_KEY)
        attempt.receive(PATH, server.datagram, 0.1)
        assert attempt.saw_wrong_key
        assert attempt.datagrams(0.1) == []
        assert attempt.receive(PATH, sealed_by(server), 0.2) is None

    def test_a_forged_answer_does_not_end_the_wait_for_the_real_one(self) -> None:
        attempt = handshake()
        hello = hello_of(attempt)
        attempt.receive(PATH, answer(hello, WRONG_KEY).datagram, 0.1)
        attempt.receive(PATH, b"FSOC" + bytes(60), 0.1)
        server = answer(hello, ROOT_KEY)
        attempt.receive(PATH, server.datagram, 0.1)
        assert attempt.receive(PATH, sealed_by(server), 0.2) is not None

    def test_a_recorded_answer_verifies_but_leads_to_no_session(self) -> None:
        recorded = answer(hello_of(handshake()), ROOT_KEY)
        attempt = handshake()
        hello = hello_of(attempt)
        attempt.receive(PATH, recorded.datagram, 0.1)
        assert attempt.receive(PATH, sealed_by(recorded), 0.2) is None
        server = answer(hello, ROOT_KEY)
        attempt.receive(PATH, server.datagram, 0.3)
        assert attempt.receive(PATH, sealed_by(server), 0.4) is not None

    def test_an_answer_that_is_repeated_is_one_candidate(self) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY)
        for _ in range(100):
            attempt.receive(PATH, server.datagram, 0.1)
        assert len(attempt.datagrams(0.1)) == 1

    def test_few_signatures_are_checked_between_two_calls(self) -> None:
        attempt = handshake()
        hello = hello_of(attempt)
        for _ in range(MAX_VERIFICATIONS + 3):
            attempt.receive(PATH, answer(hello, ROOT_KEY).datagram, 0.1)
        assert len(attempt.datagrams(0.1)) == MAX_VERIFICATIONS

    def test_more_answers_than_are_kept_evict_random_ones(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(candidates, "MAX_CANDIDATES", 8)
        attempt = handshake()
        attempt.receive(PATH, answer(hello := hello_of(attempt), ROOT_KEY).datagram, 0.0)
        servers = [answer(hello, ROOT_KEY) for _ in range(24)]
        for i, server in enumerate(servers):
            attempt.receive(PATH, server.datagram, 0.001 * i)
            attempt.datagrams(0.001 * i)
        left = [c.token for c in attempt._candidates]
        places = [place for place, server in enumerate(servers) if server.token in left]
        assert len(left) == 8
        assert places != list(range(16, 24)), "the oldest were evicted"

    def test_a_sealed_packet_costs_a_bounded_number_of_trials(self) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY)
        attempt.receive(PATH, server.datagram, 0.1)
        good = sealed_by(server)
        forged = good[:-1] + bytes([good[-1] ^ 1])
        for _ in range(MAX_TRIALS):
            attempt.receive(PATH, forged, 0.1)
            assert attempt.drop_reason == "authentication failed"
        assert attempt.receive(PATH, good, 0.1) is None
        assert attempt.drop_reason == "busy"
        attempt.datagrams(0.2)
        assert attempt.receive(PATH, good, 0.2) is not None

    def test_the_round_trip_of_the_challenge_response_is_measured(self) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY)
        attempt.receive(PATH, server.datagram, 0.0)
        [(_, proof)] = attempt.datagrams(0.01)
        assert server.endpoint.receive(proof, 0.05) == 0
        session = attempt.receive(PATH, sealed_by(server, 0.1), 0.13)
        assert session is not None
        assert session.endpoint.rtt.srtt == pytest.approx(0.12)

    def test_an_answer_that_comes_again_has_its_proof_sent_before_others(self) -> None:
        attempt = handshake()
        hello = hello_of(attempt)
        servers = [answer(hello, ROOT_KEY) for _ in range(3 * MAX_VERIFICATIONS)]
        for i, server in enumerate(servers):
            attempt.receive(PATH, server.datagram, 0.001 * i)
            attempt.datagrams(0.001 * i)
        attempt.datagrams(0.25)
        assert attempt.receive(PATH, servers[7].datagram, 0.6) is None
        assert attempt.drop_reason == "repeated"
        proofs = [d for _, d in attempt.datagrams(0.6) if d[12] == PacketType.CHALLENGE_RESP]
        assert servers[7].endpoint.receive(proofs[0], 0.6) == 0

    @pytest.mark.parametrize("position", range(0, 341, 17))
    def test_a_damaged_answer_is_ignored(self, position: int) -> None:
        attempt = handshake()
        datagram = bytearray(answer(hello_of(attempt), ROOT_KEY).datagram)
        datagram[min(position, len(datagram) - 1)] ^= 0x10
        assert attempt.receive(PATH, bytes(datagram), 0.1) is None
        assert attempt.datagrams(0.1) == []
        assert not attempt.saw_wrong_key


class TestGivingUp:
    def test_each_candidate_that_has_sent_its_proof_disconnects_three_times(self) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY)
        attempt.receive(PATH, server.datagram, 0.1)
        assert attempt.abort(0.1) == []
        [(_, proof)] = attempt.datagrams(0.1)
        assert server.endpoint.receive(proof, 0.2) == 0
        server.endpoint.established = True
        disconnects = attempt.abort(0.2)
        assert [path for path, _ in disconnects] == [PATH] * 3
        for _, datagram in disconnects:
            assert server.endpoint.receive(datagram, 0.3) == 0
        assert server.endpoint.disconnect_received
        assert attempt.abort(0.4) == []

    def test_none_is_left_of_a_path_that_was_given_up(self) -> None:
        attempt = handshake()
        server = answer(hello_of(attempt), ROOT_KEY)
        attempt.receive(PATH, server.datagram, 0.1)
        attempt.datagrams(0.1)
        attempt.remove_path(PATH)
        assert attempt.abort(0.2) == []

    def test_where_there_are_many_each_says_it_once(self) -> None:
        attempt = handshake()
        hello = hello_of(attempt)
        answers = [answer(hello, ROOT_KEY) for _ in range(70)]
        for number, server in enumerate(answers):
            attempt.receive(PATH, server.datagram, 0.1)
            if number % MAX_VERIFICATIONS == MAX_VERIFICATIONS - 1:
                attempt.datagrams(0.1)
        attempt.datagrams(0.1)
        assert len(attempt.abort(0.2)) == 70
