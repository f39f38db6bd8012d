"""The chat's client for the terminal: shows what is said while you type.

Two tasks share the connection: one sends what is typed, the other shows what comes. The first that
ends, ends both.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from chat.conversation import HELP, Conversation, as_text
from chat.keyboard import typed_lines
from chat.options import key_file, name
from chat.wire import CHAT, Request, Verb, encode_request
from mpgameserver import aio

Show = Callable[[str], object]


async def talk(
    client: aio.AsyncClient,
    conversation: Conversation,
    lines: AsyncIterator[str],
    show: Show,
) -> None:
    """Talk until the user or the server ends it; ConnectionEndedError when that falls silent."""
    saying = asyncio.ensure_future(say(client, conversation, lines, show))
    hearing = asyncio.ensure_future(hear(client, show))
    try:
        await asyncio.wait({saying, hearing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (saying, hearing):
            task.cancel()
        outcomes = await asyncio.gather(hearing, saying, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def say(
    client: aio.AsyncClient,
    conversation: Conversation,
    lines: AsyncIterator[str],
    show: Show,
) -> None:
    """Send what is typed, each line when the one before has arrived."""
    channel = client.channel(CHAT.name)
    async for line in lines:
        try:
            message = conversation.typed(line)
        except ValueError as error:
            show(f"! {error}")
            continue
        if message is not None:
            await deliver(channel, message)
        if conversation.is_over:
            break


async def deliver(channel: aio.AsyncChannel, message: bytes) -> None:
    """Send a message, and wait for its ack: a long file from a pipe must not fill the queue."""
    is_settled = asyncio.Event()
    channel.send(message, lambda acked: is_settled.set())
    await is_settled.wait()


async def hear(client: aio.AsyncClient, show: Show) -> None:
    """Show messages until the server disconnects, and then why, if it says so."""
    async for message in client.channel(CHAT.name):
        show(as_text(message))
    why = client.reason.text if client.reason else ""
    show("* the server has ended the chat" + (f": {why}" if why else ""))


async def chat(server: tuple[str, int], key: Path, first: list[Request]) -> None:
    """Connect, ask for what comes first, and talk."""
    async with aio.connect(server, server_public_key=key, channels=[CHAT]) as client:
        for request in first:
            client.channel(CHAT.name).send(encode_request(request))
        await talk(client, Conversation(), typed_lines(), partial(print, flush=True))


def main() -> int:
    """Read the command line, and chat; 1 when there is no server, or it fell silent."""
    parser = argparse.ArgumentParser(
        prog="python -m chat.client", description="Chat. " + HELP, epilog="Ctrl-D or /quit: leave"
    )
    parser.add_argument("--host", default="127.0.0.1", help="of the server (%(default)s)")
    parser.add_argument("--port", type=int, default=1474, help="of the server (%(default)s)")
    parser.add_argument(
        "--key", type=key_file, default="chat.pem.pub", help="public key (%(default)s)"
    )
    parser.add_argument("--nick", type=name, help="yours; the server gives you one without")
    parser.add_argument("--room", type=name, default="lobby", help="to begin in (%(default)s)")
    options = parser.parse_args()
    first = [] if options.nick is None else [Request(Verb.NICK, options.nick)]
    first.append(Request(Verb.JOIN, options.room))
    try:
        asyncio.run(chat((options.host, options.port), options.key, first))
    except (OSError, ValueError) as error:  # the connection's errors are OSErrors, too
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
