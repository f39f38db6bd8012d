from typing import final

from mpgameserver._core.channel_sender import ChannelSender

__all__ = ["UnorderedSender"]

@final
class UnorderedSender(ChannelSender): ...
