"""A client that connects, plays, leaves or vanishes, and returns: one life after another."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from churn import words
from churn.words import Word

from mpgameserver import ConnectionStatus, EllipticCurvePublicKey, RetryMode, UdpClient

__all__ = ["Player"]

CONNECTION_TIMEOUT = 2.0
LIFETIME = (0.3, 6.0)
ABSENCE = (0.05, 2.5)
SENDS_PER_FRAME = 0.3
KICKED = 0.002
"""The share of the words that ask for the end of the session."""
SIZES = (0, 20, 200, 1000, 3000, 20_000)
SIZE_WEIGHTS = (10, 40, 40, 5, 4, 1)

_OVER = (ConnectionStatus.DISCONNECTED, ConnectionStatus.DROPPED)

Address = tuple[str, int]


class Player:
    """One client, which goes through the doors (addresses) of the servers at random.

    `breaches` gets a line for whatever must not happen.
    """

    def __init__(
        self,
        number: int,
        doors: Sequence[Address],
        key: EllipticCurvePublicKey,
        seed: str,
        breaches: list[str],
    ) -> None:
        self.number = number
        self.events: Counter[str] = Counter()
        self._doors = doors
        self._key = key
        self._random = random.Random(f"{seed}/{number}")
        self._breaches = breaches
        self._client: UdpClient | None = None
        self._life = 0
        self._token = 0
        self._said: set[int] = set()
        self._unheard: set[int] = set()
        self._leaves_at = 0.0
        self._returns_at = 0.0
        self._is_away = True

    def frame(self, now: float) -> None:
        """One frame of the game."""
        if self._is_away:
            if now < self._returns_at:
                return
            self._begin_a_life(now)
        client = self._client
        assert client is not None
        client.update()
        if client.connected() and not self._token:
            self._token = client.token()
            self.events["connected"] += 1
        self._listen(client)
        if client.status() in _OVER:
            self.events[client.failure.value if client.failure else client.status().name] += 1
            self._go_away(now)
        elif client.connected():
            if now >= self._leaves_at:
                self._leave(client, now)
            elif self._random.random() < SENDS_PER_FRAME:
                self._speak(client)

    def quit(self) -> None:
        """Leave for now, and keep nothing of it."""
        if self._client is not None:
            self._client.forceDisconnect()
            self._client = None
        self._is_away, self._returns_at = True, 0.0
        self._said, self._unheard = set(), set()

    # -- coming and going -------------------------------------------------------------------

    def _begin_a_life(self, now: float) -> None:
        """Connect, with the client that there is or with a new one."""
        if self._client is None or self._random.random() < 0.5:
            self.quit()
            self._client = UdpClient(self._key)
            self._client.setConnectionTimeout(CONNECTION_TIMEOUT)
        self._life += 1
        self._token = 0
        self._said, self._unheard = set(), set()
        self._is_away = False
        self._leaves_at = now + self._random.uniform(*LIFETIME)
        self._client.connect(self._random.choice(self._doors))

    def _leave(self, client: UdpClient, now: float) -> None:
        way = self._random.choice(("disconnect", "at once", "without a word"))
        self.events[way] += 1
        if way == "disconnect":
            client.disconnect()
        elif way == "at once":
            client.forceDisconnect()
        else:
            self._go_away(now)

    def _go_away(self, now: float) -> None:
        self._is_away = True
        self._returns_at = now + self._random.uniform(*ABSENCE)

    # -- messages ---------------------------------------------------------------------------

    def _speak(self, client: UdpClient) -> None:
        number = len(self._said)
        self._said.add(number)
        self._unheard.add(number)
        kick_me = self._random.random() < KICKED
        [size] = self._random.choices(SIZES, SIZE_WEIGHTS)
        word = Word(self._token, self.number, self._life, number, kick_me)
        was_called = False

        def callback(acked: bool) -> None:
            nonlocal was_called
            if was_called:
                self._breaches.append(f"a second callback of {word}")
            was_called = True
            self.events["callback"] += 1

        client.send(words.write(word, size), self._random.choice(tuple(RetryMode)), callback)
        self.events["message"] += 1

    def _listen(self, client: UdpClient) -> None:
        for _, message in client.getMessages():
            word = words.read(message)
            if word is None:
                self._breaches.append(f"player {self.number} hears what nobody wrote")
                continue
            # A session that begins and ends within one update has no other chance to be named.
            self._token = self._token or word.token
            if word.token != self._token:
                self._breaches.append(
                    f"player {self.number} hears another session than {self._token:#x}: {word}"
                )
            elif word.player != words.NOBODY:
                self._hear_answer(word)

    def _hear_answer(self, word: Word) -> None:
        if word.speaker != (self.number, self._life) or word.number not in self._said:
            self._breaches.append(f"player {self.number} hears {word}")
        elif word.number not in self._unheard:
            self._breaches.append(f"player {self.number} hears twice: {word}")
        self._unheard.discard(word.number)
        self.events["answer"] += 1
