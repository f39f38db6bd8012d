"""The example with accounts over real sockets, and run as its README says."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from support.patience import PATIENCE
from support.programs import copied_examples, port_of, readme_commands, running

from accounts.client import Player
from accounts.files import Files
from accounts.game import game_context
from accounts.login import AccountService, LoginError, Ticket
from accounts.setup import make_files
from accounts.store import Accounts
from accounts.tokens import TokenMaker, game_of
from accounts.web import MAX_BODY_BYTES, MAX_REQUESTS, open_web
from mpgameserver import (
    ConnectFailure,
    ConnectionStatus,
    EllipticCurvePrivateKey,
    ThreadedServer,
)

FRAME = 1 / 60
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    files = Files(tmp_path_factory.mktemp("accounts") / "files")
    make_files(files)
    accounts = Accounts(files.database)
    accounts.add("Ada", PASSWORD)
    accounts.add("Bob", PASSWORD)
    return files


@pytest.fixture
def service(files: Files) -> Iterator[AccountService]:
    """The service over HTTPS, of a game that runs."""
    with (
        ThreadedServer(game_context(files), ("127.0.0.1", 0)) as game,
        open_web(files, ("127.0.0.1", 0), game.address) as web,
    ):
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield AccountService(f"https://localhost:{web.server_address[1]}", files)
        web.shutdown()
        thread.join()


class Heard:
    """A player, and all that it has been told."""

    def __init__(self, ticket: Ticket) -> None:
        self.player = Player(ticket)
        self.client = self.player.client
        self.lines: list[str] = []

    def frame(self) -> None:
        self.lines += self.player.frame()

    @property
    def is_out(self) -> bool:
        return self.client.status() == ConnectionStatus.DISCONNECTED

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.forceDisconnect()


def play(players: list[Heard], until: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, [player.lines for player in players]
        for player in players:
            player.frame()
        time.sleep(FRAME)


def refusal(ticket: Ticket) -> str:
    """Return why a player with this ticket does not get in."""
    with Heard(ticket) as heard:
        play([heard], lambda: heard.is_out)
        assert heard.lines == []
        assert heard.client.failure is ConnectFailure.REJECTED
        return heard.player.end


class TestInAndOut:
    def test_two_players_with_accounts_hear_each_other_under_their_names(
        self, service: AccountService
    ) -> None:
        tickets = [service.log_in(name, PASSWORD) for name in ("ada", "Bob")]
        with Heard(tickets[0]) as ada, Heard(tickets[1]) as bob:
            play([ada, bob], lambda: ada.client.connected() and bob.client.connected())
            ada.client.send_guaranteed(b"hello")
            wanted = {"Ada: hello"}
            play([ada, bob], lambda: wanted <= set(ada.lines) and wanted <= set(bob.lines))
            assert not ada.is_out
        assert [ticket.name for ticket in tickets] == ["Ada", "Bob"]

    def test_a_token_that_was_used_is_refused(self, service: AccountService) -> None:
        ticket = service.log_in("Ada", PASSWORD)
        with Heard(ticket) as ada:
            play([ada], lambda: ada.client.connected())
            assert refusal(ticket) == "refused: used before"
            play([ada], lambda: ada.lines)
            assert ada.client.connected()
            assert ada.lines == ["Ada has come in"]

    def test_a_forged_token_is_refused(self, service: AccountService) -> None:
        ticket = service.log_in("Ada", PASSWORD)
        forger = TokenMaker(EllipticCurvePrivateKey.new(), game_of(ticket.key))
        forged = replace(ticket, token=forger.issue("Ada", time.time()))
        assert refusal(forged) == "refused: forged"

    def test_an_expired_token_is_refused(self, service: AccountService, files: Files) -> None:
        ticket = service.log_in("Ada", PASSWORD)
        key = EllipticCurvePrivateKey.fromPEM(files.token_key.read_text())
        maker = TokenMaker(key, game_of(ticket.key))
        expired = replace(ticket, token=maker.issue("Ada", time.time() - 60))
        assert refusal(expired) == "refused: expired"

    def test_who_logs_in_elsewhere_is_told_so(self, service: AccountService) -> None:
        tickets = [service.log_in("Ada", PASSWORD) for _ in range(2)]
        with Heard(tickets[0]) as older:
            play([older], lambda: older.client.connected())
            with Heard(tickets[1]) as newer:
                play([older, newer], lambda: older.is_out)
                assert older.player.end == "logged in elsewhere"
                assert newer.client.connected()


class TestHttps:
    def test_a_new_account_is_good_at_once(self, service: AccountService) -> None:
        name = f"new-{os.getpid()}"
        service.register(name, PASSWORD)
        assert service.log_in(name, PASSWORD).name == name

    def test_a_wrong_password_is_no_ticket(self, service: AccountService) -> None:
        with pytest.raises(LoginError, match="no such name, or another password"):
            service.log_in("Ada", "wrong horse")

    def test_a_server_with_another_certificate_is_told_no_password(
        self, service: AccountService, tmp_path: Path
    ) -> None:
        other = Files(tmp_path / "other")
        make_files(other)
        impostor = AccountService(service.url, other)
        with pytest.raises(LoginError, match="CERTIFICATE_VERIFY_FAILED"):
            impostor.log_in("Ada", PASSWORD)

    def test_who_says_nothing_holds_nobody_up(self, service: AccountService) -> None:
        with ExitStack() as stack:
            for _ in range(MAX_REQUESTS - 1):
                stack.enter_context(self.connection(service))
            assert service.log_in("Ada", PASSWORD).name == "Ada"

    def test_more_requests_than_there_is_room_for_are_turned_away(
        self, service: AccountService
    ) -> None:
        with ExitStack() as stack:
            for _ in range(MAX_REQUESTS):
                stack.enter_context(self.connection(service))
            with pytest.raises(LoginError, match="no account service"):
                service.log_in("Ada", PASSWORD)
        end = time.monotonic() + PATIENCE
        while not self.is_let_in(service):
            assert time.monotonic() < end

    def connection(self, service: AccountService) -> socket.socket:
        port = int(service.url.rpartition(":")[2])
        return socket.create_connection(("127.0.0.1", port))

    def is_let_in(self, service: AccountService) -> bool:
        try:
            return service.log_in("Ada", PASSWORD).name == "Ada"
        except LoginError:
            return False

    def test_who_speaks_no_tls_is_told_nothing(self, service: AccountService) -> None:
        with self.connection(service) as plain:
            plain.settimeout(PATIENCE)
            plain.send(b"POST /tokens HTTP/1.0\r\n\r\n")
            assert b"HTTP" not in plain.recv(100)

    def test_a_body_without_an_end_is_not_read(self, service: AccountService, files: Files) -> None:
        tls = ssl.create_default_context(cafile=files.certificate)
        request = urllib.request.Request(service.url + "/tokens", b"x" * (MAX_BODY_BYTES + 1))
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=PATIENCE, context=tls)
        with refused.value as answer:
            assert answer.status == 413
            assert "error" in json.load(answer)

    def test_nobody_is_there(self, files: Files) -> None:
        with pytest.raises(LoginError, match="no account service"):
            AccountService("https://localhost:9", files).log_in("Ada", PASSWORD)


class TestSetup:
    def test_private_keys_are_readable_by_their_owner_only(self, files: Files) -> None:
        private = (files.game_key, files.token_key, files.https_key)
        assert {path.stat().st_mode & 0o777 for path in private} == {0o600}

    def test_nothing_is_overwritten(self, files: Files) -> None:
        before = files.game_key.read_bytes()
        with pytest.raises(FileExistsError):
            make_files(files)
        assert files.game_key.read_bytes() == before


class TestReadme:
    """The commands of the README let two players in, who type their passwords."""

    def test_its_commands_let_two_players_in(self, tmp_path: Path) -> None:
        pty = pytest.importorskip("pty")
        folder = copied_examples(tmp_path)
        setup, web, game, ada, bob = readme_commands("accounts")
        subprocess.run([sys.executable, *setup], cwd=folder, check=True)
        with ExitStack() as stack:
            playing = stack.enter_context(running(folder, *game, "--port", "0"))
            port = port_of(playing)
            web_arguments = (*web, "--port", "0", "--game-port", port)
            serving = stack.enter_context(running(folder, *web_arguments))
            url = f"https://localhost:{port_of(serving)}"
            for command, wanted in ((ada, "Ada: hello\n"), (bob, "Bob: hello\n")):
                master, slave = pty.openpty()
                stack.callback(os.close, master)
                stack.callback(os.close, slave)
                arguments = (*command, "--service", url)
                player = stack.enter_context(running(folder, *arguments, stdin=slave))
                self.type_password(player, master)
                self.wait_for(player, wanted)

    def type_password(self, process: subprocess.Popen[str], terminal: int) -> None:
        assert process.stdout is not None
        prompt = ""
        while not prompt.endswith(": "):
            character = process.stdout.read(1)
            assert character, prompt
            prompt += character
        os.write(terminal, PASSWORD.encode() + b"\n")

    def wait_for(self, process: subprocess.Popen[str], wanted: str) -> None:
        assert process.stdout is not None
        lines: list[str] = []
        while wanted not in lines:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
