from typing import final

from typing_extensions import Self

__all__ = ["HelloHeads"]

@final
class HelloHeads:
    def __new__(cls, audience: bytes, worker: int, start1: bytes, end1: bytes) -> Self: ...
    def read2(self, datagram: bytes) -> tuple[bytes, bytes, bytes] | None: ...
    def read1(self, datagram: bytes, least: int) -> tuple[bytes, bytes, bytes] | None: ...
