"""The terminal programs of the examples, run as their READMEs say.

Each runs on a terminal of its own, with a server on a free port of this machine. A run is what was
typed to start a program, and the screen that it has left.
"""

from __future__ import annotations

import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from support.dialogue import Dialogue, succeeds
from support.programs import copied_examples
from support.terminal import Terminal
from terminal import last_screen

Run = tuple[str, str]

NICKS = ("ada", "bob", "cid")
TALK = (
    ("ada", "anyone up for a round?"),
    ("bob", "give me five minutes"),
    ("bob", "/nick bob-afk"),
    ("cid", "I am in"),
)
PROMPT = r"[^\n]*\n[^>]*>.*?\x1b\[\?25h"
"""The rest of a line that is shown, and the prompt below it with its cursor. A key that is pressed
earlier is echoed above it."""
HALF_TYPED = "let me just fin"
"""Text that Ada is typing when the picture is taken."""
PASSWORDS = {"Ada": "correct horse", "Bob": "battery staple"}
FILE = "world.dat"
FILE_BYTES = 12_000_000
INTERRUPTED_AT = r"[5-9]\.\d/12\.0"


TYPING = 1.0
"""Seconds until a command is typed again, in which the server learns of the interruption."""


@contextmanager
def example(key: str) -> Iterator[tuple[Path, ExitStack]]:
    """A copy of the examples, with a key; programs that the stack has are ended."""
    with TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = copied_examples(Path(temporary))
        succeeds(folder, "-m", "mpgameserver", "genkey", key)
        yield folder, stack


def listening(stack: ExitStack, folder: Path, *arguments: str) -> str:
    """Start a server, and return the port that it says it listens on."""
    program = stack.enter_context(Dialogue(folder, "-m", *arguments))
    return program.sees(r"(?:serving|listening) on 127\.0\.0\.1:(\d+).*")[1]


def chat() -> list[Run]:
    """Ada's terminal while she, Bob and Cid talk."""
    with example("chat.pem") as (folder, stack):
        port = listening(stack, folder, "chat.server", "--port", "0")
        command = "-m chat.client --nick"
        people: dict[str, Terminal] = {}
        for nick in NICKS:
            arguments = [*command.split(), nick, "--port", port]
            people[nick] = stack.enter_context(Terminal(folder, *arguments))
            for person in people.values():
                person.sees(f"{nick}{PROMPT}")
        for nick, line in TALK:
            people[nick].type(f"{line}\r")
            for person in people.values():
                person.sees(f"{re.escape(line.removeprefix('/nick '))}{PROMPT}")
        people["ada"].type(HALF_TYPED)
        people["ada"].sees(HALF_TYPED)
        return [(f"python {command} ada", last_screen(people["ada"].written))]


def accounts() -> list[Run]:
    """Ada's terminal: she is in the game, logs in from elsewhere, and mistypes her password."""
    with example("unused.pem") as (folder, stack):
        succeeds(folder, "-m", "accounts.setup")
        game = listening(stack, folder, "accounts.game", "--port", "0")
        web = listening(stack, folder, "accounts.web", "--port", "0", "--game-port", game)

        def player(name: str, *options: str, password: str = "") -> Terminal:
            service = ["--service", f"https://localhost:{web}"]
            program = Terminal(folder, "-m", "accounts.client", name, *options, *service)
            stack.enter_context(program).sees(f"Password of {name}: ")
            program.type(f"{password or PASSWORDS[name]}\n")
            return program

        ada = player("Ada", "--new")
        ada.sees("Ada: hello")
        player("Bob", "--new")
        ada.sees("Bob: hello")
        player("Ada")
        assert ada.ended() == 0
        mistyped = player("Ada", password=PASSWORDS["Bob"])
        assert mistyped.ended() == 1
        return [
            ("python -m accounts.client Ada --new", last_screen(ada.written)),
            ("python -m accounts.client Ada", last_screen(mistyped.written)),
        ]


def filetransfer() -> list[Run]:
    """A file is sent over the bad link of the README, interrupted, and sent again."""
    with example("files.pem") as (folder, stack):
        (folder / FILE).write_bytes(random.Random(7).randbytes(FILE_BYTES))
        port = listening(stack, folder, "filetransfer.server", "received", "--port", "0")
        relay = f"--to 127.0.0.1:{port} --listen 127.0.0.1:0 --loss 10 --latency 50"
        port = listening(stack, folder, "mpgameserver", "netsim", *relay.split())
        command = ["-m", "filetransfer.send", FILE, "--port"]
        first = stack.enter_context(Terminal(folder, *command, port))
        first.sees(INTERRUPTED_AT)
        first.process.send_signal(signal.SIGINT)
        assert first.ended() == 130
        time.sleep(TYPING)
        second = stack.enter_context(Terminal(folder, *command, port))
        assert second.ended() == 0
        shown = f"python {' '.join(command)} 1475"
        return [(shown, last_screen(program.written)) for program in (first, second)]


def swarm() -> list[Run]:
    """More and more bots play on the echo server."""
    with example("swarm.pem") as (folder, stack):
        port = listening(stack, folder, "swarm.echoserver", "--port", "0")
        options = ["--step", "20", "--most", "100"]
        program = Terminal(folder, "-m", "swarm", f"127.0.0.1:{port}", *options)
        exit_code = stack.enter_context(program).ended()
        assert exit_code == 0, f"this machine is too busy: {program.written}"
        command = f"python -m swarm 127.0.0.1:1474 {' '.join(options)}"
        return [(command, last_screen(program.written))]


RUNS: dict[str, tuple[Callable[[], list[Run]], int]] = {
    "accounts": (accounts, 60),
    "chat": (chat, 60),
    "filetransfer": (filetransfer, 80),
    "swarm": (swarm, 80),
}
"""The runs of each example, and the columns of its picture: no more than needed, for phones."""
