from typing import final

__all__ = ["FragmentLanes"]

@final
class FragmentLanes: ...
