"""The hot path under cProfile: needs the profile build, whose compiled functions it shows by name.

`profile_hotpath.py FILE` prints the table and writes FILE for snakeviz and its kin. Tracing costs
several times what is traced, which is told at the end: the table tells where calls are made, not
how long they take.
"""

from __future__ import annotations

import cProfile
import pstats
import sys

import hotpath

from mpgameserver import RetryMode, build_info

COUNT = 20_000
LINES = 40


def main() -> int:
    """Profile datagrams with one message and with ten, reliable ones."""
    kind = build_info().kind
    if kind != "profile":
        print(
            f"this is a {kind} build: cProfile sees its compiled functions in no other",
            file=sys.stderr,
        )
        return 2
    cases = {
        "one message of 64 B": hotpath.exchange(64, 1, RetryMode.RETRY_ON_TIMEOUT, COUNT),
        "ten of 16 B": hotpath.exchange(16, 10, RetryMode.RETRY_ON_TIMEOUT, COUNT // 4),
    }
    profile = cProfile.Profile()
    traced = {name: profile.runcall(case) for name, case in cases.items()}
    profile.dump_stats(sys.argv[1])
    pstats.Stats(profile).sort_stats("tottime").print_stats(LINES)
    print("a datagram in this build      not traced    under cProfile")
    for name, case in cases.items():
        print(f"{name:<24} {case():>12.2f} µs {traced[name]:>14.2f} µs")
    print(f"written to {sys.argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
