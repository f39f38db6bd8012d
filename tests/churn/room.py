"""A server that is stopped and started again, and checks who says what to it."""

from __future__ import annotations

import random
import threading
from collections import Counter

from churn import words
from churn.nat import Nat
from churn.words import Word

from mpgameserver import (
    DisconnectReason,
    EllipticCurvePrivateKey,
    EventHandler,
    RetryMode,
    ServerClient,
    ServerContext,
    ThreadedServer,
)

__all__ = ["Room"]

TICK = 1 / 20
IDLE_TIMEOUT = 1.5
HANDSHAKE_TIMEOUT = 1.0
UPTIME = (2.0, 6.0)
DOWNTIME = (0.1, 1.5)
UNPLUGGED = 1 / 3
"""The share of the stops of which no client behind the router hears: a crash."""


class Room(EventHandler):
    """Answers each word with itself. `turn` stops and starts it when the time has come.

    `breaches` gets a line for whatever must not happen.
    """

    def __init__(
        self, key: EllipticCurvePrivateKey, ports: int, seed: str, breaches: list[str]
    ) -> None:
        self.events: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._breaches = breaches
        self._present: set[ServerClient] = set()
        self._number = 0
        self._stopping: threading.Thread | None = None
        self._due = 0.0
        self._context = ServerContext(self, key)
        self._context.setInterval(TICK)
        self._context.setConnectionTimeout(IDLE_TIMEOUT)
        self._context.setTempConnectionTimeout(HANDSHAKE_TIMEOUT)
        self._server = ThreadedServer(self._context, ("127.0.0.1", 0))
        self._server.start()
        # From now on always at the same port.
        self.address = self._server.address
        self.is_up = True
        self.nat = Nat(self.address, ports)

    # -- up and down ------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Stop or start, when it is time for that."""
        if self._stopping is not None:
            if not self._stopping.is_alive():
                self._stopping.join()
                self._stopping = None
                self._due = now + self._random.uniform(*DOWNTIME)
        elif self._due == 0.0:
            self._due = now + self._random.uniform(*UPTIME)
        elif now < self._due:
            return
        elif self.is_up:
            self._begin_to_stop()
        elif self.start():
            self._due = now + self._random.uniform(*UPTIME)

    def _begin_to_stop(self) -> None:
        self.is_up = False
        self.nat.unplugged = self._random.random() < UNPLUGGED
        self.events["crash" if self.nat.unplugged else "stop"] += 1
        # It takes up to a second, in which the clients must be able to answer.
        self._stopping = threading.Thread(target=self.stop)
        self._stopping.start()

    def stop(self) -> None:
        """Stop the server; its port stays what it was."""
        self._server.stop()
        if self._present:
            self._breaches.append(f"{len(self._present)} clients have had no disconnect")
            self._present.clear()
        self._server = ThreadedServer(self._context, self.address)

    def start(self) -> bool:
        """True when the server runs; False while a client happens to have its port."""
        if self._stopping is not None:
            self._stopping.join()
            self._stopping = None
        if not self.is_up:
            try:
                self._server.start()
            except OSError:
                self.events["port taken"] += 1
                return False
            self.is_up = True
            self.nat.unplugged = False
        return True

    def restart(self) -> None:
        """Stop the server, and start another at once."""
        self.is_up = False
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop for good."""
        if self._stopping is not None:
            self._stopping.join()
        try:
            self._server.stop()
        finally:
            self.nat.close()

    # -- events -----------------------------------------------------------------------------

    def connect(self, client: ServerClient) -> None:
        self.events["connect"] += 1
        self._present.add(client)
        client.speaker = None
        client.heard = set()

    def disconnect(self, client: ServerClient) -> None:
        assert client.reason is not None
        self.events[client.reason.value] += 1
        if client not in self._present:
            self._breaches.append(f"a disconnect of nobody: {client}")
        self._present.discard(client)

    def update(self, delta_t: float) -> None:
        for client in self._context.clients:
            self._number += 1
            beat = Word(client.token, words.NOBODY, 0, self._number)
            client.send(words.write(beat, 32))

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        word = words.read(msg)
        if word is None:
            self._breaches.append(f"{client} says what nobody wrote")
            return
        client.speaker = client.speaker or word.speaker
        if word.token != client.token or word.speaker != client.speaker:
            self._breaches.append(f"{word} in the session of {client.speaker}, {client}")
        if word.number in client.heard:
            self._breaches.append(f"{word} comes twice")
        client.heard.add(word.number)
        self.events["message"] += 1
        client.send(msg, RetryMode.RETRY_ON_TIMEOUT)
        if word.kick_me:
            client.disconnect()

    def reasons(self) -> dict[str, int]:
        """The number of sessions that ended, by `DisconnectReason`."""
        return {reason.value: self.events[reason.value] for reason in DisconnectReason}
