"""QUIC, by way of aioquic: datagrams (RFC 9221) for the echo, a stream for the bulk transfer."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import tempfile
import time
from pathlib import Path

import load
import peer
from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    StreamDataReceived,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from manyaddresses import ManyAddresses

ALPN = ["bench"]
LARGEST_DATAGRAM = 65536
CONNECT_LIMIT = 60.0
AT_A_TIME, TIMERS_AT_A_TIME = 8, 4
"""Handshakes in progress, and connections whose timers are looked at with each read."""


def configuration(is_client: bool) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=ALPN,
        max_datagram_frame_size=LARGEST_DATAGRAM,
        verify_mode=ssl.CERT_NONE,
        max_data=64 << 20,
        max_stream_data=64 << 20,
    )


class ServerProtocol(QuicConnectionProtocol):
    """Echoes datagrams; answers a stream when it has ended."""

    def quic_event_received(self, event):
        if isinstance(event, DatagramFrameReceived):
            self._quic.send_datagram_frame(event.data)
        elif isinstance(event, StreamDataReceived) and event.end_stream:
            self._quic.send_stream_data(event.stream_id, peer.DONE, end_stream=True)


class ClientProtocol(QuicConnectionProtocol):
    """Counts the answers, and sends as many messages again."""

    count: peer.Echo | None = None
    over: asyncio.Event

    def quic_event_received(self, event):
        if isinstance(event, DatagramFrameReceived) and self.count is not None:
            if self.count.counts(1):
                self._quic.send_datagram_frame(event.data)
            else:
                self.over.set()
        elif isinstance(event, StreamDataReceived) and event.end_stream:
            self.over.set()


def certify(settings: QuicConfiguration) -> None:
    """Give the server a certificate that was made for this run."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    with tempfile.TemporaryDirectory() as folder:
        cert_file, key_file = Path(folder, "cert"), Path(folder, "key")
        cert_file.write_bytes(certificate.public_bytes(pem))
        key_file.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        settings.load_cert_chain(cert_file, key_file)


async def serving() -> None:
    settings = configuration(False)
    certify(settings)
    listening = await serve("127.0.0.1", 0, configuration=settings, create_protocol=ServerProtocol)
    sock = listening._transport.get_extra_info("socket")
    peer.enlarge(sock)
    address = sock.getsockname()
    peer.tell({"port": address[1], "key": ""})
    await asyncio.Event().wait()


def server(use: str) -> None:
    asyncio.run(serving())


def connected(port: int):
    return connect(
        "127.0.0.1", port, configuration=configuration(True), create_protocol=ClientProtocol
    )


async def echoing(port: int, count: peer.Echo) -> None:
    async with connected(port) as link:
        link.over, link.count = asyncio.Event(), count
        for _ in range(count.outstanding):
            link._quic.send_datagram_frame(peer.MESSAGE)
        link.transmit()
        await asyncio.wait_for(link.over.wait(), peer.PATIENCE + 60)


def echo(port: int, key: str, count: peer.Echo, wait: str) -> None:
    asyncio.run(echoing(port, count))


async def sending(port: int, size: int) -> float:
    data = b"".join(peer.parts(size))
    async with connected(port) as link:
        link.over = asyncio.Event()
        began = time.perf_counter()
        link._quic.send_stream_data(link._quic.get_next_available_stream_id(), data, True)
        link.transmit()
        await link.over.wait()
        return time.perf_counter() - began


def bulk(port: int, key: str, size: int) -> None:
    peer.tell({"seconds": asyncio.run(sending(port, size))})


class Bots(load.Swarm):
    """Connections without asyncio, over one socket."""

    def __init__(self, port: int, key: str, count: int) -> None:
        super().__init__(count)
        self._server = ("127.0.0.1", port)
        self._socket = ManyAddresses(count, self._server)
        self._links: list[QuicConnection] = []
        self._connected, self._next = 0, 0
        self._connect()

    def _connect(self) -> None:
        end = time.monotonic() + CONNECT_LIMIT
        while self._connected < self.count:
            now = time.monotonic()
            if now > end:
                raise TimeoutError(f"{self._connected} of {self.count} are connected")
            if len(self._links) < min(self.count, self._connected + AT_A_TIME):
                link = QuicConnection(configuration=configuration(True))
                link.connect(self._server, now=now)
                self._links.append(link)
                self._transmit(len(self._links) - 1, now)
            self.read()

    def _transmit(self, bot: int, now: float) -> None:
        for datagram, _ in self._links[bot].datagrams_to_send(now):
            self._socket.send_one(bot, datagram)

    def play(self, turn: load.Turn) -> None:
        message, now = load.message(turn.due), time.monotonic()
        for bot in range(turn.first, turn.last):
            self._links[bot].send_datagram_frame(message)
            self._transmit(bot, now)

    def read(self) -> int:
        received, now = self._socket.receive(), time.monotonic()
        for bot, datagram in received:
            self._links[bot].receive_datagram(datagram, self._server, now)
            self._take_events(bot, now)
        for _ in range(min(TIMERS_AT_A_TIME, len(self._links))):
            self._next = (self._next + 1) % len(self._links)
            self._act_on_timer(self._next, now)
        return len(received)

    def _take_events(self, bot: int, now: float) -> None:
        link = self._links[bot]
        while (event := link.next_event()) is not None:
            if isinstance(event, DatagramFrameReceived):
                (due,) = load.STAMP.unpack_from(event.data)
                self.delays.append(now - self.began - due)
            elif isinstance(event, HandshakeCompleted):
                self._connected += 1
            elif isinstance(event, ConnectionTerminated):
                raise ConnectionError(event.reason_phrase)

    def _act_on_timer(self, bot: int, now: float) -> None:
        link = self._links[bot]
        timer = link.get_timer()
        if timer is not None and now >= timer:
            link.handle_timer(now)
            self._take_events(bot, now)
            self._transmit(bot, now)

    def dropped(self) -> int:
        return self._socket.dropped()


peer.run(server, echo, bulk, crowd=Bots)
