"""One user's side of the chat: what is typed becomes messages, and messages become text."""

from __future__ import annotations

from chat.inorder import InOrder
from chat.wire import (
    NOBODY,
    Kind,
    Line,
    Request,
    Verb,
    decode_line,
    encode_request,
    require_name,
    require_text,
)

HELP = "/nick NAME, /join ROOM, /who, /quit; all else is said"


class Conversation:
    """Numbers what is asked for, and puts what is told into order."""

    def __init__(self) -> None:
        self._asked = 0
        self._lines: InOrder[Line] = InOrder()
        self.is_over = False
        """The user wants to leave."""

    def typed(self, text: str) -> bytes | None:
        """The message for what was typed; None when there is none.

        Raises ValueError, which says why, for what cannot be asked for.
        """
        text = text.strip()
        if not text:
            return None
        if not text.startswith("/"):
            require_text(text)
            return self.ask(Request(Verb.SAY, text))
        command, _, name = text[1:].partition(" ")
        if command == "quit":
            self.is_over = True
            return None
        if command == Verb.WHO.value:
            return self.ask(Request(Verb.WHO))
        if command not in (Verb.NICK.value, Verb.JOIN.value):
            raise ValueError(HELP)
        require_name(name)
        return self.ask(Request(Verb(command), name))

    def ask(self, request: Request) -> bytes:
        """The message for a request."""
        self._asked += 1
        return encode_request(self._asked, request)

    def heard(self, message: bytes) -> list[str]:
        """Return the lines to show for a message. Raises ValueError for an invalid one."""
        return [_shown(line) for line in self._lines.take(*decode_line(message))]


def _shown(line: Line) -> str:
    place = "" if line.room == NOBODY else f"[{line.room}] "
    if line.kind is Kind.SAID:
        return f"{place}{line.nick}: {line.text}"
    return f"{place}{'!' if line.kind is Kind.REFUSED else '*'} {line.text}"
