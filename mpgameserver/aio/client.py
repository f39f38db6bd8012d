"""The client for asyncio: messages are awaited, and `update` is called when it is due."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial

from mpgameserver._core.seqnum import SeqNum
from mpgameserver.aio.driver import Driver
from mpgameserver.channels import Channel
from mpgameserver.client.channel import ClientChannel
from mpgameserver.client.options import Credential
from mpgameserver.client.udpclient import UdpClient
from mpgameserver.crypto import EllipticCurvePublicKey
from mpgameserver.enums import CloseReason, ConnectionStatus
from mpgameserver.errors import ConnectFailedError, ConnectionEndedError
from mpgameserver.reprs import even_unmade
from mpgameserver.stats import ConnectionStats
from mpgameserver.transport.address import format_address

__all__ = ["AsyncChannel", "AsyncClient", "connect"]

TAKEN_AT_ONCE = 64
"""Messages that an iteration takes without waiting: a server may send thousands in one frame."""


class AsyncClient:
    """A connection to a server, made by `connect`. Use it only in its event loop.

    Iterate over it with `async for` to get the server's messages as (seqnum, message). Messages
    that you do not take stay in the connection's inbox, which is bounded; while it is full, new
    messages are not acked and the server retransmits them.
    """

    def __init__(self, client: UdpClient) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._waiters: defaultdict[int, set[asyncio.Future[None]]] = defaultdict(set)
        """The waits for a message, by channel, or for the end."""
        self._taken = 0
        self._driver = Driver(client, self._turn)
        self._error: OSError | None = None

    @even_unmade
    def __repr__(self) -> str:
        return repr(self._client).replace("UdpClient", "AsyncClient")

    # -- messages ---------------------------------------------------------------------------

    def send(
        self,
        msg: bytes | bytearray | memoryview,
        retry: int = -1,
        callback: Callable[[bool], object] | None = None,
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Queue a message, which leaves on the loop's next turn. See `UdpClient.send`."""
        self._client.send(msg, retry, callback, on_progress=on_progress)
        self._driver.soon()

    async def send_guaranteed(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Send a message and wait until it is acked, with all of its fragments.

        If it is cancelled, the message is still sent. `on_progress` is as for `UdpClient.send`.

        Raises:
            NotConnectedError: the client is not connected; nothing was queued.
            SendQueueFullError: too much is queued; nothing was queued.
            ConnectionEndedError: the connection has ended before the ack.
            OSError: something else in the process has closed the socket.
        """
        acked: asyncio.Future[bool] = self._loop.create_future()
        self.send(payload, callback=partial(_settle, acked), on_progress=on_progress)
        if not await acked:
            self._raise_error()
            raise ConnectionEndedError("the connection ended before the message was acked")

    def __aiter__(self) -> AsyncIterator[tuple[SeqNum, bytes]]:
        return self

    async def __anext__(self) -> tuple[SeqNum, bytes]:
        """Return the next message, in order of arrival.

        The loop gets a turn after every 64 messages. The iteration ends when either side has
        disconnected and every message was taken.

        Raises:
            ConnectionEndedError: the connection was dropped, and every message was taken.
            OSError: something else in the process has closed the socket.
        """
        await self._wait_for_message(0)
        return self._client.getMessage()

    def channel(self, name: str) -> AsyncChannel:
        """Return one of the declared channels, to send and receive on it.

        Raises:
            ValueError: no channel with that name was declared.
        """
        return AsyncChannel(self, self._client.channel(name))

    def _has_message(self, channel: int) -> bool:
        if channel == 0:
            return self._client.hasMessages()
        return self._client._waiting_on(channel) > 0

    async def _wait_for_message(self, channel: int) -> None:
        """Return when a message waits on a channel; raises as `__anext__` says."""
        self._taken += 1
        if self._taken % TAKEN_AT_ONCE == 0:
            await asyncio.sleep(0)
        while not self._has_message(channel):
            if self._is_over:
                self._raise_error()
                if self._client.status() == ConnectionStatus.DROPPED:
                    raise ConnectionEndedError("the connection was dropped")
                raise StopAsyncIteration
            await self._wait(channel)

    # -- what it is like --------------------------------------------------------------------

    def connected(self) -> bool:
        """Return True while messages can be sent."""
        return self._client.connected()

    def status(self) -> ConnectionStatus:
        """Return the state of the connection."""
        return self._client.status()

    def latency(self) -> float:
        """Return the smoothed round-trip time, in seconds; 0.0 before the first ack."""
        return self._client.latency()

    def server_time(self) -> float | None:
        """Return the server's `time.perf_counter`, as estimated. See `UdpClient.server_time`."""
        return self._client.server_time()

    def stats(self) -> ConnectionStats:
        """Return a snapshot of the connection's statistics."""
        return self._client.stats()

    @property
    def pending(self) -> int:
        """Bytes of queued messages that have not been sent yet."""
        return self._client.pending

    @property
    def arriving(self) -> list[tuple[int, int]]:
        """Of each long message that has arrived in part, the bytes so far and the bytes in all.

        See `UdpClient.arriving`.
        """
        return self._client.arriving

    @property
    def protocol(self) -> int | None:
        """The protocol of the session, 1 or 2."""
        return self._client.protocol

    @property
    def reason(self) -> CloseReason | None:
        """The code and the text with which the session was ended. See `UdpClient.reason`."""
        return self._client.reason

    # -- the end ----------------------------------------------------------------------------

    async def disconnect(self, code: int = 0, text: str = "") -> None:
        """Disconnect after everything queued has been delivered, and wait for that; up to 1 second.

        Reliable messages are retransmitted until they are acked, as with `UdpClient.disconnect`.
        Messages that have arrived can still be read. Idempotent.

        Parameters:
            code: 0, or a number of the game's own from 256 on, which the server gets as the reason.
            text: the same in words, at most 256 bytes of UTF-8.

        Raises:
            TypeError: an argument has another type.
            ValueError: an argument is not allowed.
            OSError: something else in the process has closed the socket.
        """
        self._client.disconnect(code, text)
        self._driver.soon()
        while not self._is_over:
            await self._wait()
        self._raise_error()

    def _raise_error(self) -> None:
        """Raise what `UdpClient.update` has raised, if it has."""
        if self._error is not None:
            raise self._error

    def _abandon(self) -> None:
        self._driver.close()
        self._client.forceDisconnect()
        self._wake()

    # -- the loop ---------------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        return self._client.status() in (ConnectionStatus.DISCONNECTED, ConnectionStatus.DROPPED)

    async def _connect(self, addr: tuple[str, int]) -> None:
        outcome: asyncio.Future[bool] = self._loop.create_future()
        self._client.connect(addr, partial(_settle, outcome))
        self._driver.start()
        if not await outcome:
            self._raise_error()
            failure = self._client.failure
            text = "The attempt was aborted." if failure is None else failure.text
            reason = self._client.reason
            if reason is not None and reason.text:
                text += f" {reason.text}"
            raise ConnectFailedError(
                f"no connection to {format_address(addr)}: {text}", failure, reason
            )

    def _turn(self) -> None:
        try:
            self._client.update()
        except OSError as error:
            self._error = error
            self._abandon()
        if self._waiters:
            self._wake()

    def _wake(self) -> None:
        """Wake what waits for a message that is there, and all at the end."""
        is_over = self._is_over
        for channel, waiters in list(self._waiters.items()):
            if is_over or self._has_message(channel):
                for waiter in list(waiters):  # a finalizer may end what waits, in between
                    if not waiter.done():
                        waiter.set_result(None)

    async def _wait(self, channel: int = 0) -> None:
        """Wait until a message has arrived on a channel, or the connection has ended."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters[channel].add(waiter)
        try:
            await waiter
        finally:
            self._waiters[channel].discard(waiter)
            if not self._waiters[channel]:
                del self._waiters[channel]


class AsyncChannel:
    """A declared channel of an `AsyncClient`, which `AsyncClient.channel` returns.

    Iterate over it with `async for` to get the server's messages on it. The iteration ends, or
    raises, as that over the client does.
    """

    def __init__(self, client: AsyncClient, channel: ClientChannel) -> None:
        self._client = client
        self._channel = channel

    @even_unmade
    def __repr__(self) -> str:
        return repr(self._channel).replace("ClientChannel", "AsyncChannel")

    @property
    def name(self) -> str:
        """The name with which it was declared."""
        return self._channel.name

    def send(
        self,
        msg: bytes | bytearray | memoryview,
        callback: Callable[[bool], object] | None = None,
        *,
        retry: int | None = None,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Queue a message, which leaves on the loop's next turn. See `ClientChannel.send`."""
        self._channel.send(msg, callback, retry=retry, on_progress=on_progress)
        self._client._driver.soon()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Return the next message. See `AsyncClient.__anext__`."""
        await self._client._wait_for_message(self._channel.number)
        return next(self._channel.messages())

    @property
    def pending(self) -> int:
        """Bytes of messages queued on this channel that have not been sent yet."""
        return self._channel.pending

    @property
    def arriving(self) -> list[tuple[int, int]]:
        """Of each long message that has arrived in part, the bytes so far and the bytes in all.

        See `ClientChannel.arriving`.
        """
        return self._channel.arriving


def _settle(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():  # cancelled
        future.set_result(result)


@asynccontextmanager
async def connect(
    addr: tuple[str, int],
    server_public_key: EllipticCurvePublicKey | str | bytes | os.PathLike[str] | None = None,
    *,
    connection_timeout: float | None = None,
    keep_alive_interval: float | None = None,
    message_timeout: float | None = None,
    trace: str | os.PathLike[str] | None = None,
    key_log: str | os.PathLike[str] | None = None,
    minimum_protocol: int = 1,
    channels: Iterable[Channel] = (),
    credential: Credential = b"",
    audience: str = "",
    require_hybrid: bool = False,
) -> AsyncIterator[AsyncClient]:
    """Connect to a server for an `async with` block, which gets an `AsyncClient`.

    At the end of the block the client disconnects after everything queued has been delivered, for
    up to 1 second. If the block raises or is cancelled, it disconnects at once. The socket is
    closed in any case.

    Parameters:
        addr: a pair (host, port). The host is a name, an IPv4 or an IPv6 address.
        server_public_key: the server's public key, its PEM text or the path of a PEM file; see
            `UdpClient`.
        connection_timeout: seconds that the attempt may take; 5 by default.
        keep_alive_interval: seconds without sending after which a keep-alive is sent; 0.1 by
            default.
        message_timeout: seconds without an ack after which a message has timed out; 1 by default.
        trace: a file to which a line is appended for each datagram.
        key_log: a file to which the keys of the session are appended; see `UdpClient`.
        minimum_protocol: 2 refuses servers that speak protocol 1 only; see `UdpClient`, as for the
            parameters that follow.
        channels: the channels of the game, the same as the server's.
        credential: what shows the server who the player is, or a function that returns it.
        audience: the name of the service.
        require_hybrid: refuse a session whose keys do not also come from ML-KEM-768.

    Raises:
        ConnectFailedError: the connection could not be established; `failure` says why, and
            `reason` what the server said.
        TypeError: an argument has another type.
        ValueError: an argument is not an address, a key, or a time above 0, or not allowed.
        OSError: the key cannot be read, or the trace or the key log not written; or something else
            in the process has closed the socket, which every waiting call of the client raises.
    """
    core = UdpClient(
        server_public_key,
        trace=trace,
        key_log=key_log,
        minimum_protocol=minimum_protocol,
        channels=channels,
        credential=credential,
        audience=audience,
        require_hybrid=require_hybrid,
    )
    if connection_timeout is not None:
        core.setConnectionTimeout(connection_timeout)
    if keep_alive_interval is not None:
        core.setKeepAliveInterval(keep_alive_interval)
    if message_timeout is not None:
        core.setMessageTimeout(message_timeout)
    client = AsyncClient(core)
    try:
        await client._connect(addr)
        yield client
        await client.disconnect()
    finally:
        client._abandon()
