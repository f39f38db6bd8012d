"""The command line: what it says, and the exit codes that it ends with."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.patience import PATIENCE

from mpgameserver import __version__, build_info
from mpgameserver.cli import main
from mpgameserver.cli import ping as ping_module
from mpgameserver.cli.ping import ping
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.server import EventHandler, ServerContext, ThreadedServer

ASCII = {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "1"}
COMMANDS = ("demo", "serve", "monitor", "ping", "netsim", "genkey")

Program = subprocess.Popen[str]
Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command line as a program; ended at the end, whatever happens."""
    programs: list[Program] = []

    def start(*arguments: str) -> Program:
        environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
        program = subprocess.Popen(
            [sys.executable, "-m", "mpgameserver", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment,
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.kill()
        program.communicate()


@pytest.fixture
def serving(start: Start) -> Callable[..., tuple[Program, str, EllipticCurvePublicKey]]:
    """Start an echo server: the program, its address, and the public key that it prints."""

    def serving(*arguments: str) -> tuple[Program, str, EllipticCurvePublicKey]:
        program = start("serve", "--port", "0", *arguments)
        assert program.stdout is not None
        line = program.stdout.readline()
        match = re.fullmatch(r"listening on (\S+:\d+)\n", line)
        assert match is not None, line + program.communicate(timeout=PATIENCE)[1]
        pem = ""
        while "END PUBLIC KEY" not in pem:
            pem += program.stdout.readline()
        return program, match[1], EllipticCurvePublicKey.fromPEM(pem)

    return serving


def run(start: Start, *arguments: str) -> tuple[int, str, str]:
    """Run a command to its end: (exit code, stdout, stderr)."""
    program = start(*arguments)
    out, err = program.communicate(timeout=PATIENCE)
    return program.returncode, out, err


def needs_ipv6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"no IPv6 loopback: {error}")


# -- help and mistakes ----------------------------------------------------------------------


def test_the_help_names_every_command_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in (*COMMANDS, "exit codes", "130", "examples"):
        assert word in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_exit_codes_and_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: mpgameserver {command}" in text
    assert "exit codes:" in text
    assert re.search(rf"examples?:\n  mpgameserver {command} ?", text)
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("option", ["seconds", "loss", "latency", "jitter", "duplicate"])
def test_the_help_of_the_demo_tells_units_and_defaults(option, capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    help_text = text.split(f" --{option} N ")[1].split(" --")[0]
    assert re.search(r"in (seconds|milliseconds|per cent)", help_text)
    assert re.search(r"\(default: \d+\)", help_text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "arguments are required: COMMAND"),
        (["play"], "invalid choice: 'play'"),
        (["demo", "--loss", "101"], "--loss: must be a number from 0 to 100, not '101'"),
        (["demo", "--loss", "-1"], "--loss: must be a number from 0 to 100, not '-1'"),
        (["demo", "--loss", "nan"], "--loss: must be a number from 0 to 100, not 'nan'"),
        (["demo", "--seconds", "0"], "--seconds: must be a number from 0.1 to 86,400, not '0'"),
        (["demo", "--latency", "x"], "--latency: must be a number from 0 to 10,000, not 'x'"),
        (["demo", "--clients", "0"], "--clients: must be a whole number from 1 to 64, not '0'"),
        (["demo", "--clients", "2.5"], "--clients: must be a whole number from 1 to 64"),
        (["demo", "--seed", "x"], "--seed: must be a whole number, not 'x'"),
        (["demo", "--sec", "1"], "--sec"),
        (["serve", "--port", "65536"], "--port: must be a whole number from 0 to 65,535"),
        (["serve", "--tick", "0"], "--tick: must be a number from 1 to 1,000, not '0'"),
        (["serve", "--key", "nothing.pem"], "--key: cannot read 'nothing.pem': No such file"),
        (["ping"], "arguments are required: HOST:PORT"),
        (["ping", "host"], "HOST:PORT: must be HOST:PORT with a port from 1 to 65535, not 'host'"),
        (["ping", "host:0"], "must be HOST:PORT with a port from 1 to 65535, not 'host:0'"),
        (["ping", ":1474"], "must be HOST:PORT with a port from 1 to 65535, not ':1474'"),
        (["ping", "[]:1474"], "must be HOST:PORT with a port from 1 to 65535, not '[]:1474'"),
        (["ping", "::1"], "must have an IPv6 address in brackets, as [::1]:1474, not '::1'"),
        (["ping", "host:1", "--count", "0"], "--count: must be a whole number from 1"),
        (["netsim"], "arguments are required: --to"),
        (["netsim", "--to", "host:0"], "--to: must be HOST:PORT with a port from 1 to 65535"),
        (["netsim", "--to", "h:1", "--listen", "h"], "--listen: must be HOST:PORT"),
        (["netsim", "--to", "h:1", "--loss", "101"], "--loss: must be a number from 0 to 100"),
        (["netsim", "--to", "h:1", "--up-loss", "x"], "--up-loss: must be a number from 0 to 100"),
        (["netsim", "--to", "h:1", "--burst-loss", "51"], "--burst-loss: must be a number from 0"),
        (["netsim", "--to", "h:1", "--rate", "0"], "--rate: must be a number from 1 to 10,000,000"),
        (["netsim", "--to", "h:1", "--blackout", "5"], "must be START:LENGTH in seconds, not '5'"),
        (["netsim", "--to", "h:1", "--blackout", "1:-2"], "--blackout: must be a number from 0 to"),
        (["netsim", "--to", "h:1", "--blackout", "1:x"], "--blackout: must be a number from 0 to"),
        (["genkey"], "arguments are required: OUT"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_told_in_one_line(
    arguments, said, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert said in err
    assert "--help" in err
    assert err.count("\n") == 1


def test_a_key_of_the_other_kind_is_a_mistake(capsys, tmp_path):
    main(["genkey", str(tmp_path / "key")])
    for arguments in (
        ["serve", "--key", str(tmp_path / "key.pub")],
        ["ping", "host:1", "--key", str(tmp_path / "key")],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert "--key: cannot use" in capsys.readouterr().err


# -- genkey ---------------------------------------------------------------------------------


def test_genkey_writes_a_pair_and_says_which_is_which(capsys, tmp_path):
    assert main(["genkey", str(tmp_path / "key")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'key'}: the private key, for the server only",
        f"{tmp_path / 'key.pub'}: the public key, for the clients",
    ]
    private = EllipticCurvePrivateKey.fromPEM((tmp_path / "key").read_text())
    public = EllipticCurvePublicKey.fromPEM((tmp_path / "key.pub").read_text())
    assert private.getPublicKey() == public
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_genkey_overwrites_nothing(capsys, tmp_path):
    assert main(["genkey", str(tmp_path / "key")]) == 0
    before = (tmp_path / "key").read_bytes(), (tmp_path / "key.pub").read_bytes()
    capsys.readouterr()
    assert main(["genkey", str(tmp_path / "key")]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"mpgameserver genkey: '{tmp_path / 'key'}' exists and is not overwritten\n",
    )
    assert before == ((tmp_path / "key").read_bytes(), (tmp_path / "key.pub").read_bytes())


def test_genkey_names_the_file_that_cannot_be_written(capsys, tmp_path):
    target = tmp_path / "nowhere" / "key"
    assert main(["genkey", str(target)]) == 1
    assert capsys.readouterr().err.startswith(f"mpgameserver genkey: cannot write '{target}': ")


# -- serve and ping -------------------------------------------------------------------------


def test_a_ping_measures_the_round_trip_to_a_server_whose_key_it_knows(start, serving, tmp_path):
    main(["genkey", str(tmp_path / "key")])
    server, address, public_key = serving("--host", "127.0.0.1", "--key", "key")
    assert public_key == EllipticCurvePublicKey.fromPEM((tmp_path / "key.pub").read_text())
    code, out, err = run(start, "ping", address, "--key", "key.pub", "--count", "2")
    assert (code, err) == (0, "")
    first, *answers, counts, times = out.splitlines()
    assert re.fullmatch(
        rf"connected to {re.escape(address)} by protocol [12], whose key was checked", first
    )
    assert [line.rpartition("=")[0] for line in answers] == [
        "32 bytes: seq=1 time",
        "32 bytes: seq=2 time",
    ]
    assert counts == "2 sent, 2 received, 0.0 % lost"
    assert re.fullmatch(r"round trip min/avg/max/p99 = ([\d.]+/){3}[\d.]+ ms", times)
    server.send_signal(signal.SIGTERM)
    out, err = server.communicate(timeout=PATIENCE)
    assert (server.returncode, err) == (0, "")
    assert re.fullmatch(r"(\S+) connected\n\1 disconnected: closed by client\n", out)


def test_both_sides_write_their_keys_to_a_log_and_say_so(start, serving, tmp_path):
    program, address, _ = serving("--key-log", "of server")
    ping = start("ping", address, "--count", "1", "--key-log", "of client")
    assert ping.wait(PATIENCE) == 0
    assert "the keys of this client are written to of client" in ping.stderr.read()
    program.send_signal(signal.SIGINT)
    assert program.wait(PATIENCE) == 0
    assert "the keys of this server are written to of server" in program.stderr.read()
    assert (tmp_path / "of server").read_text() == (tmp_path / "of client").read_text() != ""


def test_a_key_log_that_cannot_be_written_is_a_mistake(start):
    ping = start("ping", "127.0.0.1:1", "--key-log", "no folder/keys")
    assert ping.wait(PATIENCE) == 2
    assert "cannot write 'no folder/keys'" in ping.stderr.read()


def test_a_server_can_be_watched_by_who_has_the_key(start, serving):
    assert run(start, "genkey", "monitor.pem")[0] == 0
    channel = ("--monitor-key", "monitor.pem", "--monitor-listen", "127.0.0.1:0")
    server, _, _ = serving("--host", "127.0.0.1", *channel)
    line = server.stdout.readline()
    address = re.fullmatch(r"monitor channel on (\S+)\n", line)[1]
    code, out, err = run(start, "monitor", address, "--key", "monitor.pem", "--seconds", "1")
    assert (code, err) == (0, "")
    assert re.match(r"up \d+ s, 0 clients, \d+ ticks/s, load ", out)
    server.send_signal(signal.SIGTERM)
    assert server.communicate(timeout=PATIENCE)[1] == ""


def test_a_server_shows_its_own_figures(serving):
    server, _, _ = serving("--host", "127.0.0.1", "--monitor")
    assert re.match(r"up \d+ s, 0 clients, ", server.stdout.readline())
    server.send_signal(signal.SIGTERM)
    assert server.communicate(timeout=PATIENCE)[1] == ""
    assert server.returncode == 0


def test_a_server_and_its_monitor_have_a_key_each(start):
    assert run(start, "genkey", "key")[0] == 0
    code, _, err = run(start, "serve", "--key", "key", "--monitor-key", "key")
    assert (code, err) == (
        2,
        "mpgameserver serve: --monitor-key must differ from --key\n",
    )


def test_a_monitor_needs_the_private_key(start):
    assert run(start, "genkey", "key")[0] == 0
    code, _, err = run(start, "monitor", "127.0.0.1:1475", "--key", "key.pub")
    assert code == 2
    assert "expected a private key" in err


def test_a_server_stops_at_an_interrupt(serving):
    server, _, _ = serving("--host", "127.0.0.1")
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=PATIENCE)
    assert server.returncode == 0


def test_a_server_makes_another_key_each_time_unless_it_is_given_one(serving):
    _, _, first = serving("--host", "127.0.0.1")
    _, _, second = serving("--host", "127.0.0.1")
    assert first != second


def test_a_ping_goes_to_ipv6_and_needs_no_key(start, serving):
    needs_ipv6()
    _, address, _ = serving("--host", "::1")
    assert address.startswith("[::1]:")
    code, out, _ = run(start, "ping", address, "--count", "1")
    assert code == 0
    assert re.match(
        rf"connected to {re.escape(address)} by protocol [12], whose key was not checked\n", out
    )
    assert "1 sent, 1 received, 0.0 % lost\n" in out


def test_an_interrupt_ends_a_ping_with_its_figures(start, serving):
    _, address, _ = serving("--host", "127.0.0.1")
    program = start("ping", address)
    assert program.stdout is not None
    assert program.stdout.readline().startswith("connected")
    assert "seq=1" in program.stdout.readline()
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, err) == (0, "")
    assert "1 sent, 1 received, 0.0 % lost\nround trip " in out


def test_a_ping_of_a_server_with_another_key_fails(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("mpgameserver.client.udpclient.CONNECTION_TIMEOUT", 0.5)
    main(["genkey", str(tmp_path / "other")])
    capsys.readouterr()
    with ThreadedServer(ServerContext(EventHandler()), ("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.address[1]}"
        assert main(["ping", address, "--key", str(tmp_path / "other.pub")]) == 1
    assert capsys.readouterr() == (
        "",
        f"mpgameserver ping: cannot connect to {address}: "
        "The server does not have the expected key.\n",
    )


def test_a_ping_of_a_port_where_nothing_listens_fails(capsys):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert main(["ping", f"127.0.0.1:{port}", "--count", "1"]) == 1
    assert capsys.readouterr().err == (
        f"mpgameserver ping: cannot connect to 127.0.0.1:{port}: "
        "No server is running on that port.\n"
    )


def test_a_ping_without_an_answer_tells_the_loss(monkeypatch):
    monkeypatch.setattr(ping_module, "PATIENCE", 0.1)
    lines: list[str] = []
    with ThreadedServer(ServerContext(EventHandler()), ("127.0.0.1", 0)) as server:
        answered = ping(server.address, None, 1, lines.append)
    assert not answered
    assert lines[1:] == ["1 sent, 0 received, 100.0 % lost"]


def test_a_ping_takes_only_its_own_messages_for_answers():
    class Babbler(EventHandler):
        def handle_message(self, client, seqnum, msg=b""):
            client.send(b"hello")
            client.send(msg)

    lines: list[str] = []
    with ThreadedServer(ServerContext(Babbler()), ("127.0.0.1", 0)) as server:
        assert ping(server.address, None, 1, lines.append)
    assert "5 bytes that are not a reply" in lines
    assert "1 sent, 1 received, 0.0 % lost" in lines


def test_a_ping_ends_when_the_server_disconnects():
    class Porter(EventHandler):
        def handle_message(self, client, seqnum, msg=b""):
            client.disconnect()

    lines: list[str] = []
    with ThreadedServer(ServerContext(Porter()), ("127.0.0.1", 0)) as server:
        assert not ping(server.address, None, None, lines.append)
    assert lines[1:] == ["the connection ended: disconnected", "1 sent, 0 received, 100.0 % lost"]


def test_a_server_that_cannot_listen_says_where(capsys):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert main(["serve", "--host", "127.0.0.1", "--port", str(port)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("mpgameserver serve: ")
    assert f"127.0.0.1:{port}" in err
    assert err.count("\n") == 1


# -- netsim ---------------------------------------------------------------------------------


def test_a_ping_through_a_bad_link_loses_what_the_link_loses(start, serving):
    _, address, _ = serving("--host", "127.0.0.1")
    link = start("netsim", "--to", address, "--latency", "30", "--seed", "7")
    assert link.stdout is not None
    line = link.stdout.readline()
    match = re.fullmatch(rf"listening on (\S+:\d+), forwarding to {address}, seed 7\n", line)
    assert match is not None, line + link.communicate(timeout=PATIENCE)[1]
    code, out, _ = run(start, "ping", match[1], "--count", "1")
    assert code == 0
    assert float(re.search(r"= ([\d.]+)/", out)[1]) >= 60.0
    link.send_signal(signal.SIGTERM)
    out, err = link.communicate(timeout=PATIENCE)
    assert (link.returncode, err) == (0, "")
    sent, delivered = re.search(r"^sent +(\d+) +\d+\ndelivered +(\d+) ", out, re.M).groups()
    assert 0 < int(delivered) <= int(sent)


def test_a_link_tells_its_figures_as_json(capsys):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{server.getsockname()[1]}"
        assert main(["netsim", "--to", target, "--seconds", "0.1", "--seed", "3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["seed"] == 3
    assert 0.1 <= report["seconds"] < PATIENCE
    assert report["up"]["sent"] == report["down"]["lost_queue"] == report["clients_seen"] == 0


def test_a_link_that_cannot_listen_says_where(capsys):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["netsim", "--listen", address, "--to", "127.0.0.1:1"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("mpgameserver netsim: cannot listen on ")
    assert err.count("\n") == 1


# -- interruptions --------------------------------------------------------------------------


def test_an_interrupted_demo_ends_with_130(start):
    program = start("demo", "--seconds", "30", "--clients", "1")
    assert program.stdout is not None
    assert "seed" in program.stdout.readline()
    assert "connecting" in program.stdout.readline()
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, err) == (130, "interrupted\n")


def test_an_interrupted_attempt_to_connect_ends_with_130(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ping_module.time, "sleep", interrupt)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert main(["ping", f"127.0.0.1:{silent.getsockname()[1]}"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_a_reader_that_goes_away_ends_the_demo_without_a_traceback(start):
    program = start("demo", "--seconds", "30", "--clients", "1")
    assert program.stdout is not None
    program.stdout.readline()
    program.stdout.close()
    assert program.wait(timeout=PATIENCE) == 1
    assert program.stderr is not None
    assert program.stderr.read() == ""


def run_in(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "mpgameserver", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


class TestAStdoutThatIsAscii:
    def test_genkey_escapes_the_characters_of_a_path(self, tmp_path: Path) -> None:
        done = run_in(tmp_path, "genkey", "schl\u00fcssel.pem", **ASCII)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"schl\\xfcssel.pem: the private key")

    def test_demo_escapes_those_of_its_tables(self, tmp_path: Path) -> None:
        done = run_in(tmp_path, "demo", "--seconds", "0.2", "--loss", "0", **ASCII)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"exactly once" in done.stdout
        done.stdout.decode("ascii")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_help_is_printed(self, command: str, tmp_path: Path) -> None:
        done = run_in(tmp_path, command, "--help", **ASCII)
        assert (done.returncode, done.stderr) == (0, b"")


def test_version_tells_the_package_the_build_the_cipher_and_the_python(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    package, cipher, python = capsys.readouterr().out.splitlines()
    info = build_info()
    assert package == f"mpgameserver {__version__}, {info.kind} build"
    assert cipher.removesuffix(", called in C") == f"AES-128-GCM by {info.cipher_library}"
    assert cipher.endswith("C") == (info.cipher == "openssl")
    assert python.startswith(f"{platform.python_implementation()} {platform.python_version()} on ")
