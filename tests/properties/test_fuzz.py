"""The corpus once more, a few inputs without guidance, and the check that the checks bite."""

from __future__ import annotations

from itertools import islice

import pytest
from fuzz import keyed, network, parsers
from fuzz.inputs import Script
from fuzz.inventing import TARGETS, corpus, inputs, target
from support import wire
from support.endpoints import Peer, new_endpoint
from support.visible import checked

from mpgameserver.errors import PacketError

UNGUIDED = {
    "parsers": 3000,
    "protocol2": 1500,
    "session": 300,
    "session2": 300,
    "serving": 60,
    "serving2": 30,
}


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_keeps_every_promise(name: str) -> None:
    for path in corpus(name):
        try:
            target(name)(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{name}: {path}") from error


@pytest.mark.parametrize("name", TARGETS)
def test_so_do_inputs_without_guidance(name: str, seed: int) -> None:
    for data in islice(inputs(name, seed), UNGUIDED[name]):
        try:
            target(name)(data)
        except Exception as error:
            raise AssertionError(f"{name}: {data.hex()}") from error


def test_the_same_seed_makes_the_same_inputs(seed: int) -> None:
    first, second, other = (list(islice(inputs("session", s), 20)) for s in (seed, seed, seed + 1))
    assert first == second != other


class TestScript:
    def test_values_come_from_the_front_in_the_bytes_that_they_need(self):
        script = Script(bytes.fromhex("05 0102 01020304 02 aabb cc"))
        assert script.below(256) == 5
        assert script.below(1 << 16) == 0x0102
        assert script.below(1 << 32) == 0x01020304
        assert script.bytes(5) == b"\xaa\xbb"
        assert script.rest() == b"\xcc"
        assert script.is_over

    def test_when_the_bytes_have_run_out_every_value_is_0(self):
        script = Script(b"")
        assert script.is_over
        assert (script.below(7), script.below(1 << 20), script.bytes(9)) == (0, 0, b"")
        assert script.pick("abc") == "a"
        assert not script.chance(2)


class TestTheChecks:
    """Each breach, made by hand, is found."""

    def test_a_refused_datagram_that_changes_something(self):
        endpoint = new_endpoint()

        def refuse_badly() -> str:
            endpoint.receive(b"", 0.0)
            endpoint.send_queue.add(b"message")
            return "misdirected"

        with pytest.raises(AssertionError, match="and changed"):
            checked(endpoint, refuse_badly)

    def test_a_refused_datagram_under_another_reason(self):
        endpoint = new_endpoint()
        with pytest.raises(AssertionError, match="after authentication failed"):
            checked(endpoint, lambda: endpoint.receive(b"", 0.0) and "authentication failed")

    def test_an_accepted_datagram_that_counts_as_dropped(self):
        endpoint = new_endpoint()
        with pytest.raises(AssertionError, match="counted as dropped"):
            checked(endpoint, lambda: endpoint.receive(b"", 0.0) and None)

    def test_a_datagram_of_nobody_that_is_taken(self):
        way = network.Network(Script(b"")).ways[0]
        forged = Peer(is_server=False).make()
        with pytest.raises(AssertionError, match="what nobody sent"):
            way.deliver(forged, 0.0)

    def test_a_message_that_was_never_sent_or_was_altered(self):
        talker = network.Network(Script(b"")).ways[0].sender
        with pytest.raises(AssertionError, match="never sent"):
            talker.index_of(bytes(20))
        talker.say(Script(b"\2"))
        talker.index_of(talker.message(0))
        with pytest.raises(AssertionError, match="altered"):
            talker.index_of(talker.message(0)[:-1] + b"?")

    def test_a_callback_that_comes_twice_or_not_at_all(self):
        talker = network.Network(Script(b"")).ways[0].sender
        talker.say(Script(b""))
        talker.leave(0.0)
        talker._on_settled(0, True)
        with pytest.raises(AssertionError, match="called again"):
            talker._on_settled(0, True)
        talker.results.clear()
        talker.connection.abort(0.0)
        talker.connection.take_completed()
        with pytest.raises(AssertionError, match="callbacks missing"):
            talker.end(0.0)

    def test_a_true_for_what_was_not_acked(self):
        peer = keyed.Peer(Script(b"\0"))
        peer.talker.say(Script(b""))
        peer._pause()
        peer.talker.settle = lambda: [(0, True)]
        with pytest.raises(AssertionError, match="not acked"):
            peer._look()

    def test_a_good_packet_that_is_refused_and_a_bad_one_that_is_taken(self, monkeypatch):
        peer = keyed.Peer(Script(b"\1"))
        good = peer._packets.packet([peer._packets.plain(wire.APP, b"good")])
        monkeypatch.setattr(keyed, "checked", lambda endpoint, receive: "authentication failed")
        with pytest.raises(AssertionError, match="refused a good packet"):
            peer._deliver(good)
        monkeypatch.setattr(keyed, "checked", lambda endpoint, receive: None)
        with pytest.raises(AssertionError, match="must refuse"):
            peer._deliver(b"noise")

    def test_a_parser_that_takes_what_the_second_codec_refuses(self, monkeypatch):
        parsers.payload(Script(b"\2\6\1"))
        monkeypatch.setattr(parsers, "decode_payload", lambda *_: [])
        with pytest.raises(AssertionError):
            parsers.payload(Script(b"\2\6\1"))

    def test_a_parser_that_raises_something_else(self, monkeypatch):
        def raise_another(*_: object) -> None:
            raise KeyError

        monkeypatch.setattr(parsers, "decode_payload", raise_another)
        with pytest.raises(KeyError):
            parsers.payload(Script(b"\2\6\1"))
        assert not issubclass(PacketError, KeyError)
