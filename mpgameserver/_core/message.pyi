from typing import Final

from typing_extensions import disjoint_base

__all__ = ["Message", "Transfer"]

RETRY_ON_TIMEOUT: Final[int]
NO_RETRY: Final[int]
BEST_EFFORT: Final[int]

@disjoint_base
class Transfer: ...

@disjoint_base
class Message: ...
