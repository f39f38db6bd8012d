"""The crowd of bots that plays on a server of this protocol, or with `--plain` or `--seal` on one
that sends back what a UDP socket reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import peer
from bots import SessionBots, SocketBots
from load import STAMP, Turn, message
from sealing import close, open_


class PlainBots(SocketBots):
    """Bots that send a datagram as it is, or sealed."""

    def __init__(self, port: int, key: str, count: int) -> None:
        super().__init__(port, count)
        self._is_sealed = "--seal" in OPTIONS
        self._answered = 0

    @property
    def answered(self) -> int:
        return self._answered

    def prepare(self, turns: list[Turn]) -> None:
        self._answered = 0

    def play(self, turn: Turn) -> None:
        data, count = message(turn.due), turn.last - turn.first
        self.socket.send(turn.first, count, (close(data) if self._is_sealed else data) * count)

    def note(self, received: list[tuple[int, bytes]]) -> None:
        self._answered += len(received)

    def stamps(self, bot: int, datagram: bytes) -> Iterator[float]:
        yield STAMP.unpack_from(open_(datagram) if self._is_sealed else datagram)[0]


OPTIONS = [option for option in sys.argv if option.startswith("--")]
sys.argv = [argument for argument in sys.argv if argument not in OPTIONS]
peer.run(crowd=PlainBots if OPTIONS else SessionBots)
