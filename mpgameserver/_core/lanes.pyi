from typing_extensions import disjoint_base

__all__ = ["FragmentLanes"]

@disjoint_base
class FragmentLanes: ...
