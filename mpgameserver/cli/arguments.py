"""What the commands take, with their help; a mistake is told in one line."""

from __future__ import annotations

import argparse
import math
import platform
import sys
from typing import Any, NoReturn

from mpgameserver import __version__
from mpgameserver.buildinfo import build_info
from mpgameserver.cli.argtypes import (
    DEFAULT_PORT,
    MAX_PORT,
    MAX_SECONDS,
    address,
    key,
    new_file,
    number,
)
from mpgameserver.cli.demo.game import WAIT_LIMIT
from mpgameserver.cli.demo.room import MAX_PLAYERS
from mpgameserver.cli.link_options import add_link_options
from mpgameserver.cli.ping import INTERVAL, PATIENCE
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.monitorchannel import DEFAULT_ADDRESS
from mpgameserver.udpproxy import MAX_CLIENTS

__all__ = ["EXIT_USAGE", "new_parser"]

EXIT_USAGE = 2
"""The command line makes no sense; what argparse and the shells use."""

_DESCRIPTION = """\
Encrypted messages over UDP for multiplayer games: see them work, measure them, make keys.
"""

_EPILOG = """\
exit codes:
  0    it did what it was asked to do
  1    it did not: the help of each command says what that means
  2    the command line makes no sense
  130  interrupted

examples:
  mpgameserver demo --loss 30
  mpgameserver genkey server.pem
  mpgameserver serve --key server.pem
  mpgameserver ping localhost:1474 --key server.pem.pub
  mpgameserver netsim --to localhost:1474 --loss 10 --latency 50
"""

_DEMO_DESCRIPTION = f"""\
Run a server and clients in one process, over a bad link on loopback.

Each client plays at 60 frames a second. In each it tells its position (unreliable), twice a
second it says a line of chat (reliable), and a file of 1 MiB goes each way (reliable). The server
tells everybody's position in each of its ticks, and passes the chat on to all.

When the seconds are over, the demo waits for up to {WAIT_LIMIT:.0f} s for what is outstanding.
Then it shows what became of the datagrams and of the messages: how many were sent, delivered,
lost and duplicated; how many messages, or pieces of one, were retried; the median and the 99th
percentile of the time from sending to reading; and the bytes delivered per second.
"""

_DEMO_EPILOG = """\
The same seed makes the same link: it loses, duplicates and delays the same datagrams, counted by
client and direction.

exit codes:
  0    every reliable byte arrived exactly once, and every callback came exactly once
  1    not so; lines below the tables, or `problems` in the JSON, say what went wrong
  2    the command line makes no sense
  130  interrupted

examples:
  mpgameserver demo
  mpgameserver demo --loss 30 --latency 60 --seed 7
  mpgameserver demo --seconds 30 --clients 16 --json > report.json
  mpgameserver demo --report demo.html
"""

_SERVE_DESCRIPTION = """\
Run an echo server: each message goes back to its sender as it came, once, with RetryMode.NONE.

It prints its address and its public key, and a line for each client that comes or goes. It serves
until SIGINT (Ctrl-C) or SIGTERM, and says goodbye to every client then.
"""

_SERVE_EPILOG = """\
exit codes:
  0    stopped by a signal
  1    it cannot serve: no such address here, or the port is in use
  2    the command line makes no sense, or the key cannot be read

examples:
  mpgameserver serve                                all IPv4 addresses, a key for this time
  mpgameserver serve --host :: --key server.pem     IPv4 and IPv6, a key that the clients have
  mpgameserver serve --host 127.0.0.1 --port 0      loopback, a free port
  mpgameserver serve --monitor                      with a live table of what it does
"""

_MONITOR_DESCRIPTION = """\
Watch a running server: its clients, where the time of a tick goes, datagrams and bytes per second,
the median and the 99th percentile of latency, what is lost and sent again, what waits, and what
was dropped and why. On a terminal it is a table that is redrawn, if rich is installed (pip install
rich); elsewhere it is a line for each second.

The server must have a channel for it (serve --monitor-key, or MonitorChannel in a program). The
key is a private key that both have, and that is for this only. Nothing can be changed by it.
"""

_MONITOR_EPILOG = """\
exit codes:
  0    the time is over, or it was interrupted
  1    there was no connection, it ended, or the server did not take the key
  2    the command line makes no sense, or the key cannot be read

examples:
  mpgameserver monitor 127.0.0.1:1475 --key monitor.pem
  mpgameserver monitor 127.0.0.1:1475 --key monitor.pem --seconds 60 > figures.txt

of a server that was started so:
  mpgameserver genkey monitor.pem
  mpgameserver serve --key server.pem --monitor-key monitor.pem
"""

_PING_DESCRIPTION = f"""\
Measure the round trip to a server that echoes, as `mpgameserver serve` does.

A message of 32 bytes leaves every {INTERVAL:.0f} s, with RetryMode.NONE. For each answer a line
tells the time from sending to reading in milliseconds. At the end come the messages sent,
received and lost, and the minimum, mean, maximum and 99th percentile of the times. Answers are
waited for until {PATIENCE:.0f} s after the last message.
"""

_PING_EPILOG = """\
exit codes:
  0    an answer came, or more
  1    no answer came, or there was no connection: nobody answers, another key, ...
  2    the command line makes no sense, or the key cannot be read
  130  interrupted before there was a connection; later, Ctrl-C ends the measuring

examples:
  mpgameserver ping game.example.org:1474 --key server.pem.pub
  mpgameserver ping [::1]:1474 --count 10
"""

_NETSIM_DESCRIPTION = f"""\
Put a bad link between a server and its clients, whatever they are programmed in: a UDP proxy.

Clients connect to the address that it prints, and what they send goes on to the server that --to
names. Each client, {MAX_CLIENTS} at most at a time, has a link of its own and meets the server
from a port of its own. What the links did so far is told while they work, and at the end.

An option of the link holds for both directions. With up- or down- before its name it is for the
way to the server, or for the way to the clients, and goes before the one for both:
--loss 5 --up-loss 20 loses 20 % on the way to the server and 5 % on the way back.
"""

_NETSIM_EPILOG = """\
The same seed does the same to each client's datagrams, clients counted in the order in which they
appear. Blackouts count from the start of the program.

exit codes:
  0    the time is over, or it was interrupted or terminated
  1    it cannot listen, or the server's name has no address
  2    the command line makes no sense

examples:
  mpgameserver netsim --to localhost:1474 --loss 10 --latency 50
  mpgameserver netsim --to localhost:1474 --down-rate 125 --down-queue 100
  mpgameserver netsim --listen [::1]:4000 --to [::1]:1474 --burst-loss 5 --blackout 30:2
"""

_GENKEY_DESCRIPTION = """\
Make the key pair of a server: OUT is the private key, which stays on the server and which only
its owner may read (mode 0600); OUT.pub is the public key, which the clients are given. Both are
PEM files. Nothing is ever overwritten.
"""

_GENKEY_EPILOG = """\
exit codes:
  0    both files are written
  1    neither is: one is there already, or cannot be written
  2    the command line makes no sense

example:
  mpgameserver genkey server.pem
"""


class _Parser(argparse.ArgumentParser):
    """A parser that prints its texts as they are, and an error in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            **settings,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def new_parser() -> argparse.ArgumentParser:
    """The parser of the command line; what it parses has the name of the command in `command`."""
    parser = _Parser(prog="mpgameserver", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "--version",
        action="version",
        version=_version(),
        help="tell the version, the kind of build, whose cipher seals packets, and exit",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_serve(commands)
    _add_monitor(commands)
    _add_ping(commands)
    _add_netsim(commands)
    _add_genkey(commands)
    return parser


def _version() -> str:
    info = build_info()
    called = ", called in C" if info.cipher == "openssl" else ""
    return (
        f"mpgameserver {__version__}, {info.kind} build\n"
        f"AES-128-GCM by {info.cipher_library}{called}\n"
        f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}"
    )


_Commands = Any  # argparse has no public name for what add_subparsers returns


def _add_demo(commands: _Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="play over a bad link, and see what arrives",
        description=_DEMO_DESCRIPTION,
        epilog=_DEMO_EPILOG,
    )

    def add(name: str, low: float, high: float, default: float, text: str) -> None:
        demo.add_argument(
            f"--{name}",
            metavar="N",
            type=number(float, low, high),
            default=default,
            help=f"{text} (default: {default:g})",
        )

    add("seconds", 0.1, MAX_SECONDS, 8.0, "how long the clients play, in seconds")
    add("loss", 0, 100, 5.0, "lost, in per cent of the datagrams of each direction")
    add("latency", 0, 10_000, 25.0, "from sending to arrival, in milliseconds, one way")
    add("jitter", 0, 10_000, 5.0, "by how much that varies up and down, in milliseconds")
    add("duplicate", 0, 100, 2.0, "duplicated, in per cent of the datagrams of each direction")
    demo.add_argument(
        "--clients",
        metavar="N",
        type=number(int, 1, MAX_PLAYERS),
        default=4,
        help=f"how many clients play, at most {MAX_PLAYERS} (default: 4)",
    )
    demo.add_argument(
        "--report",
        metavar="FILE",
        type=new_file,
        help="write a page of HTML with charts; it needs no network to be read",
    )
    _add_seed(demo, "of the link and the files")
    _add_json(demo)


def _add_serve(commands: _Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="run an echo server",
        description=_SERVE_DESCRIPTION,
        epilog=_SERVE_EPILOG,
    )
    serve.add_argument(
        "--host",
        default="0.0.0.0",
        help="address or name to listen on (default: 0.0.0.0, all IPv4 addresses)",
    )
    serve.add_argument(
        "--port",
        metavar="N",
        type=number(int, 0, MAX_PORT),
        default=DEFAULT_PORT,
        help=f"UDP port to listen on, 0 for a free one (default: {DEFAULT_PORT})",
    )
    serve.add_argument(
        "--key",
        metavar="FILE",
        type=key(EllipticCurvePrivateKey.fromPEM),
        help="private key, as genkey writes it (default: a new key each time)",
    )
    serve.add_argument(
        "--tick",
        metavar="N",
        type=number(float, 1, 1000),
        default=60.0,
        help="ticks per second (default: 60)",
    )
    serve.add_argument(
        "--monitor", action="store_true", help="show live figures, as the command monitor does"
    )
    serve.add_argument(
        "--monitor-key",
        metavar="FILE",
        type=key(EllipticCurvePrivateKey.fromPEM),
        help="let those who have this private key watch it with the command monitor",
    )
    host, port = DEFAULT_ADDRESS
    serve.add_argument(
        "--monitor-listen",
        metavar="HOST:PORT",
        type=address(0),
        default=DEFAULT_ADDRESS,
        help=f"where it listens for them (default: {host}:{port})",
    )


def _add_monitor(commands: _Commands) -> None:
    monitor = commands.add_parser(
        "monitor",
        help="watch a running server",
        description=_MONITOR_DESCRIPTION,
        epilog=_MONITOR_EPILOG,
    )
    monitor.add_argument(
        "address",
        metavar="HOST:PORT",
        type=address(1),
        help="where the server's channel for monitors listens",
    )
    monitor.add_argument(
        "--key",
        metavar="FILE",
        type=key(EllipticCurvePrivateKey.fromPEM),
        required=True,
        help="the private key of the channel",
    )
    monitor.add_argument(
        "--seconds",
        metavar="N",
        type=number(float, 0.1, MAX_SECONDS),
        default=math.inf,
        help="how long to watch (default: until interrupted)",
    )


def _add_ping(commands: _Commands) -> None:
    ping = commands.add_parser(
        "ping",
        help="measure the round trip to an echo server",
        description=_PING_DESCRIPTION,
        epilog=_PING_EPILOG,
    )
    ping.add_argument(
        "address",
        metavar="HOST:PORT",
        type=address(1),
        help="the server: a name, an IPv4 address or an IPv6 address in brackets, and a port",
    )
    ping.add_argument(
        "--key",
        metavar="FILE",
        type=key(EllipticCurvePublicKey.fromPEM),
        help="the server's public key (default: whoever answers is trusted)",
    )
    ping.add_argument(
        "--count",
        metavar="N",
        type=number(int, 1, 2**32 - 1),
        help="how many messages to send (default: until interrupted)",
    )


def _add_netsim(commands: _Commands) -> None:
    netsim = commands.add_parser(
        "netsim",
        help="put a bad link between a server and its clients",
        description=_NETSIM_DESCRIPTION,
        epilog=_NETSIM_EPILOG,
    )
    netsim.add_argument(
        "--to",
        metavar="HOST:PORT",
        required=True,
        type=address(1),
        help="the server",
    )
    netsim.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=("127.0.0.1", 0),
        type=address(0),
        help="where clients connect to; port 0 is a free one (default: 127.0.0.1:0)",
    )
    _add_seed(netsim, "of the links")
    netsim.add_argument(
        "--seconds",
        metavar="N",
        type=number(float, 0.1, MAX_SECONDS),
        help="how long it works, in seconds (default: until interrupted)",
    )
    _add_json(netsim)
    add_link_options(netsim)


def _add_seed(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument(
        "--seed",
        metavar="N",
        type=number(int, -math.inf, math.inf),
        help=f"seed {what}, a whole number (default: another each time, shown)",
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--json",
        action="store_true",
        help="print nothing but one JSON document at the end; its times are in seconds",
    )


def _add_genkey(commands: _Commands) -> None:
    genkey = commands.add_parser(
        "genkey",
        help="make the key pair of a server",
        description=_GENKEY_DESCRIPTION,
        epilog=_GENKEY_EPILOG,
    )
    genkey.add_argument("out", metavar="OUT", help="file of the private key")
