from typing import final

from typing_extensions import Self

from mpgameserver._core.outbox import Outbox

__all__ = ["SendQueue"]

@final
class SendQueue(Outbox):
    def __new__(cls, payload_limit: int, previous: int = 0) -> Self: ...
    @property
    def newest(self) -> int: ...
