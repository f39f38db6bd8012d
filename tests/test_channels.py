"""Channels as a game declares them, and the table in which both sides compare them."""

from __future__ import annotations

import pytest

from mpgameserver import Channel
from mpgameserver.channels import WINDOW_BYTES, WINDOW_MESSAGES, ChannelTable
from mpgameserver.wire.protocol2.setup import (
    MAX_CREDENTIAL_SIZE,
    ChannelKind,
    ConnectData,
    DeclaredChannel,
    Window,
)


def test_a_channel_is_ordered_unless_its_kind_is_named():
    assert Channel("chat").kind == "ordered"
    assert Channel("chat").wire_kind is ChannelKind.ORDERED
    assert Channel("pose", "latest").wire_kind is ChannelKind.LATEST


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((b"chat",), TypeError, "name must be a str, not bytes"),
        (("",), ValueError, "name must have 1 to 64 bytes of UTF-8, not 0"),
        (("é" * 33,), ValueError, "not 66"),
        (("\udc80",), ValueError, "encodable"),
        (
            ("chat", "newest"),
            ValueError,
            "'unordered', 'ordered', 'sequenced', 'latest', not 'newe",
        ),
        (("chat", "ordered", 3), ValueError, "priority must be -2 to 2, not 3"),
        (("chat", "ordered", 0.5), TypeError, "priority must be an int, not float"),
        (("chat", "ordered", 0, 0), ValueError, "window must be 1 to 8389011, not 0"),
        (("chat", "ordered", 0, 8_389_012), ValueError, "window must be 1 to 8389011"),
        (("chat", "ordered", 0, 1, 0), ValueError, "number must be 1 to 255, not 0"),
        (("chat", "ordered", 0, 1, True), TypeError, "number must be an int, not bool"),
    ],
)
def test_a_channel_that_cannot_be_is_refused_where_it_is_declared(arguments, error, text):
    with pytest.raises(error, match=text):
        Channel(*arguments)


def test_channels_are_numbered_in_the_order_of_declaration_around_the_numbers_that_are_given():
    table = ChannelTable(
        [Channel("a"), Channel("b", number=1), Channel("c", number=3), Channel("d")]
    )
    assert table.names == {0: "", 1: "b", 2: "a", 3: "c", 4: "d"}
    assert [number for number, _ in table] == [1, 2, 3, 4]
    assert table.number_of("d") == 4
    assert len(table) == 4


def test_a_name_that_is_not_declared_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="no channel 'caht' is declared; declared: 'chat', 'pose'"):
        ChannelTable([Channel("chat"), Channel("pose", "latest")]).number_of("caht")
    with pytest.raises(ValueError, match="declared: none"):
        ChannelTable().number_of("chat")


@pytest.mark.parametrize(
    ("channels", "error", "text"),
    [
        (["chat"], TypeError, "channels must be Channels, not 'chat'"),
        ([Channel("a"), Channel("a")], ValueError, "two channels are named 'a'"),
        ([Channel("a", number=2), Channel("b", number=2)], ValueError, "have the number 2"),
        ([Channel(f"{n}") for n in range(256)], ValueError, "255 channels, not 256"),
        ([Channel(f"{n:064}") for n in range(255)], ValueError, "names of the channels are too lo"),
    ],
)
def test_channels_that_do_not_go_together_are_refused(channels, error, text):
    with pytest.raises(error, match=text):
        ChannelTable(channels)


def test_the_longest_table_leaves_room_for_the_longest_credential():
    count = 0
    while True:
        try:
            rows = ChannelTable([Channel(f"{n:060}") for n in range(count)]).declared
        except ValueError:
            break
        count += 1
    assert 90 < len(rows) == count - 1
    ConnectData(bytes(MAX_CREDENTIAL_SIZE), rows).encode()


def test_an_ordered_channel_grants_its_window_and_no_other_does():
    table = ChannelTable([Channel("chat", window=5000), Channel("pose", "latest"), Channel("log")])
    assert table.windows == (Window(WINDOW_MESSAGES, 5000), Window(WINDOW_MESSAGES, WINDOW_BYTES))
    assert table.declared[1] == DeclaredChannel(2, ChannelKind.LATEST, "pose")


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ([Channel("chat"), Channel("pose", "latest")], None),
        ([Channel("chat", window=2000, priority=2), Channel("pose", "latest")], None),
        (
            [Channel("chat", window=999), Channel("pose", "latest")],
            "the window of channel 1 'chat' is 1000 here and 999 at the peer",
        ),
        ([Channel("chat")], "channel 2 is latest 'pose' here and not declared at the peer"),
        (
            [Channel("talk"), Channel("pose", "ordered")],
            "channel 1 is ordered 'chat' here and ordered 'talk' at the peer",
        ),
        (
            [Channel("chat"), Channel("pose")],
            "channel 2 is latest 'pose' here and ordered 'pose' at the peer",
        ),
        (
            [Channel("chat"), Channel("pose", "latest"), Channel("x")],
            "channel 3 is not declared here and ordered 'x' at the peer",
        ),
    ],
)
def test_the_first_difference_of_two_tables_is_named(others, text):
    own = ChannelTable([Channel("chat", window=1000), Channel("pose", "latest")])
    assert own.first_difference(ChannelTable(others).declared) == text
