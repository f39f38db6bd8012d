"""A game that uses all of the public API, as its type checker sees it; `make types` checks it.

It is never run: what a value is at run time is the other tests' to say. `assert_type` holds what a
caller gets, so that nothing of it silently becomes `Any`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from typing_extensions import assert_type

from mpgameserver import (
    BuildInfo,
    Channel,
    CloseCode,
    CloseReason,
    ConnectFailedError,
    ConnectFailure,
    ConnectionEndedError,
    ConnectionStats,
    ConnectionStatus,
    DisconnectReason,
    DuplicationError,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    EventHandler,
    Group,
    HandshakeError,
    InvalidSignature,
    Limits,
    MpGameServerError,
    NotConnectedError,
    OldPeerError,
    PacketError,
    ProtocolError,
    Reconnector,
    ReconnectState,
    RefusedError,
    RetryMode,
    SendQueueFullError,
    SeqNum,
    ServerChannel,
    ServerClient,
    ServerContext,
    ServerStats,
    ThreadedServer,
    UdpClient,
    UdpServer,
    __version__,
    aio,
    build_info,
    format_address,
)
from mpgameserver.connection import BitField, Packet, PacketHeader, PacketType
from mpgameserver.metrics import MetricsServer, ServerCollector
from mpgameserver.monitorchannel import MonitorChannel
from mpgameserver.netsim import Blackout, BurstLoss, LinkConditions, LinkPair, LinkStats
from mpgameserver.testing import FRAME, World
from mpgameserver.udpproxy import ProxyStats, UdpProxy

ADDRESS = ("127.0.0.1", 1474)

assert_type(__version__, str)
assert_type(build_info(), BuildInfo)
assert_type(format_address(ADDRESS), str)


class Game(EventHandler):
    """Every event of a server."""

    def __init__(self) -> None:
        self.scores: dict[ServerClient, int] = {}

    def starting(self) -> None:
        self.scores.clear()

    def shutdown(self) -> None:
        self.scores.clear()

    def connect(self, client: ServerClient) -> None:
        self.scores[client] = 0
        assert_type(client.addr, tuple[str, int])
        assert_type(client.token, int)
        assert_type(client.latency, float)
        assert_type(client.stats, ConnectionStats)
        assert_type(client.status, ConnectionStatus)
        assert_type(client.protocol, int)
        assert_type(client.pending, int)
        assert_type(client.close_reason, CloseReason | None)
        chat = client.channel("chat")
        assert_type(chat, ServerChannel)
        chat.send(b"welcome", callback=self.settled, on_progress=self.moved)
        assert_type(chat.arriving, list[tuple[int, int]])
        assert_type(client.arriving, list[tuple[int, int]])
        assert_type(client.binding, bytes)
        client.log.info("%d play", len(self.scores))

    def disconnect(self, client: ServerClient) -> None:
        assert_type(client.reason, DisconnectReason | None)
        del self.scores[client]

    def update(self, delta_t: float) -> None:
        for client in self.scores:
            client.send(b"tick", RetryMode.BEST_EFFORT, self.settled)

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        client.send_guaranteed(msg, callback=self.settled)
        if msg == b"bye":
            client.disconnect(256, "bye")

    def full(self, addr: tuple[str, int]) -> None:
        logging.info("no room for %s", addr[0])

    def settled(self, acked: bool) -> None:
        logging.info("acked: %s", acked)

    def moved(self, done: int, total: int) -> None:
        logging.info("%d of %d bytes", done, total)


class SlowGame(EventHandler):
    """Events as coroutine functions, for `aio.serve`, and one that asks for the channel."""

    async def authenticate(self, client: ServerClient, credential: bytes) -> str:
        await asyncio.sleep(0.1)
        if not credential:
            raise RefusedError("who are you?")
        return credential.decode()

    async def handle_message(
        self, client: ServerClient, seqnum: int, msg: bytes = b"", channel: str = ""
    ) -> None:
        await asyncio.sleep(0.1)
        try:
            client.channel(channel).send(memoryview(msg))
        except OldPeerError:
            client.send(msg)


def keys(folder: Path) -> EllipticCurvePrivateKey:
    """Keys are made, kept and used."""
    private = EllipticCurvePrivateKey.new()
    private.savePEM(folder / "server.pem")
    public = private.getPublicKey()
    assert_type(public, EllipticCurvePublicKey)
    assert_type(private.getPrivateKeyPEM(), str)
    assert_type(public.getBytes(), bytes)
    try:
        public.verify(private.sign(b"data"), b"data")
    except InvalidSignature:
        logging.exception("forged")
    return EllipticCurvePrivateKey.fromPEM((folder / "server.pem").read_text())


def serve(private: EllipticCurvePrivateKey) -> None:
    """A server's settings, and the three ways to run one."""
    assert_type(Channel("chat", "ordered", priority=-1, window=1 << 20, number=3).name, str)
    context = ServerContext(
        SlowGame(),
        private,
        channels=[Channel("chat")],
        minimum_protocol=2,
        audience="arena",
    )
    context = ServerContext(Game(), private, limits=Limits(clients=64))
    context.limits = replace(context.limits, handshake_rate=100.0)
    assert_type(context.limits, Limits)
    context.setInterval(1 / 30)
    context.setKeepAliveInterval(0.1)
    context.setConnectionTimeout(5)
    context.setTempConnectionTimeout(2.0)
    context.setMessageTimeout(1.0)
    context.setBlockList(["192.0.2.1", "2001:db8::/32"])
    context.enableAccessLogs(Path("access.log"))
    context.setTrace(None)
    context.setKeyLog(None)
    context.broadcast(bytearray(b"to all"), RetryMode.NONE, exclude=context.clients[:1])
    red = context.group("red")
    assert_type(red, Group)
    for client in context.clients:
        red.add(client)
    for client in red:
        red.discard(client)
    red.send(b"to all of them", exclude=context.clients, channel="chat")
    context.call_soon_threadsafe(print, "soon")
    assert_type(context.stats, ServerStats)
    assert_type(context.stats.drops, dict[str, int])
    assert_type(context.clients, tuple[ServerClient, ...])

    UdpServer(context, ADDRESS, install_signals=False).run()
    serve_in_a_thread(context)
    server = UdpServer(context, ADDRESS)
    while server.update():
        assert_type(server.next_timer(), float)
        assert_type(server.fileno(), int)
        assert_type(server.wants_write, bool)
    server.close()


def serve_in_a_thread(context: ServerContext) -> None:
    """All of a `ThreadedServer`."""
    with ThreadedServer(context, ADDRESS) as threaded:
        assert_type(threaded.address, tuple[str, int])
    assert_type(threaded.name, str)
    assert_type(threaded.daemon, bool)
    threaded.name, threaded.daemon = "game", False
    threaded.start()
    assert_type(threaded.is_alive(), bool)
    threaded.join(0.5)
    threaded.join(timeout=None)
    try:
        threaded.stop(timeout=5)
    except TimeoutError:
        threaded.stop()


def watch(context: ServerContext, key: EllipticCurvePrivateKey) -> None:
    """Functions that show a running server."""
    with MonitorChannel(context, key, ("127.0.0.1", 0)) as channel:
        assert_type(channel.address, tuple[str, int])
    with MetricsServer(context, ("127.0.0.1", 0)) as metrics:
        assert_type(metrics.address, tuple[str, int])
    ServerCollector(context)


def play(key: EllipticCurvePublicKey | str) -> ConnectionStats:
    """A client's life."""
    with UdpClient(key, trace="trace.jsonl", key_log=Path("keys.txt")) as client:
        client.setConnectionTimeout(5)
        client.setKeepAliveInterval(0.1)
        client.setMessageTimeout(1)
        client.connect(ADDRESS, lambda connected: print(connected))
        while client.status() is not ConnectionStatus.DROPPED:
            client.update()
            try:
                client.send(b"hello", RetryMode.NONE, lambda acked: print(acked))
                client.send_guaranteed(b"hello")
            except NotConnectedError:
                assert_type(client.failure, ConnectFailure | None)
            except SendQueueFullError:
                assert_type(client.pending, int)
            assert_type(client.getMessages(), list[tuple[SeqNum, bytes]])
            if client.hasMessages():
                seqnum, message = client.getMessage()
                assert_type(seqnum, SeqNum)
                assert_type(message, bytes)
        assert_type(client.connected(), bool)
        assert_type(client.token(), int)
        assert_type(client.latency(), float)
        client.disconnect()
        client.waitForDisconnect()
        return client.stats()


def play_on_channels() -> None:
    """The part of the client that only protocol 2 has."""
    client = UdpClient(
        minimum_protocol=2,
        channels=[Channel("chat"), Channel("events", "unordered")],
        credential=lambda export: b"signed " + export,
        audience="chess",
        require_hybrid=True,
    )
    chat = client.channel("chat")
    chat.send(b"hello", lambda acked: print(acked), on_progress=lambda done, total: print(done))
    client.channel("events").send(bytearray(b"jump"), retry=RetryMode.NONE)
    for message in chat.messages():
        assert_type(message, bytes)
    assert_type(chat.pending, int)
    assert_type(chat.name, str)
    assert_type(client.protocol, int | None)
    assert_type(client.server_time(), float | None)
    client.disconnect(1000, "to the menu")
    if client.reason is not None:
        assert_type(client.reason, CloseReason)
        assert_type(client.reason.text, str)
        print(client.reason.code == CloseCode.REFUSED)


def draw(stats: ConnectionStats) -> None:
    """The types of a connection's statistics."""
    assert_type(stats.plot(), Figure)
    assert_type(stats.sent, int)
    assert_type(stats.latency, list[int])
    assert_type(stats.drops, dict[str, int])


def come_back(client: UdpClient) -> None:
    """A client that is connected again, and again."""
    reconnector = Reconnector(client, ADDRESS, first_delay=0.5, max_delay=15.0, max_attempts=10)
    reconnector.update()
    if reconnector.state is ReconnectState.WAITING:
        assert_type(reconnector.delay_left, float)
        assert_type(reconnector.failures, int)
    if client.failure is not None:
        assert_type(client.failure.text, str)
    reconnector.stop()


async def play_in_a_loop(private: EllipticCurvePrivateKey) -> None:
    """The same in asyncio."""
    async with aio.serve(ServerContext(SlowGame(), private), ADDRESS) as server:
        assert_type(server, aio.AsyncServer)
        try:
            async with aio.connect(
                server.address, private.getPublicKey(), message_timeout=2.0
            ) as client:
                assert_type(client, aio.AsyncClient)
                await client.send_guaranteed(b"hello")
                client.send(b"again", RetryMode.BEST_EFFORT, lambda acked: None)
                async for seqnum, message in client:
                    assert_type(seqnum, SeqNum)
                    assert_type(message, bytes)
                chat = client.channel("chat")
                assert_type(chat, aio.AsyncChannel)
                chat.send(b"hello", lambda acked: None)
                async for line in chat:
                    assert_type(line, bytes)
                assert_type(client.stats(), ConnectionStats)
                assert_type(client.protocol, int | None)
                assert_type(client.server_time(), float | None)
                assert_type(client.reason, CloseReason | None)
                await client.disconnect(1000, "to the menu")
        except ConnectFailedError as error:
            assert_type(error.failure, ConnectFailure | None)
            assert_type(error.reason, CloseReason | None)
        except ConnectionEndedError:
            logging.exception("ended")
        server.stop()
        await server.wait_stopped()


def on_a_bad_link(server: tuple[str, int]) -> None:
    """A link for tests, in memory and between sockets."""
    bad = LinkConditions(
        loss=0.1, burst_loss=BurstLoss(0.1, 0.3), latency=0.05, blackouts=(Blackout(5.0, 1.0),)
    )
    pair = LinkPair(bad, seed=7)
    assert_type(pair.next_arrival(), float | None)
    assert_type(pair.up.stats, LinkStats)
    with UdpProxy(("127.0.0.1", 0), server, bad, seed=7) as proxy:
        assert_type(proxy.address, tuple[str, int])
        assert_type(proxy.stats, ProxyStats)


def in_virtual_time(context: ServerContext) -> None:
    """The game and its clients in a test."""
    world = World(Game(), LinkConditions(loss=0.1), seed=7)
    World(context, seed="a name")
    client = world.connect()
    assert_type(client, UdpClient)
    assert_type(world.client(LinkConditions()), UdpClient)
    world.set_conditions(client, LinkConditions(latency=0.1))
    world.run(60 * FRAME)
    world.run_until(client.hasMessages, timeout=5)
    world.frame()
    assert_type(world.server_client(client), ServerClient)
    assert_type(world.address, tuple[str, int])
    assert_type(world.clients, tuple[ServerClient, ...])
    assert_type(world.context, ServerContext)
    assert_type(world.stats, ServerStats)
    assert_type(world.now, float)


def decode(datagram: bytes, key: bytes) -> list[bytes]:
    """The codecs."""
    try:
        header = PacketHeader.from_bytes(True, datagram)
        assert_type(header.pkt_type, PacketType)
        assert_type(header.seq + 1, SeqNum)
        field = BitField(32)
        field.insert(header.seq)
        return [message.payload for message in Packet.from_bytes(header, key, datagram).msgs]
    except (DuplicationError, HandshakeError, PacketError) as error:
        of_the_protocol: ProtocolError = error
        of_the_package: MpGameServerError = of_the_protocol
        logging.info("%s", of_the_package)
        return []
