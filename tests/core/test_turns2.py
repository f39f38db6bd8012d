"""Messages and transfers share what leaves in protocol 2, as `test_turns` says of protocol 1."""

from __future__ import annotations

import pytest
from support.endpoints2 import CHAT, LOOT, POSITION, SCORE, TICK, SessionPair, Side, accepted
from support.wire2.frames import Fragment, Message

from mpgameserver.netsim import LinkConditions

BROADBAND = LinkConditions(rate=500_000, queue=0.2, latency=0.02)
MOBILE = LinkConditions(rate=125_000, queue=0.1, latency=0.02)


@pytest.mark.parametrize("channel", [0, POSITION, CHAT, SCORE, LOOT])
def test_fragments_leave_the_room_of_messages_to_them(channel):
    """While fragments wait for acks, a message leaves at once, and first in its packet."""
    side, hand = accepted()
    side.say(LOOT, bytes(2_000_000))
    now = 0.0
    while True:
        frames = hand.take(side.datagrams(now))
        if not frames:
            break
        assert all(isinstance(frame, Fragment) for frame in frames)
        now += 0.001
    side.say(channel, b"short")
    first, *_ = hand.take(side.datagrams(now))
    assert first == Message(channel, first.number, b"short")


@pytest.mark.parametrize("conditions", [BROADBAND, MOBILE])
@pytest.mark.parametrize("channel", [0, POSITION])
@pytest.mark.parametrize("from_server", [False, True])
def test_positions_and_chat_arrive_beside_a_transfer(conditions, channel, from_server):
    pair = SessionPair(conditions).open()
    sender, receiver = (pair.server, pair.client) if from_server else (pair.client, pair.server)
    assert isinstance(sender, Side)
    size = int(conditions.rate * 5)
    sender.say(LOOT, bytes(size))
    said: dict[bytes, float] = {}
    delays: dict[bytes, float] = {}
    for frame in range(int(7.0 / TICK)):
        if frame % 3 == 0:
            said[b"%d" % frame] = pair.now
            sender.connection.send_on(channel, b"%d" % frame, 0)
        if frame == 100:
            said[b"chat"] = pair.now
            sender.say(CHAT, b"chat")
        pair.tick()
        for _, _, message in receiver.delivered:
            delays.setdefault(message, pair.now - said.get(message, 0.0))
        receiver.delivered.clear()
    assert bytes(size) in delays, "the transfer gets the rest"
    longest = conditions.latency + conditions.queue + 3 * TICK
    late = [delay for message, delay in delays.items() if message in said and delay > longest]
    assert late == []
    assert len(delays) > 0.9 * len(said)
