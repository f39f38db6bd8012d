"""One user's side of the chat: what is typed becomes messages, and messages become text."""

from __future__ import annotations

from chat.wire import (
    NOBODY,
    Kind,
    Request,
    Verb,
    decode_line,
    encode_request,
    require_name,
    require_text,
)

HELP = "/nick NAME, /join ROOM, /who, /quit; all else is said"


class Conversation:
    """Knows the commands, and when the user has had enough."""

    def __init__(self) -> None:
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
            return encode_request(Request(Verb.SAY, text))
        command, _, name = text[1:].partition(" ")
        if command == "quit":
            self.is_over = True
            return None
        if command == Verb.WHO.value:
            return encode_request(Request(Verb.WHO))
        if command not in (Verb.NICK.value, Verb.JOIN.value):
            raise ValueError(HELP)
        require_name(name)
        return encode_request(Request(Verb(command), name))


def as_text(message: bytes) -> str:
    """Return what a message of the server looks like. Raises ValueError for an invalid one."""
    line = decode_line(message)
    place = "" if line.room == NOBODY else f"[{line.room}] "
    if line.kind is Kind.SAID:
        return f"{place}{line.nick}: {line.text}"
    return f"{place}{'!' if line.kind is Kind.REFUSED else '*'} {line.text}"
