"""Play the inputs of one target in this process, which has the sanitizers' runtime.

Started by `fuzz.campaign`. What breaks a promise is an exception here, what breaks memory or the
rules of C an abort: either way the input is left where the campaign finds it.
"""

from __future__ import annotations

import argparse
import logging
import mmap
import sys
import time
import traceback
from pathlib import Path

from fuzz.inventing import CORPUS, inputs, target

LONGEST = 2048
"""Bytes of an input: a script of some hundred steps, more than a target plays."""
SLOW = 30
"""Seconds after which one input counts as a hang. They take milliseconds, floods a second."""
MEMORY = 4096
"""MiB that a process may hold: ten times what it does."""


class CurrentInput:
    """A file that holds the input that is being played, whatever becomes of the process."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(LONGEST))
        self._path = path
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    def set(self, data: bytes) -> None:
        """Note the input, with its length before it."""
        self._memory[: 2 + len(data)] = len(data).to_bytes(2, "big") + data

    def close(self) -> None:
        """Remove the file: nothing was found."""
        self._memory.close()
        self._path.unlink()

    @staticmethod
    def left_in(path: Path) -> bytes:
        """The input that a process has left."""
        data = path.read_bytes()
        return data[2 : 2 + int.from_bytes(data[:2], "big")]


def unguided(name: str, seconds: float, seed: int, current: Path) -> int:
    """Play inputs of a seed for so long; 1 at the first that breaks a promise."""
    play, note = target(name), CurrentInput(current)
    began, runs = time.perf_counter(), 0
    for data in inputs(name, seed):
        data = data[: LONGEST - 2]
        note.set(data)
        try:
            play(data)
        except Exception:
            traceback.print_exc()
            return 1
        runs += 1
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            break
    note.close()
    print(f"unguided: {runs} runs in {elapsed:.1f} s")
    return 0


def guided(name: str, seconds: float, seed: int, growing: Path, found: Path) -> None:
    """Let libFuzzer find inputs for so long; ends the process, with 0 when nothing was found."""
    import atheris

    with atheris.instrument_imports(include=["mpgameserver"]):
        play = target(name)
    options = {
        "max_total_time": max(1, int(seconds)),
        "seed": seed % (1 << 31) + 1,
        "artifact_prefix": f"{found}-",
        "max_len": LONGEST,
        "len_control": 0,
        "timeout": SLOW,
        "rss_limit_mb": MEMORY,
    }
    arguments = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(growing), str(CORPUS / name)], play)
    atheris.Fuzz()


def replay(name: str, paths: list[Path]) -> int:
    """Play these files."""
    for path in paths:
        target(name)(path.read_bytes())
    print(f"replayed: {len(paths)} files")
    return 0


def main() -> int:
    """Do what the campaign asks for."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.running", description=__doc__)
    parser.add_argument("way", choices=("guided", "unguided", "replay"))
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where the growing corpus or the input is kept")
    parser.add_argument("--found", type=Path, help="how the names of found inputs begin")
    parser.add_argument("--files", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    logging.disable()  # a server logs what the outsiders of a script do
    if args.way == "replay":
        return replay(args.target, args.files)
    if args.way == "unguided":
        return unguided(args.target, args.seconds, args.seed, args.work)
    guided(args.target, args.seconds, args.seed, args.work, args.found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
