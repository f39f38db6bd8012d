"""A proxy whose loss begins when it is told: a handshake is not what is tested behind it."""

from __future__ import annotations

import random

from mpgameserver.netsim import LinkConditions
from mpgameserver.udpproxy import UdpProxy

LOSS = 0.3
ROUND_TRIP = 0.04
"""Seconds."""


class LossyProxy(UdpProxy):
    """Forwards with a round trip of 40 ms, and loses 30 % each way once `is_lossy` is set."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.is_lossy = False
        self._random = random.Random(0)
        super().__init__(("127.0.0.1", 0), target, LinkConditions(latency=ROUND_TRIP / 2))

    def _put(self, lane, datagram: bytes, now: float) -> None:
        if not self.is_lossy or self._random.random() >= LOSS:
            super()._put(lane, datagram, now)
