"""The chat's server: an asyncio handler, which gives what comes to the rooms and tells the result.

Its events may wait, here for the transcript. The events of one client come one at a time and in
order, those of different clients while another waits, so what must not be mixed is behind a lock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

from chat.options import key_file
from chat.rooms import Deliveries, Rooms
from chat.transcript import Transcript
from chat.wire import CHAT, NONSENSE, Request, Verb, decode_request, encode_line
from mpgameserver import (
    EllipticCurvePrivateKey,
    EventHandler,
    SendQueueFullError,
    ServerClient,
    ServerContext,
    aio,
    format_address,
)


class ChatServer(EventHandler):
    """All rooms of a chat."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._rooms: Rooms[ServerClient] = Rooms()
        self._lock = asyncio.Lock()  # the transcript has the lines in the order of the rooms

    async def starting(self) -> None:
        """Read what was said before; nobody is let in meanwhile."""
        self._rooms.remember(await self._transcript.load())

    def connect(self, client: ServerClient) -> None:
        """Give the client a nickname."""
        self._tell(self._rooms.enter(client))

    async def handle_message(
        self, client: ServerClient, seqnum: int, msg: bytes = b"", channel: str = ""
    ) -> None:
        """Do what the client asks for; what makes no sense ends its connection."""
        try:
            request = decode_request(msg)
        except ValueError as error:
            client.log.info("disconnected: %s", error)
            client.disconnect(NONSENSE, "that is no message of this chat")
            return
        await self._do(client, request)

    def disconnect(self, client: ServerClient) -> None:
        """Tell its room that the client is gone."""
        self._tell(self._rooms.leave(client))

    async def _do(self, client: ServerClient, request: Request) -> None:
        async with self._lock:
            told = self._rooms.do(client, request)
            if request.verb is Verb.SAY:
                try:
                    await self._transcript.add(told[0][1])
                except OSError as error:
                    client.log.error("a line is not in the transcript: %s", error)
            self._tell(told)

    def _tell(self, deliveries: Deliveries[ServerClient]) -> None:
        for client, line in deliveries:
            try:
                client.channel(CHAT.name).send(encode_line(line))
            except SendQueueFullError:  # it has not read for a long time
                client.disconnect()


def chat_context(
    transcript: Transcript, key: EllipticCurvePrivateKey | None = None
) -> ServerContext:
    """The chat with its channel, which clients of protocol 1 do not have."""
    return ServerContext(ChatServer(transcript), key, channels=[CHAT], minimum_protocol=2)


async def serve(
    address: tuple[str, int], key: EllipticCurvePrivateKey, transcript: Transcript
) -> None:
    """Serve until SIGINT or SIGTERM."""
    async with aio.serve(chat_context(transcript, key), address) as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C cancels instead
                asyncio.get_running_loop().add_signal_handler(number, server.stop)
        print(f"serving on {format_address(server.address)}", flush=True)
        await server.wait_stopped()


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(prog="python -m chat.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=1474, help="0: a free one (%(default)s)")
    parser.add_argument(
        "--key", type=key_file, default="chat.pem", help="private key (%(default)s)"
    )
    parser.add_argument(
        "--transcript", type=Path, default="chat.txt", help="what was said (%(default)s)"
    )
    options = parser.parse_args()
    key = EllipticCurvePrivateKey.fromPEM(options.key.read_text())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve((options.host, options.port), key, Transcript(options.transcript)))


if __name__ == "__main__":
    main()
