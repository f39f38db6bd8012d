"""A player: logs in, shows the token at the gate, and says and hears something."""

from __future__ import annotations

import argparse
import getpass
import time

from accounts.files import files_in_place
from accounts.gate import ADMITTED
from accounts.login import AccountService, LoginError, Ticket
from mpgameserver import ConnectionStatus, UdpClient

FRAME = 1 / 60


class Player:
    """A client with a ticket."""

    def __init__(self, ticket: Ticket) -> None:
        self.client = UdpClient(ticket.key)
        self.is_admitted = False
        self._ticket = ticket
        self.client.connect(ticket.server, self._connected)

    def frame(self) -> list[str]:
        """One turn of a game's loop; what the server has said."""
        self.client.update()
        heard = [message for _, message in self.client.getMessages()]
        self.is_admitted = self.is_admitted or ADMITTED in heard
        return [message.decode(errors="replace") for message in heard if message != ADMITTED]

    def _connected(self, success: bool) -> None:
        """Say nothing but the token: messages can overtake each other, and the first one counts."""
        if success:
            self.client.send_guaranteed(self._ticket.token)


def play(ticket: Ticket, words: str) -> None:
    """Say something as soon as that is allowed, and print what there is to hear, until the end."""
    player = Player(ticket)
    with player.client as client:
        while client.status() in (ConnectionStatus.CONNECTING, ConnectionStatus.CONNECTED):
            for line in player.frame():
                print(line, flush=True)
            if player.is_admitted and words:
                client.send_guaranteed(words.encode())
                words = ""
            time.sleep(FRAME)
        print(client.failure.text if client.failure else "disconnected")


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
