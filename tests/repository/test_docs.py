"""Every block of the pages is run, or listed here with the reason why it is not.

It is run as it stands but for the ports, which are free ones.
"""

from __future__ import annotations

import configparser
import importlib
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.documents import (
    PAGE_PORTS,
    PAGES,
    PATIENCE,
    ROOT,
    Block,
    Ports,
    blocks,
    environment,
    indented_blocks,
    output,
    running,
    wait_until_it_listens,
)

from mpgameserver import ConnectionStatus, UdpClient, errors

DOCS = ROOT / "docs"

PLAYED_ELSEWHERE = {
    "README.md": "test_readme.py: a server and a client that speak with each other",
    "getting-started.md": "TestGettingStarted, below: a server and two players",
    "channels.md": "TestChannels, below: a server, a bad link and two players",
}
"""Pages whose programs are played together by tests of their own."""
NOT_RUN_LANGUAGES = {
    "text": "what a program prints, or a picture made of characters",
    "ini": "a unit of systemd: test_the_unit_is_one_that_systemd_takes",
    "dockerfile": "needs a registry: test_the_dockerfile_is_made_of_what_docker_knows",
}
NOT_RUN = {
    r"make [\w-]+": "a target of the Makefile: test_every_target_exists",
    r"sudo (ufw|nft) ": "changes the firewall of the machine that runs it",
    r"sudo sysctl -w ": "changes its kernel: test_the_settings_of_the_kernel_exist",
    r"python -m pip install (--only-binary|--no-index|path/to)": "test_packaging.py does it",
    r"python -m pip install snakeviz$": "a viewer, which is not ours",
    r"snakeviz ": "opens a browser",
    r"pyinstaller |python -m nuitka ": "takes a game that is to be frozen: test_freezing.py",
    r".* \| python -m pstats \.venv/": "needs the profile build: test_packaging.py",
    r"tshark -i any ": "listens to the machine's network, which takes root",
    r"tshark .* -r capture": "needs a capture: test_wireshark.py, test_wireshark2.py",
    r"jq ": "needs jq: test_jq_counts_the_reasons_of_a_trace",
}
"""Commands that are not run with their page: how they begin, and why."""
NOT_IN_THE_REFERENCE = {
    "Connection",  # the package's own: `UdpClient` and `ServerClient` are made of it
    "DEFAULT_ADDRESS",
    "__version__",
    "make_proof",  # what the command `monitor` says first
}
MEMBERS = re.compile(
    r"^::: (mpgameserver\.(?:testing\.)?\w+)\n    options:\n      members: \[(.*)\]$", re.M
)
"""The classes whose members the reference lists in the order of use."""
INTERNAL = {
    "attach",
    "detach",
    "end_in_child",
    "events",
    "is_shutting_down",
    "now",
    "take_calls",
    "wake",
}
"""Members that the modules of the package use of each other."""
SERVES = re.compile(r"mpgameserver (serve|netsim|monitor)\b")
"""Commands that go on until they are interrupted, and say so in their first line."""


GLOSSED = {
    "round-trip-time-rtt": r"[Rr]ound[- ]trip|\bRTT\b",
    "jitter": r"[Jj]itter\b",
    "fragment": r"[Ff]ragment",
    "ack-eliciting": r"[Aa]ck-eliciting",
    "nonce": r"[Nn]once",
}
"""Words that not every game developer knows, by their headings in the glossary."""
NOT_GLOSSED = {
    "README.md",  # an index
    "glossary.md",
    "api.md",
}
OTHER_SENSE = {("deployment.md", "fragment")}  # fragments of IP


@pytest.fixture
def ports() -> Ports:
    return Ports()


RUNNABLE = [page for page in PAGES if page.name not in PLAYED_ELSEWHERE and blocks(page)]


def reason_not_to_run(command: str) -> str | None:
    """Why a command of a page is not run; None if it is."""
    return next((why for start, why in NOT_RUN.items() if re.match(start, command)), None)


def all_commands() -> list[str]:
    return [
        command
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh"
        for command in block.commands
    ]


def commands_like(start: str) -> list[str]:
    found = [command for command in all_commands() if re.match(start, command)]
    assert found
    return found


class Reader:
    """Does what a page says, from top to bottom, in one folder."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self._folder = folder
        self._ports = ports

    def follow(self, page: Path) -> None:
        """Do all that is not listed above."""
        commands = " ".join(c for b in blocks(page) if b.language == "sh" for c in b.commands)
        for block in blocks(page):
            if block.language == "sh":
                self._run_commands(block)
            elif block.language == "python" and block.name and block.name in commands:
                (self._folder / block.name).write_text(self._ports.placed(block.text))
            elif block.language == "python":
                self._run_program(block)
            else:
                assert block.language in NOT_RUN_LANGUAGES, block

    def _run_commands(self, block: Block) -> None:
        with ExitStack() as until_the_end_of_the_block:
            serving = []
            for command in map(self._ports.placed, block.commands):
                if reason_not_to_run(command) is not None:
                    continue
                if SERVES.match(command):
                    process = running(self._folder, *shlex.split(command))
                    serving.append(until_the_end_of_the_block.enter_context(process))
                    assert serving[-1].stdout.readline(), command
                else:
                    self._finish("sh", "-c", command)
            for process in reversed(serving):
                process.send_signal(signal.SIGINT)
                assert "Traceback" not in output(process)

    def _run_program(self, block: Block) -> None:
        # Warnings of imports of an old matplotlib do not matter here.
        strict = () if ".plot(" in block.text else ("-W", "error")
        program = self._ports.placed(block.text)
        if f"{self._ports[1474]}" in program and ".run()" in program:
            with running(self._folder, sys.executable, *strict, "-c", program) as server:
                wait_until_it_listens(self._ports[1474])
                server.send_signal(signal.SIGINT)
                assert bool(output(server)) == ("logging.basicConfig" in program)
            return
        printed = self._finish(sys.executable, *strict, "-c", program)
        assert bool(printed) == ("print(" in block.text), block

    def _finish(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        return done.stdout


@pytest.mark.parametrize("page", RUNNABLE, ids=[page.name for page in RUNNABLE])
def test_a_page_can_be_followed(page: Path, tmp_path: Path, ports: Ports) -> None:
    if "plot" in page.read_text():
        pytest.importorskip("matplotlib")
    Reader(tmp_path, ports).follow(page)


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_block_has_a_language_and_is_run_or_listed(page: Path) -> None:
    assert indented_blocks(page) == []
    known = {"python", "sh", *NOT_RUN_LANGUAGES}
    assert [block for block in blocks(page) if block.language not in known] == []


def test_nothing_runs_on_a_port_that_a_page_names(ports: Ports) -> None:
    texts = [ports.placed(block.text) for page in PAGES for block in blocks(page)]
    texts += [ports.placed(command) for command in all_commands()]
    assert not re.search(r"[: ](1474|1475|1480|9474)\b(?! ms)", "\n".join(texts))
    assert len({ports[page_port] for page_port in PAGE_PORTS}) == len(PAGE_PORTS)


def test_nothing_is_listed_that_is_not_there() -> None:
    languages = {block.language for page in PAGES for block in blocks(page)}
    assert set(NOT_RUN_LANGUAGES) <= languages
    for start in NOT_RUN:
        commands_like(start)


@pytest.mark.parametrize(
    "module",
    ["", ".aio", ".connection", ".metrics", ".monitorchannel", ".netsim", ".testing", ".udpproxy"],
)
def test_the_reference_has_every_public_name(module: str) -> None:
    names = set(importlib.import_module(f"mpgameserver{module}").__all__)
    entries = re.findall(r"^::: ([\w.]+)$", (DOCS / "api.md").read_text(), re.M)
    documented = {entry.rpartition(".")[2] for entry in entries} | set(errors.__all__)
    assert names - documented <= NOT_IN_THE_REFERENCE


@pytest.mark.parametrize(
    ("path", "members"), MEMBERS.findall((DOCS / "api.md").read_text()), ids=lambda text: text[:40]
)
def test_the_reference_leaves_no_member_of_a_class_out(path: str, members: str) -> None:
    module, _, name = path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    listed = set(members.split(", "))
    public = {name for name in vars(cls) if not name.startswith("_")}
    set_by_init = set(re.findall(r"^        self\.([a-z]\w*)\b.*=", inspect.getsource(cls), re.M))
    assert public - INTERNAL - listed == set()
    assert listed - public - set_by_init == set()


def prose_lines(page: Path) -> list[str]:
    """The lines of a page without its headings, pictures, blocks, and code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`|!\[[^\]]*\]", "", text)
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("anchor", GLOSSED)
def test_the_first_use_of_a_word_leads_to_the_glossary(anchor: str) -> None:
    pages = [page for page in sorted(DOCS.glob("*.md")) if page.name not in NOT_GLOSSED]
    without_link = []
    for page in pages:
        uses = [line for line in prose_lines(page) if re.search(GLOSSED[anchor], line)]
        if uses and f"](glossary.md#{anchor})" not in uses[0]:
            without_link.append((page.name, anchor))
    assert set(without_link) <= OTHER_SENSE


class TestWhatIsNotRun:
    """It is held against something else, as far as there is something."""

    def test_every_target_exists(self) -> None:
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
        assert {command.split()[1] for command in commands_like("make ")} <= targets

    @pytest.mark.skipif(sys.platform != "linux", reason="these are settings of Linux")
    def test_the_settings_of_the_kernel_exist(self) -> None:
        for command in commands_like(r"sudo sysctl -w "):
            for name in re.findall(r"([\w.]+)=\d+", command):
                assert Path("/proc/sys", *name.split(".")).is_file(), name

    @staticmethod
    def _only(language: str) -> Block:
        [found] = [b for page in PAGES for b in blocks(page) if b.language == language]
        return found

    def test_the_unit_has_what_a_service_needs(self) -> None:
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[method-assign, assignment]
        unit.read_string(self._only("ini").text)
        assert set(unit) - {"DEFAULT"} == {"Unit", "Service", "Install"}
        assert unit["Service"]["KillSignal"] == "SIGTERM"

    @pytest.mark.extra
    def test_the_unit_is_one_that_systemd_takes(self, tmp_path: Path) -> None:
        program = shutil.which("systemd-analyze")
        if program is None:
            pytest.skip("no systemd-analyze: apt-get install systemd")
        text = self._only("ini").text
        (start,) = re.findall(r"^ExecStart=(\S+)", text, re.M)
        unit = tmp_path / "game.service"
        unit.write_text(text.replace(start, sys.executable))
        done = subprocess.run(
            [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
        )
        complaints = [line for line in done.stderr.splitlines() if "game.service" in line]
        assert (done.returncode, complaints) == (0, [])

    def test_the_dockerfile_is_made_of_what_docker_knows(self) -> None:
        lines = self._only("dockerfile").text.splitlines()
        words = [line.partition(" ")[0] for line in lines]
        assert words[0] == "FROM"
        assert set(words) <= {"FROM", "COPY", "RUN", "WORKDIR", "USER", "EXPOSE", "CMD"}
        [command] = [line.partition(" ")[2] for line in lines if line.startswith("CMD")]
        assert json.loads(command) == ["python", "server.py"]
        [copied] = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
        assert "server.py" in copied

    @pytest.mark.extra
    def test_jq_counts_the_reasons_of_a_trace(self, tmp_path: Path) -> None:
        if shutil.which("jq") is None:
            pytest.skip("no jq: apt-get install jq")
        (command,) = commands_like("jq ")
        line = {"event": "dropped", "reason": "repeated"}
        trace = [
            line,
            {"event": "sent"},
            line,
            {"event": "dropped", "reason": "authentication failed"},
        ]
        (tmp_path / "trace.jsonl").write_text("".join(json.dumps(each) + "\n" for each in trace))
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert [each.split(maxsplit=1) for each in done.stdout.splitlines()] == [
            ["1", "authentication failed"],
            ["2", "repeated"],
        ]


class TestChannels:
    """The game of the page about channels, as it stands there, over a link that loses datagrams."""

    PAGE = DOCS / "channels.md"

    @pytest.fixture
    def folder(self, tmp_path: Path, ports: Ports) -> Path:
        """The folder into which the programs were pasted."""
        pasted = {b.name: b.text for b in blocks(self.PAGE) if b.name is not None}
        assert list(pasted) == ["server.py", "player.py"]
        for name, text in pasted.items():
            (tmp_path / name).write_text(ports.placed(text))
            assert len([line for line in text.splitlines() if line.strip()]) <= 30, name
        return tmp_path

    def test_two_players_chat_in_order_and_a_third_is_refused(
        self, folder: Path, ports: Ports
    ) -> None:
        genkey, *programs = (
            shlex.split(ports.placed(c))
            for b in blocks(self.PAGE)
            if b.language == "sh"
            for c in b.commands
        )
        subprocess.run(genkey, cwd=folder, env=environment(), check=True)
        server, link, *players = programs
        with ExitStack() as stack:
            stack.enter_context(running(folder, *server))
            wait_until_it_listens(ports[1474])
            stack.enter_context(running(folder, *link))
            wait_until_it_listens(ports[1475])
            eve = [*players[0][:2], "Eve", players[0][3]]
            began = [stack.enter_context(running(folder, *p)) for p in (*players, eve)]
            ada, bob, refused = (process.communicate(timeout=PATIENCE)[0] for process in began)
        assert refused.splitlines() == ["the end: your ticket is not valid"]
        for name, heard in (("Ada", ada), ("Bob", bob)):
            own = [line for line in heard.splitlines() if line.startswith(f"{name}: ")]
            assert own == [f"{name}: I am at {x}" for x in (50, 150, 250)]
            assert re.fullmatch(r"the end: Ada=\d+ Bob=\d+", heard.splitlines()[-1])
        assert "Bob: I am at 50" in ada
        assert "Ada: I am at 150" in bob


class TestGettingStarted:
    """The guide, followed word for word in an empty folder, gives a working game."""

    PAGE = DOCS / "getting-started.md"

    @pytest.fixture
    def folder(self, tmp_path: Path, ports: Ports) -> Path:
        """Where the programs were pasted into."""
        pasted = {b.name: b.text for b in blocks(self.PAGE) if b.language == "python"}
        assert list(pasted) == ["server.py", "player.py"]
        for name, text in pasted.items():
            (tmp_path / name).write_text(ports.placed(text))
        return tmp_path

    def _commands(self) -> list[str]:
        return [c for b in blocks(self.PAGE) if b.language == "sh" for c in b.commands]

    def test_two_players_see_each_other_and_take_a_coin(self, folder: Path, ports: Ports) -> None:
        pytest.importorskip("pygame")
        venv, _, genkey, *programs = self._commands()
        assert venv == "python -m venv env"
        self._set_up(folder, genkey.replace("env/bin/python", sys.executable))
        programs = [c.replace("env/bin/python", sys.executable) for c in programs]
        self._play(folder, programs, ports[1474])

    @pytest.mark.extra
    def test_word_for_word_in_an_empty_environment_with_the_wheel(
        self, folder: Path, ports: Ports
    ) -> None:
        wheels = list((ROOT / "dist").glob("*.whl"))
        if len(wheels) != 1:
            pytest.skip("no wheel in dist/: make wheel")
        venv, install, genkey, *programs = self._commands()
        assert install.startswith("env/bin/python -m pip install path/to/mpgameserver-*.whl ")
        self._set_up(folder, venv)
        try:
            self._set_up(folder, install.replace("path/to", str(ROOT / "dist")))
        except subprocess.CalledProcessError:
            if os.environ.get("CI"):
                raise
            pytest.skip("pip cannot install pygame-ce and what the wheel needs")
        self._set_up(folder, genkey)
        self._play(folder, programs, ports[1474])

    @staticmethod
    def _set_up(folder: Path, *commands: str) -> None:
        for command in commands:
            subprocess.run(["sh", "-ec", command], cwd=folder, env=environment(), check=True)

    def _play(self, folder: Path, programs: list[str], port: int) -> None:
        serve, *players = (shlex.split(command) for command in programs)
        assert [serve[-1], *(player[-1] for player in players)] == [
            "server.py",
            "player.py",
            "player.py",
        ]
        with ExitStack() as stack:
            server = stack.enter_context(running(folder, *serve))
            watcher = stack.enter_context(UdpClient(folder / "server.pem.pub"))
            self._join(watcher, port)
            for player in players:
                stack.enter_context(running(folder, *player))
            places = self._watch(watcher, b"P", length=1 + 8 * 2)
            assert places == b"P" + 2 * bytes.fromhex("43a00000 43700000")  # 320.0, 240.0
            self._take_the_coin(watcher)
            server.send_signal(signal.SIGTERM)
            heard, _ = server.communicate(timeout=PATIENCE)
            assert heard.count("joined: ('127.0.0.1', ") == 3
            assert heard.count(" shutdown\n") == 3
            assert "Traceback" not in heard
            self._see_them_come_back(stack.enter_context(running(folder, *serve)))

    @staticmethod
    def _see_them_come_back(server: subprocess.Popen[str]) -> None:
        assert server.stdout is not None
        for _ in range(2):
            assert server.stdout.readline().startswith("joined: ")

    @staticmethod
    def _join(client: UdpClient, port: int) -> None:
        end = time.monotonic() + PATIENCE
        while not client.connected():
            assert time.monotonic() < end, client.failure
            if client.status() == ConnectionStatus.DISCONNECTED:  # nothing listens yet
                client.connect(("127.0.0.1", port))
            client.update()
            time.sleep(0.01)

    def _take_the_coin(self, client: UdpClient) -> None:
        """Walk to (100, 100), where the first one lies; the score is told with the next coin."""
        client.send_guaranteed(bytes.fromhex("00000001 42c80000 42c80000"))
        while True:
            coin = self._watch(client, b"C", length=1 + 12)
            if coin[-4:] == b"\0\0\0\1":
                return

    @staticmethod
    def _watch(client: UdpClient, kind: bytes, length: int) -> bytes:
        """The next message of a kind that has a length."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            client.update()
            for _, message in client.getMessages():
                if message[:1] == kind and len(message) == length:
                    return message
            time.sleep(0.01)
        raise AssertionError(f"{client!r} was never told {kind!r} of {length} bytes")
