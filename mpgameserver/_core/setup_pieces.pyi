from typing import final

__all__ = ["SetupPieces"]

@final
class SetupPieces:
    @property
    def whole(self) -> bytes | None: ...
