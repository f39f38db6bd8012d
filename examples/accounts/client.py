"""A player: logs in, connects with the token, and says and hears something."""

from __future__ import annotations

import argparse
import getpass
import time

from accounts.files import files_in_place
from accounts.login import AccountService, LoginError, Ticket
from mpgameserver import ConnectionStatus, UdpClient

FRAME = 1 / 60


class Player:
    """A client with a ticket."""

    def __init__(self, ticket: Ticket) -> None:
        self.client = UdpClient(ticket.key, credential=ticket.token)
        self.client.connect(ticket.server)

    def frame(self) -> list[str]:
        """One turn of a game's loop; what the server has said."""
        self.client.update()
        return [message.decode(errors="replace") for _, message in self.client.getMessages()]

    @property
    def end(self) -> str:
        """Why the player is not in the game any more, or never was."""
        if self.client.reason is not None and self.client.reason.text:
            return self.client.reason.text
        return self.client.failure.text if self.client.failure else "disconnected"


def play(ticket: Ticket, words: str) -> None:
    """Say something, and print what there is to hear, until the end."""
    player = Player(ticket)
    with player.client as client:
        while client.status() in (ConnectionStatus.CONNECTING, ConnectionStatus.CONNECTED):
            for line in player.frame():
                print(line, flush=True)
            if client.connected() and words:
                client.send_guaranteed(words.encode())
                words = ""
            time.sleep(FRAME)
        print(player.end)


def main() -> None:
    """Play until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m accounts.client", description=__doc__)
    parser.add_argument("name", help="of the account")
    parser.add_argument("--new", action="store_true", help="make the account first")
    parser.add_argument("--say", default="hello", metavar="WORDS", help="(%(default)s)")
    parser.add_argument("--service", default="https://localhost:8443", help="(%(default)s)")
    options = parser.parse_args()
    service = AccountService(options.service, files_in_place())
    password = getpass.getpass(f"Password of {options.name}: ")
    try:
        if options.new:
            service.register(options.name, password)
        play(service.log_in(options.name, password), options.say)
    except LoginError as error:
        raise SystemExit(f"refused: {error}") from None
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
