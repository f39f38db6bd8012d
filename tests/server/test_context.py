"""The context: what it takes, and what it refuses at once."""

from __future__ import annotations

import threading
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import pytest

from mpgameserver.connection import Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.server.context import ServerContext, ServerSettings
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.limits import Limits
from mpgameserver.server.stats import ServerStats

SETTERS = {
    "setInterval": lambda settings: settings.interval,
    "setKeepAliveInterval": lambda settings: settings.timing.keep_alive,
    "setConnectionTimeout": lambda settings: settings.timing.idle_timeout,
    "setTempConnectionTimeout": lambda settings: settings.handshake_timeout,
    "setMessageTimeout": lambda settings: settings.timing.message,
}


@pytest.fixture
def context() -> ServerContext:
    return ServerContext(EventHandler())


def test_without_a_root_key_it_makes_one(context: ServerContext) -> None:
    assert isinstance(context.root_key, EllipticCurvePrivateKey)
    key = EllipticCurvePrivateKey.new()
    assert ServerContext(EventHandler(), key).root_key is key


def test_the_root_key_may_be_pem_text_or_the_path_of_a_file(tmp_path: Path) -> None:
    key = EllipticCurvePrivateKey.new()
    path = tmp_path / "server.pem"
    key.savePEM(path)
    for source in (path, str(path), key.getPrivateKeyPEM(), key.getPrivateKeyPEM().encode()):
        assert ServerContext(EventHandler(), source).root_key.getBytes() == key.getBytes()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ServerContext(EventHandler(), tmp_path / "nowhere.pem")
    key.getPublicKey().savePEM(path)
    with pytest.raises(ValueError, match=r"server\.pem.*is a public key"):
        ServerContext(EventHandler(), path)


def test_what_is_no_private_key_is_refused() -> None:
    public_key: Any = EllipticCurvePrivateKey.new().getPublicKey()
    with pytest.raises(TypeError, match="EllipticCurvePrivateKey"):
        ServerContext(EventHandler(), public_key)


def test_the_defaults(context: ServerContext) -> None:
    assert context.settings.timing == Timing(keep_alive=0.1, message=1.0, idle_timeout=5.0)
    assert context.settings.handshake_timeout == 5.0
    assert not context.settings.blocklist


@pytest.mark.parametrize("setter", SETTERS)
def test_a_setter_sets_what_it_says_and_nothing_else(context: ServerContext, setter: str) -> None:
    before = {name: get(context.settings) for name, get in SETTERS.items()}
    getattr(context, setter)(7)
    after = {name: get(context.settings) for name, get in SETTERS.items()}
    assert after == before | {setter: 7.0}


@pytest.mark.parametrize("setter", SETTERS)
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", None, True])
def test_a_setter_refuses_what_is_no_time(context: ServerContext, setter: str, value: Any) -> None:
    before = context.settings
    with pytest.raises((TypeError, ValueError)):
        getattr(context, setter)(value)
    assert context.settings is before


def test_the_limits_are_set_as_a_whole(context: ServerContext) -> None:
    assert context.limits == Limits()
    context.limits = replace(context.limits, clients=7)
    assert context.settings == ServerSettings(
        limits=Limits(clients=7), blocklist=context.settings.blocklist
    )
    assert ServerContext(EventHandler(), limits=Limits(half_open=9)).limits.half_open == 9


@pytest.mark.parametrize("field", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", None, True])
def test_a_limit_is_a_number_above_0(field: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^{field} must be"):
        Limits(**{field: value})


def test_a_count_is_an_integer_and_a_rate_is_not() -> None:
    count: Any = 7.5
    with pytest.raises(TypeError, match="clients must be an int, not float"):
        Limits(clients=count)
    assert Limits(handshake_rate=0.5).handshake_rate == 0.5


def test_what_is_no_limits_changes_nothing(context: ServerContext) -> None:
    before = context.settings
    for wrong in cast("list[Any]", [{"clients": 7}, {}, 0]):
        with pytest.raises(TypeError, match="limits must be a Limits, not"):
            context.limits = wrong
        with pytest.raises(TypeError, match="limits must be a Limits, not"):
            ServerContext(EventHandler(), limits=wrong)
    assert context.settings is before


def test_settings_that_many_threads_change_are_all_set(context: ServerContext) -> None:
    def change(setter: str) -> None:
        for value in range(1, 200):
            getattr(context, setter)(value)

    def change_limits() -> None:
        for value in range(1, 200):
            context.limits = Limits(clients=value)

    threads = [threading.Thread(target=change, args=(setter,)) for setter in SETTERS]
    threads.append(threading.Thread(target=change_limits))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {get(context.settings) for get in SETTERS.values()} == {199.0}
    assert context.limits == Limits(clients=199)


def test_without_a_server_the_figures_are_zeros(context: ServerContext) -> None:
    assert context.stats == ServerStats()


def test_a_block_list_that_is_wrong_leaves_the_old_one(context: ServerContext) -> None:
    context.setBlockList(["192.0.2.1"])
    before = context.settings
    with pytest.raises(ValueError, match="block list"):
        context.setBlockList(["192.0.2.2", "nobody"])
    assert context.settings is before


def test_an_access_log_that_cannot_be_written_leaves_the_old_one(
    context: ServerContext, tmp_path: Path
) -> None:
    context.enableAccessLogs(tmp_path / "access.log")
    before = context.access_log
    with pytest.raises(OSError, match="nowhere"):
        context.enableAccessLogs(tmp_path / "nowhere" / "access.log")
    assert context.access_log is before


def test_without_a_server_there_are_no_clients(context: ServerContext) -> None:
    assert context.clients == ()
    context.broadcast(b"nobody hears")


@pytest.mark.parametrize(("payload", "retry"), [("text", 0), (b"", 2), (b"", "often"), (5, 0)])
def test_a_wrong_broadcast_is_refused_whoever_is_there(
    context: ServerContext, payload: Any, retry: Any
) -> None:
    with pytest.raises((TypeError, ValueError)):
        context.broadcast(payload, retry)


def test_what_cannot_be_called_is_refused_at_once(context: ServerContext) -> None:
    call: Any = "not a function"
    with pytest.raises(TypeError, match="callable"):
        context.call_soon_threadsafe(call)
