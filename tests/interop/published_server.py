"""A server on the published package: reports what happens, and does what it is told.

Run by the published package's interpreter, with a port as its argument. Uses documented names
only.
"""

from __future__ import annotations

import logging
import sys

from jsonlines import GAME_MESSAGES, RETRY_MODES, Commands, content, fingerprint, game_message, say

from mpgameserver import EllipticCurvePrivateKey, EventHandler, ServerContext, TwistedServer


class Handler(EventHandler):
    """One line for each event; the commands are carried out once per tick."""

    def __init__(self) -> None:
        self.clients = {}
        self.commands = Commands()
        self.games = {}

    def connect(self, client):
        self.clients[client.token] = client
        say("connect", client=client.token)

    def disconnect(self, client):
        self.clients.pop(client.token, None)
        say("disconnect", client=client.token)

    def handle_message(self, client, seqnum, msg=b""):
        say("message", client=client.token, message=fingerprint(msg))

    def update(self, delta_t):
        for command in self.commands.taken():
            client = self.clients[command["client"]]
            getattr(self, command["do"])(client, *command.get("args", ()))
        for token, number in list(self.games.items()):
            self.play_a_tick(self.clients[token], number)

    def play(self, client):
        """Send small messages, one of each retry mode per tick."""
        self.games[client.token] = 0

    def play_a_tick(self, client, number):
        if number == GAME_MESSAGES:
            del self.games[client.token]
            return
        self.games[client.token] += 1
        for retry in RETRY_MODES:
            self.send_message(client, game_message(retry, number), retry)

    def send(self, client, size, retry):
        self.send_message(client, content(size), retry)

    def send_message(self, client, message, retry):
        def settled(acked):
            say("settled", client=client.token, message=fingerprint(message), acked=acked)

        client.send(message, retry=retry, callback=settled)

    def latency(self, client):
        say(
            "latency",
            client=client.token,
            seconds=client.latency,
            timeouts=client.stats.timeouts,
        )

    def throw_out(self, client):
        client.disconnect()


class LogReport(logging.Handler):
    """Reports what the package logs."""

    def emit(self, record):
        say("logged", text=record.getMessage())


def main() -> None:
    logging.getLogger().addHandler(LogReport(logging.ERROR))
    key = EllipticCurvePrivateKey.new()
    server = TwistedServer(ServerContext(Handler(), key), ("127.0.0.1", int(sys.argv[1])))
    say("key", pem=key.getPublicKey().getPublicKeyPEM())
    server.run()


main()
