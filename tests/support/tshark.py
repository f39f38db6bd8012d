"""Captures as files, and what the dissector for Wireshark makes of them; needs tshark."""

from __future__ import annotations

import ipaddress
import json
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.serverworld import World

from mpgameserver.server.engine import ServerEngine
from mpgameserver.server.handler import EventHandler

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "wireshark" / "mpgameserver.lua"
PREFIX = "mpgameserver."
LINKTYPE_RAW = 101
CLIENT, SERVER = ("10.0.0.1", 50000), ("192.0.2.1", 1474)
SEPARATOR = "|"

Address = tuple[Any, ...]


class Flight(NamedTuple):
    """A datagram, and between which addresses it was sent."""

    source: Address
    destination: Address
    datagram: bytes


def find_tshark() -> str:
    """The program, where it is installed and runs Lua; skips the test where it is not."""
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("no tshark: apt-get install tshark")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    if "with Lua" not in version.stdout:
        pytest.skip("this tshark was built without Lua")
    return program


def pcap(flights: Iterable[Flight], cut: int = 65535) -> bytes:
    """A pcap file with datagrams over IPv4, of each `cut` bytes at most."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, cut, LINKTYPE_RAW)]
    for place, (source, destination, datagram) in enumerate(flights):
        udp = struct.pack("!HHHH", source[1], destination[1], 8 + len(datagram), 0) + datagram
        hosts = b"".join(ipaddress.ip_address(each[0]).packed for each in (source, destination))
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + hosts
        kept = (ip + udp)[:cut]
        parts.append(struct.pack("<IIII", place, 0, len(kept), len(ip + udp)) + kept)
    return b"".join(parts)


def run_tshark(
    program: str,
    folder: Path,
    data: bytes,
    *options: str,
    key_log: Path | None = None,
    script: Path = SCRIPT,
) -> str:
    """Read a capture with the dissector; what is printed. Fails at an error in the script."""
    file = folder / "capture.pcap"
    file.write_bytes(data)
    command = [program, "-n", "-X", f"lua_script:{script}", "-r", str(file), *options]
    if key_log is not None:
        command += ["-o", f"{PREFIX}keylog_file:{key_log}"]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"HOME": str(folder)}
    )
    assert "Lua" not in ran.stderr.replace("Running as user", ""), ran.stderr
    return ran.stdout


def layers(program: str, folder: Path, data: bytes) -> list[dict[str, Any]]:
    """The dissector's fields of each packet, without the prefix; {} where it took none."""
    printed = run_tshark(program, folder, data, "-T", "json")
    assert "Lua Error" not in printed
    found = [packet["_source"]["layers"] for packet in json.loads(printed)]
    return [_flat(packet.get("mpgameserver", {})) for packet in found]


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value)
        else:
            found[name.removeprefix(PREFIX)] = value
    return found


class Reading(NamedTuple):
    """A packet as tshark shows it."""

    info: str
    protocol: str
    fields: dict[str, list[str]]
    """Every value of each field that was asked for."""


def readings(
    program: str,
    folder: Path,
    flights: Iterable[Flight],
    *names: str,
    key_log: Path | None = None,
    cut: int = 65535,
    options: Iterable[str] = (),
    script: Path = SCRIPT,
) -> list[Reading]:
    """The packets of a capture, with these fields of the dissector."""
    command = ["-T", "fields", "-E", f"aggregator={SEPARATOR}", *options]
    for name in ("_ws.col.Info", "_ws.col.Protocol", "_ws.expert.message"):
        command += ["-e", name]
    for name in names:
        command += ["-e", PREFIX + name]
    data = pcap(flights, cut)
    printed = run_tshark(program, folder, data, *command, key_log=key_log, script=script)
    found = []
    for line in printed.split("\n")[:-1]:
        info, protocol, expert, *values = line.split("\t")
        assert "Lua Error" not in expert, line
        assert protocol != "mpgameserver" or "Exception" not in expert, line
        fields = {
            name: value.split(SEPARATOR) if value else []
            for name, value in zip(names, values, strict=True)
        }
        found.append(Reading(info, protocol, fields))
    return found


class Captured(World):
    """A `World` with a key log, whose datagrams are captured as they pass."""

    def __init__(self, folder: Path, handler: EventHandler | None = None, **options: Any) -> None:
        self.flights: list[Flight] = []
        super().__init__(handler, **options)
        self.log = folder / "keys"
        self.context.setKeyLog(self.log)
        self.engine = ServerEngine(self.context)
        self.engine.start(self.now)

    def serve(self, arrivals: Iterable[tuple[bytes, tuple[Any, ...]]] = ()) -> None:
        arrived = list(arrivals)
        self.flights += [Flight(address, SERVER, datagram) for datagram, address in arrived]
        super().serve(arrived)

    def _send(self) -> bool:
        before = len(self.sent)
        is_done = super()._send()
        self.flights += [Flight(SERVER, address, each) for each, address in self.sent[before:]]
        return is_done
