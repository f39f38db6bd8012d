"""The server of the transfer: takes files into a folder, and checks what it has got.

Reading and writing is done on threads, so that a slow disk stops nobody else. The events of one
client come one at a time, so each has at most one piece in work.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

from filetransfer.options import key_file
from filetransfer.receiving import Incoming, is_there
from filetransfer.wire import REPORT, Busy, Chunk, Done, Have, Message, Offer, Refused, decode
from mpgameserver import (
    EllipticCurvePrivateKey,
    EventHandler,
    ServerClient,
    ServerContext,
    aio,
    format_address,
)

Tell = Callable[[str], object]


class FileServer(EventHandler):
    """Files that come into a folder; `tell` gets a line for each that is there."""

    def __init__(self, folder: Path, tell: Tell) -> None:
        self._folder = folder
        self._tell = tell
        self._incoming: dict[ServerClient, Incoming] = {}
        self._offered: set[bytes] = set()  # the digests of what somebody is sending
        self._naming = asyncio.Lock()  # of two files of one name the first one gets it

    async def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """Take an offer or a piece; who sends anything else is disconnected."""
        try:
            message = decode(msg)
            if isinstance(message, Offer) and client not in self._incoming:
                await self._take_offer(client, message)
            elif isinstance(message, Chunk) and client in self._incoming:
                await self._take_chunk(client, message)
            else:
                raise ValueError(f"{type(message).__name__} was not to come now")
        except ValueError as error:
            client.log.info("disconnected: %s", error)
            client.disconnect()
        except OSError as error:
            client.log.error("cannot write: %s", error)
            _answer(client, Refused("the server cannot write it"))

    def disconnect(self, client: ServerClient) -> None:
        """Keep what has come, for when the client comes back."""
        self._forget(client)

    def _forget(self, client: ServerClient) -> None:
        incoming = self._incoming.pop(client, None)
        if incoming is not None:
            self._offered.discard(incoming.offer.digest)
            incoming.close()

    async def _take_offer(self, client: ServerClient, offer: Offer) -> None:
        if offer.digest in self._offered:
            _answer(client, Busy())
            return
        self._offered.add(offer.digest)
        try:
            if await asyncio.to_thread(is_there, self._folder, offer):
                _answer(client, Done())
                return
            incoming = self._incoming[client] = Incoming(self._folder, offer)
        except ValueError as error:
            _answer(client, Refused(str(error)))
            return
        finally:
            if client not in self._incoming:
                self._offered.discard(offer.digest)
        _answer(client, Have(await asyncio.to_thread(incoming.resume)))
        await self._finish_when_complete(client, incoming)

    async def _take_chunk(self, client: ServerClient, chunk: Chunk) -> None:
        incoming = self._incoming[client]
        before = incoming.size
        await asyncio.to_thread(incoming.take, chunk)
        if incoming.size // REPORT > before // REPORT:
            _answer(client, Have(incoming.size))
        await self._finish_when_complete(client, incoming)

    async def _finish_when_complete(self, client: ServerClient, incoming: Incoming) -> None:
        if not incoming.is_complete:
            return
        try:
            async with self._naming:
                await asyncio.to_thread(incoming.finish)
        except ValueError as error:
            _answer(client, Refused(str(error)))
        else:
            _answer(client, Done())
            self._tell(f"received {incoming.offer.name!r}, {incoming.offer.size:,} bytes")
        finally:
            self._forget(client)


def _answer(client: ServerClient, message: Message) -> None:
    client.send_guaranteed(message.encode())


async def serve(
    folder: Path, address: tuple[str, int], key: EllipticCurvePrivateKey, tell: Tell
) -> None:
    """Serve until SIGINT or SIGTERM."""
    context = ServerContext(FileServer(folder, tell), key)
    async with aio.serve(context, address) as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C cancels instead
                asyncio.get_running_loop().add_signal_handler(number, server.stop)
        tell(f"serving on {format_address(server.address)}")
        await server.wait_stopped()


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(prog="python -m filetransfer.server", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files go; it is made")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=1474, help="0: a free one (%(default)s)")
    parser.add_argument(
        "--key", type=key_file, default="files.pem", help="private key (%(default)s)"
    )
    options = parser.parse_args()
    key = EllipticCurvePrivateKey.fromPEM(options.key.read_text())
    options.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.folder, (options.host, options.port), key, tell))


def tell(text: str) -> None:
    """Print a line now."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
