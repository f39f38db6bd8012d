"""Our client on a server of the published package.

Whatever takes long (a thousand frames, a megabyte, ten idle seconds, an idle timeout) runs at the
same time, each with its own client. The fixture plays it all; each test is one of the plays.
"""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from interop.jsonlines import (
    FRAME,
    GAME_MESSAGES,
    NARROW_PATH,
    NARROW_PATH_FOUND,
    RETRY_MODES,
    SIZES_FROM_PUBLISHED,
    SIZES_ON_A_NARROW_PATH,
    SIZES_TO_PUBLISHED,
    content,
    fingerprint,
    game_message,
    game_messages,
)
from interop.lossyproxy import LossyProxy
from interop.published import Program, at_the_same_time, published_python
from support import wire
from support.patience import PATIENCE
from support.wire2.handshake import is_downgraded

from mpgameserver.client import UdpClient
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.enums import ConnectFailure, ConnectionStatus, RetryMode
from mpgameserver.netsim import LinkConditions
from mpgameserver.udpproxy import UdpProxy

VECTORS = json.loads(Path(__file__).parents[1].joinpath("protocol2.json").read_text())
OFFERS = [hello for hello in VECTORS["hellos"] if hello["form"] == 1]
CLIENT_HELLOS2 = [hello for hello in VECTORS["hellos"] if hello["form"] == 2]
# Its server needs 34 s for a megabyte: it sends 30 pieces of 1024 bytes a second.
LONG_PATIENCE = 60.0
IDLE = 10.0
IDLE_TIMEOUT = 5.0
MESSAGE_TIMEOUT = 1.0
LAST_WORDS = b"last words"
LEAVERS = 60
MOST_THAT_ARE_UNHEARD = 1
SECOND_COPY = 0.5
"""Seconds in which a message would come a second time."""
# It acks every 0.115 s, and looks every 1/60 s.
MAX_LATENCY = 0.25


class Player:
    """Our end of a session with their server."""

    def __init__(self, client: UdpClient) -> None:
        assert client.protocol != 2
        self.client = client
        self.token = client.token()
        self.received: list[bytes] = []
        self.settled: list[tuple[bytes, bool]] = []

    def send(self, message: bytes, retry: int = -1) -> None:
        self.client.send(message, retry, lambda acked: self.settled.append((message, acked)))

    def frame(self) -> None:
        self.client.update()
        self.received += [message for _, message in self.client.getMessages()]
        time.sleep(FRAME)

    def frames_until(self, condition: Callable[[], object], seconds: float = LONG_PATIENCE) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{self.client!r} in vain for {seconds} s"
            self.frame()

    def frames_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.frame()


@dataclass
class PublishedServer:
    """A running server of the published package, and what a client of it must know."""

    program: Program
    public_key: str
    port: int

    @contextmanager
    def joined(self) -> Iterator[Player]:
        """A session with it, opened with its key pinned."""
        with UdpClient(self.public_key) as client:
            outcomes: list[bool] = []
            client.connect(("127.0.0.1", self.port), outcomes.append)
            Player(client).frames_until(lambda: outcomes, PATIENCE)
            assert outcomes == [True], client.failure
            self.program.wait_for("connect", client.token())
            yield Player(client)

    def wait_until_it_listens(self) -> None:
        """Connect until somebody answers: nothing else tells from when on it does."""
        end = time.monotonic() + PATIENCE
        with UdpClient(self.public_key) as client:
            while not client.connected():
                assert time.monotonic() < end, client.failure
                client.connect(("127.0.0.1", self.port))
                Player(client).frames_until(lambda: client.status() != ConnectionStatus.CONNECTING)


def free_port() -> int:
    """A port that was free a moment ago: the published server cannot say which one it got."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def published_server() -> Iterator[PublishedServer]:
    port = free_port()
    with Program(published_python(), "published_server.py", str(port)) as program:
        server = PublishedServer(program, program.wait_for("key")[0]["pem"], port)
        server.wait_until_it_listens()
        yield server


def a_thousand_small_messages_of_each_mode_arrive_each_way(server: PublishedServer) -> None:
    total = GAME_MESSAGES * len(RETRY_MODES)
    with server.joined() as player:
        server.program.tell(player.token, "play")
        for number in range(GAME_MESSAGES):
            for retry in RETRY_MODES:
                player.send(game_message(retry, number), retry)
            player.frame()
        player.frames_until(lambda: len(player.settled) >= total)
        player.frames_until(lambda: server.program.count("settled", player.token) >= total)
        server.program.tell(player.token, "latency")
        player.frames_for(SECOND_COPY)
        latency = player.client.latency()

    assert Counter(player.received) == Counter(game_messages())
    assert Counter(player.settled) == Counter((message, True) for message in game_messages())
    heard = [event["message"] for event in server.program.said("message", player.token)]
    assert Counter(heard) == Counter(map(fingerprint, game_messages()))
    acked = [event["acked"] for event in server.program.said("settled", player.token)]
    assert set(acked) == {True}
    assert len(acked) >= total  # it calls back once per copy that is acked
    assert 0 < latency < MAX_LATENCY
    assert 0 < server.program.said("latency", player.token)[0]["seconds"] < MAX_LATENCY


def a_burst_arrives_once(server: PublishedServer) -> None:
    # Its duplicate filter is 256 numbers wide, and its ack may come after the first repetition.
    for retry, idle in product(RETRY_MODES, (0.30, 0.34, 0.38)):
        with server.joined() as player:
            player.frames_for(idle)
            burst = [game_message(retry, number) for number in range(GAME_MESSAGES)]
            for message in burst:
                player.send(message, retry)
            player.frames_until(lambda: len(player.settled) >= GAME_MESSAGES)
            player.frames_for(SECOND_COPY)
        heard = [event["message"] for event in server.program.said("message", player.token)]
        assert Counter(heard) == Counter(map(fingerprint, burst))


def messages_of_every_size_arrive_there(server: PublishedServer) -> None:
    with server.joined() as player:
        for size in SIZES_TO_PUBLISHED:
            player.send(content(size))
        player.frames_until(lambda: len(player.settled) == len(SIZES_TO_PUBLISHED))
        events = server.program.wait_for("message", player.token, len(SIZES_TO_PUBLISHED))
    expected = [content(size) for size in SIZES_TO_PUBLISHED]
    assert Counter(event["message"] for event in events) == Counter(map(fingerprint, expected))
    assert Counter(player.settled) == Counter((message, True) for message in expected)


def messages_of_every_size_that_it_can_send_arrive_here(server: PublishedServer) -> None:
    with server.joined() as player:
        for size in SIZES_FROM_PUBLISHED:
            server.program.tell(player.token, "send", size, -1)
        player.frames_until(lambda: len(player.received) >= len(SIZES_FROM_PUBLISHED))
        player.frames_for(SECOND_COPY)
    assert Counter(player.received) == Counter(map(content, SIZES_FROM_PUBLISHED))


def messages_arrive_there_over_a_path_that_drops_large_datagrams(server: PublishedServer) -> None:
    target = ("127.0.0.1", server.port)
    expected = [content(size) for size in SIZES_ON_A_NARROW_PATH]
    with UdpProxy(("127.0.0.1", 0), target, LinkConditions(max_datagram=NARROW_PATH)) as proxy:
        behind = PublishedServer(server.program, server.public_key, proxy.address[1])
        with behind.joined() as player:
            end = time.monotonic() + NARROW_PATH_FOUND
            while time.monotonic() < end:
                player.client.send(bytes(1434), RetryMode.NONE)
                player.frames_for(0.05)
                player.client.send(b"small", RetryMode.NONE)
                player.frames_for(0.05)
            for message in expected:
                player.send(message)
            player.frames_until(lambda: len(player.settled) == len(expected))
            player.frames_for(SECOND_COPY)
            heard = [event["message"] for event in server.program.said("message", player.token)]
    assert Counter(player.settled) == Counter((message, True) for message in expected)
    assert [heard.count(fingerprint(message)) for message in expected] == [1] * len(expected)


def a_session_outlives_ten_idle_seconds(server: PublishedServer) -> None:
    with server.joined() as player:
        player.frames_for(IDLE)
        assert player.client.connected()
        assert 0 < player.client.latency() < MAX_LATENCY
        assert all(player.client.stats().latency[-int(IDLE) + 1 : -1])  # a sample in each second
        assert server.program.count("message", player.token) == 0
        assert not server.program.said("disconnect", player.token)
        player.send(b"still here")
        server.program.tell(player.token, "send", 1, -1)
        player.frames_until(lambda: player.settled and player.received, 5.0)
    assert player.received == [content(1)]


def no_packet_of_the_handshake_times_out(server: PublishedServer) -> None:
    with server.joined() as player:
        player.frames_for(2 * MESSAGE_TIMEOUT)
        server.program.tell(player.token, "latency")
        player.frames_until(lambda: server.program.said("latency", player.token), PATIENCE)
        assert player.client.stats().timeouts == 0
    [figures] = server.program.said("latency", player.token)
    assert figures["timeouts"] == 0
    assert not server.program.said("logged")


def a_disconnect_is_replied_to(server: PublishedServer) -> None:
    # On a busy machine it now and then forgets a client without an answer.
    assert any(disconnect_is_replied_to(server) for _ in range(3))


def disconnect_is_replied_to(server: PublishedServer) -> bool:
    """Disconnect, which the server must notice; True when it also replies in time."""
    with server.joined() as player:
        player.send(b"last words")
        player.client.disconnect()
        began = time.monotonic()
        player.client.waitForDisconnect()
        seconds = time.monotonic() - began
        assert player.client.status() == ConnectionStatus.DISCONNECTED
        server.program.wait_for("disconnect", player.token)
        heard = [event["message"] for event in server.program.said("message", player.token)]
        assert heard == [fingerprint(b"last words")]
    return seconds < 1.0 and player.settled == [(b"last words", True)]


def a_forced_end_is_heard_of(server: PublishedServer) -> None:
    with server.joined() as player:
        player.client.forceDisconnect()
        assert player.client.status() == ConnectionStatus.DISCONNECTED
        server.program.wait_for("disconnect", player.token, seconds=IDLE_TIMEOUT / 2)


def a_client_that_falls_silent_is_given_up(server: PublishedServer) -> None:
    with server.joined() as player:
        server.program.wait_for("disconnect", player.token, seconds=IDLE_TIMEOUT * 2)


def a_client_that_is_thrown_out_is_disconnected(server: PublishedServer) -> None:
    with server.joined() as player:
        server.program.tell(player.token, "throw_out")
        player.frames_until(lambda: not player.client.connected(), IDLE_TIMEOUT / 2)
        assert player.client.status() == ConnectionStatus.DISCONNECTED


def a_server_that_dies_is_noticed(_: PublishedServer) -> None:
    with published_server() as another, another.joined() as player:
        player.frames_for(0.5)
        another.program.kill()
        began = time.monotonic()
        player.frames_until(lambda: not player.client.connected(), IDLE_TIMEOUT * 2)
        assert player.client.status() == ConnectionStatus.DROPPED
        assert time.monotonic() - began > IDLE_TIMEOUT - 1


def a_server_with_another_key_is_not_joined(server: PublishedServer) -> None:
    other_key = EllipticCurvePrivateKey.new().getPublicKey()
    with UdpClient(other_key) as client:
        outcomes: list[bool] = []
        client.setConnectionTimeout(1.0)
        client.connect(("127.0.0.1", server.port), outcomes.append)
        Player(client).frames_until(lambda: outcomes, 5.0)
        assert outcomes == [False]
        assert client.failure == ConnectFailure.WRONG_KEY


def a_hello_with_an_offer_of_protocol_2_is_answered_as_any(server: PublishedServer) -> None:
    """The offers of the golden hellos are filler to it."""
    root_key = EllipticCurvePublicKey.fromPEM(server.public_key).getBytes()
    for hello in OFFERS:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            for unknown in CLIENT_HELLOS2:  # as from the second try on
                sock.sendto(bytes.fromhex(unknown["datagram"]), ("127.0.0.1", server.port))
            sock.sendto(bytes.fromhex(hello["datagram"]), ("127.0.0.1", server.port))
            header, message = wire.unpack_clear(sock.recv(2048))
        assert header.type == wire.SERVER_HELLO, hello["name"]
        answer = wire.unpack_server_hello(message.payload, root_key)
        assert not is_downgraded(answer.salt), "its salts are random"


PLAYS = (
    a_hello_with_an_offer_of_protocol_2_is_answered_as_any,
    a_burst_arrives_once,
    a_thousand_small_messages_of_each_mode_arrive_each_way,
    messages_of_every_size_arrive_there,
    messages_of_every_size_that_it_can_send_arrive_here,
    messages_arrive_there_over_a_path_that_drops_large_datagrams,
    a_session_outlives_ten_idle_seconds,
    no_packet_of_the_handshake_times_out,
    a_disconnect_is_replied_to,
    a_forced_end_is_heard_of,
    a_client_that_falls_silent_is_given_up,
    a_client_that_is_thrown_out_is_disconnected,
    a_server_that_dies_is_noticed,
    a_server_with_another_key_is_not_joined,
)


@pytest.fixture(scope="module")
def outcomes() -> dict[Callable[[PublishedServer], None], Future[None]]:
    with published_server() as server:
        return at_the_same_time(PLAYS, server)


@pytest.mark.parametrize("play", PLAYS, ids=[play.__name__ for play in PLAYS])
def test_on_a_published_server(play, outcomes):
    outcomes[play].result()


def test_what_is_reliable_arrives_before_a_disconnect_at_30_percent_loss():
    """By itself: so many handshakes hold a published server up for a second."""
    with (
        published_server() as server,
        LossyProxy(("127.0.0.1", server.port)) as proxy,
        ExitStack() as opened,
    ):
        clients = [opened.enter_context(UdpClient(server.public_key)) for _ in range(LEAVERS)]
        for client in clients:
            client.connect(proxy.address)
        update_until(clients, lambda client: client.connected())
        tokens = [client.token() for client in clients]
        for token in tokens:
            server.program.wait_for("connect", token)
        proxy.is_lossy = True
        for client in clients:
            client.send_guaranteed(LAST_WORDS)
            client.disconnect()
        update_until(clients, lambda client: client.status() == ConnectionStatus.DISCONNECTED)
        heard = [
            [event["message"] for event in server.program.said("message", token)]
            for token in tokens
        ]
    assert heard.count([fingerprint(LAST_WORDS)]) >= LEAVERS - MOST_THAT_ARE_UNHEARD


def update_until(clients: list[UdpClient], done: Callable[[UdpClient], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not all(map(done, clients)):
        assert time.monotonic() < end
        for client in clients:
            client.update()
        time.sleep(FRAME)
