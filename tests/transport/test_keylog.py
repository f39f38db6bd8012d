"""The key log: the keys of sessions, off by default and loud."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.patience import PATIENCE
from support.players2 import Player2
from support.serverworld import ROOT_KEY, Recorder, World
from support.wire2 import keys

from mpgameserver._core.packet_protection import PacketOpener
from mpgameserver.client import UdpClient
from mpgameserver.client.handshake import ClientHandshake
from mpgameserver.server import ServerContext
from mpgameserver.server.engine import ServerEngine
from mpgameserver.testing import World as GameWorld
from mpgameserver.transport import keylog as keylog_module
from mpgameserver.transport.keylog import KEY_LOG_VARIABLE, KeyLog
from mpgameserver.wire.protocol2.keys import SessionSecrets, TrafficSecret

SECRETS = SessionSecrets.derive(bytes(32), bytes(32))
LABELS = ("MPG2_CLIENT_TRAFFIC_SECRET_0", "MPG2_SERVER_TRAFFIC_SECRET_0")


class LoggedWorld(World):
    """A `World` whose server writes its keys to a file."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(Recorder(), **options)
        self.context.setKeyLog(path)
        self.engine = ServerEngine(self.context)
        self.engine.start(self.now)


def entries(path: Path) -> list[tuple[str, bytes, bytes]]:
    """The label, the session and the secret of each line."""
    fields = [line.split(" ") for line in path.read_text().splitlines()]
    return [(label, bytes.fromhex(session), bytes.fromhex(key)) for label, session, key in fields]


def test_where_ml_kem_came_late_the_secrets_of_phase_1_have_lines_of_their_own(
    tmp_path: Path,
) -> None:
    key_log, shared = KeyLog(tmp_path / "keys", "server"), bytes(32)
    key_log.write(b"8 bytes.", SECRETS)
    key_log.write_mixed(b"8 bytes.", SECRETS, shared)
    _, _, client, server = entries(tmp_path / "keys")
    for (label, session, secret), side, traffic in (
        (client, "CLIENT", SECRETS.client),
        (server, "SERVER", SECRETS.server),
    ):
        assert (label, session) == (f"MPG2_{side}_TRAFFIC_SECRET_1", b"8 bytes.")
        assert secret == keys.late_secret(traffic.secret, shared)


def test_the_secrets_of_a_session_are_written_once_and_open_its_packets(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    world = LoggedWorld(path)
    player = Player2(world).join()
    assert [(label, session) for label, session, _ in entries(path)] == [
        (label, player.connection_id) for label in LABELS
    ]
    for (_, _, secret), packets, id_size in zip(
        entries(path), (player.sent, player.received), (8, 0), strict=True
    ):
        traffic = TrafficSecret(secret)
        sealed = next(each for each in packets if each[0] != 4 and each[:1] != b"F")
        PacketOpener(traffic, traffic.mask()).open(sealed, id_size, 0)
    before = path.read_text()
    world.run(0.5)
    assert path.read_text() == before


def test_both_sides_write_the_same_key_of_a_session_of_protocol_1(tmp_path: Path) -> None:
    """As with a client or a server that was published before protocol 2."""
    logs = tmp_path / "of client", tmp_path / "of server"
    world = LoggedWorld(logs[1])
    player = world.player()
    player.handshake = ClientHandshake(
        ROOT_KEY.getPublicKey(), world.now, world.wall_now, key_log=KeyLog(logs[0], "client")
    )
    player.handshake.add_path("path", world.now, 1434, 1472)
    world.run(1.0)
    [(label, salt, key)] = entries(logs[1])
    assert label == "MPG1_SESSION_KEY"
    assert salt in world.sent[0][0]
    sealed = player.sent[-1]
    AESGCM(key).decrypt(sealed[:12], sealed[20:], sealed[:20])
    assert entries(logs[0]) == [(label, salt, key)]


def test_a_hello_that_opens_no_packet_leaves_no_key(tmp_path: Path) -> None:
    """Anybody can send hellos."""
    path = tmp_path / "keys"
    world = LoggedWorld(path)
    player = Player2(world)
    player.is_held = True
    world.run(1.0)
    assert player.peer is not None
    assert entries(path) == []


def test_client_and_server_write_the_same_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_LOG_VARIABLE, str(tmp_path / "of both"))
    world = GameWorld(ServerContext(Recorder()))
    client = world.client()
    client.connect(world.address)
    world.run_until(client.connected, PATIENCE)
    first, second, *more = entries(tmp_path / "of both")
    assert [label for label, _, _ in (first, second)] == list(LABELS)
    assert more == [first, second]


def test_nothing_is_written_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even with the variable that is set for browsers."""
    monkeypatch.delenv(KEY_LOG_VARIABLE, raising=False)
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "of browsers"))
    assert ServerContext(Recorder()).key_log is None
    assert UdpClient()._key_log is None
    assert not list(tmp_path.iterdir())


def test_an_argument_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_LOG_VARIABLE, str(tmp_path / "of the environment"))
    UdpClient(key_log=tmp_path / "argument")
    assert UdpClient(key_log="")._key_log is None
    context = ServerContext(Recorder())
    assert [each.name for each in tmp_path.iterdir()].count("of the environment") == 1
    context.setKeyLog(None)
    assert context.key_log is None
    assert (tmp_path / "argument").exists()


@pytest.mark.parametrize("side", ["client", "server"])
def test_each_side_warns_that_it_writes_its_keys(
    tmp_path: Path, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    if side == "client":
        UdpClient(key_log=path)
    else:
        ServerContext(Recorder()).setKeyLog(path)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("mpgameserver.keylog", logging.WARNING)
    for said in (side, str(path), "whoever reads that file reads its sessions"):
        assert said in record.message


def test_a_new_file_is_its_owners_and_an_old_one_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    KeyLog(path, "client").write(bytes(8), SECRETS)
    before = path.read_text()
    KeyLog(path, "server").write(bytes(8), SECRETS)
    assert path.read_text() == 2 * before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "make",
    [
        lambda path: UdpClient(key_log=path),
        lambda path: ServerContext(Recorder()).setKeyLog(path),
    ],
)
def test_a_file_that_cannot_be_written_is_an_error_at_once(
    tmp_path: Path, make: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(OSError, match="nowhere"):
        make(tmp_path / "nowhere" / "keys")
    assert caplog.records == []


@pytest.mark.parametrize("make", [UdpClient, lambda: ServerContext(Recorder())])
def test_an_unwritable_file_of_the_environment_is_named_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], object]
) -> None:
    monkeypatch.setenv(KEY_LOG_VARIABLE, str(tmp_path / "nowhere" / "keys"))
    with pytest.raises(FileNotFoundError, match=KEY_LOG_VARIABLE):
        make()


def test_a_key_log_that_is_full_ends_and_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keylog_module, "MAX_KEY_LOG_BYTES", 500)
    path = tmp_path / "keys"
    log = KeyLog(path, "server")
    caplog.clear()
    for _ in range(5):
        log.write(bytes(8), SECRETS)
    assert 0 < path.stat().st_size <= 500
    assert len(entries(path)) % 2 == 0
    [record] = caplog.records
    assert "ends here" in record.message


def test_a_disk_that_is_full_ends_no_session(caplog: pytest.LogCaptureFixture) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    world = LoggedWorld(full)
    assert Player2(world).join().is_in
    assert "ends here: No space left on device" in caplog.text
