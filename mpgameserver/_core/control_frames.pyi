from typing import final

__all__ = ["ControlFrame", "ControlQueue"]

@final
class ControlFrame: ...

@final
class ControlQueue: ...
