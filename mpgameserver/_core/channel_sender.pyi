from typing_extensions import disjoint_base

__all__ = ["ChannelSender"]

@disjoint_base
class ChannelSender: ...
