"""The server's side of the handshake: what it answers, and what convinces it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpgameserver.client.handshake import HELLO_INTERVAL, ClientHandshake
from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.errors import ProtocolError
from mpgameserver.server.handshakes import EstablishedSession, HelloRefused, ServerHandshakes
from mpgameserver.server.limits import Limits
from mpgameserver.server.sessions import Session, SessionTable
from mpgameserver.transport.address import SocketAddress, hello_payload, host_of
from mpgameserver.wire.handshake import (
    ClientHello,
    ServerHello,
    decode_clear_packet,
    encode_clear_packet,
    hello_size,
)
from mpgameserver.wire.packet import Packet

ROOT_KEY = EllipticCurvePrivateKey.new()
CLIENT_KEY_DER = EllipticCurvePrivateKey.new().getPublicKey().getBytes()
ADDRESS, OTHER = ("192.0.2.1", 5000), ("192.0.2.1", 5001)
IPV6 = ("2001:db8::1", 5000, 0, 0)
WALL = 1_700_000_000


class Owner:
    now = 0.0

    def make_ready(self, session: Session) -> None:
        raise AssertionError


class Server:
    """Handshakes, and the sessions that came of them."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.sessions = SessionTable()
        self.handshakes = ServerHandshakes(ROOT_KEY, self.sessions, limits or Limits())

    def receive(
        self, hello: bytes, address: SocketAddress = ADDRESS, now: float = 0.0
    ) -> bytes | None:
        """Return the reply to a hello without public-key work."""
        return self.handshakes.receive_hello(hello, address, host_of(address), now, WALL + now)

    def answer(self, hello: bytes, address: SocketAddress = ADDRESS, now: float = 0.0) -> bytes:
        """Return the reply to a hello, now or after the public-key work."""
        answer = self.receive(hello, address, now)
        if answer is None:
            waiting = self.handshakes.take_hello(now)
            assert waiting is not None
            answer = self.handshakes.answer(waiting, now)
        return answer

    def establish(
        self, proof: bytes, address: SocketAddress = ADDRESS, now: float = 0.0
    ) -> EstablishedSession | None:
        """Return what a challenge response establishes, with public-key work if necessary."""
        proved = self.handshakes.establish(proof, address, now)
        if proved is None and self.handshakes.defer(proof, address):
            while proved is None and (tried := self.handshakes.exchange_next(now)) is not None:
                proved = tried[1]
        return proved

    def accept(self, proof: bytes, address: SocketAddress = ADDRESS, now: float = 0.0) -> Session:
        proved = self.establish(proof, address, now)
        assert proved is not None
        connection = Connection(proved.endpoint, proved.token, Timing())
        session = Session(connection, address, proved.client_key, Owner())
        self.sessions.add(session)
        return session


class Client:
    """A client's handshake over one path."""

    def __init__(self, mtu_payload: int = 1434) -> None:
        self.handshake = ClientHandshake(ROOT_KEY.getPublicKey(), 0.0, WALL)
        self.handshake.add_path("path", 0.0, mtu_payload, 1472)
        [(_, self.hello)] = self.handshake.datagrams(0.0)

    def again(self, now: float) -> bytes:
        [(_, hello)] = self.handshake.datagrams(now)
        return hello

    def proof_for(self, answer: bytes, now: float = 0.0) -> bytes:
        assert self.handshake.receive("path", answer, now) is None
        [(_, proof)] = self.handshake.datagrams(now)
        return proof


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def no_public_key_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("public-key work")

    monkeypatch.setattr(EllipticCurvePrivateKey, "new", refuse)
    monkeypatch.setattr(EllipticCurvePrivateKey, "sign", refuse)
    monkeypatch.setattr(EllipticCurvePrivateKey, "exchange", refuse)
    monkeypatch.setattr(ClientHello, "public_key", refuse)


@pytest.fixture
def small_mtu() -> Iterator[None]:
    Packet.setMTU(512)
    yield
    Packet.setMTU(1500)


def hello_datagram(message: bytes, seq: int = 1) -> bytes:
    return encode_clear_packet(PacketType.CLIENT_HELLO, seq, 1, message, WALL)


class TestAnswer:
    def test_it_is_packet_1_message_1_and_signed_by_the_root_key(self, server: Server) -> None:
        packet = decode_clear_packet(server.answer(Client().hello), PacketType.SERVER_HELLO)
        hello = ServerHello.decode(packet.message)
        hello.verify(ROOT_KEY.getPublicKey())
        assert (packet.header.seq, packet.message_seq, packet.header.time) == (1, 1, WALL)
        assert hello.root_key_der == ROOT_KEY.getPublicKey().getBytes()

    def test_every_handshake_has_a_key_a_salt_and_a_token_of_its_own(self, server: Server) -> None:
        hellos = [
            ServerHello.decode(decode_clear_packet(answer, PacketType.SERVER_HELLO).message)
            for answer in (server.answer(Client().hello) for _ in range(4))
        ]
        assert len({hello.ephemeral_key_der for hello in hellos}) == 4
        assert len({hello.salt for hello in hellos}) == 4
        assert len({hello.token for hello in hellos}) == 4

    def test_the_same_hello_gets_the_same_answer_in_the_next_packet(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = Client()
        first = decode_clear_packet(server.answer(client.hello), PacketType.SERVER_HELLO)
        monkeypatch.setattr(EllipticCurvePrivateKey, "sign", None)
        monkeypatch.setattr(ClientHello, "public_key", None)
        again = client.again(HELLO_INTERVAL)
        assert again != client.hello
        answer = server.answer(again, now=1.5)
        second = decode_clear_packet(answer, PacketType.SERVER_HELLO)
        assert second.message == first.message
        assert (first.header.seq, second.header.seq, second.message_seq) == (1, 2, 1)
        assert second.header.time == WALL + 1
        assert len(server.handshakes.half_open) == 1

    def test_it_acks_the_hello_that_it_answers(self, server: Server) -> None:
        client = Client()
        first = decode_clear_packet(server.answer(client.hello), PacketType.SERVER_HELLO)
        again = server.answer(client.again(HELLO_INTERVAL), now=HELLO_INTERVAL)
        second = decode_clear_packet(again, PacketType.SERVER_HELLO)
        assert (first.header.ack, first.header.ack_bits) == (1, 0)
        assert (second.header.ack, second.header.ack_bits) == (2, 0)

    def test_a_hello_that_waited_is_acked_by_its_own_number(self, server: Server) -> None:
        client = Client()
        lost, repeated = client.hello, client.again(HELLO_INTERVAL)
        assert lost != repeated
        packet = decode_clear_packet(server.answer(repeated), PacketType.SERVER_HELLO)
        assert packet.header.ack == 2

    def test_from_another_address_it_is_another_handshake(self, server: Server) -> None:
        client = Client()
        first, second = server.answer(client.hello), server.answer(client.hello, OTHER)
        assert first[20:] != second[20:]
        assert len(server.handshakes.half_open) == 2

    def test_a_hello_is_answered_a_bounded_number_of_times(self) -> None:
        server, client = Server(Limits(answers_per_hello=3)), Client()
        for _ in range(3):
            assert server.answer(client.hello)
        with pytest.raises(HelloRefused, match="stale hello"):
            server.answer(client.hello)

    @pytest.mark.usefixtures("small_mtu")
    def test_it_is_never_longer_than_the_hello(self, server: Server) -> None:
        client = Client(mtu_payload=512 - 28 - 38)
        assert len(server.answer(client.hello)) < len(client.hello)


class TestChecks:
    @pytest.mark.usefixtures("no_public_key_work")
    @pytest.mark.parametrize("size", [0, 1, 12, 20, 25, 26, 100, 1437])
    def test_a_hello_that_was_cut_costs_no_public_key_work(self, size: int) -> None:
        hello = hello_datagram(ClientHello(CLIENT_KEY_DER).encode(1412))
        with pytest.raises(ProtocolError):
            Server().answer(hello[:size])

    @pytest.mark.usefixtures("no_public_key_work")
    def test_nor_does_one_that_was_damaged(self) -> None:
        hello = hello_datagram(ClientHello(CLIENT_KEY_DER).encode(1412))
        for place in range(0, len(hello), 13):
            damaged = bytearray(hello)
            damaged[place] ^= 1
            with pytest.raises(ProtocolError):
                Server().answer(bytes(damaged))

    @pytest.mark.usefixtures("no_public_key_work")
    def test_nor_does_one_that_is_shorter_than_our_mtu_asks_for(self) -> None:
        with pytest.raises(ProtocolError, match="1412 are needed"):
            Server().answer(hello_datagram(ClientHello(CLIENT_KEY_DER).encode(1411)))

    @pytest.mark.usefixtures("no_public_key_work")
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"\x00\x03\x01", b"\x00\x03\x02"),  # protocol version
            (b"\x00\x82", b"\x00\x83"),
            (b"\x30\x59\x30\x13", b"\x30\x59\x30\x14"),
        ],
    )
    def test_nor_does_one_that_says_something_else(self, old: bytes, new: bytes) -> None:
        message = ClientHello(CLIENT_KEY_DER).encode(1412, bytes).replace(old, new, 1)
        with pytest.raises(ProtocolError):
            Server().answer(hello_datagram(message))

    def test_over_ipv6_the_mtu_asks_for_twenty_bytes_less(self, server: Server) -> None:
        hello = hello_datagram(ClientHello(CLIENT_KEY_DER).encode(hello_size(1414)))
        assert server.answer(hello, IPV6) is not None
        with pytest.raises(ProtocolError):
            server.answer(hello, ("::ffff:192.0.2.1", 5000, 0, 0))

    def test_a_point_off_the_curve_is_not_answered(self, server: Server) -> None:
        off_curve = CLIENT_KEY_DER[:-1] + bytes([CLIENT_KEY_DER[-1] ^ 1])
        with pytest.raises(ProtocolError):
            server.answer(hello_datagram(ClientHello(off_curve).encode(1412)))
        assert len(server.handshakes.half_open) == 0


class TestProof:
    def test_it_makes_the_session_of_the_answer(self, server: Server) -> None:
        client = Client()
        session = server.accept(client.proof_for(server.answer(client.hello)))
        endpoint = session.connection.endpoint
        endpoint.advance(0.1)
        established = client.handshake.receive("path", endpoint.next_datagram(0.1), 0.1)
        assert established is not None
        assert established.token == session.connection.token
        assert len(server.handshakes.half_open) == 0

    def test_the_numbers_go_on_after_those_of_the_answers(self, server: Server) -> None:
        client = Client()
        for _ in range(3):
            answer = server.answer(client.hello)
        endpoint = server.accept(client.proof_for(answer)).connection.endpoint
        assert endpoint.send_queue.newest == 1
        endpoint.send_queue.add(b"first message", 0)
        datagram = endpoint.next_datagram(0.1)
        assert int.from_bytes(datagram[8:10], "big") == 4
        assert endpoint.send_queue.newest == 2

    def test_the_time_written_goes_on_from_the_first_answer(self, server: Server) -> None:
        client = Client()
        proof = client.proof_for(server.answer(client.hello))
        datagram = server.accept(proof, now=1.5).connection.endpoint.next_datagram(1.5)
        assert int.from_bytes(datagram[4:8], "big") == WALL + 1

    def test_damaged_it_proves_nothing_and_a_good_one_still_does(self, server: Server) -> None:
        client = Client()
        proof = client.proof_for(server.answer(client.hello))
        for place in range(len(proof)):
            damaged = bytearray(proof)
            damaged[place] ^= 1
            assert server.establish(bytes(damaged)) is None
        assert server.establish(proof[:-1]) is None
        server.accept(proof)

    def test_from_another_address_it_proves_nothing(self, server: Server) -> None:
        client = Client()
        proof = client.proof_for(server.answer(client.hello))
        server.answer(client.hello, OTHER)
        assert server.establish(proof, OTHER) is None
        assert server.establish(proof, IPV6) is None

    def test_with_another_token_it_proves_nothing(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = Client()
        monkeypatch.setattr(
            "mpgameserver.client.handshake.encode_challenge_response",
            lambda token: b"\x00\x84\x00\x03\x01\x00\x05" + (token ^ 1).to_bytes(4, "big"),
        )
        proof = client.proof_for(server.answer(client.hello))
        assert server.establish(proof) is None

    def test_malformed_under_the_right_key_it_proves_nothing(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = Client()
        monkeypatch.setattr(
            "mpgameserver.client.handshake.encode_challenge_response", lambda token: b"nonsense"
        )
        proof = client.proof_for(server.answer(client.hello))
        assert server.establish(proof) is None

    def test_a_second_time_it_proves_nothing(self, server: Server) -> None:
        client = Client()
        proof = client.proof_for(server.answer(client.hello))
        server.accept(proof)
        assert server.establish(proof) is None

    def test_one_client_key_becomes_one_session(self, server: Server) -> None:
        client = Client()
        first, second = server.answer(client.hello), server.answer(client.hello, OTHER)
        proof, other_proof = client.proof_for(first), client.proof_for(second)
        server.accept(proof)
        assert server.establish(other_proof, OTHER) is None
        with pytest.raises(HelloRefused, match="stale hello"):
            server.answer(client.hello, OTHER)


class TestWaiting:
    """Hellos and proofs wait for public-key work, which is the owner's to allot."""

    @pytest.mark.usefixtures("no_public_key_work")
    def test_a_hello_is_received_and_taken_without_public_key_work(self, server: Server) -> None:
        hello = hello_datagram(ClientHello(CLIENT_KEY_DER).encode(1412))
        assert server.receive(hello) is None
        waiting = server.handshakes.take_hello(0.0)
        assert waiting is not None
        assert (waiting.address, waiting.hello.public_key_der) == (ADDRESS, CLIENT_KEY_DER)
        assert server.handshakes.take_hello(0.0) is None

    def test_hellos_are_taken_at_a_limited_rate(self) -> None:
        server = Server(Limits(handshake_rate=100))
        for port in range(1, 51):
            server.receive(Client().hello, ("192.0.2.1", port))
        taken = [0, 0, 0]
        for second, now in enumerate((0.0, 0.04, 0.1)):
            while server.handshakes.take_hello(now) is not None:
                taken[second] += 1
        assert taken == [5, 4, 5]
        assert server.handshakes.next_work() == pytest.approx(0.11)

    def test_the_rate_and_the_caps_can_be_changed(self, server: Server) -> None:
        for port in range(1, 21):
            server.answer(Client().hello, ("192.0.2.1", port))
        server.handshakes.limit(Limits(half_open=10, handshake_rate=1))
        assert len(server.handshakes.half_open) == 20
        server.answer(Client().hello, ADDRESS, now=10.0)
        assert len(server.handshakes.half_open) == 10
        assert server.receive(Client().hello, OTHER, now=10.0) is None
        assert server.handshakes.take_hello(10.5) is None
        assert server.handshakes.take_hello(11.0) is not None

    def test_one_that_finds_no_room_is_refused_as_busy(self) -> None:
        server = Server(Limits(waiting_hellos=2))
        for port in (1, 2):
            server.receive(Client().hello, (f"192.0.2.{port}", port))
        with pytest.raises(HelloRefused, match="busy"):
            server.receive(Client().hello)

    def test_one_that_has_become_a_session_meanwhile_is_not_answered(self, server: Server) -> None:
        client = Client()
        proof = client.proof_for(server.answer(client.hello))
        assert server.receive(client.hello, OTHER) is None
        server.accept(proof)
        waiting = server.handshakes.take_hello(0.0)
        assert waiting is not None
        with pytest.raises(HelloRefused, match="stale hello"):
            server.handshakes.answer(waiting, 0.0)

    def test_the_answer_bears_the_time_when_it_is_made(self, server: Server) -> None:
        server.receive(Client().hello, now=1.0)
        waiting = server.handshakes.take_hello(3.5)
        assert waiting is not None
        packet = decode_clear_packet(
            server.handshakes.answer(waiting, 3.5), PacketType.SERVER_HELLO
        )
        assert packet.header.time == WALL + 3

    def test_a_proof_waits_for_the_exchange_and_later_ones_need_none(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = Client()
        proof = client.proof_for(server.answer(client.hello))
        forged = proof[:-1] + bytes([proof[-1] ^ 1])
        assert server.handshakes.establish(proof, ADDRESS, 0.0) is None
        assert server.handshakes.defer(forged, ADDRESS)
        assert server.handshakes.next_work() < 0.0
        assert server.handshakes.exchange_next(0.0) == (ADDRESS, None)
        assert server.handshakes.exchange_next(0.0) is None
        assert server.handshakes.next_work() == float("inf")
        monkeypatch.setattr(EllipticCurvePrivateKey, "exchange", None)
        assert server.handshakes.establish(forged, ADDRESS, 0.0) is None
        assert not server.handshakes.defer(forged, ADDRESS)
        assert server.handshakes.establish(proof, ADDRESS, 0.0) is not None

    def test_one_proof_of_an_address_waits_and_costs_one_exchange_per_handshake(
        self, server: Server
    ) -> None:
        proofs = []
        for _ in range(3):
            client = Client()
            proofs.append(client.proof_for(server.answer(client.hello)))
        for proof in reversed(proofs):
            assert server.handshakes.defer(proof, ADDRESS)
        tried = [server.handshakes.exchange_next(0.0) for _ in range(3)]
        assert [each and each[0] for each in tried] == [ADDRESS] * 3
        assert [each and each[1] is not None for each in tried] == [False, False, True]
        assert server.handshakes.exchanges == 3
        assert server.handshakes.exchange_next(0.0) is None
        assert server.handshakes.establish(proofs[0], ADDRESS, 0.0) is not None

    def test_what_the_header_shows_to_be_no_proof_does_not_wait(self, server: Server) -> None:
        client = Client()
        proof = client.proof_for(server.answer(client.hello))
        for place, value in ((0, b"X"), (3, b"C"), (8, b"\0\0"), (12, b"\6"), (15, b"\0")):
            bad = proof[:place] + value + proof[place + len(value) :]
            assert not server.handshakes.defer(bad, ADDRESS)
        for size in range(len(proof)):
            assert not server.handshakes.defer(proof[:size], ADDRESS)
        assert not server.handshakes.defer(proof + b"\0", ADDRESS)
        assert not server.handshakes.defer(proof, OTHER)
        assert server.handshakes.defer(proof, ADDRESS)

    def test_a_proof_whose_handshake_has_expired_costs_nothing(self, server: Server) -> None:
        client = Client()
        server.handshakes.defer(client.proof_for(server.answer(client.hello)), ADDRESS)
        server.handshakes.expire(1.0)
        assert server.handshakes.exchange_next(0.0) is None
        assert server.handshakes.exchanges == 0
        assert not server.handshakes.response_waits(ADDRESS)

    def test_nothing_waits_when_all_is_given_up(self, server: Server) -> None:
        client = Client()
        server.handshakes.defer(client.proof_for(server.answer(client.hello)), ADDRESS)
        server.receive(Client().hello)
        server.handshakes.clear()
        assert server.handshakes.next_work() == float("inf")
        assert len(server.handshakes.half_open) == 0


class TestSizes:
    @pytest.fixture
    def any_mtu(self) -> Iterator[None]:
        yield
        Packet.setMTU(1500)

    @pytest.mark.usefixtures("any_mtu")
    @pytest.mark.parametrize("address", [ADDRESS, IPV6], ids=["IPv4", "IPv6"])
    @pytest.mark.parametrize("mtu", [512, 576, 1280, 1500, 9000, 65535])
    def test_no_answer_is_longer_than_the_shortest_hello_that_gets_one(
        self, server: Server, mtu: int, address: SocketAddress
    ) -> None:
        Packet.setMTU(mtu)
        size = hello_size(hello_payload(host_of(address)))
        hello = hello_datagram(ClientHello(CLIENT_KEY_DER).encode(size))
        first, again = server.answer(hello, address), server.receive(hello, address)
        assert again is not None
        assert max(len(first), len(again)) + 8 <= len(hello)  # a signature varies by a few bytes
