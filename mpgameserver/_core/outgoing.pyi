from typing import final

__all__ = ["OutgoingFragment", "OutgoingGrid", "OutgoingMessage"]

@final
class OutgoingGrid: ...

@final
class OutgoingMessage: ...

@final
class OutgoingFragment: ...
