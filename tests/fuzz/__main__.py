"""Fuzz the package, built with sanitizers, and print what that came to: `make fuzz`.

Every target is given inputs that coverage guides and inputs that nothing guides. An input that
breaks a promise, touches memory that is not its own, or does what C leaves undefined becomes a
file of tests/fuzz/corpus, which `make test` plays from then on, and the command fails.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

from fuzz.campaign import TESTS, Report, run
from fuzz.inventing import TARGETS
from fuzz.sanitized import Sanitized
from fuzz.toolchain import NoToolchainError, version_of

GUIDED_SHARE = 0.7
"""Of the time, where inputs can be guided: they find more per second."""


def main() -> int:
    """Parse the arguments, build, fuzz, and print the table."""
    args = parse()
    try:
        sanitized = Sanitized()
    except NoToolchainError as error:
        print(f"cannot fuzz: {error}")
        return 1
    if args.replay:
        return replay(sanitized, args.target or [args.replay[0].parent.name], args.replay)
    tell(sanitized, args.seed)
    ways = {"guided": GUIDED_SHARE, "unguided": 1 - GUIDED_SHARE}
    if sanitized.toolchain.unguided_because:
        ways = {"unguided": 1.0}
    targets = args.target or TARGETS
    reports = []
    for target in targets:
        for way, share in ways.items():
            seconds = args.seconds * share / len(targets)
            reports.append(run(sanitized, target, way, seconds, args.seed))
            print(reports[-1], flush=True)
    return tell_found(reports)


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=...", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="in all; default: %(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one")
    parser.add_argument("--replay", type=Path, nargs="+", help="play these files and nothing else")
    return parser.parse_args()


def tell(sanitized: Sanitized, seed: int) -> None:
    """Say what is done, and what is not."""
    toolchain = sanitized.toolchain
    print(f"built with {version_of(toolchain.compiler)}, AddressSanitizer, UBSan")
    if toolchain.unguided_because:
        print(f"not guided by coverage: {toolchain.unguided_because}")
    print(f"seed: {seed} (again: make fuzz ARGS='--seed {seed}')\n{Report.header()}", flush=True)


def replay(sanitized: Sanitized, targets: list[str], files: list[Path]) -> int:
    """Play files of one target; a traceback or the sanitizer's report says what they break."""
    command = [str(sanitized.python), "-m", "fuzz.running", "replay", targets[0], "--files"]
    paths = [str(path.resolve()) for path in files]
    done = subprocess.run([*command, *paths], cwd=TESTS, env=sanitized.environment(), check=False)
    return done.returncode


def tell_found(reports: list[Report]) -> int:
    """Say what was found; the exit status."""
    bad = [report for report in reports if report.found]
    for report in bad:
        print(f"\n{report.target}: see {report.log}, and play it again:")
        for path in report.found:
            print(f"  make fuzz ARGS='--target {report.target} --replay {path}'")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
