"""The packet trace: a line for each datagram, with its header and never with its payload."""

from __future__ import annotations

import json
import logging
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.answering import answer
from support.patience import PATIENCE
from support.serverworld import Recorder, World

from mpgameserver._core.packet_header import encode_header
from mpgameserver.client import UdpClient
from mpgameserver.client.handshake import MAX_VERIFICATIONS, ClientHandshake
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.server import ServerContext, ThreadedServer, UdpServer
from mpgameserver.server.engine import ServerEngine
from mpgameserver.transport import trace as trace_module
from mpgameserver.transport.trace import TRACE_VARIABLE, PacketTrace, open_trace

LOOPBACK = ("127.0.0.1", 0)
LOCAL, PEER = ("127.0.0.1", 1474), ("192.0.2.1", 5000)
SECRET = b"what nobody may read"

Line = dict[str, Any]


def lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def packets(found: list[Line], event: str) -> list[int]:
    """Return the sizes of an event's sealed packets, in order: numbers are masked."""
    return [
        line["size"]
        for line in found
        if line["event"] == event and line["header"]["type"] == "SEALED"
    ]


def play(client: UdpClient, until: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, client
        client.update()
        time.sleep(0.002)


def echo() -> Recorder:
    return Recorder(handle_message=lambda client, message: client.send(message, -1))


def talk(context: ServerContext, client: UdpClient, stray: bytes = b"") -> None:
    """Connect, have a message echoed, and leave; somebody else sends the server a datagram."""
    with ThreadedServer(context, LOOPBACK) as server, client:
        client.connect(server.address)
        play(client, client.connected)
        client.send(SECRET)
        play(client, client.hasMessages)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outsider:
            outsider.sendto(stray, server.address)
            play(client, lambda: context.stats.drops)
        client.waitForDisconnect()


def test_both_sides_of_a_session_are_traced(tmp_path: Path) -> None:
    of_client, of_server = tmp_path / "client", tmp_path / "server"
    context = ServerContext(echo())
    context.setTrace(of_server)
    talk(context, UdpClient(context.root_key.getPublicKey(), trace=of_client), b"stray")
    here, there = lines(of_client), lines(of_server)
    assert packets(here, "sent") == packets(there, "received")
    assert packets(there, "sent") == packets(here, "received")
    types = [line["header"]["type"] for line in here if line["event"] == "sent"]
    assert types[0] == "CLIENT_HELLO"
    assert set(types[1:]) <= {"CLIENT_HELLO2", "SEALED"}
    [dropped] = [line for line in there if line["event"] == "dropped"]
    assert dropped["reason"] == "no session"
    assert (dropped["size"], dropped["header"]) == (5, None)
    assert {line["peer"] for line in here} == {line["local"] for line in there}


def test_what_is_sealed_to_the_server_has_its_connection_id(tmp_path: Path) -> None:
    """On both sides, and only there: the datagrams to a client have none."""
    of_client, of_server = tmp_path / "client", tmp_path / "server"
    context = ServerContext(echo())
    context.setTrace(of_server)
    talk(context, UdpClient(context.root_key.getPublicKey(), trace=of_client))
    ids = {}
    for path, up in ((of_client, "out"), (of_server, "in")):
        sealed = [line for line in lines(path) if (line["header"] or {}).get("type") == "SEALED"]
        ids[path] = {line["header"]["connection_id"] for line in sealed if line["direction"] == up}
        assert not any(
            "connection_id" in line["header"] for line in sealed if line["direction"] != up
        )
    [connection_id] = ids[of_client]
    assert ids[of_server] == {connection_id}
    assert len(bytes.fromhex(connection_id)) == 8


def test_no_payload_and_no_key_is_written(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    context = ServerContext(echo())
    context.setTrace(path)
    talk(context, UdpClient(context.root_key.getPublicKey(), trace=path))
    allowed = {"time", "event", "direction", "local", "peer", "reason", "size", "header"}
    fields = {"identifier", "time", "seq", "ack", "type", "length", "count", "ack_bits"}
    for line in lines(path):
        assert line.keys() <= allowed
        allowed_here = (fields, {"type"}, {"type", "connection_id"})
        assert line["header"] is None or line["header"].keys() in allowed_here
    assert SECRET.decode() not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_environment_traces_clients_and_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACE_VARIABLE, str(tmp_path / "trace"))
    context = ServerContext(echo())
    talk(context, UdpClient(context.root_key.getPublicKey()))
    found = lines(tmp_path / "trace")
    assert sorted(packets(found, "sent")) == sorted(packets(found, "received")) != []


@pytest.mark.parametrize(
    "make", [UdpClient, lambda: UdpServer(ServerContext(Recorder()), LOOPBACK)]
)
def test_an_unwritable_file_of_the_environment_is_named_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], object]
) -> None:
    file = tmp_path / "missing" / "trace"
    monkeypatch.setenv(TRACE_VARIABLE, str(file))
    with pytest.raises(FileNotFoundError) as raised:
        make()
    assert raised.value.filename == str(file)
    assert str(file) in str(raised.value)
    assert TRACE_VARIABLE in str(raised.value)


def test_an_argument_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACE_VARIABLE, str(tmp_path / "of the environment"))
    assert open_trace(tmp_path / "argument") is not None
    assert not (tmp_path / "of the environment").exists()


def test_without_a_trace_nothing_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRACE_VARIABLE, raising=False)
    context = ServerContext(echo())
    server, client = ThreadedServer(context, LOOPBACK), UdpClient(context.root_key.getPublicKey())
    with server, client:
        client.connect(server.address)
        play(client, client.connected)
        assert server._server is not None
        assert server._server._loop.engine.dispatcher.observer is None
        assert client._socket is not None
        assert client._socket.observer is None
        assert client._pump is not None
        assert client._pump.observer is None


def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "trace"
    with pytest.raises(OSError, match="nowhere"):
        UdpClient(trace=nowhere)
    context = ServerContext(echo())
    with pytest.raises(OSError, match="nowhere"):
        context.setTrace(nowhere)
    assert context.trace is None


def test_a_trace_that_is_full_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace_module, "MAX_TRACE_BYTES", 1000)
    path = tmp_path / "trace"
    trace = PacketTrace(path)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            trace.sent(b"", LOCAL, PEER)
    assert 0 < path.stat().st_size <= 1000
    assert len(lines(path)) > 1
    [record] = caplog.records
    assert record.name == "mpgameserver.trace"
    assert "ends here" in record.message
    PacketTrace(path).sent(b"", LOCAL, PEER)
    assert path.stat().st_size <= 1000


def test_traces_that_share_a_file_share_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_module, "MAX_TRACE_BYTES", 1000)
    path = tmp_path / "trace"
    traces = [PacketTrace(path) for _ in range(5)]
    for _ in range(5):
        for trace in traces:
            trace.sent(b"", LOCAL, PEER)
    assert 0 < path.stat().st_size <= 1000


def test_a_trace_that_cannot_go_on_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    trace = PacketTrace(full)
    for _ in range(2):
        trace.sent(b"", LOCAL, PEER)
    assert [record.message for record in caplog.records] == [
        "the packet trace /dev/full ends here: No space left on device"
    ]


def test_the_header_is_written_as_it_is_on_the_wire(tmp_path: Path) -> None:
    trace = PacketTrace(tmp_path / "trace")
    header = encode_header(True, 1_700_000_000, PacketType.APP, 65535, 7, 1 << 31, 300, 2)
    trace.sent(header + bytes(316), LOCAL, ("2001:db8::1", 5000, 0, 0))
    trace.arrived(header[:12] + b"\x63" + header[13:], LOCAL, PEER, "malformed")
    first, second = lines(tmp_path / "trace")
    assert first["header"] == {
        "identifier": "FSOC",
        "time": 1_700_000_000,
        "seq": 65535,
        "ack": 7,
        "type": "APP",
        "length": 300,
        "count": 2,
        "ack_bits": "80000000",
    }
    assert (first["event"], first["direction"], first["size"]) == ("sent", "out", 336)
    assert first["peer"] == "[2001:db8::1]:5000"
    assert (second["event"], second["reason"]) == ("dropped", "malformed")
    assert second["header"]["type"] == 0x63


class TracedWorld(World):
    """A `World` whose server is traced."""

    def __init__(self, path: Path) -> None:
        super().__init__(Recorder())
        self.context.setTrace(path)
        self.engine = ServerEngine(self.context, local=lambda: LOCAL)
        self.engine.start(self.now)


def test_a_server_tells_why_it_dropped(tmp_path: Path) -> None:
    world = TracedWorld(tmp_path / "trace")
    player = world.join()
    player.send(b"once")
    world.run(0.1)
    again = next(d for d in reversed(player.sent) if d[12] == PacketType.APP)
    forged = again[:8] + (int.from_bytes(again[8:10], "big") + 9).to_bytes(2, "big") + again[10:]
    world.serve([(again, player.address), (forged, player.address), (again, PEER)])
    found = [line for line in lines(tmp_path / "trace") if line["event"] == "dropped"]
    assert [line["reason"] for line in found] == ["repeated", "authentication failed", "no session"]


def test_a_hello_that_waited_in_vain_gets_a_second_line(tmp_path: Path) -> None:
    world = TracedWorld(tmp_path / "trace")
    world.join()
    player = world.player()
    player.frame()
    [hello] = player.links.up.receive(world.now)
    before = len(lines(tmp_path / "trace"))
    world.engine.dispatcher.receive(hello, player.address, world.now, world.wall_now)
    world.context.limits = replace(world.context.limits, clients=1)
    world.turn()
    received, dropped = (
        line
        for line in lines(tmp_path / "trace")[before:]
        if line["peer"].startswith(player.address[0])
    )
    assert (received["event"], received["header"]["type"]) == ("received", "CLIENT_HELLO")
    assert (dropped["event"], dropped["reason"]) == ("dropped", "full")
    assert "header" not in dropped


def test_a_handshake_tells_why_it_dropped() -> None:
    key, outsider = EllipticCurvePrivateKey.new(), EllipticCurvePrivateKey.new()
    attempt = ClientHandshake(key.getPublicKey(), 0.0, 1_700_000_000.0)
    attempt.add_path("path", 0.0, 1434, 1472)
    [(_, hello)] = attempt.datagrams(0.0)

    def reason(datagram: bytes) -> str | None:
        attempt.receive("path", datagram, 0.0)
        return attempt.drop_reason

    good = answer(hello, key)
    assert reason(good.datagram) is None
    assert reason(good.datagram) == "repeated"
    assert reason(answer(hello, outsider).datagram) == "wrong key"
    assert reason(good.datagram[:-1]) == "malformed hello"
    for _ in range(MAX_VERIFICATIONS):
        last = reason(answer(hello, key).datagram)
    assert last == "busy"
    header = encode_header(True, 1_700_000_000, PacketType.APP, 9, 0, 0, 3, 1)
    assert reason(header + bytes(19)) == "authentication failed"
