"""A connection's life: messages, silence, and the kinds of goodbye."""

from __future__ import annotations

import pytest
from support.pair import FRAME, ConnectionPair, Outcomes, received

from mpgameserver._core.lifecycle import GOODBYE_TIMEOUT
from mpgameserver.connection import Connection
from mpgameserver.enums import ConnectionStatus, RetryMode
from mpgameserver.errors import NotConnectedError
from mpgameserver.netsim import LinkConditions
from mpgameserver.timing import Timing

DEAD = LinkConditions(loss=1.0)
LATE = LinkConditions(latency=0.05)


class TestMessages:
    def test_a_message_arrives_with_its_number(self) -> None:
        pair = ConnectionPair()
        pair.client.send(b"first")
        pair.client.send(b"second", RetryMode.NONE)
        pair.run(FRAME * 2)
        assert pair.server.endpoint.take_messages() == [(1, b"first"), (2, b"second")]

    def test_latency_is_zero_before_the_first_ack_and_then_the_round_trip(self) -> None:
        pair = ConnectionPair(LATE)
        assert pair.client.latency == 0.0
        for _ in range(64):
            pair.client.send(b"ping", RetryMode.NONE)
            pair.server.send(b"pong", RetryMode.NONE)
            pair.frame()
        assert 0.1 <= pair.client.latency <= 0.1 + 3 * FRAME

    def test_pending_counts_the_bytes_that_never_left(self) -> None:
        pair = ConnectionPair()
        pair.client.send(b"x" * 100)
        pair.client.send(b"y" * 5000)
        assert pair.client.pending == 5100
        pair.frame()
        assert pair.client.pending == 0

    @pytest.mark.parametrize("ended", ["disconnect", "abandon"])
    def test_send_after_the_end_names_the_status(self, ended: str) -> None:
        pair = ConnectionPair()
        getattr(pair.client, ended)(pair.now)
        with pytest.raises(NotConnectedError, match="DISCONNECT"):
            pair.client.send(b"too late")
        assert pair.client.pending == 0


class TestSlowPath:
    def test_acks_that_come_after_the_message_timeout_still_end_the_retrying(self) -> None:
        pair, outcomes = ConnectionPair(LinkConditions(latency=1.0)), Outcomes()
        for i in range(300):
            pair.client.send(b"%044d" % i, callback=outcomes.expect(i))
        pair.run(10)
        assert len(received(pair.server)) == 300
        assert sorted(outcomes.collect(pair.client), key=str) == sorted(
            [(i, True) for i in range(300)], key=str
        )
        assert 2.0 <= pair.client.latency < 2.2
        sent_again = pair.client.endpoint.outbox.retransmitted
        pair.run(3)
        assert pair.client.endpoint.outbox.retransmitted == sent_again


class TestSilence:
    def test_idle_connections_keep_each_other_alive(self) -> None:
        pair = ConnectionPair()
        pair.run(30)
        assert pair.client.status == pair.server.status == ConnectionStatus.CONNECTED
        sent = pair.client.stats(pair.now).pkts_sent[-30:-1]
        assert all(9 <= packets <= 11 for packets in sent)

    def test_five_seconds_of_silence_drop_the_connection(self) -> None:
        pair = ConnectionPair()
        pair.run(1)
        pair.relink(DEAD)
        pair.run(4.8)
        assert pair.client.status == ConnectionStatus.CONNECTED
        pair.run(0.5)
        assert pair.client.status == pair.server.status == ConnectionStatus.DROPPED

    def test_a_drop_settles_what_is_outstanding_as_not_acked(self) -> None:
        pair, outcomes = ConnectionPair(DEAD), Outcomes()
        pair.client.send(b"x", callback=outcomes.expect("reliable"))
        pair.run(5.1)
        assert outcomes.collect(pair.client) == [("reliable", False)]

    def test_a_blackout_shorter_than_that_is_survived(self) -> None:
        pair = ConnectionPair()
        pair.run(1)
        pair.relink(DEAD)
        pair.client.send(b"through the night")
        pair.run(4)
        pair.relink(LinkConditions())
        pair.run(1.2)
        assert received(pair.server) == [b"through the night"]

    def test_other_intervals_are_obeyed(self) -> None:
        pair = ConnectionPair(DEAD, timing=Timing(keep_alive=0.5, silence=2.0))
        pair.run(1.9)
        assert pair.client.endpoint.sent == 3
        pair.run(0.2)
        assert pair.client.status == ConnectionStatus.DROPPED


class TestGoodbye:
    def test_both_sides_end_and_the_goodbye_is_answered_once(self) -> None:
        pair = ConnectionPair(LATE)
        pair.run(0.5)
        pair.client.disconnect(pair.now)
        assert pair.client.status == ConnectionStatus.DISCONNECTING
        pair.run(0.2)
        assert pair.client.status == pair.server.status == ConnectionStatus.DISCONNECTED
        assert pair.server.next_datagram(pair.now) is None

    def test_what_was_queued_before_leaves_ahead_of_it(self) -> None:
        pair, outcomes = ConnectionPair(LATE), Outcomes()
        messages = [bytes([i]) * 700 for i in range(40)]
        for i, message in enumerate(messages):
            pair.client.send(message, i % 3 - 1, outcomes.expect(i))
        pair.client.send(b"z" * 10_000, callback=outcomes.expect("large"))
        pair.client.disconnect(pair.now)
        pair.run(0.8)
        assert sorted(received(pair.server)) == [*messages, b"z" * 10_000]
        assert pair.client.status == ConnectionStatus.DISCONNECTED
        assert sorted(outcomes.collect(pair.client), key=str) == sorted(
            [*((i, True) for i in range(40)), ("large", True)], key=str
        )

    def test_nothing_is_sent_a_second_time_after_it(self) -> None:
        pair, outcomes = ConnectionPair(DEAD), Outcomes()
        for retry in RetryMode:
            pair.client.send(b"lost", retry, outcomes.expect(retry))
        pair.frame()
        pair.relink(LinkConditions())
        pair.client.disconnect(pair.now)
        pair.run(1)
        assert received(pair.server) == []
        assert dict(outcomes.collect(pair.client)) == dict.fromkeys(RetryMode, False)
        assert len(outcomes.calls) == 3

    def test_it_is_repeated_until_it_is_acked(self) -> None:
        pair = ConnectionPair()
        pair.run(0.5)
        pair.relink(DEAD)
        pair.client.disconnect(pair.now)
        pair.run(0.3)
        pair.relink(LinkConditions())
        pair.run(0.5)
        assert pair.server.status == ConnectionStatus.DISCONNECTED

    def test_it_gives_up_after_one_second(self) -> None:
        pair, outcomes = ConnectionPair(DEAD), Outcomes()
        pair.client.send(b"x" * 500_000, callback=outcomes.expect("large"))
        pair.client.disconnect(pair.now)
        pair.run(GOODBYE_TIMEOUT - 2 * FRAME)
        assert pair.client.status == ConnectionStatus.DISCONNECTING
        pair.run(3 * FRAME)
        assert pair.client.status == ConnectionStatus.DISCONNECTED
        assert outcomes.collect(pair.client) == [("large", False)]

    def test_what_arrived_before_it_can_still_be_read(self) -> None:
        pair = ConnectionPair()
        pair.server.send(b"last words")
        pair.server.disconnect(pair.now)
        pair.run(0.1)
        assert pair.client.status == ConnectionStatus.DISCONNECTED
        assert received(pair.client) == [b"last words"]

    def test_two_goodbyes_that_cross_end_both(self) -> None:
        pair = ConnectionPair(LATE)
        pair.client.disconnect(pair.now)
        pair.server.disconnect(pair.now)
        pair.run(0.2)
        assert pair.client.status == pair.server.status == ConnectionStatus.DISCONNECTED

    def test_abandoning_ends_at_once_and_tells_the_other_side(self) -> None:
        pair, outcomes = ConnectionPair(), Outcomes()
        pair.client.send(b"never leaves", callback=outcomes.expect("message"))
        last = pair.client.abandon(pair.now)
        assert last is not None
        assert pair.client.status == ConnectionStatus.DISCONNECTED
        assert outcomes.collect(pair.client) == [("message", False)]
        pair.server.receive(last, pair.now)
        assert pair.server.status == ConnectionStatus.DISCONNECTED
        assert pair.client.abandon(pair.now) is None

    @pytest.mark.parametrize("bad_link", [LinkConditions(loss=0.3, latency=0.02)])
    def test_every_callback_comes_once_however_it_ends(
        self, bad_link: LinkConditions, seed: int
    ) -> None:
        pair, outcomes = ConnectionPair(bad_link, seed), Outcomes()
        for i in range(300):
            pair.client.send(bytes(i * 20), i % 3 - 1, outcomes.expect(i))
        pair.run(0.5)
        pair.client.disconnect(pair.now)
        pair.run(1.2)
        assert sorted(name for name, _ in outcomes.collect(pair.client)) == list(range(300))


class TestAfterTheEnd:
    @pytest.fixture
    def ended(self) -> Connection:
        pair = ConnectionPair()
        pair.run(0.1)
        pair.client.abandon(pair.now)
        return pair.client

    def test_every_call_is_safe_and_says_nothing_more(self, ended: Connection) -> None:
        ended.disconnect(1.0)
        ended.advance(100.0)
        assert ended.receive(b"FSOC" + bytes(40), 1.0) is not None
        assert ended.next_datagram(1.0) is None
        assert ended.next_timer() == float("inf")
        assert ended.status == ConnectionStatus.DISCONNECTED
        assert len(ended.stats(2.0).latency) == 300
