"""One target, one way to find inputs, so many seconds: started, watched and reported."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fuzz.inventing import CORPUS
from fuzz.running import SLOW, CurrentInput
from fuzz.sanitized import HOME, Sanitized

TESTS = Path(__file__).resolve().parents[1]
GRACE = 60.0
"""Seconds that a process may take beyond its time: to start, to read the corpus, to end."""
GUIDED_END = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+) ")
UNGUIDED_END = re.compile(r"unguided: (\d+) runs in ([\d.]+) s")


@dataclass(frozen=True)
class Report:
    """The result of one run.

    `edges` says how many branches were seen to be taken, in compiled modules and in Python; 0
    where nobody counted. `found` are the files of the inputs that broke something.
    """

    target: str
    way: str
    runs: int
    seconds: float
    edges: int
    found: tuple[Path, ...]
    log: Path

    @staticmethod
    def header() -> str:
        """The columns of a row."""
        return f"{'target':10} {'inputs':10} {'runs':>9} {'runs/s':>8} {'edges':>7} {'found':>6}"

    def __str__(self) -> str:
        rate = self.runs / self.seconds if self.seconds else 0.0
        return (
            f"{self.target:10} {self.way:10} {self.runs:9} {rate:8.0f} "
            f"{self.edges:7} {len(self.found):6}"
        )


def run(sanitized: Sanitized, target: str, way: str, seconds: float, seed: int) -> Report:
    """Fuzz a target one way; what is found goes into the corpus."""
    log = HOME / f"{target}-{way}.log"
    work = HOME / "corpus" / target if way == "guided" else HOME / f"{target}.input"
    (HOME / "corpus" / target).mkdir(parents=True, exist_ok=True)
    before = set((CORPUS / target).iterdir())
    command = [str(sanitized.python), "-m", "fuzz.running", way, target]
    options = ["--seconds", str(seconds), "--seed", str(seed), "--work", str(work)]
    options += ["--found", str(CORPUS / target / "found")]
    with log.open("wb") as output:
        try:
            code = subprocess.run(
                [*command, *options],
                cwd=TESTS,
                env=sanitized.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds + SLOW + GRACE,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if code and way == "unguided" and work.exists():
        keep(CORPUS / target, CurrentInput.left_in(work))
        work.unlink()
    found = tuple(sorted(set((CORPUS / target).iterdir()) - before))
    if code and not found:
        raise RuntimeError(f"{target}, {way}: ended with {code} and without an input; see {log}")
    runs, took, edges = figures(log.read_text(errors="replace"), seconds)
    return Report(target, way, runs, took, edges, found, log)


def keep(folder: Path, data: bytes) -> None:
    """Put a found input into a folder of the corpus, under the name of its content."""
    (folder / f"found-{hashlib.sha1(data).hexdigest()}").write_bytes(data)


def figures(log: str, seconds: float) -> tuple[int, float, int]:
    """The runs, the seconds that they took, and the edges seen, from a log; zeros for none."""
    if match := UNGUIDED_END.search(log):
        return int(match[1]), float(match[2]), 0
    if match := GUIDED_END.search(log):
        return int(match[1]), seconds, int(match[2])
    return 0, 0.0, 0
