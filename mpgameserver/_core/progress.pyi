from collections.abc import Callable
from typing import final

from typing_extensions import Self

__all__ = ["Progress"]

@final
class Progress:
    def __new__(
        cls,
        on_progress: Callable[[int, int], object],
        callback: Callable[[bool], object] | None = None,
    ) -> Self: ...
    def report(self, _: object = None) -> None: ...
    def __call__(self, acked: bool) -> None: ...
