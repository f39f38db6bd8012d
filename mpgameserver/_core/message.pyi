from typing import Final, final

__all__ = ["FragmentedMessage", "Message"]

RETRY_ON_TIMEOUT: Final[int]
NO_RETRY: Final[int]
BEST_EFFORT: Final[int]

@final
class FragmentedMessage: ...

@final
class Message: ...
