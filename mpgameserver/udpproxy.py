"""A bad network link between real programs: a UDP proxy that damages what it forwards.

Theory of operation. Clients send to the proxy instead of the server. Each address that
appears gets a socket of its own towards the server, so that the server sees as many addresses
as there are clients, and a `LinkPair` of its own. Whatever arrives is put on a link at once,
and sent on when the link says that it is due. One selector waits for sockets and for the next
due time together; nothing polls.

    with UdpProxy(("127.0.0.1", 0), server_address, LinkConditions(loss=0.1)) as proxy:
        client.connect(proxy.address)

What the links decide follows from the seed and from the order in which clients appear and
datagrams arrive; what the operating system does to the order and the timing is not under
anyone's seed. Due times are kept to about a millisecond, the resolution of the selector.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mpgameserver import forks
from mpgameserver.netsim import Link, LinkConditions, LinkPair, LinkStats
from mpgameserver.transport.address import host_and_port, resolve
from mpgameserver.transport.sockets import datagram_socket, new_udp_socket

__all__ = ["ProxyStats", "UdpProxy"]

MAX_CLIENTS = 256
"""Client addresses at a time. Each costs a file descriptor, of which a process often has but
1,024, and a port scan must not use them up. Further addresses are refused until one is idle."""

CLIENT_IDLE_SECONDS = 60.0
"""A client is forgotten when it and the server have been silent for so long: longer than any
connection of this package survives without packets."""

READS_PER_TURN = 64
"""Datagrams read from one socket before the due ones are sent on and others have their turn."""

SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked of the operating system for each socket, so that a burst is lost by the link's
conditions and not by the proxy; the system grants what it allows."""

RECEIVE_BYTES = 65_536
"""Bytes asked of each read: more than a datagram can have."""

_Address = Any  # what the socket module says and takes: 2 fields for IPv4, 4 for IPv6


@dataclass(frozen=True, slots=True)
class ProxyStats:
    """Traffic of a proxy so far, including that of clients that have left."""

    clients: int
    """Clients at the moment."""
    clients_seen: int
    """Clients that ever appeared; one that returns after it was forgotten counts again."""
    refused: int
    """Datagrams dropped because `MAX_CLIENTS` were there."""
    socket_errors: int
    """Reads and writes that the operating system refused, such as those to a closed port."""
    up: LinkStats
    """The links towards the server, summed."""
    down: LinkStats
    """The links towards the clients, summed."""


class UdpProxy:
    """Forwards UDP between any number of clients and one server, over bad links.

    It listens from the moment it is made. To make it forward, use it in a `with` block, which calls
    `start`, or call `run_once` in a loop. Call `stop` at the end.

    Parameters:
        listen: a pair (host, port), IPv4 or IPv6; port 0 takes a free port, which `address` has.
        target: the server's (host, port), IPv4 or IPv6.
        up: the conditions towards the server. Blackouts count from the making of the proxy.
        down: the conditions towards the clients; those of `up` if not given.
        seed: decides everything that is random.
        clock: returns seconds, and runs forward.

    Raises:
        OSError: an address cannot be listened on or resolved; the message names it.
    """

    def __init__(
        self,
        listen: tuple[str, int],
        target: tuple[str, int],
        up: LinkConditions,
        down: LinkConditions | None = None,
        seed: int | str = 0,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._conditions = (up, down)
        self._seed = seed
        self._clock = clock
        self._started = clock()
        self._target_family, self._target = _resolve(target)
        self._clients: dict[_Address, _Client] = {}
        self._clients_seen = 0
        self._refused = 0
        self._socket_errors = 0
        self._gone = (LinkStats(), LinkStats())
        self._next_expiry = math.inf
        self._due: list[tuple[float, int, _Lane]] = []
        self._order = 0
        # Over _clients and _gone, for stats from other threads, and from a signal's handler.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        with contextlib.ExitStack() as opened:  # closed again unless all can be had
            self._listener = opened.enter_context(_bind(listen))
            self._address: tuple[str, int] = self._listener.getsockname()[:2]
            # Bound to all addresses, it has to answer from the one that the client spoke to.
            self._datagrams = datagram_socket(
                self._listener,
                tells_local=self._address[0] in ("0.0.0.0", "::"),
                is_relay=True,
            )
            self._selector = opened.enter_context(selectors.DefaultSelector())
            self._selector.register(self._listener, selectors.EVENT_READ, self._read_listener)
            self._waker, self._wakened = map(opened.enter_context, socket.socketpair())
            self._selector.register(self._wakened, selectors.EVENT_READ, lambda: None)
            opened.pop_all()
        forks.end_in_child(self)

    @property
    def address(self) -> tuple[str, int]:
        """The (host, port) that clients connect to, also after `stop()`."""
        return self._address

    @property
    def stats(self) -> ProxyStats:
        """The counters so far. You may read them from any thread, at any time."""
        with self._lock:
            up, down = self._gone
            for client in self._clients.values():
                up += client.up.link.stats
                down += client.down.link.stats
            return ProxyStats(
                clients=len(self._clients),
                clients_seen=self._clients_seen,
                refused=self._refused,
                socket_errors=self._socket_errors + sum(self._datagrams.send_errors.values()),
                up=up,
                down=down,
            )

    def start(self) -> None:
        """Start to forward, in a thread.

        Raises:
            RuntimeError: it was already started or stopped, or the system has no thread left.
        """
        self._require_idle()
        thread = threading.Thread(target=self._run, name="UdpProxy", daemon=True)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Stop forwarding and close every socket; datagrams in flight are lost. Idempotent.

        It returns when the thread, if there is one, has ended.
        """
        if self._stopped:
            return
        self._stopped = True
        if self._thread is not None:
            self._waker.send(b"\0")
            self._thread.join()
        self._close()

    def end_in_child(self) -> None:
        """Become a stopped proxy: its sockets are the parent process's."""
        self._stopped = True
        self._lock = threading.RLock()
        self._close()

    def _close(self) -> None:
        self._selector.close()
        for client in self._clients.values():
            client.socket.close()
        for own in (self._datagrams, self._waker, self._wakened):
            own.close()

    def run_once(self, timeout: float | None = None) -> None:
        """Wait until something arrives or is due, then forward what is due by then.

        Parameters:
            timeout: the longest wait, in seconds: 0 for none, None for no limit.

        Raises:
            RuntimeError: `start()` or `stop()` was called.
        """
        self._require_idle()
        self._turn(math.inf if timeout is None else timeout)

    def __enter__(self) -> UdpProxy:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _require_idle(self) -> None:
        if self._stopped:
            raise RuntimeError("this proxy was stopped; make a new one")
        if self._thread is not None:
            raise RuntimeError("this proxy was started and forwards in its own thread")

    def _now(self) -> float:
        return self._clock() - self._started

    def _run(self) -> None:
        while not self._stopped:
            self._turn(math.inf)

    def _turn(self, timeout: float) -> None:
        wake = min(self._due[0][0] if self._due else math.inf, self._next_expiry)
        wait = min(timeout, max(0.0, wake - self._now()))
        for key, _ in self._selector.select(None if wait == math.inf else wait):
            key.data()
        now = self._now()
        self._forward_due(now)
        if now >= self._next_expiry:
            self._expire(now)

    def _read_listener(self) -> None:
        for _ in range(READS_PER_TURN):
            received = self._datagrams.receive_from()
            if received is None:
                return
            datagram, address = received
            now = self._now()
            client = self._clients.get(address) or self._admit(address, now)
            if client is not None:
                self._put(client.up, datagram, now)

    def _read_client(self, client: _Client) -> None:
        for _ in range(READS_PER_TURN):
            try:
                datagram = client.socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:  # nothing listens at the target
                self._socket_errors += 1
                continue
            self._put(client.down, datagram, self._now())

    def _admit(self, address: _Address, now: float) -> _Client | None:
        """The client that is new at `address`, or None when it is refused."""
        if len(self._clients) >= MAX_CLIENTS:
            self._refused += 1
            return None
        try:
            upstream = _connect(self._target_family, self._target)
        except OSError:  # no file descriptor left, or no route to the target
            self._socket_errors += 1
            self._refused += 1
            return None
        links = LinkPair(*self._conditions, f"{self._seed}/client {self._clients_seen}")
        client = _Client(
            socket=upstream,
            up=_Lane(links.up, upstream.send, now),
            down=_Lane(links.down, lambda datagram: self._answer(datagram, address), now),
        )
        with self._lock:
            self._clients[address] = client
            self._clients_seen += 1
        self._selector.register(upstream, selectors.EVENT_READ, lambda: self._read_client(client))
        self._next_expiry = min(self._next_expiry, now + CLIENT_IDLE_SECONDS)
        return client

    def _answer(self, datagram: bytes, address: _Address) -> None:
        if not self._datagrams.send(datagram, address):  # the system's buffer is full
            self._socket_errors += 1

    def _put(self, lane: _Lane, datagram: bytes, now: float) -> None:
        lane.link.send(datagram, now)
        lane.last_active = now
        self._plan(lane)

    def _plan(self, lane: _Lane) -> None:
        """Have the lane looked at when its next datagram is due, unless that is planned."""
        due = lane.link.next_arrival()
        if due is not None and due < lane.planned:
            lane.planned = due
            self._order += 1
            heapq.heappush(self._due, (due, self._order, lane))

    def _forward_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            due, _, lane = heapq.heappop(self._due)
            if due != lane.planned:
                continue  # superseded: an earlier arrival was planned later
            lane.planned = math.inf
            for datagram in lane.link.receive(now):
                try:
                    lane.forward(datagram)
                except OSError:  # the other end is closed, or the system's buffer is full
                    self._socket_errors += 1
            self._plan(lane)

    def _expire(self, now: float) -> None:
        """Forget the clients that are idle, and note when the next one can be."""
        self._next_expiry = math.inf
        for address, client in list(self._clients.items()):
            expiry = client.expiry()
            if expiry <= now:
                self._forget(address, client)
            else:
                self._next_expiry = min(self._next_expiry, expiry)

    def _forget(self, address: _Address, client: _Client) -> None:
        self._selector.unregister(client.socket)
        client.socket.close()
        with self._lock:
            del self._clients[address]
            up, down = self._gone
            self._gone = (up + client.up.link.stats, down + client.down.link.stats)


@dataclass(slots=True)
class _Lane:
    """One direction of one client: its link, and where what comes out of it goes."""

    link: Link
    forward: Callable[[bytes], object]
    last_active: float
    planned: float = math.inf
    """Time at which the proxy looks at the link next."""


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    up: _Lane
    down: _Lane

    def expiry(self) -> float:
        """Time at which the client is idle: not before the last datagram in flight has arrived."""
        silent = max(self.up.last_active, self.down.last_active) + CLIENT_IDLE_SECONDS
        due = (self.up.link.next_arrival(), self.down.link.next_arrival())
        return max([silent, *(time for time in due if time is not None)])


def _resolve(address: tuple[str, int], flags: int = 0) -> tuple[int, _Address]:
    """The family and the socket address of (host, port): the first, if it has several."""
    host, port = host_and_port(address, least_port=0)
    try:
        return resolve(host, port, flags)[0]
    except OSError as error:
        raise OSError(error.errno, f"cannot resolve {address}: {error.strerror}") from error


def _bind(address: tuple[str, int]) -> socket.socket:
    family, resolved = _resolve(address, socket.AI_PASSIVE)
    listener = new_udp_socket(socket.AddressFamily(family), SOCKET_BUFFER_BYTES)
    try:
        listener.bind(resolved)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    return listener


def _connect(family: int, target: _Address) -> socket.socket:
    upstream = new_udp_socket(socket.AddressFamily(family), SOCKET_BUFFER_BYTES)
    try:
        upstream.connect(target)
    except OSError:
        upstream.close()
        raise
    return upstream
