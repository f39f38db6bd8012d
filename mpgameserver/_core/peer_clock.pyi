from typing import final

__all__ = ["PeerClock"]

@final
class PeerClock:
    @property
    def offset(self) -> float | None: ...
    def on_reply(self, echo: int, received: int, sent: int, now: int) -> int: ...
