from typing import Final, final

__all__ = ["FragmentLimits"]

SHORT_MESSAGES: Final[int]
SHORT_BYTES: Final[int]
MIDDLE_MESSAGES: Final[int]
MIDDLE_BYTES: Final[int]
LONG_MESSAGES: Final[int]
LONG_BYTES: Final[int]
LARGEST_SHORT: Final[int]
LARGEST_MIDDLE: Final[int]

@final
class FragmentLimits: ...
