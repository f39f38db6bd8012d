from typing import final

from mpgameserver._core.ack_frequency import AckFrequency
from mpgameserver._core.congestion import CongestionWindow
from mpgameserver._core.rtt import Rtt

__all__ = ["SendLimits"]

@final
class SendLimits:
    @property
    def congestion(self) -> CongestionWindow: ...
    @property
    def ack_frequency(self) -> AckFrequency: ...
    @property
    def rtt(self) -> Rtt: ...
