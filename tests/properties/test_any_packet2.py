"""Whatever a peer of protocol 2 seals: nothing is raised, and no bad packet has an effect.

The peer is one that holds the keys, so that nothing but the rules of the page stops it.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.endpoints2 import CHAT, LOOT, POSITION, SCORE, Hand, Side, accepted
from support.examples import examples
from support.wire import WireError
from support.wire2 import frames
from support.wire2.frames import pack_all, unpack_all

CHANNELS = st.sampled_from([0, CHAT, POSITION, SCORE, LOOT, 7])
NUMBERS = st.integers(0, 50) | st.integers(0, (1 << 62) - 1)
SHORT = st.binary(max_size=70)
FRAMES = st.one_of(
    st.builds(frames.Message, CHANNELS, NUMBERS.map(lambda n: n or 1), SHORT),
    st.builds(
        lambda channel, number, unit, size: frames.Fragment(
            channel, number or 1, (unit + 1) * 64 + size, unit, bytes([unit % 256]) * 64
        ),
        CHANNELS, NUMBERS, st.integers(0, 40), st.integers(0, 3000),
    ),
    st.builds(
        lambda newest, below: frames.Ack(0, ((max(newest - below, 1), max(newest, 1)),)),
        st.integers(1, 40), st.integers(0, 40),
    ),
    st.builds(frames.Window, CHANNELS, NUMBERS, NUMBERS),
    st.builds(frames.Connect, st.just(60), st.integers(0, 30), st.binary(min_size=1, max_size=30)),
    st.builds(frames.Accept, st.just(60), st.integers(0, 30), st.binary(min_size=1, max_size=30)),
    st.builds(frames.PathChallenge, st.binary(min_size=8, max_size=8)),
    st.builds(frames.PathResponse, st.binary(min_size=8, max_size=8)),
    st.builds(frames.Time, NUMBERS),
    st.builds(frames.TimeReply, NUMBERS, NUMBERS, NUMBERS),
    st.builds(frames.Reserved, st.integers(64, 127), SHORT),
    st.builds(frames.RetireConnectionId, NUMBERS),
    st.builds(frames.Ping),
)  # fmt: skip
PAYLOADS = st.lists(FRAMES, min_size=1, max_size=6).map(pack_all)
CLOSED = PAYLOADS.map(lambda payload: payload + pack_all([frames.Close(256, b"bye")]))
ANY = st.one_of(PAYLOADS, CLOSED, st.binary(min_size=1, max_size=60))


def state(side: Side) -> tuple[object, ...]:
    endpoint = side.endpoint
    return (
        len(side.delivered),
        endpoint.reassembler.held_bytes,
        endpoint.acked,
        endpoint.messages_received,
        endpoint.setup,
    )


@given(st.booleans(), st.booleans(), st.lists(ANY, min_size=1, max_size=12))
@settings(max_examples=examples(150), deadline=None)
def test_nothing_is_raised_and_a_bad_packet_has_no_effect(is_server, is_accepted, payloads):
    if is_accepted:
        side, hand = accepted(is_server)
    else:
        side, hand = Side(is_server), Hand(not is_server)
    now = 1.0
    for payload in payloads:
        before, held = state(side), side.endpoint.error_code
        side.receive(hand.make_of(payload), now)
        if side.endpoint.error_code and not held and "malformed" in side.drops[-1:]:
            pieces = _is_of_pieces(payload)
            assert pieces or state(side) == before
        assert side.endpoint.reassembler.held_bytes >= 0
        assert side.endpoint.inbox_share.held >= 0
        hand.take(side.datagrams(now))
        now += 0.02
    for _ in range(3):
        now += 2.0
        hand.take(side.datagrams(now))


def _is_of_pieces(payload: bytes) -> bool:
    """Pieces that contradict an earlier one are found when they are used."""
    try:
        return any(isinstance(f, frames.Connect | frames.Accept) for f in unpack_all(payload))
    except WireError:
        return False
