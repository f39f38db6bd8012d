"""Datagrams in and out of real sockets: alone, in runs, and where the platform has no runs."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from support.finalizers import CollectedSoon
from support.patience import PATIENCE

from mpgameserver._core.datagrams import (
    HAS_RUNS,
    IS_NATIVE,
    MAX_KNOWN_ADDRESSES,
    TELLS_LOCAL,
    DatagramSocket,
    forget_addresses,
)
from mpgameserver.transport.poll import wait_readable
from mpgameserver.transport.sockets import PlainSocket

BUFFER = 1 << 20
Moves = DatagramSocket | PlainSocket
Make = Callable[[socket.socket], Moves]

native = pytest.mark.skipif(not IS_NATIVE, reason="this platform has no DatagramSocket")


def without_runs(sock: socket.socket) -> DatagramSocket:
    return DatagramSocket(sock, runs=False)


WAYS = [
    pytest.param(DatagramSocket, id="runs", marks=native),
    pytest.param(without_runs, id="no runs", marks=native),
    pytest.param(PlainSocket, id="plain"),
]


def loopback(family: socket.AddressFamily) -> str:
    return "::1" if family == socket.AF_INET6 else "127.0.0.1"


def bound(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    try:
        sock.bind((loopback(family), 0))
    except OSError as error:
        sock.close()
        pytest.skip(f"no {loopback(family)}: {error}")
    return sock


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    found: socket.AddressFamily = request.param
    return found


@pytest.fixture(params=WAYS)
def make(request: pytest.FixtureRequest) -> Make:
    found: Make = request.param
    return found


@pytest.fixture
def peer(family: socket.AddressFamily) -> Iterator[socket.socket]:
    """The other side, a socket of the socket module that blocks."""
    with bound(family) as sock:
        sock.settimeout(PATIENCE)
        yield sock


@pytest.fixture
def own(make: Make, family: socket.AddressFamily) -> Iterator[tuple[Moves, socket.socket]]:
    sock = bound(family)
    moves = make(sock)
    yield moves, sock
    moves.close()


def read(sock: socket.socket, count: int) -> list[bytes]:
    return [sock.recv(65536) for _ in range(count)]


def read_all(moves: Moves, sock: socket.socket, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        datagram = moves.receive()
        if datagram is None:
            wait_readable(sock, PATIENCE)
        else:
            found.append(datagram)
    return found


class TestOneByOne:
    def test_a_datagram_arrives_with_the_address_that_the_socket_module_tells(self, own, peer):
        moves, sock = own
        assert moves.receive_from() is None
        for _ in range(2):
            peer.sendto(b"there", sock.getsockname())
            wait_readable(sock, PATIENCE)
            assert moves.receive_from() == (b"there", peer.getsockname())
        assert moves.receive_from() is None

    def test_it_leaves_for_an_address_at_the_next_flush(self, own, peer):
        moves, sock = own
        assert moves.queue(b"back", peer.getsockname())
        assert moves.flush()
        assert peer.recvfrom(100) == (b"back", sock.getsockname())

    def test_send_leaves_at_once_behind_what_was_queued(self, own, peer):
        moves, _ = own
        assert moves.queue(b"one", peer.getsockname())
        assert moves.send(b"two", peer.getsockname())
        assert read(peer, 2) == [b"one", b"two"]

    def test_an_empty_datagram_is_one(self, own, peer):
        moves, sock = own
        for datagram in (b"x", b"", b"", b"y"):
            assert moves.queue(datagram, peer.getsockname())
        assert moves.flush()
        assert read(peer, 4) == [b"x", b"", b"", b"y"]
        peer.sendto(b"", sock.getsockname())
        wait_readable(sock, PATIENCE)
        assert moves.receive() == b""

    def test_the_largest_arrives_whole(self, own, peer):
        moves, sock = own
        largest = bytes(65507)
        assert moves.send(largest, peer.getsockname())
        assert peer.recv(65536) == largest
        peer.sendto(largest, sock.getsockname())
        wait_readable(sock, PATIENCE)
        assert moves.receive() == largest

    def test_what_the_network_cannot_carry_counts_as_sent(self, own, peer):
        moves, _ = own
        assert moves.send(bytes(70_000), peer.getsockname())
        assert moves.send(b"x", (*peer.getsockname()[:1], 0, *peer.getsockname()[2:]))
        assert moves.send(b"still there", peer.getsockname())
        assert peer.recv(100) == b"still there"

    def test_closing_twice_is_harmless_and_nothing_moves_any_more(self, own, peer):
        moves, sock = own
        moves.close()
        moves.close()
        assert sock.fileno() == -1
        assert moves.receive() is None
        assert moves.send(b"x", peer.getsockname())


@native
class TestSpinning:
    @pytest.fixture
    def pair(self) -> Iterator[tuple[DatagramSocket, socket.socket, socket.socket]]:
        sock, other = bound(), bound()
        sock.connect(other.getsockname())
        other.connect(sock.getsockname())
        with other:
            moves = DatagramSocket(sock)
            yield moves, sock, other
            moves.close()

    def test_it_finds_what_waits_and_takes_nothing(self, pair):
        moves, sock, other = pair
        other.send(b"there")
        wait_readable(sock, PATIENCE)
        assert moves.spin(0.0)
        assert moves.receive() == b"there"

    def test_it_ends_when_nothing_comes(self, pair):
        assert not pair[0].spin(0.0)
        assert not pair[0].spin(0.001)

    def test_it_finds_what_another_thread_sends_meanwhile(self, pair):
        moves, _, other = pair
        sender = threading.Thread(target=other.send, args=(b"there",))
        sender.start()
        assert moves.spin(PATIENCE)
        sender.join()
        assert moves.receive() == b"there"

    def test_it_ends_with_an_error_that_a_read_will_tell(self, pair):
        moves, _, other = pair
        other.close()
        moves.send(b"anybody there?")
        assert moves.spin(PATIENCE)
        assert moves.receive() is None
        assert moves.refused

    def test_the_rest_of_a_run_is_something_to_read(self, pair):
        moves, sock, other = pair
        sender = DatagramSocket(other)
        for datagram in (b"one", b"two"):
            sender.queue(datagram)
        sender.flush()
        wait_readable(sock, PATIENCE)
        assert moves.receive() == b"one"
        assert moves.spin(0.0)
        assert moves.receive() == b"two"


class TestConnected:
    def test_a_closed_port_is_noticed_and_raises_nothing(self, own, peer):
        moves, sock = own
        sock.connect(peer.getsockname())
        peer.close()
        assert moves.send(b"anybody there?")
        wait_readable(sock, PATIENCE)
        assert moves.receive() is None
        assert moves.refused

    def test_it_needs_no_address(self, own, peer):
        moves, sock = own
        sock.connect(peer.getsockname())
        assert moves.queue(b"one")
        assert moves.queue(b"two")
        assert moves.flush()
        assert read(peer, 2) == [b"one", b"two"]


class TestRuns:
    @pytest.mark.parametrize(
        "sizes",
        [[100] * 3, [1472] * 200, [1472] * 10 + [7], [10, 20, 30], [30, 20, 10], [1, 0, 1]],
        ids=["three", "several runs", "a shorter last one", "growing", "shrinking", "empty"],
    )
    def test_a_run_arrives_as_the_datagrams_that_it_was(self, own, peer, sizes):
        moves, _ = own
        datagrams = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
        for datagram in datagrams:
            assert moves.queue(datagram, peer.getsockname())
        assert moves.flush()
        assert read(peer, len(datagrams)) == datagrams

    def test_what_goes_to_others_in_between_arrives_there(self, own, family, peer):
        moves, _ = own
        with bound(family) as other:
            other.settimeout(PATIENCE)
            for n in range(6):
                to = other if n % 3 == 2 else peer
                assert moves.queue(bytes([n]) * 50, to.getsockname())
            assert moves.flush()
            assert read(peer, 4) == [bytes([n]) * 50 for n in (0, 1, 3, 4)]
            assert read(other, 2) == [bytes([n]) * 50 for n in (2, 5)]

    @native
    @pytest.mark.parametrize("last", [0, 1, 99])
    def test_a_run_that_is_read_as_one_piece_is_cut_up(self, own, family, last):
        receiver, sock = own
        sender_sock = bound(family)
        sender = DatagramSocket(sender_sock)
        run = [bytes([n]) * 100 for n in range(40)] + ([b"." * last] if last else [])
        for datagram in run:
            assert sender.queue(datagram, sock.getsockname())
        assert sender.flush()
        assert read_all(receiver, sock, len(run)) == run
        assert receiver.receive_from() is None
        sender.close()

    @native
    def test_each_datagram_of_a_run_has_its_address(self, own, family):
        receiver, sock = own
        sender_sock = bound(family)
        sender = DatagramSocket(sender_sock)
        for n in range(3):
            assert sender.queue(bytes([n]), sock.getsockname())
        assert sender.flush()
        wait_readable(sock, PATIENCE)
        address = sender_sock.getsockname()
        assert [receiver.receive_from() for _ in range(3)] == [
            (bytes([n]), address) for n in range(3)
        ]
        sender.close()

    @pytest.mark.skipif(not HAS_RUNS, reason="this platform has no runs")
    def test_a_run_leaves_in_one_call(self, peer, family):
        """A run that the receiver takes whole must have left whole."""
        sock = bound(family)
        peer.setsockopt(17, 104, 1)  # SOL_UDP, UDP_GRO
        sender = DatagramSocket(sock)
        for n in range(5):
            assert sender.queue(bytes([n]) * 100, peer.getsockname())
        assert sender.flush()
        assert len(peer.recv(65536)) == 500
        sender.close()


@native
class TestFullBuffers:
    """A Unix socket blocks when the receiver does not read, which UDP over loopback never does."""

    @pytest.fixture
    def ends(self) -> Iterator[tuple[DatagramSocket, socket.socket]]:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.setblocking(False)
        far.settimeout(PATIENCE)
        moves = DatagramSocket(near, runs=False)
        yield moves, far
        moves.close()
        far.close()

    def test_what_the_kernel_does_not_take_is_told_and_nothing_is_lost(self, ends):
        moves, far = ends
        queued = []
        for n in range(100_000):
            datagram = n.to_bytes(4, "big") * 50
            if not moves.queue(datagram):
                break
            queued.append(datagram)
        else:
            raise AssertionError("it never blocked")
        assert not moves.flush()
        received = read(far, 1)
        assert moves.flush()
        received += read(far, len(queued) - 1)
        assert received == queued


@native
class TestBounds:
    def test_known_addresses_are_forgotten_when_there_are_too_many(self, peer, family):
        sock = bound(family)
        moves = DatagramSocket(sock)
        scope = () if family == socket.AF_INET else (0, 0)
        for n in range(MAX_KNOWN_ADDRESSES + 10):
            host = f"127.1.{n >> 8}.{n & 255}" if family == socket.AF_INET else f"::2:{n:x}"
            moves.queue(b"x", (host, 9, *scope))
        peer.sendto(b"there", sock.getsockname())
        wait_readable(sock, PATIENCE)
        assert moves.receive_from() == (b"there", peer.getsockname())
        moves.close()

    def test_a_name_that_is_no_address_is_lost_like_what_cannot_be_carried(self):
        sock = bound()
        moves = DatagramSocket(sock)
        assert moves.send(b"x", ("no address", 9))
        moves.close()


@pytest.mark.skipif(not TELLS_LOCAL, reason="this platform does not tell local addresses")
class TestLocalAddresses:
    """A datagram is answered from the address that it came to: `peer` accepts no other."""

    @pytest.fixture(params=["0.0.0.0", "::"])
    def server(
        self, request: pytest.FixtureRequest
    ) -> Iterator[tuple[DatagramSocket, socket.AddressFamily, int]]:
        family = socket.AF_INET6 if request.param == "::" else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((request.param, 0))
        moves = DatagramSocket(sock, local=True)
        yield moves, family, sock.getsockname()[1]
        moves.close()

    @pytest.fixture(params=["127.0.0.1", "127.0.0.2", "127.0.1.1", "::1"])
    def peer(self, request: pytest.FixtureRequest, server) -> Iterator[socket.socket]:
        _, heard, port = server
        family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
        if family == socket.AF_INET6 and heard == socket.AF_INET:
            pytest.skip("the server hears no IPv6")
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((request.param, 0))
            except OSError as error:  # macOS has 127.0.0.1 only
                pytest.skip(f"no {request.param}: {error}")
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.connect((request.param, port))
            sock.send(b"there")
            yield sock

    @staticmethod
    def address(moves: DatagramSocket) -> tuple:
        while (received := moves.receive_from()) is None:
            pass
        return received[1]

    def test_the_address_ends_with_the_one_that_was_spoken_to(self, server, peer):
        address = self.address(server[0])
        assert address[-1].removeprefix("::ffff:") == peer.getpeername()[0]
        assert address[1] == peer.getsockname()[1]

    @pytest.mark.parametrize("count", [1, 2, 40])
    def test_answers_leave_from_there_alone_and_in_runs(self, server, peer, count):
        moves = server[0]
        address = self.address(moves)
        answers = [bytes([n]) * 100 for n in range(count)]
        for answer in answers:
            assert moves.queue(answer, address)
        assert moves.flush()
        assert read(peer, count) == answers

    def test_a_local_address_that_has_vanished_is_forgotten(self, server):
        moves, family, _ = server
        gone = "2001:db8::77" if family == socket.AF_INET6 else "192.0.2.77"
        with socket.socket(family, socket.SOCK_DGRAM) as peer:
            peer.settimeout(PATIENCE)
            peer.bind((loopback(family), 0))
            address = (*peer.getsockname(), gone)
            for n in range(3):
                assert moves.queue(bytes([n]) * 50, address)
            assert moves.flush()
            assert moves.send(b"alone", address)
            assert read(peer, 4) == [b"\0" * 50, b"\1" * 50, b"\2" * 50, b"alone"]
        assert moves.send_errors == {}

    def test_a_socket_that_is_not_asked_does_not_tell_it(self):
        sock = bound()
        moves = DatagramSocket(sock)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"there", sock.getsockname())
            assert len(self.address(moves)) == 2
        moves.close()


class TestErrorsOfSending:
    @pytest.mark.parametrize(
        ("datagram", "address", "error"),
        [
            (bytes(70_000), ("127.0.0.1", 9), errno.EMSGSIZE),
            (b"x", ("127.0.0.1", 0), errno.EINVAL),
            (b"x", ("255.255.255.255", 9), errno.EACCES),
        ],
    )
    @pytest.mark.skipif(os.name == "nt", reason="Windows has other errors")
    def test_each_is_counted_by_its_kind_and_told_once(self, make, datagram, address, error):
        sock = bound()
        moves = make(sock)
        for _ in range(2):
            assert moves.send(datagram, address)
        assert moves.send_errors == {error: 2}
        assert moves.unreported_error == error
        moves.unreported_error = 0
        assert moves.send(b"fine", sock.getsockname())
        assert (moves.send_errors, moves.unreported_error) == ({error: 2}, 0)
        moves.close()

    def test_a_port_that_refuses_is_none(self, own, peer):
        moves, sock = own
        sock.connect(peer.getsockname())
        peer.close()
        for _ in range(3):
            assert moves.send(b"anybody there?")
        assert moves.refused
        assert moves.send_errors == {}


@pytest.mark.skipif(os.name == "nt", reason="a socket of Windows is no descriptor")
class TestDescriptorsClosedBySomebodyElse:
    @pytest.fixture(params=["receive", "send"])
    def use(self, request: pytest.FixtureRequest) -> Callable[[Moves], object]:
        uses = {"receive": lambda moves: moves.receive(), "send": lambda moves: moves.send(b"x")}
        found: Callable[[Moves], object] = uses[request.param]
        return found

    @pytest.fixture
    def lost(self, make) -> Iterator[tuple[Moves, int]]:
        sock = bound()
        sock.connect(sock.getsockname())
        moves, descriptor = make(sock), sock.fileno()
        os.close(descriptor)
        yield moves, descriptor
        moves.close()

    def test_a_closed_one_is_an_error_once(self, lost, use):
        moves, _ = lost
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as caught:
            use(moves)
        assert caught.value.errno == errno.EBADF
        assert moves.receive() is None
        assert moves.send(b"x")
        assert moves.send_errors == {}

    def test_one_that_is_another_file_by_now_is_not_closed(self, lost, use, tmp_path):
        moves, descriptor = lost
        opened = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        with pytest.raises(OSError, match=os.strerror(errno.ENOTSOCK)) as caught:
            use(moves)
        assert caught.value.errno == errno.ENOTSOCK
        moves.close()
        os.write(descriptor, b"still open")
        os.close(descriptor)

    def test_closing_one_that_was_not_used_since_raises_nothing(self, lost):
        lost[0].close()


@native
class TestFinalizers:
    """Code that a collection runs in the middle of a call, and that uses the same socket."""

    @pytest.fixture
    def senders(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        # IPv6: the interpreter has tuples of two at hand, and to take one starts no collection.
        with bound(socket.AF_INET6) as first, bound(socket.AF_INET6) as second:
            for sock in (first, second):
                sock.settimeout(PATIENCE)
            yield first, second

    def test_what_answers_the_last_sender_reaches_it_while_another_is_noted(self, senders):
        sock = bound(socket.AF_INET6)
        moves = DatagramSocket(sock)
        for sender in senders:
            sender.sendto(b"hello", sock.getsockname())
            wait_readable(sock, PATIENCE)
        forget_addresses()
        _, last = moves.receive_from()
        with CollectedSoon(lambda: moves.send(b"for the first", last)):
            arrival = moves.receive_from()
        moves.send(b"for the second", arrival[1])
        assert arrival == (b"hello", senders[1].getsockname())
        assert [sender.recv(100) for sender in senders] == [b"for the first", b"for the second"]
        moves.close()

    def test_a_run_leaves_once_whatever_is_called_in_the_middle(self, senders):
        moves = DatagramSocket(bound(socket.AF_INET6))
        forget_addresses()
        for datagram in (b"one", b"two"):
            assert moves.queue(datagram, senders[0].getsockname())
        with CollectedSoon(moves.flush):
            _at_hand = moves, senders
            moves.flush()
        assert read(senders[0], 2) == [b"one", b"two"]
        moves.close()
