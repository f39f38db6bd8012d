"""The text forms of enumerations, which Python's IntEnum has changed between versions."""

from __future__ import annotations

from enum import Enum

import pytest

from mpgameserver import enums
from mpgameserver._core import message, packet_header
from mpgameserver.enums import ConnectionStatus, PacketIdentifier, PacketType, RetryMode

KINDS = [getattr(enums, name) for name in enums.__all__ if name != "CloseReason"]
MEMBERS = [member for kind in KINDS for member in kind]


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_a_member_reads_as_its_class_and_its_name(member: Enum) -> None:
    name = f"{type(member).__name__}.{member.name}"
    assert str(member) == name
    assert f"{member}" == name
    assert f"{member:<40}" == name.ljust(40)
    assert "%s" % member == name  # noqa: UP031


def test_a_status_reads_as_in_the_pages() -> None:
    assert f"{ConnectionStatus.CONNECTED}" == "ConnectionStatus.CONNECTED"
    assert str(PacketIdentifier.TO_SERVER) == "PacketIdentifier.TO_SERVER"


def test_the_number_of_a_member_can_be_formatted() -> None:
    assert f"{PacketType.APP:02x} {RetryMode.RETRY_ON_TIMEOUT:d}" == "06 -1"
    assert "%d" % ConnectionStatus.DROPPED == "5"  # noqa: UP031


def test_the_compiled_modules_have_the_same_numbers() -> None:
    """They cannot read a Python enumeration at compile time: these two lists stand twice."""
    assert {
        name: getattr(packet_header, name) for name in PacketType.__members__ if name != "UNKNOWN"
    } == {member.name: member.value for member in PacketType if member.name != "UNKNOWN"}
    assert (message.RETRY_ON_TIMEOUT, message.NO_RETRY, message.BEST_EFFORT) == (
        RetryMode.RETRY_ON_TIMEOUT,
        RetryMode.NONE,
        RetryMode.BEST_EFFORT,
    )
