"""Whatever strangers and dishonest clients of protocol 2 send, an honest player plays on.

Seeded; `fuzz.serving2` draws the same from inputs that coverage guides.
"""

from __future__ import annotations

import random

import pytest
from support.hostility2 import Hostility
from support.players2 import ChannelRecorder, Player2
from support.serverworld import World
from support.wire2.frames import Message

from mpgameserver.server.limits import Limits

STEPS = 150


@pytest.mark.parametrize("seed", range(8))
def test_the_honest_player_is_heard_once_each_and_in_order(seed: int) -> None:
    hostility = Hostility(random.Random(seed), seed)
    for _ in range(STEPS):
        hostility.step()
    assert hostility.said > 5
    hostility.check()


def test_each_of_hundreds_of_messages_in_a_packet_counts_towards_the_rate() -> None:
    """One more than a byte can count would else be free."""
    recorder = ChannelRecorder()
    world = World(recorder, limits=Limits(message_rate=1000))
    player = Player2(world).join()
    for packet in range(40):
        numbers = range(1 + 256 * packet, 257 + 256 * packet)
        datagram = player.peer.packet_of(*[Message(0, number, b"") for number in numbers])
        world.serve([(datagram, player.address)])
    assert 1000 <= len(recorder.messages) <= 1256
    assert world.engine.drops["over rate"] > 30
