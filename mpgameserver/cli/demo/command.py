"""The command `demo`: what it takes, and what it prints."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from mpgameserver.cli import argtypes
from mpgameserver.cli.demo.game import WAIT_LIMIT, run_demo
from mpgameserver.cli.demo.page import report_page
from mpgameserver.cli.demo.report import DemoSettings
from mpgameserver.cli.demo.room import MAX_PLAYERS
from mpgameserver.cli.display import Display, open_display
from mpgameserver.cli.parser import (
    EXIT_FAILED,
    EXIT_OK,
    Commands,
    add_json,
    add_seed,
    begin_log,
)

__all__ = ["register", "run"]

MAX_PROBLEMS_SHOWN = 20
"""Lines about what went wrong: one cause can break a promise to every client."""

_DESCRIPTION = f"""\
Run a server and clients in one process, over a bad link on loopback.

Each client plays at 60 frames a second. It sends its position in every frame (unreliable) and a
line of chat twice a second (reliable); a file of 1 MiB goes each way (reliable). The server sends
everybody's position in every tick, and passes the chat on to everybody.

After that, the demo waits up to {WAIT_LIMIT:.0f} s for outstanding messages. Then it shows how
many datagrams and messages were sent, delivered, lost and duplicated; how many messages and
fragments were retransmitted; the median and the 99th percentile of the time from sending to
reading; and the bytes delivered per second.
"""

_EPILOG = """\
The same seed makes the same link: for each client and direction it loses, duplicates and delays
the same datagrams.

exit codes:
  0    every reliable byte arrived exactly once, and every callback was called once
  1    otherwise; lines below the tables, or `problems` in the JSON, say what went wrong
  2    invalid command line
  130  interrupted

examples:
  mpgameserver demo
  mpgameserver demo --loss 30 --latency 60 --seed 7
  mpgameserver demo --seconds 30 --clients 16 --json > report.json
  mpgameserver demo --report demo.html
"""


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "demo",
        help="play over a bad link and see what arrives",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )

    def add(name: str, low: float, high: float, default: float, text: str) -> None:
        command.add_argument(
            f"--{name}",
            metavar="N",
            type=argtypes.number(float, low, high),
            default=default,
            help=f"{text} (default: %(default)g)",
        )

    add("seconds", 0.1, argtypes.MAX_SECONDS, 8.0, "time that the clients play, in seconds")
    add("loss", 0, 100, 5.0, "datagrams lost in each direction, in per cent")
    add("latency", 0, 10_000, 25.0, "one-way latency, in milliseconds")
    add("jitter", 0, 10_000, 5.0, "variation of the latency up and down, in milliseconds")
    add("duplicate", 0, 100, 2.0, "datagrams duplicated in each direction, in per cent")
    command.add_argument(
        "--clients",
        metavar="N",
        type=argtypes.number(int, 1, MAX_PLAYERS),
        default=4,
        help=f"number of clients, at most {MAX_PLAYERS} (default: %(default)s)",
    )
    command.add_argument(
        "--report",
        metavar="FILE",
        type=argtypes.new_file,
        help="write an HTML page with charts, which can be read offline",
    )
    add_seed(command, "of the link and the files")
    add_json(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit code."""
    # The link duplicates and delays on purpose: warnings about it would tear the table up.
    begin_log(logging.ERROR)
    settings = DemoSettings(
        seconds=arguments.seconds,
        loss=arguments.loss,
        latency=arguments.latency,
        jitter=arguments.jitter,
        duplicate=arguments.duplicate,
        clients=arguments.clients,
        seed=arguments.seed,
    )
    if arguments.json:
        report = run_demo(settings, Display())
        print(json.dumps(report.as_json(), indent=2))
    else:
        display = open_display(sys.stdout)
        display.print(settings.summary())
        report = run_demo(settings, display)
        display.print(*report.as_tables(), *_verdict(report.problems))
    if arguments.report is not None:
        arguments.report.write_text(report_page(report), encoding="utf-8")
    return EXIT_FAILED if report.problems else EXIT_OK


def _verdict(problems: Sequence[str]) -> list[str]:
    """The last lines of the demo."""
    if not problems:
        return ["every reliable byte arrived exactly once, and every callback was called once"]
    lines = [f"failed: {problem}" for problem in problems[:MAX_PROBLEMS_SHOWN]]
    if len(problems) > MAX_PROBLEMS_SHOWN:
        lines.append(f"... and {len(problems) - MAX_PROBLEMS_SHOWN} problems more")
    return lines
