from typing_extensions import disjoint_base

__all__ = ["Message", "Transfer"]

@disjoint_base
class Transfer: ...

@disjoint_base
class Message: ...
