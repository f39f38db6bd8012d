from typing import Final

__all__: list[str]

MAX_EARLY_PACKETS: Final[int]
