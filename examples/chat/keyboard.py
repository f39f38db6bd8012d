"""Lines of standard input for an event loop, from a terminal, a pipe or a file.

On a terminal prompt_toolkit reads them: it shows what others say above a line that is half typed,
and then the half line again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator

MAX_WAITING = 16
"""Lines that are read ahead of who takes them."""


def typed_lines() -> AsyncIterator[str]:
    """The lines as they are typed, or as a pipe or a file has them."""
    return _prompted_lines() if sys.stdin.isatty() else TypedLines()


async def _prompted_lines() -> AsyncIterator[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.patch_stdout import patch_stdout

    session: PromptSession[str] = PromptSession("> ", erase_when_done=True)
    with patch_stdout(), contextlib.suppress(EOFError):
        while True:
            yield await session.prompt_async()


class TypedLines:
    """An asynchronous iterator over the lines as they are typed.

    A thread reads: an event loop can wait neither for a file nor, on Windows, for a terminal. It is
    a daemon, for a read that has begun cannot be ended. It reads without Python's buffer, whose
    lock it would hold for ever, and which the interpreter wants to have when it ends.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = threading.Semaphore(MAX_WAITING)
        threading.Thread(target=self._read, name="keyboard", daemon=True).start()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        self._room.release()
        if line is None:
            raise StopAsyncIteration
        return line

    def _read(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source:
                for line in source:
                    self._put(line.decode(errors="replace"))
            self._put(None)

    def _put(self, line: str | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
