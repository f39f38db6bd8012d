"""The chat without a network: its messages, their order, its rooms."""

from __future__ import annotations

import pytest

from chat import rooms
from chat.conversation import Conversation, as_text
from chat.rooms import HISTORY, Rooms
from chat.wire import (
    MAX_TEXT,
    Kind,
    Line,
    Request,
    Verb,
    decode_line,
    decode_request,
    encode_line,
    encode_request,
)


class TestWire:
    @pytest.mark.parametrize(
        "request_",
        [
            Request(Verb.SAY, "hello  there "),
            Request(Verb.SAY, "👩‍🚀" * 200),
            Request(Verb.NICK, "ada"),
            Request(Verb.JOIN, "lobby"),
            Request(Verb.WHO),
        ],
    )
    def test_a_request_is_read_as_it_was_written(self, request_: Request) -> None:
        assert decode_request(encode_request(request_)) == request_

    def test_a_line_is_read_as_it_was_written(self) -> None:
        line = Line(Kind.NOTICE, "-", "-", "here: a, b")
        assert decode_line(encode_line(line)) == line

    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"say",
            b"shout hello",
            b"say ",
            b"say \xff",
            b"say a\nb",
            b"say \x1b[2J",
            "say a\u2028b".encode(),
            b"say " + b"x" * (MAX_TEXT + 1),
            b"say " + b"x" * 100_000,
            b"nick ",
            b"nick -",
            b"nick two words",
            b"nick " + b"x" * 21,
            b"join ../..",
        ],
    )
    def test_what_is_no_request_is_a_value_error(self, message: bytes) -> None:
        with pytest.raises(ValueError):  # noqa: PT011
            decode_request(message)

    @pytest.mark.parametrize(
        "message", [b"", b"said lobby ada", b"said lobby ada ", b"told lobby ada hello"]
    )
    def test_what_is_no_line_is_a_value_error(self, message: bytes) -> None:
        with pytest.raises(ValueError):  # noqa: PT011
            decode_line(message)


def texts(deliveries: list[tuple[str, Line]], member: str) -> list[str]:
    return [line.text for who, line in deliveries if who == member]


def entered(*members: str, room: str = "lobby") -> Rooms[str]:
    """Members whose nicknames are their names, in a room."""
    made: Rooms[str] = Rooms()
    for member in members:
        made.enter(member)
        made.do(member, Request(Verb.NICK, member))
        made.do(member, Request(Verb.JOIN, room))
    return made


class TestRooms:
    def test_a_newcomer_is_told_the_last_lines_and_who_is_there(self) -> None:
        lobby = entered("ada", "bob")
        for number in range(HISTORY + 5):
            lobby.do("ada", Request(Verb.SAY, f"{number}"))
        lobby.enter("cid")
        told = lobby.do("cid", Request(Verb.JOIN, "lobby"))
        last = [f"{number}" for number in range(5, HISTORY + 5)]
        assert texts(told, "cid") == [*last, "here: ada, bob, guest-3"]
        assert texts(told, "ada") == ["guest-3 has joined"]

    def test_only_those_in_the_room_hear(self) -> None:
        both = entered("ada", "bob")
        both.do("bob", Request(Verb.JOIN, "den"))
        assert [who for who, _ in both.do("ada", Request(Verb.SAY, "hello"))] == ["ada"]

    def test_a_nickname_belongs_to_one(self) -> None:
        lobby = entered("ada", "bob")
        for nick in ("ada", "ADA"):
            [(who, line)] = lobby.do("bob", Request(Verb.NICK, nick))
            assert (who, line.kind) == ("bob", Kind.REFUSED)
        assert texts(lobby.do("ada", Request(Verb.NICK, "Ada")), "bob") == ["ada is now Ada"]
        lobby.leave("ada")
        assert texts(lobby.do("bob", Request(Verb.NICK, "ada")), "bob") == ["bob is now ada"]

    def test_a_guest_gets_no_nickname_that_somebody_took(self) -> None:
        made: Rooms[str] = Rooms()
        made.enter("a")
        made.do("a", Request(Verb.NICK, "guest-2"))
        assert texts(made.enter("b"), "b") == ["you are guest-3"]

    def test_who_leaves_is_missed(self) -> None:
        lobby = entered("ada", "bob")
        assert texts(lobby.leave("bob"), "ada") == ["bob has left"]
        assert texts(lobby.do("ada", Request(Verb.WHO)), "ada") == ["here: ada"]

    def test_who_is_in_no_room_can_say_nothing(self) -> None:
        made: Rooms[str] = Rooms()
        made.enter("ada")
        [(_, line)] = made.do("ada", Request(Verb.SAY, "hello?"))
        assert (line.kind, line.text) == (Kind.REFUSED, "join a room first")

    def test_a_room_is_joined_once(self) -> None:
        [(_, line)] = entered("ada").do("ada", Request(Verb.JOIN, "lobby"))
        assert line.kind is Kind.REFUSED

    def test_the_rooms_that_are_remembered_are_bounded(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rooms, "MAX_ROOMS", 3)
        made = entered("ada", "bob", room="one")
        for room in ("two", "three", "two", "four"):  # two is left last of those
            made.do("ada", Request(Verb.SAY, "here"))
            made.do("ada", Request(Verb.JOIN, room))
        assert set(made._rooms) == {"one", "two", "four"}
        for member, room in (("cid", "two"), ("dan", "five")):
            made.enter(member)
            told = made.do(member, Request(Verb.JOIN, room))
        assert texts(told, "dan") == ["there are too many rooms"]

    def test_a_line_of_who_is_there_can_be_read_however_many_they_are(self) -> None:
        members = [f"{number:020}" for number in range(100)]
        [(_, line)] = entered(*members).do(members[0], Request(Verb.WHO))
        assert decode_line(encode_line(line)) == line
        assert line.text.endswith(" and 60 more")


class TestConversation:
    def test_what_is_typed_becomes_requests_in_order(self) -> None:
        conversation = Conversation()
        typed = ["hello ", "/nick ada", "/join den", "/who", "/say no", ""]
        messages = []
        for text in typed[:4]:
            messages.append(conversation.typed(text))
        with pytest.raises(ValueError, match="all else is said"):
            conversation.typed("/say no")
        assert conversation.typed("  ") is None
        messages.append(conversation.typed("last"))
        assert messages == [b"say hello", b"nick ada", b"join den", b"who ", b"say last"]
        assert not conversation.is_over
        assert conversation.typed("/quit") is None
        assert conversation.is_over

    @pytest.mark.parametrize(
        ("message", "text"),
        [
            (b"said lobby ada hello", "[lobby] ada: hello"),
            (b"notice - - you are bob", "* you are bob"),
            (b"refused lobby - no", "[lobby] ! no"),
        ],
    )
    def test_what_is_told_becomes_text(self, message: bytes, text: str) -> None:
        assert as_text(message) == text
