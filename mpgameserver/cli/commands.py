"""The command line: its commands, and what becomes of their errors."""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
from collections.abc import Sequence

import mpgameserver
from mpgameserver.buildinfo import build_info
from mpgameserver.cli import genkey, monitor, netsim, ping, serve
from mpgameserver.cli.connect import UnreachableError
from mpgameserver.cli.demo import command as demo
from mpgameserver.cli.parser import EXIT_FAILED, EXIT_INTERRUPTED, CommandParser, fail

__all__ = ["main"]

_DESCRIPTION = """\
Encrypted messages over UDP for multiplayer games: a demo, measuring tools, and keys.
"""

_EPILOG = """\
exit codes:
  0    success
  1    failure; see the help of each command
  2    invalid command line
  130  interrupted

examples:
  mpgameserver demo --loss 30
  mpgameserver genkey server.pem
  mpgameserver serve --key server.pem
  mpgameserver ping localhost:1474 --key server.pem.pub
  mpgameserver netsim --to localhost:1474 --loss 10 --latency 50
"""

COMMANDS = (demo, serve, monitor, ping, netsim, genkey)
"""In the order of the help. Each has `register` and `run`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, `sys.argv` by default; returns the exit code.

    Raises SystemExit, as argparse does, for --help and for an invalid command line.
    """
    _print_anything()
    arguments = new_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout is gone; the interpreter's own flush at exit must not fail on it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        return fail(arguments.command, error.strerror or str(error))
    except UnreachableError as error:
        return fail(arguments.command, str(error))


def _print_anything() -> None:
    """Have stdout escape the characters that its encoding lacks, as stderr does, and not raise.

    ASCII lacks those of the tables, any encoding those of a path that is none in it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def new_parser() -> argparse.ArgumentParser:
    """The parser of the command line; what it parses has the name of the command in `command`."""
    parser = CommandParser(prog="mpgameserver", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "--version",
        action=_ShowVersion,
        nargs=0,
        help="show the version, the kind of build and the cipher library, and exit",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(commands)
    return parser


class _ShowVersion(argparse.Action):
    """Prints the version and exits: only then, because it takes a while to find out."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(_version())
        parser.exit()


def _version() -> str:
    info = build_info()
    called = ", called in C" if info.cipher == "openssl" else ""
    return (
        f"mpgameserver {mpgameserver.__version__}, {info.kind} build\n"
        f"AES-128-GCM by {info.cipher_library}{called}\n"
        f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}"
    )
