"""A channel of a client, as the game uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from mpgameserver._core.progress import Progress
from mpgameserver.channels import Channel
from mpgameserver.enums import RetryMode
from mpgameserver.reprs import even_unmade

__all__ = ["ClientChannel"]


class _Client(Protocol):
    """The interface that a channel needs of its client."""

    def _send_on(
        self,
        channel: int,
        msg: bytes | bytearray | memoryview,
        retry: int,
        callback: Callable[[bool], object] | None,
    ) -> None: ...

    def _take_from(self, channel: int) -> Iterator[bytes]: ...

    def _pending_on(self, channel: int) -> int: ...

    def _arriving_on(self, channel: int) -> list[tuple[int, int]]: ...


class ClientChannel:
    """A declared channel of a `UdpClient`, which `UdpClient.channel` returns."""

    def __init__(self, client: _Client, number: int, declared: Channel) -> None:
        self._client = client
        self.number = number
        """Its number on the wire."""
        self._declared = declared

    @even_unmade
    def __repr__(self) -> str:
        return f"<ClientChannel {self.name!r}, {self._declared.kind}>"

    @property
    def name(self) -> str:
        """The name with which it was declared."""
        return self._declared.name

    def send(
        self,
        msg: bytes | bytearray | memoryview,
        callback: Callable[[bool], object] | None = None,
        *,
        retry: int | None = None,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Queue a message for the server on this channel; the next `update` sends it.

        If it raises, nothing was queued and the client stays usable.

        Parameters:
            msg: any bytes-like object; on an ordered channel at most as long as the server's window
                of it. It is copied at once.
            callback: called once, as that of `UdpClient.send`: with False also when a newer message
                has replaced this one on a latest channel.
            retry: on an unordered channel a `RetryMode` or its number; RETRY_ON_TIMEOUT by default.
                The kinds of the other channels say how a message is delivered.
            on_progress: called as that of `UdpClient.send`, with the bytes acked and those in all.

        Raises:
            NotConnectedError: the client is not connected.
            SendQueueFullError: too much is queued; send again when some of it has left.
            TypeError: an argument has another type.
            ValueError: the message is too long, or `retry` is not a retry mode or not allowed here.
            RuntimeError: another thread is using the client.
        """
        if on_progress is not None:
            callback = Progress(on_progress, callback)
        self._client._send_on(self.number, msg, self._checked_retry(retry), callback)

    def _checked_retry(self, retry: int | None) -> int:
        if retry is None:
            return RetryMode.RETRY_ON_TIMEOUT
        if self._declared.kind != "unordered":
            raise ValueError(
                f"retry is for unordered channels; {self.name!r} is {self._declared.kind}"
            )
        return retry

    def messages(self) -> Iterator[bytes]:
        """Yield the messages that have arrived on this channel, the oldest first, and remove them.

        It ends when none is left, and does not wait for more.
        """
        return self._client._take_from(self.number)

    @property
    def pending(self) -> int:
        """Bytes of messages queued on this channel that have not been sent yet."""
        return self._client._pending_on(self.number)

    @property
    def arriving(self) -> list[tuple[int, int]]:
        """Of each long message that has arrived in part, the bytes so far and the bytes in all.

        The oldest is first. Reading it costs time; a channel of which nobody reads it, none.
        """
        return self._client._arriving_on(self.number)
