"""The command line: the commands, and the exit codes that they end with."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import sys
from collections.abc import Sequence

from mpgameserver.cli.arguments import EXIT_USAGE, new_parser
from mpgameserver.cli.connect import UnreachableError
from mpgameserver.cli.demo.game import run_demo
from mpgameserver.cli.demo.page import report_page
from mpgameserver.cli.demo.report import DemoSettings
from mpgameserver.cli.display import Display, open_display
from mpgameserver.cli.genkey import write_key_pair
from mpgameserver.cli.link_options import DIRECTIONS, link_conditions
from mpgameserver.cli.monitor import monitor
from mpgameserver.cli.netsim import RelaySettings, relay
from mpgameserver.cli.ping import ping
from mpgameserver.cli.serve import Watched, serve
from mpgameserver.crypto import EllipticCurvePrivateKey

__all__ = ["main"]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

MAX_PROBLEMS_SHOWN = 20
"""Lines about what went wrong: one cause can break a promise to every client."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, `sys.argv` by default; returns the exit code.

    Raises SystemExit, as argparse does, for --help and for a command line that makes no sense.
    """
    _print_anything()
    arguments = new_parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout is gone; the interpreter's own flush at exit must not fail on it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        return _fail(arguments.command, error.strerror or str(error))
    except UnreachableError as error:
        return _fail(arguments.command, str(error))


def _print_anything() -> None:
    """Have stdout escape the characters that its encoding lacks, as stderr does, and not raise.

    ASCII lacks those of the tables, any encoding those of a path that is none in it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _fail(command: str, reason: str, code: int = EXIT_FAILED) -> int:
    print(f"mpgameserver {command}: {reason}", file=sys.stderr)
    return code


def _demo(arguments: argparse.Namespace) -> int:
    # The link duplicates and delays on purpose: warnings about it would tear the table up.
    logging.basicConfig(level=logging.ERROR)
    settings = DemoSettings(
        seconds=arguments.seconds,
        loss=arguments.loss,
        latency=arguments.latency,
        jitter=arguments.jitter,
        duplicate=arguments.duplicate,
        clients=arguments.clients,
        seed=_seed(arguments),
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
        return ["every reliable byte arrived exactly once, and every callback came exactly once"]
    lines = [f"failed: {problem}" for problem in problems[:MAX_PROBLEMS_SHOWN]]
    if len(problems) > MAX_PROBLEMS_SHOWN:
        lines.append(f"... and {len(problems) - MAX_PROBLEMS_SHOWN} problems more")
    return lines


def _serve(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING)
    if arguments.monitor_key is not None and _is_same(arguments.monitor_key, arguments.key):
        return _fail("serve", "--monitor-key must be another key than --key", EXIT_USAGE)
    display = open_display(sys.stdout) if arguments.monitor else None
    serve(
        (arguments.host, arguments.port),
        arguments.key,
        1 / arguments.tick,
        _tell if display is None else display.print,
        Watched(display, arguments.monitor_key, arguments.monitor_listen),
    )
    return EXIT_OK


def _is_same(key: EllipticCurvePrivateKey, other: EllipticCurvePrivateKey | None) -> bool:
    return other is not None and key.getPublicKey() == other.getPublicKey()


def _monitor(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.ERROR)
    monitor(arguments.address, arguments.key, open_display(sys.stdout), arguments.seconds)
    return EXIT_OK


def _ping(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.ERROR)
    answered = ping(arguments.address, arguments.key, arguments.count, _tell)
    return EXIT_OK if answered else EXIT_FAILED


def _netsim(arguments: argparse.Namespace) -> int:
    up, down = (link_conditions(arguments, direction) for direction in DIRECTIONS)
    settings = RelaySettings(
        arguments.listen, arguments.to, up, down, _seed(arguments), arguments.seconds
    )
    if arguments.json:
        print(json.dumps(relay(settings, Display()).as_json(), indent=2))
    else:
        display = open_display(sys.stdout)
        report = relay(settings, display)
        display.print("", report.as_table(), "", report.summary())
    return EXIT_OK


def _seed(arguments: argparse.Namespace) -> int:
    """The seed that was given, or a new one."""
    return random.randrange(2**32) if arguments.seed is None else arguments.seed


def _genkey(arguments: argparse.Namespace) -> int:
    public = write_key_pair(arguments.out)
    _tell(f"{arguments.out}: the private key, for the server only")
    _tell(f"{public}: the public key, for the clients")
    return EXIT_OK


def _tell(line: str) -> None:
    """Print a line at once, for a program may be reading."""
    print(line, flush=True)


_COMMANDS = {
    "demo": _demo,
    "serve": _serve,
    "monitor": _monitor,
    "ping": _ping,
    "netsim": _netsim,
    "genkey": _genkey,
}
