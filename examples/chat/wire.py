"""The messages of the chat as bytes: UTF-8 text, words between single spaces.

A client says `verb text`, the server `kind room nick text`, all on one channel, which is ordered:
each message arrives once, and in its place.

Whatever the bytes, the decoders raise ValueError and nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum

from mpgameserver import Channel

CHAT = Channel("chat")
"""The channel of both sides."""
NONSENSE = 256
"""The code with which a client is sent away whose messages are not of this chat."""
MAX_TEXT = 1000
"""Characters of a line: more is a file, and no talk."""
MAX_BYTES = 8192
"""Of a message: a line of the longest characters, and the words before it."""
NAME = re.compile(r"[A-Za-z0-9_-]{1,20}")
"""Valid names of people and rooms."""
NOBODY = "-"
"""The nickname of lines that the server itself says, and the room of those that concern none."""
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories that a line must not have: with control characters somebody could draw on
other people's terminals, a lone surrogate cannot be printed at all, and a line is one line."""


class Verb(Enum):
    """The requests of a client."""

    NICK = "nick"
    JOIN = "join"
    SAY = "say"
    WHO = "who"


class Kind(Enum):
    """The kinds of lines that the server sends."""

    SAID = "said"
    NOTICE = "notice"
    REFUSED = "refused"


@dataclass(frozen=True)
class Request:
    """A request: with a name for `NICK` and `JOIN`, a text for `SAY`, nothing for `WHO`."""

    verb: Verb
    text: str = ""


@dataclass(frozen=True)
class Line:
    """A line on the screen of those who are in a room."""

    kind: Kind
    room: str
    nick: str
    text: str


def encode_request(request: Request) -> bytes:
    """The request as a message."""
    return f"{request.verb.value} {request.text}".encode()


def decode_request(message: bytes) -> Request:
    """The request of a message."""
    verb, text = _words(message, 2)
    request = Request(Verb(verb), text)
    if request.verb in (Verb.NICK, Verb.JOIN):
        require_name(text)
    elif request.verb is Verb.SAY:
        require_text(text)
    return request


def encode_line(line: Line) -> bytes:
    """The line as a message."""
    return f"{line.kind.value} {line.room} {line.nick} {line.text}".encode()


def decode_line(message: bytes) -> Line:
    """The line of a message."""
    kind, room, nick, text = _words(message, 4)
    if not NAME.fullmatch(room) or not NAME.fullmatch(nick):
        raise ValueError(f"expected a room and a nickname, not {room!r} and {nick!r}")
    require_text(text)
    return Line(Kind(kind), room, nick, text)


def require_name(name: str) -> None:
    """ValueError unless it can be a nickname or a room."""
    if not NAME.fullmatch(name) or name == NOBODY:
        raise ValueError(f"a name has 1 to 20 of A-Z a-z 0-9 _ -, and is not {name!r}")


def require_text(text: str) -> None:
    """ValueError unless it can be said."""
    if not text or len(text) > MAX_TEXT:
        raise ValueError(f"a line has 1 to {MAX_TEXT} characters, not {len(text)}")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in text):
        raise ValueError("a line must not have control characters")


def _words(message: bytes, count: int) -> list[str]:
    if len(message) > MAX_BYTES:
        raise ValueError(f"a message has at most {MAX_BYTES} bytes, not {len(message)}")
    words = message.decode().split(" ", count - 1)
    if len(words) != count:
        raise ValueError(f"expected {count} words, not {len(words)}")
    return words
