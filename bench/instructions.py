"""Instructions per datagram of the hot path, against those on record for this interpreter.

Callgrind counts them, so a busy machine does not matter. Each load runs twice, with different
counts, and the difference leaves out starting up. `--update` writes the record; a growth of more
than 5 % fails until that is done, with the reason in the commit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import hotpath

from mpgameserver import RetryMode, build_info

RECORD = Path(__file__).with_name("instructions.json")
LOADS = {
    "one 64 B message": (64, 1, 1),
    "ten 16 B messages": (16, 10, 1),
    "one 1,024 B message": (1024, 1, 1),
    "protocol 2, ten 16 B messages": (16, 10, 2),
}
"""Bytes, messages and protocol."""
FEW, MANY = 200, 1200
GROWTH = 1.05
PATIENCE = 300.0
"""Seconds that one run under callgrind may take: some 50 times what it takes without."""


def build() -> str:
    """The conditions that the counts depend on besides the code."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python} {platform.machine()}, {hotpath.cipher()}"


def run_load(size: int, messages: int, protocol: int, count: int) -> None:
    """The counted work: so many datagrams, reliable."""
    hotpath.exchange(size, messages, RetryMode.RETRY_ON_TIMEOUT, count, protocol)()


def counted(size: int, messages: int, protocol: int, count: int) -> int:
    """The instructions of a whole process with that load."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command += [
            sys.executable,
            __file__,
            "--load",
            *map(str, (size, messages, protocol, count)),
        ]
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise ValueError(f"callgrind has not told what it collected: {done.stderr[-300:]!r}")
    return int(found[1])


def measure() -> dict[str, int]:
    """Instructions per datagram, by load."""
    return {
        name: (counted(*load, MANY) - counted(*load, FEW)) // (MANY - FEW)
        for name, load in LOADS.items()
    }


def grown(found: dict[str, int], recorded: dict[str, int]) -> list[str]:
    """Return the cases that take too many instructions."""
    return [
        f"{name}: {count:,} instructions, {count / recorded[name] - 1:+.1%}"
        for name, count in found.items()
        if name in recorded and count > recorded[name] * GROWTH
    ]


def main() -> int:
    """Count, compare, and write down where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--update", action="store_true", help="write the record")
    parser.add_argument("--load", type=int, nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        run_load(*arguments.load)
        return 0
    if build_info().kind != "release" or shutil.which("valgrind") is None:
        print("a release build and valgrind are needed", file=sys.stderr)
        return 2
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    found, recorded = measure(), record.get(build(), {})
    for name, count in found.items():
        print(f"{name}: {count:,} instructions per datagram, on record: {recorded.get(name)}")
    if arguments.update:
        record[build()] = found
        RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    if not recorded:
        print(f"nothing is on record for {build()}")
    more = grown(found, recorded)
    print("\n".join(more), file=sys.stderr)
    return 1 if more else 0


if __name__ == "__main__":
    sys.exit(main())
