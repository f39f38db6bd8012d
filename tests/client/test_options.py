"""The options of a client that only protocol 2 has, and what they mean for protocol 1."""

from __future__ import annotations

from typing import Any

import pytest
from support.handshaking2 import ML_KEM

from mpgameserver.channels import Channel
from mpgameserver.client import UdpClient
from mpgameserver.client.options import SessionOptions

EXPORT = bytes(range(32))


@pytest.mark.parametrize(
    ("options", "is_only"),
    [
        ({}, False),
        ({"minimum_protocol": 2}, True),
        ({"channels": [Channel("chat")]}, True),
        ({"channels": iter([])}, False),
        ({"credential": b"a ticket"}, True),
        ({"credential": lambda export: b""}, True),
        ({"audience": "chess"}, True),
    ],
)
def test_what_only_protocol_2_carries_requires_it(options: dict[str, Any], is_only: bool) -> None:
    assert SessionOptions.checked(**options).only_version_2 == is_only


@pytest.mark.skipif(ML_KEM is None, reason="this cryptography has no ML-KEM")
def test_ml_kem_requires_it_too() -> None:
    assert SessionOptions.checked(require_hybrid=True).only_version_2


def test_what_is_required_and_not_installed_is_told_at_once(monkeypatch) -> None:
    monkeypatch.setattr("mpgameserver.client.options.find_ml_kem", lambda: None)
    with pytest.raises(ValueError, match="from 48 on"):
        UdpClient(require_hybrid=True)


@pytest.mark.parametrize(
    ("options", "error", "names"),
    [
        ({"minimum_protocol": 3}, ValueError, "1 or 2, not 3"),
        ({"minimum_protocol": True}, ValueError, "not True"),
        ({"channels": ["chat"]}, TypeError, "'chat'"),
        ({"channels": [Channel("a"), Channel("a")]}, ValueError, "'a'"),
        ({"credential": "a ticket"}, TypeError, "not str"),
        ({"credential": bytes(1025)}, ValueError, "not 1025"),
        ({"audience": b"chess"}, TypeError, "not bytes"),
        ({"audience": "x" * 41}, ValueError, "not 41"),
    ],
)
def test_a_mistake_is_told_at_once(
    options: dict[str, Any], error: type[Exception], names: str
) -> None:
    with pytest.raises(error, match=names):
        UdpClient(**options)


def test_a_credential_is_copied() -> None:
    ticket = bytearray(b"a ticket")
    options = SessionOptions.checked(credential=ticket)
    ticket.clear()
    assert options.credential_for(EXPORT) == b"a ticket"


def test_a_function_gets_what_the_session_alone_has() -> None:
    options = SessionOptions.checked(credential=lambda export: b"signed " + export)
    assert options.credential_for(EXPORT) == b"signed " + EXPORT


def test_what_a_function_returns_is_checked() -> None:
    too_long = SessionOptions.checked(credential=lambda export: bytes(1025))
    with pytest.raises(ValueError, match="not 1025"):
        too_long.credential_for(EXPORT)
