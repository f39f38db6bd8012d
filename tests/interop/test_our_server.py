"""A client of the published package on our server.

As in `test_our_client`, all plays go on at the same time, each with a client of its own. The
clients of the published package share one process, unless a play kills theirs.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from interop.jsonlines import (
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

from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import DisconnectReason, RetryMode
from mpgameserver.netsim import LinkConditions
from mpgameserver.server import ThreadedServer
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EventHandler
from mpgameserver.udpproxy import UdpProxy

# Its client needs 17 s for a megabyte: one piece of 1024 bytes per 1/60 s.
PATIENCE = 60.0
# Its client reads one datagram per frame: from a server that sends more than it has frames it
# hears later and later.
TICK = 1 / 30
MESSAGES_PER_TICK = 2
LAST_WORDS = b"last words"
LEAVERS = 60
MOST_THAT_ARE_UNHEARD = 1
DRAIN = 1.0
"""Seconds that a session has for what waits when it ends."""
SECOND_COPY = 1.0
"""Seconds in which a message would come a second time."""
IDLE = 10.0
MESSAGE_TIMEOUT = 1.0
IDLE_TIMEOUT = 5.0
MAX_LATENCY = 0.25
# It does not reply, and is DROPPED after the idle timeout: with a server of its own package, too.
HAS_RECEIVED_DISCONNECT = "DISCONNECTING"


class Recorder(EventHandler):
    """Notes what happens to each client, by its token; sends when it is told."""

    def __init__(self) -> None:
        self.clients: dict[int, ServerClient] = {}
        self.received: defaultdict[int, list[bytes]] = defaultdict(list)
        self.settled: defaultdict[int, list[tuple[bytes, bool]]] = defaultdict(list)
        self.reasons: dict[int, DisconnectReason | None] = {}
        self._playing: dict[ServerClient, Iterator[int]] = {}

    def connect(self, client: ServerClient) -> None:
        self.clients[client.token] = client

    def disconnect(self, client: ServerClient) -> None:
        self.reasons[client.token] = client.reason

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        self.received[client.token].append(msg)

    def update(self, delta_t: float) -> None:
        for client, numbers in self._playing.items():
            for number in itertools.islice(numbers, MESSAGES_PER_TICK):
                for retry in RETRY_MODES:
                    self.send(client, game_message(retry, number), retry)

    def play(self, client: ServerClient) -> None:
        self._playing[client] = iter(range(GAME_MESSAGES))

    def send(self, client: ServerClient, message: bytes, retry: int = -1) -> None:
        settled = self.settled[client.token]
        client.send(message, retry, lambda acked: settled.append((message, acked)))


@dataclass
class Visit:
    """A client of the published package, seen from both sides."""

    name: str
    program: Program
    recorder: Recorder
    context: ServerContext
    token: int

    def tell(self, do: str, *args: object) -> None:
        """Tell the client's program."""
        self.program.tell(self.name, do, *args)

    def call(self, function: Callable[..., None], *args: object) -> None:
        """Call a method of the recorder for this client, on the server's thread."""
        client = self.recorder.clients[self.token]
        self.context.call_soon_threadsafe(function, client, *args)

    @property
    def received(self) -> list[bytes]:
        return self.recorder.received[self.token]

    @property
    def settled(self) -> list[tuple[bytes, bool]]:
        return self.recorder.settled[self.token]

    @property
    def statuses(self) -> list[str]:
        """The statuses that the client has had."""
        return [event["status"] for event in self.program.said("status", self.name)]

    def heard(self, count: int) -> list[str]:
        """The messages that the client has got, once they are so many."""
        events = self.program.wait_for("message", self.name, count, PATIENCE)
        return [event["message"] for event in events]

    def reason(self, seconds: float) -> DisconnectReason | None:
        """Why the server lost the client, within so many seconds."""
        wait_until(lambda: self.token in self.recorder.reasons, seconds)
        return self.recorder.reasons[self.token]


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"in vain for {seconds} s"
        time.sleep(0.01)


class OurServer:
    """Our server, running, and the way of clients of the published package into it."""

    names = map("client {}".format, itertools.count())

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.key = EllipticCurvePrivateKey.new()
        self.context = ServerContext(self.recorder, self.key)
        self.context.setInterval(TICK)
        self.threaded = ThreadedServer(self.context, ("127.0.0.1", 0))

    def entered(self, program: Program, by: tuple[str, int] | None = None) -> Visit:
        """A client of that program, connected (`by` a proxy) with the server's key pinned."""
        [visit] = self.all_entered(program, by or self.threaded.address, 1)
        return visit

    def all_entered(self, program: Program, by: tuple[str, int], count: int) -> list[Visit]:
        """So many clients of that program, connected at the same time."""
        names = list(itertools.islice(self.names, count))
        for name in names:
            program.tell(name, "enter", self.key.getPublicKey().getPublicKeyPEM())
            program.tell(name, "connect", *by)
        return [self._entered(program, name) for name in names]

    def _entered(self, program: Program, name: str) -> Visit:
        assert program.wait_for("connect", name)[0]["ok"]
        program.tell(name, "report")
        token = program.wait_for("report", name)[0]["token"]
        wait_until(lambda: token in self.recorder.clients, 5.0)
        return Visit(name, program, self.recorder, self.context, token)


@contextmanager
def published_clients() -> Iterator[Program]:
    with Program(published_python(), "published_client.py") as program:
        program.wait_for("ready")
        yield program


def a_thousand_small_messages_of_each_mode_arrive_each_way(
    server: OurServer, program: Program
) -> None:
    total = GAME_MESSAGES * len(RETRY_MODES)
    visit = server.entered(program)
    visit.tell("play")
    visit.call(server.recorder.play)
    heard = visit.heard(total)
    wait_until(lambda: len(visit.received) >= total and len(visit.settled) >= total)
    program.wait_for("settled", visit.name, total, PATIENCE)
    visit.tell("report")
    reports = program.wait_for("report", visit.name, 2)
    latency = server.recorder.clients[visit.token].latency
    time.sleep(SECOND_COPY)

    expected = set(map(fingerprint, game_messages()))
    assert Counter(visit.received) == Counter(game_messages())
    assert Counter(visit.settled) == Counter((message, True) for message in game_messages())
    assert Counter(heard) == Counter(expected)
    assert program.count("message", visit.name) == total
    # It calls back for each copy that was acked.
    settled = {(e["message"], e["acked"]) for e in program.said("settled", visit.name)}
    assert settled == {(message, True) for message in expected}
    assert 0 < latency < MAX_LATENCY
    assert 0 < reports[1]["latency"] < MAX_LATENCY


def messages_of_every_size_arrive_there(server: OurServer, program: Program) -> None:
    visit = server.entered(program)
    expected = [content(size) for size in SIZES_TO_PUBLISHED]
    for message in expected:
        visit.call(server.recorder.send, message)
    heard = visit.heard(len(expected))
    wait_until(lambda: len(visit.settled) == len(expected), 5.0)
    assert Counter(heard) == Counter(map(fingerprint, expected))
    assert Counter(visit.settled) == Counter((message, True) for message in expected)


def messages_of_every_size_that_it_can_send_arrive_here(
    server: OurServer, program: Program
) -> None:
    visit = server.entered(program)
    for size in SIZES_FROM_PUBLISHED:
        visit.tell("send", size, -1)
    wait_until(lambda: len(visit.received) >= len(SIZES_FROM_PUBLISHED))
    time.sleep(SECOND_COPY)
    assert Counter(visit.received) == Counter(map(content, SIZES_FROM_PUBLISHED))


def messages_arrive_there_over_a_path_that_drops_large_datagrams(
    server: OurServer, program: Program
) -> None:
    target = server.threaded.address
    expected = [content(size) for size in SIZES_ON_A_NARROW_PATH]
    with UdpProxy(("127.0.0.1", 0), target, LinkConditions(max_datagram=NARROW_PATH)) as proxy:
        visit = server.entered(program, proxy.address)
        end = time.monotonic() + NARROW_PATH_FOUND
        while time.monotonic() < end:
            visit.call(ServerClient.send, bytes(1434), RetryMode.NONE)
            time.sleep(0.05)
            visit.call(ServerClient.send, b"small", RetryMode.NONE)
            time.sleep(0.05)
        for message in expected:
            visit.call(server.recorder.send, message)
        wait_until(lambda: len(visit.settled) == len(expected))
        time.sleep(SECOND_COPY)
        heard = [event["message"] for event in program.said("message", visit.name)]
        visit.call(ServerClient.disconnect)
    assert Counter(visit.settled) == Counter((message, True) for message in expected)
    assert [heard.count(fingerprint(message)) for message in expected] == [1] * len(expected)


def a_session_outlives_ten_idle_seconds(server: OurServer, program: Program) -> None:
    visit = server.entered(program)
    time.sleep(IDLE)
    client = server.recorder.clients[visit.token]
    assert 0 < client.latency < MAX_LATENCY
    assert all(client.stats.latency[-int(IDLE) + 1 : -1])  # a sample in each second
    assert program.count("message", visit.name) == 0
    assert visit.received == []
    assert visit.statuses[-1] == "CONNECTED"
    assert visit.token not in server.recorder.reasons
    visit.tell("send", 1, -1)
    visit.call(server.recorder.send, b"still here")
    assert visit.heard(1) == [fingerprint(b"still here")]
    wait_until(lambda: visit.received == [content(1)], 5.0)


def no_packet_of_the_handshake_times_out(server: OurServer, program: Program) -> None:
    visit = server.entered(program)
    time.sleep(2 * MESSAGE_TIMEOUT)
    visit.tell("report")
    reports = program.wait_for("report", visit.name, 2)
    assert reports[-1]["timeouts"] == 0
    assert server.recorder.clients[visit.token].stats.timeouts == 0
    assert not program.said("logged")


def its_disconnect_is_replied_to(server: OurServer, program: Program) -> None:
    visit = server.entered(program)
    visit.tell("disconnect")
    assert visit.reason(IDLE_TIMEOUT / 2) == DisconnectReason.CLIENT
    program.wait_for("disconnected", visit.name)
    wait_until(lambda: visit.statuses[-1] == "DISCONNECTED", 5.0)


def its_forced_end_is_noticed(server: OurServer, program: Program) -> None:
    visit = server.entered(program)
    visit.tell("leave")  # without a word
    assert visit.reason(IDLE_TIMEOUT * 2) == DisconnectReason.TIMEOUT


def a_client_that_vanishes_is_given_up(server: OurServer, _: Program) -> None:
    with published_clients() as another:
        visit = server.entered(another)
        began = time.monotonic()
        another.kill()
        assert visit.reason(IDLE_TIMEOUT * 2) == DisconnectReason.TIMEOUT
        assert time.monotonic() - began > IDLE_TIMEOUT - 1


def a_client_that_is_thrown_out_hears_of_it(server: OurServer, program: Program) -> None:
    visit = server.entered(program)
    visit.call(ServerClient.disconnect)
    wait_until(lambda: visit.statuses[-1] == HAS_RECEIVED_DISCONNECT, IDLE_TIMEOUT / 2)
    assert visit.reason(IDLE_TIMEOUT / 2) == DisconnectReason.KICKED


def a_server_that_stops_disconnects_its_clients(_: OurServer, program: Program) -> None:
    another = OurServer()
    with another.threaded:
        visit = another.entered(program)
    assert visit.reason(0.0) == DisconnectReason.SHUTDOWN
    wait_until(lambda: visit.statuses[-1] == HAS_RECEIVED_DISCONNECT, IDLE_TIMEOUT / 2)


PLAYS = (
    a_thousand_small_messages_of_each_mode_arrive_each_way,
    messages_of_every_size_arrive_there,
    messages_of_every_size_that_it_can_send_arrive_here,
    messages_arrive_there_over_a_path_that_drops_large_datagrams,
    a_session_outlives_ten_idle_seconds,
    no_packet_of_the_handshake_times_out,
    its_disconnect_is_replied_to,
    its_forced_end_is_noticed,
    a_client_that_vanishes_is_given_up,
    a_client_that_is_thrown_out_hears_of_it,
    a_server_that_stops_disconnects_its_clients,
)


@pytest.fixture(scope="module")
def outcomes() -> dict[Callable[..., None], Future[None]]:
    server = OurServer()
    with published_clients() as program, server.threaded:
        return at_the_same_time(PLAYS, server, program)


@pytest.mark.parametrize("play", PLAYS, ids=[play.__name__ for play in PLAYS])
def test_a_published_client(play, outcomes):
    outcomes[play].result()


def test_what_is_reliable_arrives_there_before_a_disconnect_at_30_percent_loss():
    """By itself: so many handshakes hold a program of published clients up for a second."""
    server = OurServer()
    with (
        published_clients() as program,
        server.threaded,
        LossyProxy(server.threaded.address) as proxy,
    ):
        visits = server.all_entered(program, proxy.address, LEAVERS)
        proxy.is_lossy = True
        for visit in visits:
            visit.call(say_last_words)
        time.sleep(DRAIN)
        for visit in visits:
            assert visit.reason(IDLE_TIMEOUT / 2) == DisconnectReason.KICKED
        time.sleep(SECOND_COPY)
        heard = [
            [event["message"] for event in program.said("message", visit.name)] for visit in visits
        ]
    assert heard.count([fingerprint(LAST_WORDS)]) >= LEAVERS - MOST_THAT_ARE_UNHEARD


def say_last_words(client: ServerClient) -> None:
    client.send_guaranteed(LAST_WORDS)
    client.disconnect()
