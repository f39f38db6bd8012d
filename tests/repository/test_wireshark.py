"""The dissector for Wireshark and protocol 1: headers, and with a key log the messages."""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.serverworld import World
from support.tshark import (
    PREFIX,
    ROOT,
    SCRIPT,
    Captured,
    Flight,
    find_tshark,
    layers,
    pcap,
    readings,
)

from mpgameserver._core.packet_header import decode_header, encode_header
from mpgameserver.enums import PacketType

PAGE = ROOT / "docs" / "seeing.md"

pytestmark = pytest.mark.extra


@pytest.fixture(scope="module")
def tshark() -> str:
    """The program, where it is installed and runs Lua."""
    return find_tshark()


def capture(datagrams: list[bytes], port: int = 1474, cut: int = 65535) -> bytes:
    """A capture of datagrams to a port, of each `cut` bytes at most."""
    host = "127.0.0.1"
    return pcap((Flight((host, 50000), (host, port), each) for each in datagrams), cut)


def test_the_page_reads_a_capture(tshark: str, tmp_path: Path) -> None:
    [command, _] = re.findall(r"^tshark .*-r capture.*$", PAGE.read_text(), re.M)
    disconnect = encode_header(False, 1_700_000_000, PacketType.DISCONNECT, 9, 2, 0, 0, 0)
    keep_alive = encode_header(False, 1_700_000_000, PacketType.KEEP_ALIVE, 10, 2, 0, 0, 0)
    datagrams = [header + bytes(16) for header in (keep_alive, disconnect, keep_alive)]
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "capture.pcapng").write_bytes(capture(datagrams))
    ran = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    [line] = ran.stdout.splitlines()
    assert line.split()[0] == "2"


def test_every_datagram_of_a_session_is_read_as_the_codec_reads_it(
    tshark: str, tmp_path: Path
) -> None:
    world = World()
    player = world.join()
    for size in (10, 5000):
        player.send(bytes(size))
        world.client_of(player).send(bytes(size), -1)
    world.run(0.2)
    player.connection.disconnect(world.now)
    world.run(0.2)
    datagrams = player.sent + [datagram for datagram, _ in world.sent]
    seen = layers(tshark, tmp_path, capture(datagrams, port=40000))
    assert len(seen) == len(datagrams)
    assert {int(fields["type"]) for fields in seen} == set(PacketType) - {PacketType.UNKNOWN}
    for fields, datagram in zip(seen, datagrams, strict=True):
        header = decode_header(datagram)
        assert fields["identifier"] == ("FSOC" if header.from_server else "FSOS")
        for name in ("seq", "ack", "length", "count"):
            assert int(fields[name]) == getattr(header, name)
        assert int(fields["type"]) == header.packet_type
        assert int(fields["ack_bits"], 16) == header.ack_bits
        is_clear = header.packet_type in (PacketType.CLIENT_HELLO, PacketType.SERVER_HELLO)
        assert ("crc" in fields, "tag" in fields) == (is_clear, not is_clear)
        assert "bad_size" not in fields


def test_ack_bits_are_told_as_numbers_across_the_wrap(tshark: str, tmp_path: Path) -> None:
    bits = 1 << 31 | 1 << 29 | 1
    header = encode_header(True, 1_700_000_000, PacketType.KEEP_ALIVE, 9, 2, bits, 0, 0)
    [fields] = layers(tshark, tmp_path, capture([header + bytes(16)]))
    assert fields["acked"] == "1 65534 65505"
    assert "2023" in fields["time"] or fields["time"].startswith("1700000000")


def test_what_does_not_fit_is_marked_or_left_to_others(tshark: str, tmp_path: Path) -> None:
    header = encode_header(False, 1_700_000_000, PacketType.APP, 9, 2, 0, 30, 1)
    unknown = header[:12] + b"\x63" + header[13:]
    datagrams = [
        header + bytes(45),
        unknown + bytes(46),
        header[:19],
        b"GET / HTTP/1.1\r\n\r\n" * 2,
    ]
    short, odd, *others = layers(tshark, tmp_path, capture(datagrams))
    assert "bad_size" in short
    assert ("bad_type" in odd, "bad_size" in odd) == (True, False)
    assert others == [{}, {}]


def test_a_capture_of_the_beginnings_only_has_the_headers(tshark: str, tmp_path: Path) -> None:
    header = encode_header(False, 1_700_000_000, PacketType.APP, 9, 2, 0, 30, 1)
    [fields] = layers(tshark, tmp_path, capture([header + bytes(46)], cut=28 + 20))
    assert (fields["seq"], fields["ack"]) == ("9", "2")
    assert "bad_size" not in fields


def test_a_run_that_was_captured_as_one_long_datagram_is_read_as_several(
    tshark: str, tmp_path: Path
) -> None:
    """As on a host with UDP_SEGMENT or UDP_GRO: all are as long as the first, or the last less."""
    run = b"".join(
        encode_header(True, 1_700_000_000, PacketType.APP, seq, 2, 0, length, 1)
        + bytes(length + 16)
        for seq, length in ((9, 1000), (10, 1000), (11, 30))
    )
    file = tmp_path / "run.pcap"
    command = [tshark, "-n", "-X", f"lua_script:{SCRIPT}", "-r", str(file), "-T", "fields"]
    command += [f"-e{PREFIX}{name}" for name in ("seq", "length", "bad_size")] + ["-e_ws.col.Info"]

    def fields(datagrams: list[bytes], cut: int = 65535) -> list[list[str]]:
        file.write_bytes(capture(datagrams, cut=cut))
        ran = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"HOME": str(tmp_path)}
        )
        return [line.split("\t") for line in ran.stdout.splitlines()]

    info = "APP to client, seq 9, ack 2, 1 messages"
    whole, torn, odd = fields([run, run[:-1], run + b"x"])
    assert whole == ["9,10,11", "1000,1000,30", "", f"{info}, and 2 datagrams more"]
    assert torn[0] == odd[0] == "9,10,11"
    assert torn[2]
    assert odd[2]
    [beginning] = fields([run], cut=28 + 20)
    assert beginning == ["9", "1000", "", info]
    [first_two] = fields([run], cut=28 + 1036 + 20)
    assert first_two[:3] == ["9,10", "1000,1000", ""]


NAMES = ("frame", "message", "fragment", "unopened", "malformed", "message_seq", "fragment_count")


def spoken(folder: Path) -> Captured:
    """A session with short, many and long messages both ways."""
    world = Captured(folder)
    player = world.join()
    world.client_of(player).send(b"downwards", -1)
    for text in (b"one", b"two", b"three", b""):
        player.send(text)
    player.send(bytes(5000))
    world.run(0.5)
    player.connection.disconnect(world.now)
    world.run(0.2)
    return world


def test_with_a_key_log_the_messages_are_read(tshark: str, tmp_path: Path) -> None:
    world = spoken(tmp_path)
    found = readings(tshark, tmp_path, world.flights, *NAMES, key_log=world.log)
    assert not any(each.fields["unopened"] or each.fields["malformed"] for each in found)
    names = {name for each in found for name in each.fields["frame"]}
    assert names == {"CHALLENGE_RESP", "APP", "APP_FRAGMENT", "KEEP_ALIVE", "DISCONNECT"}
    messages = [bytes.fromhex(message) for each in found for message in each.fields["message"]]
    assert {b"downwards", b"one", b"two", b"three"} <= set(messages)
    together = next(each for each in found if b"two".hex() in each.fields["message"])
    assert together.fields["frame"] == ["APP", "APP_FRAGMENT", "APP", "APP", "APP"]
    parts = [part for each in found for part in each.fields["fragment"]]
    assert len(bytes.fromhex("".join(parts))) == 5000
    assert {count for each in found for count in each.fields["fragment_count"]} == {"5"}


def test_so_they_are_in_a_capture_that_began_later(tshark: str, tmp_path: Path) -> None:
    world = spoken(tmp_path)
    later = [each for each in world.flights if each.datagram[12] > PacketType.SERVER_HELLO]
    with world.log.open("a") as log:
        log.writelines(f"MPG1_SESSION_KEY {i:032x} {i:032x}\n" for i in range(20))
    found = readings(tshark, tmp_path, later, *NAMES, key_log=world.log)
    assert any(b"three".hex() in each.fields["message"] for each in found)


def test_with_another_key_log_nothing_is_read(tshark: str, tmp_path: Path) -> None:
    world = spoken(tmp_path)
    label, salt, _ = world.log.read_text().split()
    world.log.write_text(f"{label} {salt} {'0' * 32}\n")
    found = readings(tshark, tmp_path, world.flights, *NAMES, key_log=world.log)
    assert not any(each.fields["frame"] for each in found)
    sealed = [each.datagram[12] > PacketType.SERVER_HELLO for each in world.flights]
    assert [bool(each.fields["unopened"]) for each in found] == sealed


def test_any_payload_under_the_key_is_no_error(tshark: str, tmp_path: Path) -> None:
    rng = random.Random("dissector")
    world = spoken(tmp_path)
    _, _, key = world.log.read_text().split()
    flights = list(world.flights)
    for _ in range(1000):
        payload = rng.choice((rng.randbytes(rng.randrange(40)), bytes(rng.randrange(9))))
        kind, count = rng.choice((3, 4, 5, 6, 7, 99)), rng.choice((0, 1, 2, 3, 255))
        header = encode_header(False, 1_700_000_000, kind, 9, 2, 0, len(payload), count)
        sealed = AESGCM(bytes.fromhex(key)).encrypt(header[:12], payload, header)
        flights.append(Flight(*world.flights[0][:2], header + sealed))
    found = readings(tshark, tmp_path, flights, *NAMES, key_log=world.log)
    assert sum(bool(each.fields["malformed"]) for each in found) > 300
    assert not any(each.fields["unopened"] for each in found)
