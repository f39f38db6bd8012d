"""Clients on the published package: report what happens, and do what they are told.

Run by the published package's interpreter. Uses documented names only. All clients of the
process share one loop of 60 frames a second.
"""

from __future__ import annotations

import logging
import time

from jsonlines import (
    FRAME,
    GAME_MESSAGES,
    RETRY_MODES,
    Commands,
    content,
    fingerprint,
    game_message,
    say,
)

from mpgameserver import EllipticCurvePublicKey, UdpClient


class Player:
    """A client, with the name that the test gave it."""

    def __init__(self, name, key_pem):
        self.name = name
        self.client = UdpClient(EllipticCurvePublicKey.fromPEM(key_pem))
        self.status = ""
        self.next_game_message = GAME_MESSAGES

    def say(self, event, **facts):
        say(event, client=self.name, **facts)

    def connect(self, host, port):
        self.client.connect((host, port), lambda connected: self.say("connect", ok=connected))

    def play(self):
        """Send small messages, one of each retry mode per frame."""
        self.next_game_message = 0

    def send(self, size, retry):
        self.send_message(content(size), retry)

    def send_message(self, message, retry):
        def settled(acked):
            self.say("settled", message=fingerprint(message), acked=acked)

        self.client.send(message, retry=retry, callback=settled)

    def report(self):
        self.say(
            "report",
            token=self.client.token(),
            latency=self.client.latency(),
            timeouts=self.client.stats().timeouts,
        )

    def disconnect(self):
        self.client.disconnect()
        self.client.waitForDisconnect()
        self.say("disconnected")

    def leave(self):
        self.client.forceDisconnect()

    def update(self):
        if self.next_game_message < GAME_MESSAGES:
            for retry in RETRY_MODES:
                self.send_message(game_message(retry, self.next_game_message), retry)
            self.next_game_message += 1
        self.client.update()
        for _, message in self.client.getMessages():
            self.say("message", message=fingerprint(message))
        status = str(self.client.status()).rpartition(".")[2]
        if status != self.status:
            self.status = status
            self.say("status", status=status)


class LogReport(logging.Handler):
    """Reports what the package logs."""

    def emit(self, record):
        say("logged", text=record.getMessage())


def main() -> None:
    logging.getLogger().addHandler(LogReport(logging.ERROR))
    commands, players = Commands(), {}
    say("ready")
    while True:
        for command in commands.taken():
            name = command["client"]
            if command["do"] == "enter":
                players[name] = Player(name, *command["args"])
            else:
                getattr(players[name], command["do"])(*command.get("args", ()))
        for player in players.values():
            player.update()
        time.sleep(FRAME)


main()
