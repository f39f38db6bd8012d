"""The sending side of channels: order, windows, limits, turns, and one outcome for each message.

The receiver behind the link is the product's; what the sender may not do is checked of each packet
by `support.channelpair`.
"""

from __future__ import annotations

from collections import Counter

import pytest
from support.channelpair import SPAN, ChannelPair, Packet
from support.finalizers import CollectedSoon

from mpgameserver._core import fragment_limits as limits
from mpgameserver._core.budget import Budget
from mpgameserver._core.channel_queues import (
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    ChannelQueues,
)
from mpgameserver._core.channel_receiver import ChannelKind
from mpgameserver._core.frames import MAX_MESSAGE_SIZE, FrameFields, FrameType
from mpgameserver._core.grid_reassembly import (
    INCOMPLETE_TIMEOUT,
    MAX_INCOMPLETE_BYTES,
    MAX_INCOMPLETE_MESSAGES,
)
from mpgameserver.enums import RetryMode
from mpgameserver.errors import SendQueueFullError

UNORDERED, ORDERED = ChannelKind.UNORDERED, ChannelKind.ORDERED
SEQUENCED, LATEST = ChannelKind.SEQUENCED, ChannelKind.LATEST
KINDS = {1: UNORDERED, 2: ORDERED, 3: SEQUENCED, 4: LATEST}
RELIABLE, ONCE = RetryMode.RETRY_ON_TIMEOUT, RetryMode.NONE
BEST_EFFORT = RetryMode.BEST_EFFORT
PAYLOAD = 1150
LOSSES = [0.0, 0.05, 0.3]


def numbered(channel: int, number: int, size: int) -> bytes:
    return b"%d %d " % (channel, number) + bytes(size)


def summary(frames: list[FrameFields]) -> list[tuple[str, int, int, int]]:
    """The type, channel, number and position of each frame."""
    return [(FrameType(f.type).name, f.channel, f.number, f.offset) for f in frames]


def sizes_of(pair: ChannelPair, size: int) -> int:
    return size if pair.rng.random() < 0.7 else pair.rng.randrange(4 * size)


# -- the promises of each kind ------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("retry", [RELIABLE, ONCE, BEST_EFFORT])
def test_an_unordered_channel_delivers_each_message_at_most_once(loss, retry):
    pair = ChannelPair(KINDS, loss=loss, seed=1)
    messages = [numbered(1, number, sizes_of(pair, 500)) for number in range(200)]
    for number, message in enumerate(messages):
        pair.add(message, 1, retry, number)
        if number % 10 == 9:
            pair.tick()
    pair.run()
    pair.now += 2 * pair.message_timeout
    pair.tick()
    delivered = Counter(pair.delivered[1])
    assert set(delivered.values()) == {1}
    assert set(delivered) <= set(messages)
    if retry == RELIABLE or loss == 0.0:
        assert set(delivered) == set(messages)
    assert all(len(pair.outcomes[number]) == 1 for number in range(200))
    acked = {message for number, message in enumerate(messages) if pair.outcomes[number] == [True]}
    assert acked <= set(delivered)
    assert pair.queues.share.held == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("window", [(1000, 1 << 24), (3, 6000)])
def test_an_ordered_channel_delivers_every_message_in_order(loss, window):
    pair = ChannelPair(KINDS, loss=loss, seed=2, window=window)
    messages = [numbered(2, number, sizes_of(pair, 900)) for number in range(150)]
    for number, message in enumerate(messages):
        pair.add(message, 2, name=number)
    pair.run(most=5)
    assert pair.delivered[2] == messages
    assert all(pair.outcomes[number] == [True] for number in range(150))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_sequenced_channel_delivers_ever_newer_messages_and_sends_each_byte_once(loss):
    pair = ChannelPair(KINDS, loss=loss, seed=3)
    messages = [numbered(3, number, sizes_of(pair, 800)) for number in range(200)]
    for message in messages:
        pair.add(message, 3)
        pair.tick()
    pair.run()
    places = [messages.index(message) for message in pair.delivered[3]]
    assert places == sorted(set(places))
    assert len(places) >= 200 * (1 - loss) ** 5
    parts = Counter(summary(pair.sent))
    assert set(parts.values()) == {1}
    assert pair.queues.retransmitted == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [100, 3000])
def test_a_latest_channel_delivers_ever_newer_messages_and_the_last_one(loss, size):
    pair = ChannelPair(KINDS, loss=loss, seed=4)
    messages = [numbered(4, number, size) for number in range(200)]
    for number, message in enumerate(messages):
        pair.add(message, 4, name=number)
        pair.tick(most=1)
    pair.run()
    places = [messages.index(message) for message in pair.delivered[4]]
    assert places == sorted(set(places))
    assert places[-1] == 199
    assert len(places) > 10, "steady updates starve none in fragments"
    assert all(len(pair.outcomes[number]) == 1 for number in range(200))
    assert pair.outcomes[199] == [True]


@pytest.mark.parametrize("loss", LOSSES)
def test_channels_of_all_kinds_share_a_session(loss):
    pair = ChannelPair(KINDS | {200: ORDERED, 201: LATEST}, loss=loss, seed=5, window=(30, 100_000))
    messages: dict[int, list[bytes]] = {channel: [] for channel in pair.receivers}
    for number in range(60):
        for channel, sent in messages.items():
            sent.append(numbered(channel, number, sizes_of(pair, 700)))
            pair.add(sent[-1], channel)
        pair.tick()
    pair.run()
    assert Counter(pair.delivered[0]) == Counter(messages[0])
    assert Counter(pair.delivered[1]) == Counter(messages[1])
    assert pair.delivered[2] == messages[2]
    assert pair.delivered[200] == messages[200]
    assert pair.delivered[4][-1] == messages[4][-1]
    assert pair.delivered[201][-1] == messages[201][-1]
    assert len(pair.reassembler) <= pair.ledger.begun_most
    assert pair.queues.pending == 0


def test_the_largest_message_arrives():
    pair = ChannelPair(KINDS, loss=0.01, seed=6)
    message = bytes(range(256)) * (MAX_MESSAGE_SIZE // 256) + b"end"
    pair.add(message[:MAX_MESSAGE_SIZE], 2, name="all")
    pair.run(most=1000)
    assert pair.delivered[2] == [message[:MAX_MESSAGE_SIZE]]
    assert pair.outcomes["all"] == [True]


# -- numbers and order of sending ---------------------------------------------------------------


def test_a_message_is_numbered_when_it_is_sent():
    pair = ChannelPair(KINDS)
    pair.add(bytes(5000), 1)
    pair.add(b"short", 1)
    pair.add(b"chat", 2)
    first = pair.send()
    assert first is not None
    assert {("MESSAGE", 2, 1, 0), ("MESSAGE", 1, 1, 0)} <= set(summary(first.frames))
    assert all(number == 2 for _, channel, number, _ in summary(pair.frames()) if channel == 1)


@pytest.mark.parametrize("channel", [2, 3])
def test_messages_begin_in_the_order_in_which_they_were_added(channel):
    pair = ChannelPair(KINDS)
    for size in (10, 3000, 10, 2000):
        pair.add(bytes(size), channel)
    numbers = [frame.number for frame in pair.frames()]
    assert numbers == sorted(numbers)
    assert set(numbers) == {1, 2, 3, 4}


@pytest.mark.parametrize("size", [2_000, 20_000])
def test_an_unordered_message_does_not_wait_for_a_longer_one(size):
    pair = ChannelPair(KINDS)
    pair.add(bytes(3_000_000), 1)
    pair.send_all(50)
    pair.add(bytes(size), 1)
    pair.add(b"short", 1)
    frames = pair.frames(2 + 3 * size // 1000)
    assert 10 not in [frame.total for frame in frames]
    assert sum(len(frame.data) for frame in frames[:3] if frame.data == b"short") == 5
    assert sum(len(frame.data) for frame in frames if frame.total == size) == size


def test_a_message_too_long_to_be_begun_keeps_no_short_one_waiting():
    pair = ChannelPair(KINDS | {5: ORDERED})
    for _ in range(2):
        pair.add(bytes(MAX_MESSAGE_SIZE), 5)
        pair.add(bytes(MAX_MESSAGE_SIZE), 1)
    pair.send_all(20_000)
    assert len({(f.channel, f.number) for f in pair.sent}) == 1, "no two fit"
    assert not pair.queues.has_more()
    for channel, size in ((0, 10), (1, 10), (2, 3000), (3, 40_000), (4, 200_000)):
        pair.add(bytes(size), channel, name=size)
    frames = pair.frames()
    assert {frame.channel for frame in frames} == {0, 1, 2, 3, 4}
    assert sum(len(frame.data) for frame in frames) == 20 + 3000 + 40_000 + 200_000


def test_nothing_higher_is_sent_while_a_message_may_be_retransmitted():
    pair = ChannelPair(KINDS)
    pair.add(b"reliable", 1)
    first = pair.send()
    assert first is not None
    for _ in range(SPAN + 10):
        pair.queues.add_on(1, b"", ONCE)
    numbers = [frame.number for frame in pair.frames()]
    assert max(numbers) == SPAN, "65,535 above number 1"
    assert not pair.queues.has_more()
    pair.add(b"on another channel")
    assert summary(pair.frames()) == [("MESSAGE", 0, 1, 0)]
    pair.ack(first)
    assert [frame.number for frame in pair.frames()] == list(range(SPAN + 1, SPAN + 12))


# -- windows ------------------------------------------------------------------------------------


def test_an_ordered_channel_sends_what_its_window_allows():
    pair = ChannelPair(KINDS, window=(3, 2500))
    for size in (1000, 1000, 1000):
        pair.add(bytes(size), 2, name=size)
    assert {frame.number for frame in pair.frames()} == {1, 2}
    assert not pair.queues.has_more()
    pair.windows[2] = (3, 10_000)
    assert pair.queues.grant(2, 2, 10_000)
    assert pair.queues.grant(2, 0, 0), "both only grow"
    assert {frame.number for frame in pair.frames()} == {3}
    pair.add(b"x", 2)
    assert pair.frames() == []
    pair.windows[2] = (4, 10_000)
    assert pair.queues.grant(2, 4, 0)
    assert {frame.number for frame in pair.frames()} == {4}


def test_a_long_message_counts_in_its_window_with_all_of_its_length():
    pair = ChannelPair(KINDS, window=(10, 5000))
    pair.add(bytes(4000), 2)
    pair.add(bytes(1001), 2)
    pair.add(bytes(1), 2)
    assert {frame.number for frame in pair.frames()} == {1}
    pair.windows[2] = (10, 5001)
    pair.queues.grant(2, 10, 5001)
    assert {frame.number for frame in pair.frames()} == {2}


@pytest.mark.parametrize("channel", [0, 1, 3, 4, 77, 255])
def test_a_window_of_a_channel_that_is_not_ordered_is_the_peers_mistake(channel):
    assert not ChannelPair(KINDS).queues.grant(channel, 1, 1)


def test_a_message_that_its_window_can_never_hold_is_refused():
    pair = ChannelPair(KINDS, window=(10, 5000))
    with pytest.raises(ValueError, match="at most 5000 bytes, this one has 5001"):
        pair.add(bytes(5001), 2)
    with pytest.raises(ValueError, match=f"at most {MAX_MESSAGE_SIZE} bytes"):
        pair.add(bytes(MAX_MESSAGE_SIZE + 1), 1)


# -- fragments ----------------------------------------------------------------------------------


def test_fragments_lie_on_the_grid_and_fill_their_packets():
    pair = ChannelPair(KINDS)
    pair.add(bytes(10_000))
    packets = pair.send_all()
    for packet in packets[:-1]:
        (frame,) = packet.frames
        assert len(frame.data) % 64 == 0
        assert PAYLOAD - len(frame.data) < 64 + 12
    assert sum(len(packet.frames[0].data) for packet in packets) == 10_000


def test_no_small_fragment_ends_a_packet_unless_it_ends_the_message():
    pair = ChannelPair(KINDS)
    pair.add(bytes(950))
    pair.add(bytes(10_000))
    assert len(pair.send_all(1)[0].frames) == 1
    pair = ChannelPair(KINDS)
    pair.add(bytes(850))
    pair.add(bytes(10_000))
    assert [len(frame.data) for frame in pair.send_all(1)[0].frames] == [850, 256]
    pair = ChannelPair(KINDS)
    pair.add(bytes(1088 + 100), 2)
    pair.send()
    pair.add(bytes(1000))
    assert sorted(len(frame.data) for frame in pair.frames(1)) == [100, 1000]


@pytest.mark.parametrize("kind", [UNORDERED, ORDERED, LATEST])
def test_a_lost_message_is_cut_when_the_path_has_shrunk(kind):
    pair = ChannelPair({1: kind})
    message = bytes(range(250)) * 4
    pair.add(message, 1, name="m")
    (packet,) = pair.send_all()
    assert packet.frames[0].type == FrameType.MESSAGE
    pair.payload = 300
    pair.queues.set_payload_limit(300)
    pair.lose(packet)
    packets = pair.send_all()
    assert len(packets) == 4
    for each in reversed(packets):
        assert each.frames[0].number == 1
        assert pair.receive(each)
        pair.ack(each)
    assert pair.delivered[1] == [message]
    assert pair.outcomes["m"] == [True]


def test_a_late_ack_of_the_former_message_counts_for_all_of_it():
    pair = ChannelPair()
    pair.add(bytes(1000), name="m")
    (packet,) = pair.send_all()
    pair.payload = 300
    pair.queues.set_payload_limit(300)
    pair.lose(packet)
    pair.send()
    pair.ack(packet)
    assert pair.outcomes["m"] == [True]
    assert pair.frames() == []


def test_a_lost_fragment_is_cut_anew_and_a_late_ack_counts_for_what_it_carried():
    pair = ChannelPair()
    pair.add(bytes(5000), name="m")
    packets = pair.send_all()
    pair.payload = 300
    pair.queues.set_payload_limit(300)
    for packet in packets[1:]:
        pair.ack(packet)
    pair.lose(packets[0])
    again = pair.send()
    assert again is not None
    assert [(f.offset, len(f.data)) for f in again.frames] == [(0, 256)]
    pair.ack(packets[0])
    assert pair.outcomes["m"] == [True]
    assert pair.frames() == []
    pair.ack(again)
    assert pair.outcomes["m"] == [True]


def test_a_lost_fragment_that_is_acked_after_all_is_not_sent_again():
    pair = ChannelPair()
    pair.add(bytes(5000))
    packets = pair.send_all()
    for packet in packets[:2]:
        pair.lose(packet)
    pair.ack(packets[0])
    assert [frame.offset for frame in pair.frames()] == [packets[1].frames[0].offset]


def test_lost_neighbours_are_joined_when_the_path_has_grown():
    pair = ChannelPair(payload=300)
    pair.add(bytes(2000), name="m")
    packets = pair.send_all()
    pair.payload = PAYLOAD
    pair.queues.set_payload_limit(PAYLOAD)
    for packet in packets[2:]:
        pair.ack(packet)
    for packet in packets[:2]:
        pair.lose(packet)
    assert [(f.offset, len(f.data)) for f in pair.frames()] == [(0, 512)]


def test_a_message_that_waits_is_sent_as_the_path_is_then():
    pair = ChannelPair(payload=300)
    pair.queues.open(9, LATEST, 0)
    for channel in (0, 9):
        pair.queues.add_on(channel, bytes(500))
    pair.payload = PAYLOAD
    pair.queues.set_payload_limit(PAYLOAD)
    assert {kind for kind, *_ in summary(pair.frames())} == {"MESSAGE"}
    for channel in (0, 9):
        pair.queues.add_on(channel, bytes(500))
    for packet in pair.packets:
        pair.ack(packet)
    pair.payload = 300
    pair.queues.set_payload_limit(300)
    assert {kind for kind, *_ in summary(pair.frames())} == {"FRAGMENT"}


def test_a_message_beside_which_nothing_else_fits_is_cut_rather_than_stuck():
    """An ACK in every packet may leave less room than the largest MESSAGE needs."""
    pair = ChannelPair({2: ORDERED})
    pair.add(bytes(PAYLOAD - 10), 2)
    pair.add(bytes(PAYLOAD - 10))
    pair.payload = 700
    assert {kind for kind, *_ in summary(pair.frames())} == {"FRAGMENT"}


def test_a_path_that_carries_no_unit_is_refused():
    for payload in (-1, 0, 127, 65_536):
        with pytest.raises(ValueError, match="payload_limit must be"):
            ChannelQueues(payload)


# -- limits on what is begun --------------------------------------------------------------------


def test_the_limits_by_size_add_up_to_what_a_receiver_holds():
    messages = limits.SHORT_MESSAGES + limits.MIDDLE_MESSAGES + limits.LONG_MESSAGES
    size = limits.SHORT_BYTES + limits.MIDDLE_BYTES + limits.LONG_BYTES
    assert (messages, size) == (MAX_INCOMPLETE_MESSAGES, MAX_INCOMPLETE_BYTES)
    assert limits.LONG_BYTES >= MAX_MESSAGE_SIZE


@pytest.mark.parametrize(
    ("size", "most"),
    [(2_000, 40), (60_000, 17), (100_000, 16), (1_000_000, 4), (2_000_000, 5), (8_000_000, 1)],
)
def test_no_more_is_begun_than_a_receiver_holds(size, most):
    kinds = dict.fromkeys(range(1, 61), ORDERED)
    pair = ChannelPair(kinds)
    for channel in kinds:
        pair.queues.add_on(channel, bytes(size))
        if channel * size > 40_000_000:
            break
    pair.send_all(20_000)
    begun = {frame.channel for frame in pair.sent}
    assert len(begun) == most
    assert not pair.queues.has_more()
    for packet in pair.packets:
        pair.ack(packet)
    assert pair.queues.has_more(), "acks give the room back"
    pair.send()
    assert not {frame.channel for frame in pair.packets[-1].frames} <= begun


def given_up_midway() -> tuple[ChannelPair, list[Packet], bytes]:
    """A message of which the receiver has given up the first half, with the packets of the rest."""
    pair, message = ChannelPair(), bytes(range(250)) * 16
    pair.add(message, name="it")
    first, *others = pair.send_all()
    assert pair.receive(first)
    pair.now = 0.1
    pair.ack(first)
    pair.now = 0.2 + INCOMPLETE_TIMEOUT
    pair.reassembler.expire(pair.now)
    assert pair.reassembler.discarded == 1
    for packet in others:
        pair.lose(packet)
    return pair, pair.send_all(), message


def test_a_message_that_the_receiver_may_have_given_up_is_sent_again_as_a_whole():
    """Its path was too slow, or has lost all that was sent of it for half a minute."""
    pair, others, message = given_up_midway()
    for packet in others:
        assert pair.receive(packet)
        pair.ack(packet)
    assert pair.outcomes["it"] == []
    pair.run()
    assert pair.outcomes["it"] == [True]
    assert pair.delivered[0] == [message]


def test_an_ack_of_what_came_before_it_was_given_up_counts_no_more():
    pair, others, message = given_up_midway()
    late = pair.packets[1]
    for packet in others:
        assert pair.receive(packet)
        pair.ack(packet)
    pair.ack(late)
    assert pair.outcomes["it"] == []
    pair.run()
    assert pair.delivered[0] == [message]


def test_on_a_path_that_is_too_slow_fewer_messages_are_begun():
    """One fragment in 3 s: of the 40 that a fast path would begin, each would get one in 120 s."""
    pair = ChannelPair()
    pair.delay = 0.0
    for n in range(100):
        pair.add(numbered(0, n, 3000), name=n)
    while any(outcome != [True] for outcome in pair.outcomes.values()):
        packet = pair.send()
        if packet is not None and pair.receive(packet):
            pair.ack(packet)
        pair.now += 3.0
        pair.reassembler.expire(pair.now)
        assert pair.now < 3 * 3600
    assert len(pair.delivered[0]) == 100


def test_those_that_wait_for_room_are_begun_in_turn():
    """A long message is not kept waiting by shorter ones that would fit before it."""
    pair = ChannelPair(dict.fromkeys((1, 2, 3), ORDERED))
    for _ in range(4):
        pair.add(bytes(3_000_000), 1)
    pair.send_all(20_000)
    pair.add(bytes(8_000_000), 2)
    assert pair.frames() == []
    for _ in range(8):
        pair.add(bytes(2_000_000), 3)
    order = []
    while len(order) < 3:
        for packet in pair.in_flight[:500]:
            pair.ack(packet)
        del pair.in_flight[:500]
        for frame in pair.frames(20_000):
            if frame.channel not in order:
                order.append(frame.channel)
    assert order == [1, 2, 3]


def test_those_behind_a_message_that_is_replaced_need_not_wait_for_it():
    pair = ChannelPair(KINDS | {5: ORDERED})
    pair.add(bytes(8_000_000), 5)
    pair.send_all(20_000)
    pair.add(bytes(4_000_000), 4)
    assert pair.frames() == []
    pair.add(bytes(3_000_000), 2)
    assert pair.frames() == []
    pair.add(b"short", 4)
    assert {frame.channel for frame in pair.frames(2)} == {2, 4}


def test_what_was_given_up_holds_room_until_the_receiver_has_given_it_up():
    pair = ChannelPair()
    for number in range(45):
        pair.add(bytes(2000), retry=ONCE, name=number)
    assert {frame.number for frame in pair.frames()} == set(range(1, 41))
    pair.now = pair.message_timeout
    pair.queues.expire(pair.now, pair.message_timeout)
    pair.complete()
    assert [pair.outcomes[number] for number in range(45)] == [[False]] * 40 + [[]] * 5
    assert not pair.queues.has_more()
    due = pair.queues.next_timer(pair.message_timeout, 0.1, True)
    assert due > INCOMPLETE_TIMEOUT
    pair.queues.expire(due, pair.message_timeout)
    assert pair.queues.has_more()


def test_a_newer_message_on_a_sequenced_channel_gives_the_room_of_older_ones_back():
    pair = ChannelPair(KINDS)
    for _ in range(45):
        pair.add(bytes(2000), 3)
    pair.send_all()
    assert {frame.number for frame in pair.sent} == set(range(1, 41))
    for packet in pair.packets:
        if any(frame.number == 40 for frame in packet.frames):
            pair.ack(packet)
    assert pair.queues.has_more()
    rest = pair.send_all()
    assert {frame.number for packet in rest for frame in packet.frames} == set(range(41, 46))
    for packet in rest:
        pair.ack(packet)
    pair.add(b"short", 3)
    assert pair.send_all()[0].contents == [], "nothing older is in fragments"


# -- retry modes --------------------------------------------------------------------------------


def test_a_reliable_message_is_retransmitted_until_it_is_acked():
    pair = ChannelPair()
    pair.add(b"m", name="m")
    for _ in range(20):
        (packet,) = pair.send_all()
        assert summary(packet.frames) == [("MESSAGE", 0, 1, 0)]
        pair.now += 10.0
        pair.queues.expire(pair.now, 1.0)
        pair.lose(packet)
    (packet,) = pair.send_all()
    pair.ack(packet)
    assert pair.outcomes["m"] == [True]
    assert pair.queues.retransmitted == 20


def test_only_the_loss_of_the_newest_packet_counts():
    pair = ChannelPair()
    pair.queues.set_redundant(True)
    pair.add(b"m")
    (first,) = pair.send_all()
    pair.now += pair.repeat_interval
    (copy,) = pair.send_all()
    pair.lose(first)
    assert pair.frames() == []
    pair.lose(copy)
    assert len(pair.frames()) == 1


def test_a_message_without_retries_is_sent_once_and_times_out():
    pair = ChannelPair()
    pair.add(b"m", retry=ONCE, name="m")
    pair.add(b"n", retry=ONCE)
    (packet,) = pair.send_all()
    assert len(packet.contents) == 1, "the outcome of the other one is not needed"
    pair.lose(packet)
    assert pair.frames() == []
    assert pair.queues.next_timer(1.0, 0.1, True) == 1.0
    pair.queues.expire(0.9, 1.0)
    assert pair.queues.completed == []
    pair.queues.expire(1.0, 1.0)
    pair.complete()
    assert pair.outcomes["m"] == [False]
    assert pair.queues.share.held == 0


def test_a_best_effort_message_is_repeated_until_it_is_acked_or_times_out():
    pair = ChannelPair()
    pair.repeat_interval = 0.125
    pair.add(b"m", retry=BEST_EFFORT, name="m")
    (packet,) = pair.send_all()
    times = []
    for _ in range(25):
        pair.now += 0.0625
        if pair.frames():
            times.append(pair.now)
        pair.queues.expire(pair.now, 1.0)
    assert times == [0.125 * (count + 1) for count in range(8)]
    pair.complete()
    assert pair.outcomes["m"] == [False]
    pair.ack(packet)
    assert pair.outcomes["m"] == [False]
    pair.add(b"n", retry=BEST_EFFORT, name="n")
    (packet,) = pair.send_all()
    pair.ack(packet)
    pair.now += 1.0
    assert pair.frames() == []
    assert pair.outcomes["n"] == [True]


@pytest.mark.parametrize("retry", [ONCE, BEST_EFFORT])
def test_lost_fragments_are_retransmitted_in_every_mode_until_the_message_times_out(retry):
    pair = ChannelPair()
    pair.add(bytes(3000), retry=retry, name="m")
    packets = pair.send_all()
    pair.lose(packets[1])
    assert [frame.offset for frame in pair.frames()] == [1088]
    pair.lose(pair.packets[-1])
    pair.queues.expire(1.0, 1.0)
    pair.complete()
    assert pair.outcomes["m"] == [False]
    assert pair.frames() == []


# -- latest -------------------------------------------------------------------------------------


def test_a_newer_message_replaces_one_that_waits():
    pair = ChannelPair(KINDS)
    for number in range(5):
        pair.add(b"%d" % number, 4, name=number)
    pair.complete()
    assert [pair.outcomes[number] for number in range(5)] == [[False]] * 4 + [[]]
    assert [frame.data for frame in pair.frames()] == [b"4"]
    assert pair.queues.pending == 0


def test_a_lost_message_is_not_sent_again_once_a_newer_one_was_sent():
    pair = ChannelPair(KINDS)
    packets = []
    for number in range(2):
        pair.add(b"%d" % number, 4, name=number)
        packets += pair.send_all()
    pair.lose(packets[0])
    assert pair.frames() == []
    assert pair.outcomes == {0: [False], 1: []}
    pair.lose(packets[1])
    assert [frame.data for frame in pair.frames()] == [b"1"]


def test_a_newer_message_goes_before_one_that_is_lost():
    pair = ChannelPair(KINDS)
    pair.add(b"0", 4, name=0)
    (packet,) = pair.send_all()
    pair.lose(packet)
    pair.add(b"1", 4, name=1)
    assert [frame.data for frame in pair.frames()] == [b"1"]
    pair.complete()
    assert pair.outcomes == {0: [False], 1: []}


def test_a_message_in_fragments_is_finished_before_a_newer_one_is_begun():
    pair = ChannelPair(KINDS)
    pair.add(bytes(3000), 4, name="long")
    packets = pair.send_all()
    for number in range(3):
        pair.add(b"%d" % number, 4, name=number)
    assert pair.frames() == []
    pair.lose(packets[0])
    assert [frame.number for frame in pair.frames()] == [1]
    for packet in pair.packets:
        pair.ack(packet)
    assert pair.outcomes["long"] == [True]
    assert [frame.data for frame in pair.frames()] == [b"2"]


# -- turns of channels --------------------------------------------------------------------------


def bytes_by_channel(packets: list[Packet]) -> dict[int, int]:
    count: Counter[int] = Counter()
    for packet in packets:
        for frame in packet.frames:
            count[frame.channel] += len(frame.data)
    return count


PRIORITIES = {10: -2, 11: -1, 12: 0, 13: 1, 14: 2}


@pytest.mark.parametrize("size", [40, 700, 200_000])
@pytest.mark.parametrize("kind", [UNORDERED, ORDERED])
def test_channels_share_by_bytes_as_their_priorities_say(size, kind):
    pair = ChannelPair(
        dict.fromkeys(PRIORITIES, kind), priorities=PRIORITIES, window=(1 << 20, 1 << 24)
    )
    for channel in PRIORITIES:
        for _ in range(400_000 // size):
            pair.queues.add_on(channel, bytes(size))
    sent = bytes_by_channel(pair.send_all(300))
    whole = sum(sent.values())
    for channel, priority in PRIORITIES.items():
        assert sent[channel] / whole == pytest.approx(2**priority / 7.75, rel=0.15)


def test_the_lowest_of_two_priorities_keeps_a_twentieth():
    pair = ChannelPair(
        {1: ORDERED, 2: ORDERED}, priorities={1: HIGHEST_PRIORITY, 2: LOWEST_PRIORITY}
    )
    for channel in (1, 2):
        pair.queues.add_on(channel, bytes(1_000_000))
    sent = bytes_by_channel(pair.send_all(500))
    assert sent[2] / (sent[1] + sent[2]) > 0.05


def test_what_is_lost_counts_in_the_turns_of_its_channel():
    pair = ChannelPair({1: ORDERED, 2: ORDERED})
    for channel in (1, 2):
        pair.add(bytes(1_000_000), channel)
    for packet in pair.send_all(100):
        if packet.frames[0].channel == 1:
            pair.lose(packet)
    sent = bytes_by_channel(pair.send_all(100))
    assert sent[1] == pytest.approx(sent[2], rel=0.05)


@pytest.mark.parametrize("priority", [LOWEST_PRIORITY, 0, HIGHEST_PRIORITY])
def test_the_next_message_of_an_idle_channel_is_in_the_next_packets(priority):
    pair = ChannelPair({1: ORDERED, 2: ORDERED}, priorities={1: HIGHEST_PRIORITY, 2: priority})
    pair.add(bytes(2_000_000), 1)
    for number in range(20):
        pair.send_all(20)
        pair.add(b"chat %d" % number, 2)
        assert 2 in {frame.channel for frame in pair.frames(2)}


def test_an_idle_channel_saves_up_no_credit():
    pair = ChannelPair({1: ORDERED, 2: ORDERED})
    pair.add(bytes(2_000_000), 1)
    pair.send_all(500)
    pair.add(bytes(2_000_000), 2)
    sent = bytes_by_channel(pair.send_all(100))
    assert sent[1] == pytest.approx(sent[2], rel=0.05)


def test_every_message_in_fragments_is_heard_of_in_time_beside_losses():
    """A message in progress has something sent in 10 s, however much of others was lost."""
    pair = ChannelPair(KINDS)
    pair.add(bytes(60_000), 1)
    packets = pair.send_all()
    pair.add(bytes(60_000), 1)
    pair.send_all(3)
    for packet in packets:
        pair.lose(packet)
    heard = []
    for _ in range(40):
        pair.now += 1.0
        heard += [pair.now for frame in pair.frames(1) if frame.number == 2]
    assert heard
    assert max(b - a for a, b in zip([0.0, *heard], heard, strict=False)) <= 10.0


@pytest.mark.parametrize("channel", [0, 1, 2, 3, 4])
def test_a_packet_ahead_of_fragments_begins_with_a_message(channel):
    pair = ChannelPair(KINDS | {5: ORDERED})
    pair.add(bytes(100_000), 5)
    pair.add(bytes(100_000), 1)
    pair.send_all(5)
    assert pair.send(ahead=True) is None
    assert not pair.queues.has_unfragmented()
    pair.add(b"short", channel)
    assert pair.queues.has_unfragmented()
    packet = pair.send(ahead=True)
    assert packet is not None
    assert summary(packet.frames[:1])[0][:2] == ("MESSAGE", channel)
    pair.lose(packet)
    again = pair.send(ahead=True)
    assert (again is None) == (channel == 3), "a sequenced message is sent once"


def test_a_message_that_waits_for_a_long_one_of_its_channel_is_not_sent_ahead():
    pair = ChannelPair(KINDS)
    pair.add(bytes(100_000), 2)
    pair.add(b"short", 2)
    pair.send()
    assert pair.send(ahead=True) is None
    assert not pair.queues.has_unfragmented()


# -- redundant copies and the drain -------------------------------------------------------------


def test_small_reliable_messages_are_copied_twice_on_a_lossy_path():
    pair = ChannelPair(KINDS)
    pair.queues.set_redundant(True)
    pair.add(b"small", 2)
    pair.add(bytes(129), 2)
    pair.add(b"once", retry=ONCE)
    pair.send_all()
    copies = []
    for _ in range(5):
        pair.now += pair.repeat_interval
        copies += pair.frames()
    assert [frame.data for frame in copies] == [b"small"] * 2
    pair.add(b"other")
    pair.send_all()
    pair.queues.set_redundant(False)
    pair.now += 1.0
    assert pair.frames() == []


def test_a_superseded_message_of_a_latest_channel_is_not_copied():
    pair = ChannelPair(KINDS)
    pair.queues.set_redundant(True)
    for number in range(3):
        pair.add(b"%d" % number, 4)
        pair.send_all()
    pair.now += 1.0
    assert [frame.data for frame in pair.frames()] == [b"2"]


def test_a_drain_sends_what_is_queued_and_ends_when_what_is_reliable_is_acked():
    pair = ChannelPair(KINDS, window=(2, 5000))
    for channel in pair.receivers:
        pair.add(bytes(1500), channel, name=channel)
    pair.queues.begin_close()
    assert not pair.queues.is_drained()
    packets = pair.send_all()
    assert not pair.queues.is_drained()
    for packet in packets:
        pair.ack(packet)
    assert pair.queues.is_drained()
    assert not pair.queues.has_more()
    assert pair.frames() == []


def test_a_drain_does_not_wait_for_losses_to_show():
    pair = ChannelPair(KINDS)
    pair.add(b"a")
    pair.add(b"b", 2)
    pair.add(bytes(3000), 2)
    pair.queues.begin_close()
    pair.send_all()
    copies = []
    for _ in range(200):
        pair.now = pair.queues.next_timer(1.0, 0.1, True)
        copies += pair.frames(1)
    assert pair.now == pytest.approx(10.0)
    parts = Counter(summary(copies))
    assert set(parts) == set(summary(pair.sent[:5]))
    assert min(parts.values()) >= 30


def test_an_ended_drain_sends_nothing():
    pair = ChannelPair(KINDS)
    pair.add(b"a")
    pair.queues.begin_close()
    pair.queues.end_drain()
    assert pair.queues.is_drained()
    assert not pair.queues.has_more()
    assert pair.frames() == []


def test_close_completes_everything_once():
    pair = ChannelPair(KINDS, window=(1, 4000))
    for number in range(40):
        channel = number % 5
        pair.add(bytes(number * 100), channel, (RELIABLE, ONCE, BEST_EFFORT)[number % 3], number)
        if number % 7 == 0:
            pair.send()
    packets = pair.send_all(3)
    pair.lose(packets[0])
    pair.queues.close()
    pair.complete()
    assert all(len(pair.outcomes[number]) == 1 for number in range(40))
    assert (pair.queues.pending, pair.queues.share.held) == (0, 0)
    for packet in pair.packets:
        pair.ack(packet)
        pair.lose(packet)
    assert pair.frames() == []
    assert all(len(pair.outcomes[number]) == 1 for number in range(40))


ACTIONS = {
    "close": lambda pair: pair.queues.close(),
    "add": lambda pair: [pair.queues.add_on(channel, b"f", ONCE) for channel in pair.receivers],
    "expire": lambda pair: pair.queues.expire(pair.now + 9.0, 1.0),
    "lose": lambda pair: [
        pair.queues.on_packet_lost(packet.contents, packet.number) for packet in pair.packets
    ],
}


@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("call", ["send", "ack", *ACTIONS])
def test_a_finalizer_in_the_middle_of_a_call_changes_no_outcome(call, action, closing):
    pair = ChannelPair(KINDS, window=(40, 100_000))
    for number in range(100):
        size = (10, 300, 2000)[number % 3]
        pair.add(bytes(size), number % 5, list(RetryMode)[number // 5 % 3], number)
        if number % 20 == 19:
            pair.lose(pair.send_all(2)[0])
    if closing:
        pair.queues.begin_close()
        pair.send_all()
        pair.now = 0.1
    contents = [packet.contents for packet in pair.packets]
    with CollectedSoon(lambda: ACTIONS[action](pair)) as raised:
        if call == "send":
            pair.queues.take_frames(PAYLOAD, len(pair.packets) + 1, pair.now)
        elif call == "ack":
            pair.queues.on_packet_acked(contents[-1])
        else:
            ACTIONS[call](pair)
    assert raised == []
    pair.queues.close()
    pair.complete()
    assert all(len(pair.outcomes[number]) == 1 for number in range(100))
    assert pair.queues.share.held == pair.queues.pending == 0


# -- what is refused, and what is charged -------------------------------------------------------


@pytest.mark.parametrize("channel", [-1, 5, 256, 1 << 30])
def test_a_channel_that_is_not_open_takes_no_message(channel):
    pair = ChannelPair(KINDS)
    with pytest.raises(ValueError, match=f"channel {channel} is not open"):
        pair.queues.add_on(channel, b"m")
    assert pair.queues.share.held == 0


@pytest.mark.parametrize(
    "arguments",
    [(0, 0), (256, 0), (-1, 1), (1, 0), (9, 4), (9, -1), (9, 1, 3), (9, 1, -3), (9, 1, 0, -1)],
)
def test_a_channel_that_no_table_holds_is_not_opened(arguments):
    pair = ChannelPair(KINDS)
    with pytest.raises(ValueError, match=r"channel|priority|window"):
        pair.queues.open(*arguments)


def test_what_waits_is_bounded():
    queues = ChannelQueues(PAYLOAD)
    queues.max_pending = 10_000
    queues.add(bytes(9_000))
    with pytest.raises(SendQueueFullError, match="9000 bytes wait"):
        queues.add(bytes(1_000))
    assert queues.pending == 9_000
    queues.take_frames(PAYLOAD, 1, 0.0)
    assert 7_900 < queues.pending < 8_000
    queues.add(bytes(1_000))


def test_a_message_is_charged_until_it_is_completed():
    pair = ChannelPair(KINDS)
    pair.queues.share.join(Budget(100_000))
    for channel in pair.receivers:
        pair.add(bytes(3000), channel)
        pair.add(bytes(300), channel, name=channel)
    held = pair.queues.share.held
    pair.complete()
    assert held == 4 * 3300 + 300 + 9 * 128, "the latest channel has replaced one"
    packets = pair.send_all()
    assert pair.queues.pending == 0
    assert pair.queues.pending_on(2) == 0
    for packet in packets:
        pair.ack(packet)
    for packet in pair.send_all():
        pair.ack(packet)
    assert pair.queues.share.held == 0
    with pytest.raises(SendQueueFullError, match="limit of bytes"):
        pair.add(bytes(120_000), 1)


def test_the_bytes_that_wait_are_known_by_channel():
    pair = ChannelPair(KINDS)
    pair.add(bytes(100), 1)
    pair.add(bytes(5000), 2)
    waiting = {channel: pair.queues.pending_on(channel) for channel in (0, 1, 2, 9, 300)}
    assert waiting == {0: 0, 1: 100, 2: 5000, 9: 0, 300: 0}
    pair.send_all(2)
    assert pair.queues.pending_on(1) == 0
    assert pair.queues.pending == pair.queues.pending_on(2) > 0
