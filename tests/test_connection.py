"""A connection's life: messages, idle timeout, and the ways to close it."""

from __future__ import annotations

import pytest
from support.endpoints import Outcomes
from support.pair import FRAME, ConnectionPair, received

from mpgameserver._core.connection import DISCONNECT_TIMEOUT
from mpgameserver.connection import CloseReason, Connection, Timing, check_close
from mpgameserver.enums import CloseCode, ConnectionStatus, RetryMode
from mpgameserver.errors import NotConnectedError
from mpgameserver.netsim import LinkConditions
from mpgameserver.stats import ConnectionStats

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

    @pytest.mark.parametrize("ended", ["disconnect", "abort"])
    def test_send_after_the_end_names_the_status(self, ended: str) -> None:
        pair = ConnectionPair()
        getattr(pair.client, ended)(pair.now)
        with pytest.raises(NotConnectedError, match="DISCONNECT"):
            pair.client.send(b"too late")
        assert pair.client.pending == 0


class TestWhatMayBeSent:
    @pytest.mark.parametrize(
        "payload", [b"data", bytearray(b"data"), memoryview(b"data"), memoryview(b"atad")[::-1]]
    )
    def test_any_bytes_like_object_is_taken(self, payload: bytes) -> None:
        pair = ConnectionPair()
        pair.client.send(payload)
        pair.run(FRAME * 2)
        assert received(pair.server) == [b"data"]

    def test_it_is_copied_at_once(self) -> None:
        pair, payload = ConnectionPair(), bytearray(b"before")
        pair.client.send(payload)
        payload[:] = b"after!"
        pair.run(FRAME * 2)
        assert received(pair.server) == [b"before"]

    @pytest.mark.parametrize("payload", [None, "text", 5, [1, 2], object()])
    def test_anything_else_is_a_type_error_that_names_it(self, payload: bytes) -> None:
        client = ConnectionPair().client
        with pytest.raises(TypeError, match=f"bytes-like.*{type(payload).__name__}"):
            client.send(payload)
        assert client.pending == 0

    @pytest.mark.parametrize("mode", [-2, 2, 127, 128, 255, 256, 2**64, -(2**64)])
    def test_an_unknown_retry_mode_is_a_value_error_that_names_it(self, mode: int) -> None:
        client = ConnectionPair().client
        with pytest.raises(ValueError, match=rf"retry.*{mode}"):
            client.send(b"text", mode)
        assert client.pending == 0

    @pytest.mark.parametrize("mode", [None, "1", 1.0])
    def test_a_retry_mode_of_another_type_is_a_type_error(self, mode: int) -> None:
        with pytest.raises(TypeError, match="retry"):
            ConnectionPair().client.send(b"text", mode)

    def test_a_callback_that_cannot_be_called_is_a_type_error(self) -> None:
        client = ConnectionPair().client
        with pytest.raises(TypeError, match=r"callback.*int"):
            client.send(b"text", RetryMode.NONE, 5)  # type: ignore[arg-type]
        assert client.pending == 0

    def test_more_than_the_protocol_carries_is_a_value_error_with_the_limit(self) -> None:
        client = ConnectionPair().client
        limit = client.endpoint.send_queue.max_message
        assert limit == 8_389_011
        with pytest.raises(ValueError, match=str(limit)):
            client.send(bytes(limit + 1))
        assert client.pending == 0


class TestSlowPath:
    def test_acks_that_come_after_the_message_timeout_still_end_the_retrying(self) -> None:
        pair, outcomes = ConnectionPair(LinkConditions(latency=1.0)), Outcomes()
        for i in range(300):
            pair.client.send(b"%044d" % i, callback=outcomes.expect(i))
        pair.run(10)
        assert len(received(pair.server)) == 300
        assert outcomes.collect(pair.client) == {(i, True): 1 for i in range(300)}
        assert 2.0 <= pair.client.latency < 2.2
        sent_again = pair.client.endpoint.send_queue.retransmitted
        pair.run(3)
        assert pair.client.endpoint.send_queue.retransmitted == sent_again


class TestIdleTimeout:
    def test_idle_connections_keep_each_other_alive(self) -> None:
        pair = ConnectionPair()
        pair.run(30)
        assert pair.client.status == pair.server.status == ConnectionStatus.CONNECTED
        sent = ConnectionStats.of(pair.client.endpoint, pair.now).pkts_sent[-30:-1]
        assert all(9 <= packets <= 11 for packets in sent)

    def test_five_idle_seconds_drop_the_connection(self) -> None:
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
        assert outcomes.collect(pair.client) == {("reliable", False): 1}

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
        pair = ConnectionPair(DEAD, timing=Timing(keep_alive=0.5, idle_timeout=2.0))
        pair.run(1.9)
        assert pair.client.endpoint.sent == 3
        pair.run(0.2)
        assert pair.client.status == ConnectionStatus.DROPPED


class TestDisconnect:
    def test_both_sides_end_and_the_disconnect_is_replied_to_once(self) -> None:
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
        assert outcomes.collect(pair.client) == {(name, True): 1 for name in [*range(40), "large"]}

    def test_only_what_is_reliable_is_sent_again_and_all_is_settled(self) -> None:
        pair, outcomes = ConnectionPair(DEAD), Outcomes()
        for retry in RetryMode:
            pair.client.send(b"%d" % retry, retry, outcomes.expect(retry))
        pair.frame()
        pair.relink(LinkConditions())
        pair.client.disconnect(pair.now)
        pair.run(0.5)
        assert received(pair.server) == [b"-1"]
        assert pair.client.status == pair.server.status == ConnectionStatus.DISCONNECTED
        assert outcomes.collect(pair.client) == {(-1, True): 1, (0, False): 1, (1, False): 1}

    @pytest.mark.parametrize("side", ["client", "server"])
    @pytest.mark.parametrize("frame", [1 / 64, 1 / 30])
    def test_what_is_reliable_arrives_before_it_on_a_lossy_link(
        self, side: str, frame: float, seed: int
    ) -> None:
        arrived = 0
        for number in range(60):
            pair = ConnectionPair(LinkConditions(loss=0.3, latency=0.02), f"{seed}/{number}")
            pair.run(0.5)
            one, other = (
                (pair.client, pair.server) if side == "client" else (pair.server, pair.client)
            )
            one.send(b"why")
            one.disconnect(pair.now)
            while one.status == ConnectionStatus.DISCONNECTING:
                pair.frame(frame)
            arrived += received(other) == [b"why"]
        assert arrived >= 59

    def test_the_disconnect_leaves_as_soon_as_all_is_acked(self) -> None:
        pair = ConnectionPair(LATE)
        pair.run(0.5)
        pair.client.send(b"why")
        pair.client.disconnect(pair.now)
        start = pair.now
        while pair.client.status == ConnectionStatus.DISCONNECTING:
            pair.frame()
        assert pair.now - start < 0.1 + 0.1 + 0.025 + 5 * FRAME

    def test_the_disconnect_leaves_a_fifth_of_a_second_before_the_end_whatever_is_missing(
        self,
    ) -> None:
        pair = ConnectionPair(LinkConditions(rate=20_000), timing=Timing(idle_timeout=60.0))
        pair.client.send(b"x" * 500_000)
        pair.client.disconnect(pair.now)
        pair.run(DISCONNECT_TIMEOUT - 0.2 - 2 * FRAME)
        assert not pair.server.endpoint.disconnect_received
        assert pair.client.next_timer() <= DISCONNECT_TIMEOUT - 0.2
        pair.run(3 * FRAME)
        assert pair.client.next_timer() > pair.now
        pair.run(DISCONNECT_TIMEOUT)
        assert pair.server.status == ConnectionStatus.DISCONNECTED

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
        pair.run(DISCONNECT_TIMEOUT - 2 * FRAME)
        assert pair.client.status == ConnectionStatus.DISCONNECTING
        pair.run(3 * FRAME)
        assert pair.client.status == ConnectionStatus.DISCONNECTED
        assert outcomes.collect(pair.client) == {("large", False): 1}

    def test_what_arrived_before_it_can_still_be_read(self) -> None:
        pair = ConnectionPair()
        pair.server.send(b"last words")
        pair.server.disconnect(pair.now)
        pair.run(0.1)
        assert pair.client.status == ConnectionStatus.DISCONNECTED
        assert received(pair.client) == [b"last words"]

    def test_a_side_that_drains_ends_and_replies_when_the_other_disconnects(self) -> None:
        pair = ConnectionPair(LATE)
        pair.run(0.5)
        pair.server.send(b"never acked")
        pair.server.disconnect(pair.now)
        pair.server.advance(pair.now)
        pair.server.next_datagram(pair.now)  # lost
        pair.client.disconnect(pair.now)
        pair.run(0.3)
        assert pair.client.status == pair.server.status == ConnectionStatus.DISCONNECTED

    def test_two_disconnects_that_cross_end_both(self) -> None:
        pair = ConnectionPair(LATE)
        pair.client.disconnect(pair.now)
        pair.server.disconnect(pair.now)
        pair.run(0.2)
        assert pair.client.status == pair.server.status == ConnectionStatus.DISCONNECTED

    def test_abandoning_ends_at_once_and_tells_the_other_side(self) -> None:
        pair, outcomes = ConnectionPair(), Outcomes()
        pair.client.send(b"never leaves", callback=outcomes.expect("message"))
        last = pair.client.abort(pair.now)
        assert last is not None
        assert pair.client.status == ConnectionStatus.DISCONNECTED
        assert outcomes.collect(pair.client) == {("message", False): 1}
        pair.server.receive(last, pair.now)
        assert pair.server.status == ConnectionStatus.DISCONNECTED
        assert pair.client.abort(pair.now) is None

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
        calls = outcomes.collect(pair.client)
        assert sorted(name for name, _ in calls) == list(range(300))
        assert set(calls.values()) == {1}


class TestAfterTheEnd:
    @pytest.fixture
    def ended(self) -> Connection:
        pair = ConnectionPair()
        pair.run(0.1)
        pair.client.abort(pair.now)
        return pair.client

    def test_every_call_is_safe_and_says_nothing_more(self, ended: Connection) -> None:
        ended.disconnect(1.0)
        ended.advance(100.0)
        assert ended.receive(b"FSOC" + bytes(40), 1.0) is not None
        assert ended.next_datagram(1.0) is None
        assert ended.next_timer() == float("inf")
        assert ended.status == ConnectionStatus.DISCONNECTED
        assert len(ConnectionStats.of(ended.endpoint, 2.0).latency) == 300


class FrozenPair(ConnectionPair):
    """A client that does nothing for 8 s, as in a frame that loads a level.

    What is sent to it meanwhile waits in its socket; `SERVER_PACKETS` of it fit.
    """

    PAUSE = 8.0
    SERVER_PACKETS = 200

    def freeze(self) -> None:
        """Let the pause pass, and the client take what its socket holds, in its next frame."""
        self.client.send(b"for a round-trip time")
        self.run(2)
        received(self.server)
        buffered: list[bytes] = []
        until = self.now + self.PAUSE
        while self.now < until:
            self.now += FRAME
            self._serve()
            buffered += self.link.down.receive(self.now)
        for datagram in buffered[: self.SERVER_PACKETS]:
            self.client.receive(datagram, self.now)
        self.client.advance(self.now)
        while (datagram := self.client.next_datagram(self.now)) is not None:
            self.link.up.send(datagram, self.now)

    def _serve(self) -> None:
        for datagram in self.link.up.receive(self.now):
            self.server.receive(datagram, self.now)
        self.server.advance(self.now)
        while (datagram := self.server.next_datagram(self.now)) is not None:
            self.link.down.send(datagram, self.now)


class TestPause:
    """A frame of 8 s, with an idle timeout of 5 s."""

    PATIENT = Timing(idle_timeout=60.0)

    def test_a_side_that_drops_the_other_tells_it_once(self) -> None:
        pair = ConnectionPair(LATE)
        pair.run(1)
        last = pair.now
        while pair.server.status == ConnectionStatus.CONNECTED:
            pair.now += FRAME
            pair.server.advance(pair.now)
            pair.link.up.receive(pair.now)
        assert pair.now == pytest.approx(last + 5.0, abs=0.1)
        disconnect = pair.server.next_datagram(pair.now)
        assert disconnect is not None
        assert pair.server.next_datagram(pair.now) is None
        pair.client.receive(disconnect, pair.now)
        assert pair.client.status == ConnectionStatus.DISCONNECTED

    def test_the_disconnect_of_a_server_that_timed_out_ends_it_in_the_first_frame(self) -> None:
        pair = FrozenPair(LATE)
        pair.freeze()
        assert pair.server.status == ConnectionStatus.DROPPED
        assert pair.client.status == ConnectionStatus.DISCONNECTED

    def test_without_one_it_is_dropped_in_half_a_second(self) -> None:
        pair = FrozenPair(LinkConditions(latency=0.02))
        pair.SERVER_PACKETS = 30  # the DISCONNECT is lost, or it is a server that says nothing
        pair.freeze()
        assert pair.client.status == ConnectionStatus.CONNECTED
        assert pair.client.next_timer() <= pair.now + 0.5
        pair.run(0.5 - 2 * FRAME)
        assert pair.client.status == ConnectionStatus.CONNECTED
        pair.run(3 * FRAME)
        assert pair.client.status == ConnectionStatus.DROPPED

    def test_four_round_trips_are_waited_for_where_that_is_longer(self) -> None:
        """Of before the pause: an ack that waits in the socket makes the next sample one of 8 s."""
        pair = FrozenPair(LinkConditions(latency=0.15))
        pair.SERVER_PACKETS = 30
        pair.freeze()
        pair.run(4 * 0.3 - FRAME)
        assert pair.client.status == ConnectionStatus.CONNECTED
        pair.run(4 * 3 * FRAME)
        assert pair.client.status == ConnectionStatus.DROPPED

    @pytest.mark.parametrize("latency", [0.0, 0.05, 0.4])
    def test_a_server_with_a_longer_timeout_keeps_the_session(self, latency: float) -> None:
        pair = FrozenPair(LinkConditions(latency=latency))
        pair.server.retime(self.PATIENT)
        pair.freeze()
        pair.client.send(b"still here")
        pair.run(10)
        assert pair.client.status == pair.server.status == ConnectionStatus.CONNECTED
        assert received(pair.server) == [b"still here"]

    def test_it_does_so_over_a_lossy_link(self, seed: int) -> None:
        for number in range(20):
            pair = FrozenPair(LinkConditions(latency=0.02, loss=0.1), f"{seed}/{number}")
            pair.server.retime(self.PATIENT)
            pair.freeze()
            pair.run(2)
            assert pair.client.status == ConnectionStatus.CONNECTED

    def test_keep_alives_leave_often_until_it_is_known(self) -> None:
        pair = FrozenPair(LATE)
        pair.server.retime(self.PATIENT)
        pair.client.retime(Timing(keep_alive=2.0))
        pair.freeze()
        before = pair.client.endpoint.assembled
        pair.relink(DEAD)
        pair.run(0.45)
        assert pair.client.endpoint.assembled >= before + 4

    def test_and_then_at_their_interval_again(self) -> None:
        pair = FrozenPair(LATE)
        pair.server.retime(self.PATIENT)
        pair.client.retime(Timing(keep_alive=2.0))
        pair.freeze()
        pair.run(1)
        before = pair.client.endpoint.assembled
        pair.run(4)
        assert pair.client.endpoint.assembled - before == 7  # acks of the server's pings

    def test_a_pause_that_is_shorter_asks_for_nothing(self) -> None:
        pair = FrozenPair(LATE)
        pair.PAUSE = 4.5
        pair.freeze()
        pair.relink(DEAD)
        pair.run(1)
        assert pair.client.status == ConnectionStatus.CONNECTED


class TestCloseReason:
    """The code and the text that a game gives when it ends a session."""

    @pytest.mark.parametrize("code", [0, CloseCode.CLOSED, 256, 2**62 - 1])
    def test_of_the_game(self, code: int) -> None:
        assert check_close(code, "ä" * 128) == CloseReason(code, "ä" * 128)

    @pytest.mark.parametrize(
        ("code", "text", "error", "names"),
        [
            (1, "", ValueError, "not 1"),
            (255, "", ValueError, "not 255"),
            (-1, "", ValueError, "not -1"),
            (2**62, "", ValueError, "256 to 2"),
            (True, "", TypeError, "bool"),
            ("0", "", TypeError, "str"),
            (0, b"", TypeError, "bytes"),
            (0, "ä" * 129, ValueError, "not 258"),
            (0, "\ud800", ValueError, "UTF-8"),
        ],
    )
    def test_that_cannot_be_sent(
        self, code: int, text: str, error: type[Exception], names: str
    ) -> None:
        with pytest.raises(error, match=names):
            check_close(code, text)
