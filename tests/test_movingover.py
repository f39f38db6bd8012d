"""The page for those who come from the published package has every name that one documents.

The names are those of its documentation of 0.2.4: its client page, and what its server, key and
packet classes are said to have.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mpgameserver
from mpgameserver import connection

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "moving-over.md").read_text()

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


def test_the_one_name_that_is_gone_is_told_with_what_takes_its_place() -> None:
    [row] = re.findall(r"^\| `TwistedServer.*$", PAGE, re.M)
    assert "`UdpServer`" in row
    assert not hasattr(mpgameserver, "TwistedServer")
