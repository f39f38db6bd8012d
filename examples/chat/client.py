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

from chat.conversation import HELP, Conversation
from chat.keyboard import typed_lines
from chat.options import key_file, name
from chat.wire import Request, Verb
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
    hearing = asyncio.ensure_future(hear(client, conversation, show))
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
    async for line in lines:
        try:
            message = conversation.typed(line)
        except ValueError as error:
            show(f"! {error}")
            continue
        if message is not None:
            await client.send_guaranteed(message)
        if conversation.is_over:
            break


async def hear(client: aio.AsyncClient, conversation: Conversation, show: Show) -> None:
    """Print messages until the server disconnects."""
    async for _, message in client:
        for text in conversation.heard(message):
            show(text)
    show("* the server has ended the chat")


async def chat(server: tuple[str, int], key: Path, first: list[Request]) -> None:
    """Connect, ask for what comes first, and talk."""
    conversation = Conversation()
    async with aio.connect(server, server_public_key=key) as client:
        for request in first:
            client.send(conversation.ask(request))
        await talk(client, conversation, typed_lines(), partial(print, flush=True))


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
