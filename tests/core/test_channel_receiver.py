"""The receiving side of channels: once, in order, within limits, whatever the path and the peer do.

The model and the sender are those of `support.channelmodel`, which were written from the page.
"""

from __future__ import annotations

import gc
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.channelmodel import ChannelModel, Fate, Outgoing, Part
from support.examples import examples

from mpgameserver._core.budget import ITEM_COST, Budget
from mpgameserver._core.channel_receiver import ChannelKind, ChannelReceiver, FrameFate
from mpgameserver._core.frames import MAX_MESSAGE_SIZE, FrameFields, FrameType, encode_frames
from mpgameserver._core.grid_reassembly import MAX_INCOMPLETE_MESSAGES, GridReassembler
from mpgameserver._core.ordered_delivery import OrderedDelivery
from mpgameserver.errors import PacketError
from mpgameserver.wire.protocol2 import setup

UNORDERED, ORDERED = ChannelKind.UNORDERED, ChannelKind.ORDERED
SEQUENCED, LATEST = ChannelKind.SEQUENCED, ChannelKind.LATEST
KINDS = list(ChannelKind)
MAX_NUMBER = (1 << 62) - 1
WINDOW = (64, 100_000)


def encode(channel: int, part: Part) -> bytes:
    kind = FrameType.MESSAGE if part.total is None else FrameType.FRAGMENT
    fields = FrameFields(kind, channel, part.number, part.total or 0, part.offset, part.data)
    return encode_frames([fields])


class Receiver:
    """One channel of a session, which takes packets of parts."""

    def __init__(
        self,
        kind: ChannelKind,
        window: tuple[int, int] = WINDOW,
        reassembler: GridReassembler | None = None,
        channel: int = 1,
    ) -> None:
        self.reassembler = GridReassembler() if reassembler is None else reassembler
        self.channel = ChannelReceiver(channel, kind, self.reassembler, *window)
        self.number = channel

    @property
    def order(self) -> OrderedDelivery:
        assert self.channel.order is not None
        return self.channel.order

    @property
    def held(self) -> int:
        return self.reassembler.share.held

    def inspect(self, *parts: Part) -> list[str]:
        """The names of the fates of the parts of one packet."""
        self.reassembler.begin_packet()
        return [self.channel.inspect_frame(encode(self.number, part)).name for part in parts]

    def receive(self, *parts: Part) -> list[bytes]:
        """Take a packet all of which can be used; what is delivered."""
        assert set(self.inspect(*parts)) <= {"TAKEN", "IGNORED"}
        return self.take(*parts)

    def take(self, *parts: Part) -> list[bytes]:
        delivered = []
        for part in parts:
            delivered += self.channel.take_frame(encode(self.number, part), 0.0)
        return delivered


def message(number: int, text: bytes = b"x") -> Part:
    return Part(number, text)


def test_the_kinds_are_those_of_the_table_of_channels():
    assert [(kind.name, kind.value) for kind in KINDS] == [
        (kind.name, kind.value) for kind in setup.ChannelKind
    ]


# -- against the model --------------------------------------------------------------------------

lengths = st.sampled_from([0, 1, 63, 64, 65, 128, 200])


@st.composite
def any_parts(draw) -> Part:
    """A well-formed part, of few numbers and lengths, so that many contradict each other."""
    number, total = draw(st.integers(1, 7)), draw(lengths)
    if draw(st.integers(0, 9)) == 0:
        number += draw(st.sampled_from([40, 65_529, 65_536, 1 << 40]))
    fill = bytes([draw(st.integers(97, 122))])
    if total == 0 or draw(st.booleans()):
        return Part(number, fill * total)
    units = -(-total // 64)
    first = draw(st.integers(0, units - 1))
    last = draw(st.integers(first + 1, units))
    return Part(number, fill * (min(last * 64, total) - first * 64), total, first * 64)


@pytest.mark.parametrize("kind", KINDS)
@given(packets=st.lists(st.lists(any_parts(), min_size=1, max_size=4), max_size=30))
@settings(max_examples=examples(40))
def test_any_packets_of_any_peer_have_the_fates_of_the_model(kind, packets):
    window = (45, 1000)
    receiver, model = Receiver(kind, window), ChannelModel(kind, *window)
    for parts in packets:
        fates = receiver.inspect(*parts)
        assert fates == receiver.inspect(*parts), "inspection changes nothing"
        assert fates == [fate.name for fate in model.inspect(parts)]
        if {Fate.MALFORMED.name, Fate.WINDOW_BROKEN.name} & set(fates):
            continue  # the session would be closed; that this packet had no effect shows in others
        expected = [ready for part in parts for ready in model.take(part)]
        assert receiver.take(*parts) == [data for _, data in expected]
    receiver.channel.clear()
    assert receiver.held == 0


# -- a path that loses, repeats and reorders ----------------------------------------------------


class Path:
    """Packets in flight, each of which may be lost, or arrive late, or twice."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.in_flight: list[list[Part]] = []

    def send(self, parts: list[Part]) -> None:
        copies = self.rng.choice((0, 1, 1, 1, 2))
        self.in_flight += [parts] * copies

    def next_packet(self) -> list[Part]:
        return self.in_flight.pop(self.rng.randrange(min(len(self.in_flight), 12)))


class Game:
    """Sends messages over a path until all are acked, as the channel's kind and window allow."""

    def __init__(self, kind: ChannelKind, seed: int, window: tuple[int, int] = WINDOW) -> None:
        self.rng = random.Random(seed)
        self.kind = kind
        self.path = Path(self.rng)
        self.receiver = Receiver(kind, window)
        self.window = window
        self.delivered: list[bytes] = []
        self.taken = 0

    def sizes(self, count: int, largest: int) -> list[int]:
        return [self.rng.choice((0, 5, 64, 300, 3000, largest)) for _ in range(count)]

    def messages(self, sizes: list[int]) -> list[Outgoing]:
        """Messages of random bytes, no two of which are alike unless they are empty."""
        return [Outgoing(n, self.rng.randbytes(size)) for n, size in enumerate(sizes, 1)]

    def allowed(self, messages: list[Outgoing]) -> list[Outgoing]:
        """Those that wait for an ack and may be sent."""
        total, allowed = 0, []
        for each in messages:
            total += len(each.message)
            if self.kind == ORDERED and (each.number > self.window[0] or total > self.window[1]):
                break
            allowed.append(each)
        return [each for each in allowed if not each.is_acked][:20]

    def packet(self, waiting: list[Outgoing]) -> list[Part]:
        chosen = self.rng.choices(waiting, k=self.rng.randint(1, 4))
        return [each.cut(self.rng) for each in chosen]

    def run(self, messages: list[Outgoing], steps: int = 20_000) -> None:
        for _ in range(steps):
            waiting = self.allowed(messages)
            if waiting:
                self.path.send(self.packet(waiting))
            if len(self.path.in_flight) > self.rng.randrange(12):
                self.arrive(messages)
            if self.kind == ORDERED:
                self.play()
            if all(each.is_acked for each in messages) and not self.path.in_flight:
                return
        raise AssertionError("not all messages were acked")

    def arrive(self, messages: list[Outgoing]) -> None:
        parts = self.path.next_packet()
        self.delivered += self.receiver.receive(*parts)
        if self.rng.random() < 0.9:  # the ack arrives
            for part in parts:
                messages[part.number - 1].ack(part)

    def play(self) -> None:
        """The game takes messages now and then; WINDOW goes to the sender, and may be lost."""
        order = self.receiver.order
        while self.taken < len(self.delivered) and self.rng.random() < 0.7:
            order.on_taken(len(self.delivered[self.taken]))
            self.taken += 1
        if order.is_window_due():
            order.renew_window()
            if self.rng.random() < 0.5:
                order.on_window_lost()
            else:
                self.window = order.granted_number, order.granted_total


@given(st.integers(0, 1 << 32))
@settings(max_examples=examples(4))
def test_an_ordered_channel_delivers_every_message_once_and_in_order(seed):
    game = Game(ORDERED, seed, window=(8, 9000))
    messages = game.messages(game.sizes(50, largest=9000))
    game.run(messages)
    assert game.delivered == [each.message for each in messages]
    assert game.receiver.held == 0


@given(st.integers(0, 1 << 32))
@settings(max_examples=examples(4))
def test_an_unordered_channel_delivers_every_message_once(seed):
    game = Game(UNORDERED, seed)
    messages = game.messages([size + 8 for size in game.sizes(50, largest=20_000)])
    game.run(messages)
    assert sorted(game.delivered) == sorted(each.message for each in messages)
    assert game.receiver.held == 0


@pytest.mark.parametrize("kind", [SEQUENCED, LATEST])
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=examples(4))
def test_a_channel_of_the_newest_never_goes_back(kind, seed):
    game = Game(kind, seed)
    messages = game.messages([size + 8 for size in game.sizes(50, largest=20_000)])
    game.run(messages)
    places = {each.message: each.number for each in messages}
    numbers = [places[data] for data in game.delivered]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == len(messages)
    assert game.receiver.held == 0


# -- each rule by itself ------------------------------------------------------------------------


class TestDuplicates:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_message_that_was_delivered_is_ignored_whatever_its_frames_hold(self, kind):
        receiver = Receiver(kind)
        assert receiver.receive(message(1, b"first")) == [b"first"]
        again = [message(1, b"other"), Part(1, bytes(64), 900, 64), Part(1, bytes(64), 64)]
        assert receiver.inspect(*again) == ["IGNORED"] * 3
        assert receiver.receive(*again) == []

    def test_numbers_are_told_apart_down_to_65535_below_the_newest(self):
        receiver = Receiver(UNORDERED)
        receiver.receive(message(70_000))
        assert receiver.inspect(message(4464), message(4465)) == ["IGNORED", "TAKEN"]
        assert receiver.receive(message(4465, b"late")) == [b"late"]
        assert receiver.receive(message(4465, b"late")) == []

    def test_the_newest_may_be_a_message_of_which_a_part_has_come(self):
        receiver = Receiver(UNORDERED)
        receiver.receive(Part(70_000, bytes(64), 100))
        assert receiver.inspect(message(4464), message(4465)) == ["IGNORED", "TAKEN"]

    @pytest.mark.parametrize("kind", [UNORDERED, SEQUENCED, LATEST])
    def test_a_number_far_ahead_harms_only_the_channel_of_its_sender(self, kind):
        receiver = Receiver(kind)
        other = Receiver(kind, reassembler=receiver.reassembler, channel=200)
        assert receiver.receive(message(MAX_NUMBER, b"far")) == [b"far"]
        assert receiver.receive(message(MAX_NUMBER, b"far"), message(1)) == []
        assert other.receive(message(1, b"near")) == [b"near"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_message_that_is_in_one_packet_several_times_is_delivered_once(self, kind):
        receiver = Receiver(kind)
        parts = [message(1, b"y" * 64), Part(1, b"z" * 64, 64), message(1, b"y" * 64)]
        assert receiver.receive(*parts) == [b"y" * 64]
        assert receiver.held == 0


class TestTotals:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("second", [Part(1, bytes(64), 101), Part(1, bytes(99))])
    def test_another_total_is_malformed_and_changes_nothing(self, kind, second):
        receiver = Receiver(kind)
        receiver.receive(Part(1, b"a" * 64, 100))
        held = receiver.held
        assert receiver.inspect(message(2), second) == ["TAKEN", "MALFORMED"]
        assert receiver.held == held
        assert receiver.receive(Part(1, b"b" * 36, 100, 64)) == [b"a" * 64 + b"b" * 36]

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_is_found_within_one_packet(self, kind):
        receiver = Receiver(kind)
        parts = [Part(1, bytes(64), 100), Part(1, bytes(64), 101), Part(1, bytes(36), 100, 64)]
        assert receiver.inspect(*parts) == ["TAKEN", "MALFORMED", "TAKEN"]
        assert receiver.held == 0
        assert receiver.inspect(parts[1]) == ["TAKEN"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_message_in_fragments_may_come_whole_instead(self, kind):
        receiver = Receiver(kind)
        receiver.receive(Part(1, b"a" * 64, 100))
        assert receiver.receive(Part(1, b"c" * 100)) == [b"c" * 100]
        assert receiver.held == 0

    @pytest.mark.parametrize("kind", [SEQUENCED, LATEST])
    def test_the_parts_of_older_messages_are_discarded(self, kind):
        receiver = Receiver(kind)
        receiver.receive(Part(1, bytes(64), 100), Part(3, bytes(64), 100), Part(2, bytes(64), 100))
        assert receiver.receive(message(2, b"2" * 100)) == [b"2" * 100]
        assert len(receiver.reassembler) == 1
        assert receiver.receive(Part(1, bytes(36), 100, 64)) == []
        assert receiver.receive(Part(3, bytes(36), 100, 64)) == [bytes(100)]


class TestArriving:
    """The incomplete messages, with what has come of each."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_they_are_in_the_order_of_their_numbers(self, kind: ChannelKind) -> None:
        receiver = Receiver(kind)
        for number, total in ((3, 300), (1, 100), (2, 200)):
            receiver.receive(Part(number, bytes(64), total, 0))
        assert receiver.channel.arriving() == [(64, 100), (64, 200), (64, 300)]

    def test_a_byte_that_comes_twice_counts_once(self) -> None:
        receiver = Receiver(UNORDERED)
        receiver.receive(Part(1, bytes(128), 300, 0))
        receiver.receive(Part(1, bytes(236), 300, 64))
        assert receiver.channel.arriving() == []  # it is complete
        receiver.receive(Part(2, bytes(128), 300, 0))
        receiver.receive(Part(2, bytes(128), 300, 64))
        assert receiver.channel.arriving() == [(192, 300)]

    def test_what_a_newer_one_has_overtaken_is_not_among_them(self) -> None:
        receiver = Receiver(LATEST)
        receiver.receive(Part(1, bytes(64), 300, 0))
        receiver.receive(message(2))
        assert receiver.channel.arriving() == []

    def test_one_that_waits_for_its_turn_is_not_among_them(self) -> None:
        receiver = Receiver(ORDERED)
        receiver.receive(message(2))
        assert receiver.channel.arriving() == []


class TestOrder:
    def test_messages_wait_for_a_gap_and_are_charged_while_they_wait(self):
        receiver = Receiver(ORDERED)
        assert receiver.receive(message(3, b"three")) == []
        assert receiver.receive(Part(2, b"b" * 64, 64)) == []
        assert receiver.held == 5 + 64 + 2 * ITEM_COST
        assert receiver.receive(message(1, b"one")) == [b"one", b"b" * 64, b"three"]
        assert receiver.held == 0

    def test_without_room_only_what_is_next_is_taken(self):
        receiver = Receiver(ORDERED)
        receiver.reassembler.share.join(Budget(0))
        assert receiver.inspect(message(2)) == ["NO_ROOM"]
        assert receiver.inspect(message(1), message(2), message(4)) == ["TAKEN"] * 2 + ["NO_ROOM"]
        assert receiver.receive(message(1, b"1"), message(2, b"2")) == [b"1", b"2"]
        assert receiver.inspect(message(3)) == ["TAKEN"]

    def test_the_messages_of_one_packet_claim_room_together(self):
        receiver = Receiver(ORDERED)
        receiver.reassembler.share.join(Budget(2 * ITEM_COST + 2))
        assert receiver.inspect(message(2), message(3), message(4)) == ["TAKEN"] * 2 + ["NO_ROOM"]

    @pytest.mark.parametrize("end", ["clear", "collect"])
    def test_nothing_stays_charged_at_the_end(self, end):
        receiver = Receiver(ORDERED)
        share = receiver.reassembler.share
        receiver.receive(message(2), message(9), Part(5, bytes(64), 100))
        assert share.held > 0
        if end == "clear":
            receiver.channel.clear()
        else:
            del receiver
            gc.collect()
        assert share.held == 0


class TestBreachOfTheWindow:
    def test_by_number(self):
        receiver = Receiver(ORDERED, (3, 1000))
        assert receiver.inspect(message(3), message(4)) == ["TAKEN", "WINDOW_BROKEN"]
        assert receiver.inspect(message(MAX_NUMBER)) == ["WINDOW_BROKEN"]

    def test_by_the_lengths_that_are_known_whatever_their_order(self):
        receiver = Receiver(ORDERED, (9, 1000))
        receiver.receive(message(9, bytes(400)))
        receiver.receive(message(1, bytes(400)))
        assert receiver.inspect(message(4, bytes(200))) == ["TAKEN"]
        assert receiver.inspect(message(4, bytes(201))) == ["WINDOW_BROKEN"]

    def test_by_the_total_of_a_message_in_fragments(self):
        receiver = Receiver(ORDERED, (9, 1000))
        assert receiver.inspect(Part(1, bytes(64), 1001)) == ["WINDOW_BROKEN"]
        receiver.receive(Part(1, bytes(64), 1000))
        assert receiver.inspect(message(2, b"")) == ["TAKEN"]
        assert receiver.inspect(message(2, b"x")) == ["WINDOW_BROKEN"]

    def test_by_the_frames_of_one_packet_each_message_once(self):
        receiver = Receiver(ORDERED, (9, 1000))
        half = [Part(1, bytes(64), 500), Part(1, bytes(64), 500, 64), message(2, bytes(500))]
        assert receiver.inspect(*half) == ["TAKEN"] * 3
        assert receiver.inspect(*half, message(3)) == ["TAKEN"] * 3 + ["WINDOW_BROKEN"]
        receiver.receive(*half)
        assert receiver.inspect(message(3)) == ["WINDOW_BROKEN"]

    def test_not_by_what_comes_again(self):
        receiver = Receiver(ORDERED, (2, 200))
        parts = [Part(2, bytes(64), 100), message(1, bytes(100))]
        receiver.receive(*parts)
        assert receiver.inspect(*parts) == ["TAKEN", "IGNORED"]

    def test_a_window_that_was_sent_counts_at_once(self):
        receiver = Receiver(ORDERED, (1, 10))
        receiver.receive(message(1, bytes(10)))
        assert receiver.inspect(message(2)) == ["WINDOW_BROKEN"]
        receiver.order.on_taken(10)
        assert receiver.inspect(message(2)) == ["WINDOW_BROKEN"]
        receiver.order.renew_window()
        assert receiver.inspect(message(2)) == ["TAKEN"]


class TestGranting:
    @staticmethod
    def take(receiver: Receiver, first: int, size: int, count: int = 1) -> None:
        for number in range(first, first + count):
            receiver.receive(message(number, bytes(size)))
            receiver.order.on_taken(size)

    def test_the_first_window_is_the_one_that_was_declared(self):
        order = Receiver(ORDERED, (10, 1000)).order
        assert (order.granted_number, order.granted_total) == (10, 1000)
        assert not order.is_window_due()

    def test_what_the_game_has_not_taken_grants_nothing(self):
        receiver = Receiver(ORDERED, (10, 1000))
        for number in range(1, 11):
            receiver.receive(message(number, bytes(100)))
        assert not receiver.order.is_window_due()

    def test_there_is_always_room_for_the_first_window(self):
        receiver = Receiver(ORDERED, (10, 1000))
        self.take(receiver, 1, 1)
        assert receiver.order.is_window_due()
        receiver.order.renew_window()
        assert receiver.inspect(message(2, bytes(1000))) == ["TAKEN"]

    def test_a_window_is_due_only_after_half_of_one_was_taken(self):
        receiver = Receiver(ORDERED, (10, 1000))
        self.take(receiver, 1, 10)
        receiver.order.renew_window()
        assert (receiver.order.granted_number, receiver.order.granted_total) == (16, 1510)
        self.take(receiver, 2, 100, count=5)
        assert not receiver.order.is_window_due()
        self.take(receiver, 7, 0)
        assert receiver.order.is_window_due()
        receiver.order.renew_window()
        assert (receiver.order.granted_number, receiver.order.granted_total) == (22, 2010)

    def test_a_lost_window_is_sent_again_with_the_values_of_then(self):
        receiver = Receiver(ORDERED, (10, 1000))
        self.take(receiver, 1, 10)
        receiver.order.renew_window()
        self.take(receiver, 2, 10)
        receiver.order.on_window_lost()
        assert receiver.order.is_window_due()
        receiver.order.renew_window()
        assert (receiver.order.granted_number, receiver.order.granted_total) == (17, 1520)
        assert not receiver.order.is_window_due()

    def test_no_window_is_above_what_a_varint_holds(self):
        receiver = Receiver(ORDERED, (MAX_NUMBER, MAX_NUMBER))
        self.take(receiver, 1, 10)
        assert not receiver.order.is_window_due()
        receiver.order.renew_window()
        assert receiver.order.granted_number == receiver.order.granted_total == MAX_NUMBER

    def test_the_game_cannot_take_what_was_not_delivered(self):
        receiver = Receiver(ORDERED)
        receiver.receive(message(2))
        with pytest.raises(ValueError, match="after 0 of 0 messages"):
            receiver.order.on_taken(1)

    @pytest.mark.parametrize("size", [-1, MAX_MESSAGE_SIZE + 1])
    def test_nor_a_message_of_a_size_that_none_has(self, size):
        receiver = Receiver(ORDERED)
        receiver.receive(message(1))
        with pytest.raises(ValueError, match=str(size)):
            receiver.order.on_taken(size)


class TestOtherChannels:
    def test_one_that_has_begun_all_messages_there_may_be_harms_no_whole_messages(self):
        hoarder = Receiver(UNORDERED)
        for number in range(1, MAX_INCOMPLETE_MESSAGES + 1):
            hoarder.receive(Part(number, bytes(64), 100))
        for kind in KINDS:
            other = Receiver(kind, reassembler=hoarder.reassembler, channel=20 + kind)
            assert other.receive(message(1, b"one"), message(2, b"two")) == [b"one", b"two"]
            assert other.inspect(Part(3, bytes(64), 100)) == ["NO_ROOM"]
        hoarder.channel.clear()
        assert other.inspect(Part(3, bytes(64), 100)) == ["TAKEN"]

    def test_one_that_waits_for_a_gap_harms_none(self):
        hoarder = Receiver(ORDERED)
        hoarder.receive(*(message(number, bytes(1000)) for number in range(2, 60)))
        other = Receiver(ORDERED, reassembler=hoarder.reassembler, channel=20)
        assert other.receive(message(1, b"one")) == [b"one"]

    def test_what_packets_have_claimed_is_forgotten_with_the_next(self):
        """A packet of many small messages for each channel leaves nothing behind."""
        reassembler = GridReassembler()
        channels = [Receiver(ORDERED, (500, 1000), reassembler, n) for n in range(64)]
        parts = [message(number, b"") for number in range(1, 300)]
        channels[0].inspect(*parts)
        reassembler.begin_packet()
        tracemalloc.start()
        try:
            for channel in channels:
                assert set(channel.inspect(*parts)) == {"TAKEN"}
            reassembler.begin_packet()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert held < 4096

    def test_frames_with_room_may_be_used_though_others_of_their_packet_have_none(self):
        receiver = Receiver(ORDERED)
        other = Receiver(UNORDERED, reassembler=receiver.reassembler, channel=20)
        for number in range(1, MAX_INCOMPLETE_MESSAGES + 1):
            other.receive(Part(number, bytes(64), 100))
        parts = [message(1, b"1"), Part(2, bytes(64), 100), message(3, b"3")]
        assert receiver.inspect(*parts) == ["TAKEN", "NO_ROOM", "TAKEN"]
        assert receiver.take(parts[0], parts[2]) == [b"1"]
        other.channel.clear()
        assert receiver.receive(*parts) == []
        assert receiver.receive(Part(2, bytes(36), 100, 64)) == [bytes(100), b"3"]

    def test_an_unused_channel_costs_next_to_nothing(self):
        reassembler = GridReassembler()
        tracemalloc.start()
        try:
            channels = [ChannelReceiver(n, n % 4, reassembler, *WINDOW) for n in range(256)]
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert held / len(channels) < 256


class TestMistakes:
    @pytest.mark.parametrize(("channel", "kind"), [(-1, 0), (256, 0), (1, -1), (1, 4)])
    def test_a_channel_that_no_table_holds_is_refused(self, channel, kind):
        with pytest.raises(ValueError, match=f"no channel {channel} of the kind {kind}"):
            ChannelReceiver(channel, kind, GridReassembler(), *WINDOW)

    @pytest.mark.parametrize("window", [(0, 1), (1, 0), (1 << 62, 1), (1, 1 << 62), (-1, 1)])
    def test_a_window_that_no_table_holds_is_refused(self, window):
        with pytest.raises(ValueError, match="a window has"):
            ChannelReceiver(1, ORDERED, GridReassembler(), *window)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            encode(2, message(1)),
            encode_frames([FrameFields(FrameType.PING)]),
            encode_frames([FrameFields(FrameType.PING)] * 2),
            encode_frames([FrameFields(FrameType.MESSAGE, 1, 1, data=b"x")] * 2),
        ],
    )
    def test_bytes_that_are_no_frame_of_the_channel_are_refused(self, data):
        receiver = Receiver(UNORDERED)
        for call in (
            lambda: receiver.channel.inspect_frame(data),
            lambda: receiver.channel.take_frame(data, 0.0),
        ):
            with pytest.raises(PacketError, match="MESSAGE or FRAGMENT of channel 1"):
                call()

    def test_a_contradiction_that_was_not_inspected_is_not_written(self):
        receiver = Receiver(UNORDERED)
        receiver.receive(Part(1, bytes(64), 100))
        with pytest.raises(AssertionError):
            receiver.take(Part(1, bytes(64), MAX_MESSAGE_SIZE, MAX_MESSAGE_SIZE // 128 * 64))


def test_the_fates_are_named_like_the_models():
    assert [(fate.name, fate.value) for fate in FrameFate] == [(f.name, f.value) for f in Fate]
