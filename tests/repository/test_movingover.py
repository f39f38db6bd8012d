"""The page for those who come from the published package has every name that one documents.

The names are those of its documentation of 0.2.4: its client page, and what its server, key and
packet classes are said to have.
"""

from __future__ import annotations

import importlib
import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import mpgameserver
from mpgameserver import connection
from mpgameserver.absent import REPLACEMENTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "moving-over.md").read_text()

DOCUMENTED = {
    "UdpClient": """
        connect connected disconnect forceDisconnect getMessage getMessages hasMessages latency send
        send_guaranteed setConnectionTimeout setKeepAliveInterval setMessageTimeout stats status
        token update waitForDisconnect""",
    "ConnectionStats": """
        acked assembled bytes_recv bytes_sent dropped latency pkts_recv pkts_sent received sent
        timeouts""",
    "ConnectionStatus": "CONNECTING CONNECTED DISCONNECTING DISCONNECTED DROPPED",
    "RetryMode": "RETRY_ON_TIMEOUT NONE BEST_EFFORT",
    "EventHandler": "starting shutdown connect disconnect update handle_message",
    "ServerClient": "addr token latency log stats send send_guaranteed disconnect",
    "ServerContext": """
        setInterval setKeepAliveInterval setConnectionTimeout setTempConnectionTimeout
        setMessageTimeout setBlockList enableAccessLogs shutdown""",
    "UdpServer": "run stop",
    "ThreadedServer": "start stop",
    "EllipticCurvePrivateKey": """
        new fromPEM fromBytes getBytes getPrivateKeyPEM savePEM getPublicKey sign curve""",
    "EllipticCurvePublicKey": "fromPEM fromBytes getBytes getPublicKeyPEM savePEM verify curve",
    "InvalidSignature": "",
    "SeqNum": "maximum diff newer_than",
    "BitField": "insert contains current_seqnum bits nbits",
    "PacketIdentifier": "TO_SERVER TO_CLIENT",
    "PacketType": """
        UNKNOWN CLIENT_HELLO SERVER_HELLO CHALLENGE_RESP KEEP_ALIVE DISCONNECT APP APP_FRAGMENT""",
    "PacketHeader": """
        isServer ctime pkt_type seq ack ack_bits length count SIZE TAG_SIZE CRC_SIZE create
        from_bytes to_bytes""",
    "Packet": """
        MTU UDP_HEADER_SIZE MAX_SIZE MAX_SIZE_CRC MAX_PAYLOAD_SIZE MAX_FRAGMENT_SIZE MAX_FRAGMENTS
        RECV_SIZE setMTU overhead create from_bytes to_bytes total_size""",
    "PendingMessage": "seq type payload callback retry",
    "PacketError": "",
    "ProtocolError": "",
    "DuplicationError": "",
}
TITLES = {
    # The published package does not name the class.
    "ServerClient": "The client that an event gets",
    "ConnectionStatus": "`ConnectionStatus` and `RetryMode`",
    "RetryMode": "`ConnectionStatus` and `RetryMode`",
    "UdpServer": "Servers",
    "ThreadedServer": "Servers",
    "EllipticCurvePrivateKey": "Keys",
    "EllipticCurvePublicKey": "Keys",
    "InvalidSignature": "Keys",
}
"""Headings of sections whose name is not that of the class."""
OF_AN_INSTANCE = {"addr", "current_seqnum", "nbits"}
"""Attributes that are made in `__init__`."""


def section(name: str) -> str:
    """The tables that are to have the names of a class."""
    title = TITLES.get(name, f"`{name}`")
    _, heading, text = PAGE.partition(f"\n### {title}\n")
    if not heading:
        _, heading, text = PAGE.partition("\n### `mpgameserver.connection`\n")
    assert heading
    return "\n".join(re.findall(r"^\|.*\|$", text.partition("\n### ")[0], re.M))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_class_is_in_a_table_with_all_its_names(name: str) -> None:
    spans = " ".join(re.findall(r"`([^`]+)`", section(name)))
    assert set(DOCUMENTED[name].split()) <= set(re.findall(r"\w+", spans))
    assert name == "ServerClient" or re.search(rf"`{name}\b", PAGE)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_what_the_page_promises_is_there(name: str) -> None:
    owner = getattr(mpgameserver, name, None) or getattr(connection, name)
    attributes = set(DOCUMENTED[name].split()) - OF_AN_INSTANCE
    known = set(dir(owner)) | set(getattr(owner, "__slots__", ())) | set(owner.__annotations__)
    assert attributes - known == set()


def test_the_old_name_of_the_server_is_an_alias_that_warns() -> None:
    [row] = re.findall(r"^\| `TwistedServer.*$", PAGE, re.M)
    assert "`UdpServer`" in row
    with pytest.warns(DeprecationWarning, match="UdpServer") as warnings:
        assert mpgameserver.TwistedServer is mpgameserver.UdpServer
    assert warnings[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="UdpServer") as warnings:
        from mpgameserver import TwistedServer
    assert TwistedServer is mpgameserver.UdpServer
    assert [warning.filename for warning in warnings] == [__file__]  # once, and where it is


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_an_import_of_what_is_not_here_says_what_to_use(name: str) -> None:
    with pytest.raises(ImportError) as raised:
        exec(f"from mpgameserver import {name}")
    assert f"{name} of mpgameserver 0.2.4" in str(raised.value)
    assert f"use {REPLACEMENTS[name]}" in str(raised.value)
    assert "docs/moving-over.md" in str(raised.value)
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", ["serializable", "guiserver", "pylon", "twisted", "http_server"])
def test_so_does_the_import_of_a_module(name: str) -> None:
    with pytest.raises(ImportError, match=f"{name} of mpgameserver 0.2.4.*moving-over"):
        importlib.import_module(f"mpgameserver.{name}")
    with pytest.raises(ImportError, match=f"{name} of mpgameserver 0.2.4.*moving-over"):
        exec(f"from mpgameserver import {name}")


def test_what_is_not_here_is_no_attribute() -> None:
    assert not hasattr(mpgameserver, "Serializable")
    assert getattr(mpgameserver, "Timer", None) is None
    with pytest.raises(AttributeError, match="docs/moving-over"):
        _ = mpgameserver.GuiServer


def test_a_name_that_nobody_had_gets_the_usual_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'UdpServre'"):
        _ = mpgameserver.UdpServre
    with pytest.raises(ImportError, match="cannot import name 'UdpServre'"):
        from mpgameserver import UdpServre  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'mpgameserver\.nothing'"):
        importlib.import_module("mpgameserver.nothing")


def test_names_that_old_programs_reach_in_other_ways() -> None:
    assert mpgameserver.SeqNum is connection.SeqNum
    assert mpgameserver.EventHandler.Client is mpgameserver.ServerClient
    assert mpgameserver.EllipticCurvePublicKey.InvalidSignature is mpgameserver.InvalidSignature


def test_a_header_and_a_packet_without_arguments_are_empty() -> None:
    header = connection.PacketHeader()
    assert (header.isServer, header.ctime, header.pkt_type) == (
        False,
        0,
        connection.PacketType.UNKNOWN,
    )
    assert (header.seq, header.ack, header.ack_bits, header.length, header.count) == (0,) * 5
    packet = connection.Packet()
    assert (packet.hdr, packet.msgs, packet.msg) == (header, [], b"")
    packet.hdr.ctime = 1
    assert connection.Packet().hdr.ctime == 0


def test_the_example_writes_the_bytes_of_serializable_classes() -> None:
    [example] = re.findall(r"```python\n(import struct\n.*?)```", PAGE, re.S)
    names: dict[str, Any] = {}
    with redirect_stdout(io.StringIO()):
        exec(example, names)
    message, integer, text = names["message"], names["integer"], names["text"]
    # dumpb() of classes of two fields that 0.2.4 gave the ids 264 and 265.
    chat = message(264, integer(-129), text("hé"))
    assert chat.hex() == "01080003020004ff7f000d00030368c3a9"
    assert message(265, integer(128), integer(-127)).hex() == "010900030200040080000381"
