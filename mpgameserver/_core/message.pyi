from typing import Final, final

__all__ = ["Message", "Transfer"]

RETRY_ON_TIMEOUT: Final[int]
NO_RETRY: Final[int]
BEST_EFFORT: Final[int]

@final
class Transfer: ...

@final
class Message: ...
