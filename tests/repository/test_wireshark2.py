"""The dissector for Wireshark and protocol 2: handshakes, and with a key log all frames."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support.players2 import ChannelRecorder, Player2
from support.tshark import (
    CLIENT,
    ROOT,
    SCRIPT,
    SERVER,
    Captured,
    Flight,
    Reading,
    find_tshark,
    pcap,
    readings,
)
from support.wire2 import handshake, keys
from support.wire2.frames import (
    Accept,
    Ack,
    Close,
    Connect,
    Fragment,
    Frame,
    Kem,
    Message,
    NewConnectionId,
    Padding,
    PathChallenge,
    PathResponse,
    Ping,
    Reserved,
    RetireConnectionId,
    Time,
    TimeReply,
    Window,
    pack_all,
)
from support.wire2.packets import seal
from support.wire2.tables import (
    AcceptData,
    Channel,
    ConnectData,
    pack_accept_data,
    pack_connect_data,
)

from mpgameserver import channels, testing
from mpgameserver.server import ServerContext
from mpgameserver.wire.protocol2.ml_kem import find_ml_kem

pytestmark = pytest.mark.extra

PAGE = ROOT / "docs" / "seeing.md"
ID = bytes(range(8))
ROAMED = ("10.9.9.9", 40000)
DECLARED = [Channel(1, 1, (1024, 1 << 20), "chat"), Channel(2, 3, None, "position")]
ALL_FIELDS = (
    *("sender", "number", "frame", "connection_id", "key_phase", "key_updates", "message"),
    *("unopened", "malformed", "sealed", "kind", "channel_name"),
)


DECODE_AS = ("-d", f"udp.port=={SERVER[1]},mpgameserver")


@pytest.fixture(scope="module")
def tshark() -> str:
    """The program, where it is installed and runs Lua."""
    return find_tshark()


class Side:
    """One side of a session whose secret is known, which seals any bytes."""

    def __init__(self, name: str, seed: int = 1, connection_id: bytes = ID) -> None:
        self.name, self.number = name, 0
        self.secret = self.first = bytes([seed]) * 32
        self.n, self._connection_id = 0, connection_id

    @property
    def key_log(self) -> str:
        side = self.name.upper()
        return f"MPG2_{side}_TRAFFIC_SECRET_0 {self._connection_id.hex()} {self.first.hex()}\n"

    def update_key(self) -> None:
        self.secret, self.n = keys.next_secret(self.secret), self.n + 1

    def seals(self, *frames: Frame) -> Flight:
        return self.sends(pack_all(list(frames)))

    def sends(self, payload: bytes, place: tuple[str, int] = CLIENT) -> Flight:
        self.number += 1
        datagram = seal(
            keys.packet_keys(self.n, self.secret),
            keys.mask_key(self.first),
            self._connection_id if self.name == "client" else b"",
            self.number,
            payload,
            max(self.number - 5, 0),
        )
        ends = (place, SERVER) if self.name == "client" else (SERVER, place)
        return Flight(*ends, datagram)


class Pair:
    """Both sides of a session, and the key log of it."""

    def __init__(self, folder: Path) -> None:
        self.client, self.server = Side("client", 1), Side("server", 2)
        self.log = folder / "keys"
        self.log.write_text(self.client.key_log + self.server.key_log)


class CapturedGame(testing.World):
    """The same for the package's own clients; datagrams above `most` bytes do not arrive."""

    def __init__(self, folder: Path, context: ServerContext, most: int = 65535) -> None:
        self.most = most
        self.flights: list[Flight] = []
        self.log = folder / "keys"
        context.setKeyLog(self.log)
        super().__init__(context)

    def _serve(self, arrivals: Iterable[tuple[bytes, Any]]) -> None:
        arrived = [each for each in arrivals if len(each[0]) <= self.most]
        self.flights += [Flight(address, SERVER, datagram) for datagram, address in arrived]
        super()._serve(arrived)

    def _send(self) -> bool:
        while (leaving := self._engine.dispatcher.next_datagram(self.now)) is not None:
            datagram, (host, port, *_) = leaving
            self.flights.append(Flight(SERVER, (host, port), datagram))
            self._clients[host]._network.deliver(datagram, port)
        return True


def opened(found: list[Reading]) -> list[Reading]:
    return [each for each in found if each.fields["frame"]]


def frames(found: list[Reading]) -> list[str]:
    return [name for each in found for name in each.fields["frame"]]


def test_a_whole_session_is_read_from_its_hello_to_its_end(tshark: str, tmp_path: Path) -> None:
    handler = ChannelRecorder()
    declared = [channels.Channel("chat"), channels.Channel("position", "latest")]
    game = CapturedGame(tmp_path, ServerContext(handler, channels=declared))
    client = game.connect()
    said = [f"message {i}".encode() for i in range(20)]
    for each in said:
        client.channel("chat").send(each)
    client.send(bytes(5000))
    game.run(0.5)
    for server_client in game.clients:
        server_client.channel("position").send(b"here")
    game.run(0.5)
    client.disconnect(300, "good night")
    game.run(0.5)
    assert [message for channel, message in handler.heard if channel == "chat"] == said
    found = readings(tshark, tmp_path, game.flights, *ALL_FIELDS, "text", "code", key_log=game.log)
    assert {each.protocol for each in found} == {"mpgameserver"}
    sealed = [each for each in found if each.info.startswith("packet ")]
    assert len(sealed) == sum(flight.datagram[0] in range(8, 16) for flight in game.flights)
    assert not any(each.fields["unopened"] or each.fields["malformed"] for each in found)
    kinds = [int(kind) for each in found for kind in each.fields["kind"]]
    assert 3 in kinds
    for sender in ("client", "server"):
        numbers = [
            int(each.fields["number"][0]) for each in sealed if each.fields["sender"] == [sender]
        ]
        assert numbers == sorted(set(numbers))
        assert numbers[0] == 1
    messages = [bytes.fromhex(each) for packet in sealed for each in packet.fields["message"]]
    assert [each for each in messages if each.startswith(b"message")] == said
    assert b"here" in messages
    assert {"CONNECT", "ACCEPT", "ACK", "MESSAGE", "FRAGMENT", "CLOSE"} <= set(frames(found))
    [close, *_] = [each for each in sealed if "CLOSE" in each.fields["frame"]]
    assert (close.fields["code"], close.fields["text"]) == (["300"], ["good night"])
    named = {name for each in sealed for name in each.fields["channel_name"]}
    assert named == {"chat", "position"}


def test_the_page_reads_the_messages_of_a_capture(tshark: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    (tmp_path / "keys.txt").write_text(pair.log.read_text())
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    flights = [pair.client.seals(frame) for frame in (Ping(), Message(0, 1, b"hi"), Ping())]
    (tmp_path / "capture.pcapng").write_bytes(pcap(flights))
    [_, command] = re.findall(r"^tshark .*-r capture.*$", PAGE.read_text(), re.M)
    ran = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    [line] = ran.stdout.splitlines()
    assert line.endswith("packet 2 to server: MESSAGE")


def test_a_later_phase_may_have_a_line_of_its_own(tshark: str, tmp_path: Path) -> None:
    """Of a session whose first keys were mixed with those of ML-KEM."""
    pair = Pair(tmp_path)
    flights = [pair.client.seals(Ping())]
    pair.client.secret, pair.client.n = bytes(31) + b"!", 1
    with pair.log.open("a") as log:
        log.write(f"MPG2_CLIENT_TRAFFIC_SECRET_1 {ID.hex()} {pair.client.secret.hex()}\n")
    flights.append(pair.client.seals(Ping()))
    pair.client.update_key()
    flights.append(pair.client.seals(Ping()))
    found = readings(tshark, tmp_path, flights, *ALL_FIELDS, key_log=pair.log)
    assert [each.fields["key_updates"] for each in found] == [["0"], ["1"], ["2"]]


def test_both_sides_go_on_under_other_keys(tshark: str, tmp_path: Path) -> None:
    world = Captured(tmp_path, ChannelRecorder(), channels=[channels.Channel("chat")])
    player = Player2(world, [Channel(1, 1, (1024, 1 << 20), "chat")])
    player.address = CLIENT
    player.join()
    assert player.peer is not None
    for i in range(4):
        player.peer.say(1, b"under key %d" % i)
        world.run(1.0)
        player.peer.update_key()
        world.run(1.0)
    assert player.peer.closed is None
    found = readings(tshark, tmp_path, world.flights, *ALL_FIELDS, key_log=world.log)
    assert not any(each.fields["unopened"] for each in found)
    for sender in ("client", "server"):
        updates = [
            int(each.fields["key_updates"][0])
            for each in opened(found)
            if each.fields["sender"] == [sender]
        ]
        assert updates == sorted(updates)
        assert set(updates) == {0, 1, 2, 3, 4}
    said = [bytes.fromhex(each) for packet in found for each in packet.fields["message"]]
    assert said == [b"under key %d" % i for i in range(4)]


def test_a_session_whose_keys_were_mixed_with_those_of_ml_kem_is_read(
    tshark: str, tmp_path: Path
) -> None:
    """As where no hello with room for a key gets through: then it comes in KEM frames."""
    if find_ml_kem() is None:
        pytest.skip("this release of cryptography has no ML-KEM")
    handler = ChannelRecorder()
    game = CapturedGame(tmp_path, ServerContext(handler), most=1200)
    client = game.connect()
    client.send(b"under mixed keys")
    game.run(0.5)
    found = readings(tshark, tmp_path, game.flights, *ALL_FIELDS, key_log=game.log)
    assert "KEM" in frames(found)
    assert not any(each.fields["unopened"] or each.fields["malformed"] for each in found)
    [message] = [each for each in found if each.fields["message"]]
    assert bytes.fromhex(message.fields["message"][0]) == b"under mixed keys"
    assert message.fields["key_updates"] == ["1"]


CONNECT_DATA = pack_connect_data(ConnectData(b"who I am", DECLARED, {}))
ACCEPT_DATA = pack_accept_data(AcceptData(bytes(16), [(7, 8000)]))
FRAMES = {
    "client": [
        (Connect(len(CONNECT_DATA), 0, CONNECT_DATA), "CONNECT", {"credential": b"who I am".hex()}),
        (Padding(), "PADDING", {"padding": "1"}),
        (Ping(), "PING", {}),
        (
            Ack(250, ((90, 99), (50, 50), (3, 7))),
            "ACK",
            {"newest": "99", "delay": "250", "ranges": "90-99 50 3-7"},
        ),
        (
            Window(1, 900, 123456789),
            "WINDOW",
            {"channel": "1", "highest_number": "900", "highest_total": "123456789"},
        ),
        (PathChallenge(b"question"), "PATH_CHALLENGE", {"challenge": b"question".hex()}),
        (PathResponse(b"answered"), "PATH_RESPONSE", {"challenge": b"answered".hex()}),
        (RetireConnectionId(3), "RETIRE_CONNECTION_ID", {"sequence": "3"}),
        (Time(1 << 60), "TIME", {"clock": str(1 << 60)}),
        (Kem(1184, 64, b"piece"), "KEM", {"total": "1184", "offset": "64", "piece": "7069656365"}),
        (Reserved(64, b"later"), "reserved", {"reserved": b"later".hex()}),
        (
            Message(1, 70000, b"hi"),
            "MESSAGE",
            {"message": "6869", "message_number": "70000", "channel_name": "chat"},
        ),
        (
            Message(200, 1, b"hi", has_length=False),
            "MESSAGE",
            {"channel": "200", "message": "6869"},
        ),
        (
            Fragment(2, 5, 1000, 3, bytes(64)),
            "FRAGMENT",
            {"fragment": bytes(64).hex(), "total": "1000", "position": "3"},
        ),
        (
            Close(3, "nô".encode()),
            "CLOSE",
            {"code": "3", "code_name": "REFUSED", "text": "nô"},
        ),
    ],
    "server": [
        (Accept(len(ACCEPT_DATA), 0, ACCEPT_DATA), "ACCEPT", {"highest_total": "8000"}),
        (
            NewConnectionId(1, b"\0another", bytes(16)),
            "NEW_CONNECTION_ID",
            {"connection_id": b"\0another".hex(), "reset_token": "00" * 16},
        ),
        (
            TimeReply(5, 6, 7),
            "TIME_REPLY",
            {"clock": "5", "received_at": "6", "left_at": "7"},
        ),
    ],
}


NAMES = {
    *("PADDING", "PING", "ACK", "WINDOW", "CONNECT", "ACCEPT", "CLOSE", "PATH_CHALLENGE"),
    *("PATH_RESPONSE", "NEW_CONNECTION_ID", "RETIRE_CONNECTION_ID", "TIME", "TIME_REPLY", "KEM"),
    *("MESSAGE", "FRAGMENT", "reserved"),
}
"""All frames of docs/protocol2.md."""


def test_every_frame_has_its_name_and_its_fields(tshark: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    flights, wanted = [], []
    for side in (pair.client, pair.server):
        for frame, name, fields in FRAMES[side.name]:
            flights.append(side.seals(frame))
            wanted.append((name, fields))
    names = sorted({name for _, fields in wanted for name in fields})
    found = readings(tshark, tmp_path, flights, *ALL_FIELDS, *names, key_log=pair.log)
    for reading, (name, fields) in zip(found, wanted, strict=True):
        assert reading.fields["frame"] == [name]
        assert not reading.fields["malformed"], name
        for field, value in fields.items():
            assert value in reading.fields[field], (name, field)
    assert {name for name, _ in wanted} == NAMES


def test_pieces_of_the_connect_data_are_shown_as_a_whole(tshark: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    size = len(CONNECT_DATA)
    pieces = [(20, CONNECT_DATA[20:]), (0, CONNECT_DATA[:20])]
    flights = [pair.client.seals(Connect(size, offset, data)) for offset, data in pieces]
    first, second = readings(
        tshark, tmp_path, flights, "credential", "channel_name", key_log=pair.log
    )
    assert first.fields["credential"] == []
    assert second.fields["credential"] == [b"who I am".hex()]
    assert second.fields["channel_name"] == ["chat", "position"]


def test_the_handshake_is_read_without_keys(tshark: str, tmp_path: Path) -> None:
    world = Captured(tmp_path, ChannelRecorder(), audience="chess")
    player = Player2(world, forms=(1, 2), audience="chess")
    player.join()
    retry = handshake.pack_retry(handshake.Retry(1, bytes(8), 9, b"cookie"))
    reset = handshake.pack_reset(bytes(range(16)))
    flights = [
        *world.flights,
        Flight(SERVER, player.address, retry),
        Flight(SERVER, player.address, reset),
    ]
    found = readings(
        tshark, tmp_path, flights, *ALL_FIELDS, "audience", "versions", "cookie", "reset_token",
        "form", "type",
    )  # fmt: skip
    assert [each.info for each in found if "HELLO" in each.info][:2] == [
        "CLIENT_HELLO to server, seq 1, ack 0, 1 messages",
        "CLIENT_HELLO2",
    ]
    for hello in found[:2]:
        assert (hello.fields["audience"], hello.fields["versions"]) == (["chess"], ["02"])
    [answer, *_] = [each for each in found if each.info == "SERVER_HELLO2"]
    assert answer.fields["connection_id"] == [player.connection_id.hex()]
    assert found[-2].fields["cookie"] == [b"cookie".hex()]
    assert found[-1].fields["reset_token"] == [bytes(range(16)).hex()]
    assert [each.info for each in found[-2:]] == ["RETRY", "STATELESS_RESET"]
    sealed = [each for each in found if each.fields["sealed"]]
    assert {each.fields["sender"][0] for each in sealed} == {"client", "server"}
    assert not any(each.fields["unopened"] or each.fields["malformed"] for each in found)
    assert not opened(found)


@pytest.mark.parametrize("content", ["other keys", "no keys", "no key log", "garbage"])
def test_without_the_keys_nothing_is_opened(tshark: str, tmp_path: Path, content: str) -> None:
    pair = Pair(tmp_path)
    hello = handshake_flights(tmp_path)
    flights = [*hello, *(pair.client.seals(Ping(), Message(0, i, b"secret")) for i in range(1, 9))]
    written = {
        "other keys": Side("client", 9).key_log + Side("server", 8).key_log,
        "no keys": "",
        "garbage": "MPG2_CLIENT_TRAFFIC_SECRET_0 00 11\nx\n\0\xff\nMPG2_OTHER_TRAFFIC_SECRET_0 "
        + f"{ID.hex()} {'0' * 64}\n",
    }
    if content in written:
        pair.log.write_text(written[content])
    else:
        pair.log.unlink()
    found = readings(tshark, tmp_path, flights, *ALL_FIELDS, key_log=pair.log)
    assert not opened(found)
    assert not any(each.fields["message"] for each in found)
    unopened = sum(bool(each.fields["unopened"]) for each in found)
    assert unopened == (8 if content == "other keys" else 0)


def handshake_flights(folder: Path) -> list[Flight]:
    """A hello and its answer, of another session on the same path."""
    world = Captured(folder, ChannelRecorder())
    player = Player2(world, address=CLIENT)
    player.is_held = True
    world.run(0.5)
    return world.flights


def test_a_capture_may_begin_in_the_middle(tshark: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    for side in (pair.client, pair.server):
        for _ in range(3):
            side.update_key()
        side.number = 100_000
    flights = []
    for i in range(10):
        flights += [side.seals(Message(0, i + 1, b"later")) for side in (pair.client, pair.server)]
    found = readings(tshark, tmp_path, flights, *ALL_FIELDS, key_log=pair.log)
    assert frames(found) == ["MESSAGE"] * 20
    assert [each.fields["number"] for each in found[::2]] == [
        [str(number)] for number in range(100_001, 100_011)
    ]
    assert {each.fields["key_updates"][0] for each in found} == {"3"}


def test_what_is_known_of_nothing_is_shown_where_it_is_asked_for(
    tshark: str, tmp_path: Path
) -> None:
    flights = [Side("client").seals(Ping()), Side("server").seals(Ping())]
    unasked = readings(tshark, tmp_path, flights, "version")
    assert not any(each.fields["version"] for each in unasked)
    asked = readings(tshark, tmp_path, flights, "version", options=DECODE_AS)
    assert [each.info for each in asked] == ["sealed, 27 bytes", "sealed, 19 bytes"]


def test_a_client_that_moves_is_followed(tshark: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    flights = [
        pair.client.seals(Ping()),
        pair.client.sends(pack_all([Ping()]), ROAMED),
        pair.server.sends(pack_all([PathChallenge(bytes(8))]), ROAMED),
        pair.server.seals(Ping()),
        pair.client.sends(pack_all([PathResponse(bytes(8))]), ROAMED),
    ]
    found = readings(tshark, tmp_path, flights, *ALL_FIELDS, key_log=pair.log)
    assert frames(found) == ["PING", "PING", "PATH_CHALLENGE", "PING", "PATH_RESPONSE"]


def test_so_is_one_that_goes_on_under_another_connection_id(tshark: str, tmp_path: Path) -> None:
    world = Captured(tmp_path, ChannelRecorder())
    player = Player2(world).join()
    world.run(1.0)
    assert player.peer is not None
    player.address = ROAMED
    player.peer.change_id()
    player.peer.say(0, b"from elsewhere")
    world.run(1.0)
    found = readings(tshark, tmp_path, world.flights, *ALL_FIELDS, key_log=world.log)
    assert {"NEW_CONNECTION_ID", "RETIRE_CONNECTION_ID", "PATH_CHALLENGE"} <= set(frames(found))
    assert not any(each.fields["unopened"] or each.fields["malformed"] for each in found)
    [said] = [each for each in found if b"from elsewhere".hex() in each.fields["message"]]
    assert said.fields["connection_id"] != [player.connection_id.hex()]


def test_packets_out_of_order_around_an_update_are_opened(tshark: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    before = [pair.client.seals(Ping()) for _ in range(6)]
    pair.client.update_key()
    after = [pair.client.seals(Ping()) for _ in range(6)]
    flights = [*before[:3], *after[2:4], before[4], after[0], before[3], *after[4:], before[5]]
    found = readings(tshark, tmp_path, flights, *ALL_FIELDS, key_log=pair.log)
    assert len(opened(found)) == len(flights)


@pytest.mark.parametrize("sizes", [(1171, 1171, 400), (900, 900, 900), (5, 5, 5, 5, 2), (40, 9)])
def test_a_run_that_was_captured_as_one_datagram_is_read_as_several(
    tshark: str, tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    pair = Pair(tmp_path)
    flights = [pair.client.seals(Ping())]
    run = b"".join(pair.client.sends(b"\x80\1" + bytes(size)).datagram for size in sizes)
    flights.append(Flight(CLIENT, SERVER, run))
    [_, found] = readings(tshark, tmp_path, flights, *ALL_FIELDS, key_log=pair.log)
    assert [len(each) // 2 for each in found.fields["message"]] == list(sizes)
    assert found.fields["number"] == [str(2 + i) for i in range(len(sizes))]
    assert found.info == f"packet 2 to server: MESSAGE, and {len(sizes) - 1} packets more"


def test_a_second_pass_shows_the_same(tshark: str, tmp_path: Path) -> None:
    world = Captured(tmp_path, ChannelRecorder())
    player = Player2(world)
    player.join()
    world.run(0.5)
    once, twice = (
        readings(tshark, tmp_path, world.flights, *ALL_FIELDS, key_log=world.log, options=options)
        for options in ((), ("-2",))
    )
    assert once == twice
    assert opened(once)


def test_a_frame_that_breaks_a_rule_is_marked(tshark: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    broken = [
        b"\x01\x0e",  # a type that is invalid
        b"\x02\x05\x00\x00\x05",  # an ACK of packet 0
        b"\x02\x7f\xff\x00\x20\x00",  # with 33 ranges
        b"\x04\x05\x04\x02ab",  # a piece beyond its total
        b"\xc0\x05\x01",  # a channel in the wrong place
        b"\x90\x01\x05ab",  # less than its length
        b"\x06\x00\x00\x01",  # after a CLOSE
        b"\x07short",
    ]
    flights = [pair.client.sends(each) for each in broken]
    found = readings(tshark, tmp_path, flights, *ALL_FIELDS, key_log=pair.log)
    for reading, payload in zip(found, broken, strict=True):
        assert reading.fields["malformed"], payload


def test_any_bytes_are_no_error(tshark: str, tmp_path: Path) -> None:
    """Datagrams of chance, damaged ones, any frames under the keys; cut off in two ways."""
    rng = random.Random("dissector")
    pair = Pair(tmp_path)
    honest = handshake_flights(tmp_path)
    honest += [pair.client.seals(frame) for frame, _, _ in FRAMES["client"]]
    honest += [pair.server.seals(frame) for frame, _, _ in FRAMES["server"]]
    pair.log.write_text(pair.log.read_text() + pair.client.key_log + pair.server.key_log)
    flights = list(honest)
    for _ in range(1500):
        side = rng.choice((pair.client, pair.server))
        flights.append(side.sends(damaged(rng, frame_bytes(rng))))
    for _ in range(1500):
        source, destination, datagram = rng.choice(honest)
        flights.append(Flight(source, destination, damaged(rng, datagram)))
    for _ in range(1500):
        ends = rng.choice(((CLIENT, SERVER), (SERVER, CLIENT)))
        first = bytes([rng.choice((4, 8, 11, 15, 70, rng.randrange(256)))])
        flights.append(Flight(*ends, first + rng.randbytes(rng.randrange(80))))
    found = readings(tshark, tmp_path, flights, *ALL_FIELDS, key_log=pair.log)
    assert len(found) == len(flights)
    assert len(opened(found)) > 1000
    for options, cut in (((), 60), (DECODE_AS, 65535), (DECODE_AS, 50)):
        again = readings(
            tshark, tmp_path, flights, "frame", key_log=pair.log, cut=cut, options=options
        )
        assert len(again) == len(found)


def test_an_error_in_the_script_would_be_seen(tshark: str, tmp_path: Path) -> None:
    """Or none of these tests would fail at one."""
    pair = Pair(tmp_path)
    script = tmp_path / "broken.lua"
    text = SCRIPT.read_text()
    assert "local function read_ack(r, fields)\n" in text
    script.write_text(
        text.replace(
            "local function read_ack(r, fields)\n",
            "local function read_ack(r, fields)\n    local broken = nil + 1\n",
        )
    )
    flights = [pair.client.seals(Ack(0, ((1, 1),)))]
    with pytest.raises(AssertionError, match="Lua Error"):
        readings(tshark, tmp_path, flights, "frame", key_log=pair.log, script=script)


def frame_bytes(rng: random.Random) -> bytes:
    chosen = [rng.choice(FRAMES[rng.choice(("client", "server"))])[0] for _ in range(3)]
    return (
        pack_all(chosen) if rng.random() < 0.7 else bytes([rng.randrange(256)]) + rng.randbytes(9)
    )


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut or add bytes; never nothing."""
    changed = bytearray(data)
    for _ in range(rng.randrange(4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    if rng.random() < 0.3:
        del changed[rng.randrange(1, len(changed) + 1) :]
    return bytes(changed)
