"""A server's datagrams of protocol 2 before there is a session: hellos, and packets of nobody."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from support.handshaking2 import (
    ML_KEM,
    SecondClient,
    addresses,
    version_1_hello,
    wire_with_filler,
)
from support.players2 import Player2
from support.serverworld import ADDRESS, DEAD, ROOT_KEY, World
from support.wire2 import handshake
from support.wire2.frames import Close, Message, Ping

from mpgameserver.enums import PacketType
from mpgameserver.netsim import LinkPair
from mpgameserver.server.admission2 import RESETS_AT_ONCE, RESETS_PER_SECOND
from mpgameserver.server.context import ServerContext
from mpgameserver.server.limits import Limits
from mpgameserver.wire.handshake import ServerHello, decode_clear_packet
from mpgameserver.wire.protocol2.hello import point_of

ROOT_POINT = point_of(ROOT_KEY.getPublicKey())
Arrivals = list[tuple[bytes, tuple[Any, ...]]]


class Server(World):
    """A server, and what it sends to whom."""

    def __init__(self, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(limits=limits, **options)

    def flood(self, arrivals: Arrivals, seconds: float) -> None:
        """Let so many seconds pass while the datagrams arrive, evenly."""
        frames = round(seconds * 120)
        for number in range(frames):
            self.now += 1 / 120
            self.serve(arrivals[number * len(arrivals) // frames :][: len(arrivals) // frames])


class TestHellos:
    @pytest.mark.parametrize("form", [1, 2])
    def test_one_that_offers_version_2_is_answered_in_it(self, form: int) -> None:
        server, client = Server(), SecondClient()
        [reply] = server.say(client.datagram(form))
        answer = client.read(reply, ROOT_POINT)
        assert answer.hello.form == form
        assert answer.parts.connection_id[0] == 0
        assert len(reply) <= len(client.datagram(form))
        assert server.engine.stats.half_open == server.engine.stats.hellos_answered == 1

    def test_the_same_one_gets_the_same_answer_without_work(self) -> None:
        server, client = Server(), SecondClient()
        first = server.say(client.datagram(2))
        assert server.say(client.datagram(2)) == first
        assert server.engine.stats.hellos_answered == server.engine.stats.answers_repeated == 1

    def test_one_without_an_offer_is_answered_in_version_1_with_the_mark(self) -> None:
        server, client = Server(), SecondClient()
        [reply] = server.say(version_1_hello(client))
        hello = ServerHello.decode(decode_clear_packet(reply, PacketType.SERVER_HELLO).message)
        assert hello.salt.endswith(b"MPG2DOWN")
        hello.verify(ROOT_KEY.getPublicKey())

    def test_so_is_one_whose_offer_does_not_name_version_2(self) -> None:
        server, client = Server(), SecondClient(versions=b"\x03")
        [reply] = server.say(client.datagram(1))
        hello = ServerHello.decode(decode_clear_packet(reply, PacketType.SERVER_HELLO).message)
        assert hello.salt.endswith(b"MPG2DOWN")

    def test_a_server_without_protocol_1_drops_both(self) -> None:
        server = Server(minimum_protocol=2)
        hellos = [version_1_hello(SecondClient()), SecondClient(versions=b"\x03").datagram(1)]
        assert server.say(*hellos) == []
        assert server.engine.drops == {"old protocol": 2}
        assert len(server.say(SecondClient().datagram(1))) == 1

    def test_one_to_another_service_is_dropped(self) -> None:
        server = Server(audience="arena")
        assert server.say(SecondClient().datagram(1), SecondClient("lobby").datagram(2)) == []
        assert server.engine.drops == {"other audience": 2}
        assert len(server.say(SecondClient("arena").datagram(2))) == 1

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda hello: hello[:-1], "malformed hello"),
            (lambda hello: hello + b"\0", "malformed hello"),
            (lambda hello: hello[:1] + b"\x01" + hello[2:], "other worker"),
            (lambda hello: hello[:1] + b"\x54" + hello[2:], "other worker"),
            (lambda hello: hello[:2] + b"\x02" + hello[3:], "malformed hello"),
            (lambda hello: hello[:2] + b"\x04" + hello[3:], "malformed hello"),
            (lambda hello: hello[:3] + b"\x05" + hello[4:], "malformed hello"),
            (lambda hello: b"\x04", "malformed hello"),
        ],
    )
    def test_a_malformed_client_hello2_is_dropped(self, change: Any, reason: str) -> None:
        server = Server()
        assert server.say(change(SecondClient().datagram(2))) == []
        assert server.engine.drops == {reason: 1}

    def test_an_offer_that_does_not_parse_is_dropped_and_not_answered_in_version_1(self) -> None:
        server = Server()
        hello = wire_with_filler(SecondClient().datagram(1), b"MPGOFFER\x00\x00\x05short")
        assert server.say(hello) == []
        assert server.engine.drops == {"malformed hello": 1}

    def test_a_key_that_is_not_on_the_curve_is_dropped_after_the_work(self) -> None:
        server, client = Server(), SecondClient()
        client.point = client.point[:-1] + bytes([client.point[-1] ^ 1])
        hello = client.hellos[2]._replace(key=client.point)
        assert server.say(client.pack(hello)) == []
        assert server.engine.drops == {"malformed hello": 1}
        assert server.engine.stats.half_open == 0

    def test_who_gets_no_reply_at_all_is_counted_by_the_reason(self) -> None:
        server = Server()
        server.context.setBlockList(["192.0.2.7"])
        server.run(0.1)
        assert server.say(SecondClient().datagram(1), address=("192.0.2.7", 5)) == []
        assert server.say(SecondClient().datagram(2), address=("192.0.2.1", 0)) == []
        assert server.engine.drops == {"blocked": 1, "no port": 1}

    def test_a_stopping_server_answers_nobody(self) -> None:
        server = Server()
        server.join()
        server.context.shutdown()
        server.turn()
        assert server.say(SecondClient().datagram(2)) == []
        assert server.engine.drops["stopping"] == 1

    def test_the_idle_timeout_of_the_server_is_in_its_answers(self) -> None:
        server, client = Server(), SecondClient()
        server.context.setConnectionTimeout(7.5)
        server.run(0.1)
        [reply] = server.say(client.datagram(2))
        assert client.read(reply, ROOT_POINT).parts.extensions[2] == (7500).to_bytes(4, "big")

    @pytest.mark.skipif(ML_KEM is None, reason="this cryptography has no ML-KEM")
    def test_a_client_whose_hello_has_no_key_may_send_it_in_kem_frames(self) -> None:
        server, client = Server(), SecondClient()
        [reply] = server.say(client.datagram(2))
        assert client.read(reply, ROOT_POINT).parts.extensions[handshake.ML_KEM] == b""


class TestLoad:
    def test_under_load_a_hello_gets_a_retry_and_in_with_its_cookie(self) -> None:
        server = Server(Limits(handshake_rate=20.0))
        places = addresses()
        flood = [(SecondClient().datagram(2), next(places)) for _ in range(240)]
        server.flood(flood, 1.0)
        stats = server.engine.stats
        assert stats.hellos_answered <= 22
        assert stats.retries >= 200
        client = SecondClient()
        [retry] = server.say(client.datagram(2))
        cookie = client.cookie(retry)
        assert len(retry) == 4 + 8 + 1 + 1 + len(cookie)
        server.run(0.1)  # at the rate
        [reply] = server.say(client.datagram(2, cookie))
        client.read(reply, ROOT_POINT)

    def test_both_protocols_share_one_rate_and_take_turns(self) -> None:
        server = Server(Limits(handshake_rate=40.0))
        clients = [SecondClient() for _ in range(240)]
        places = addresses()
        old = [(version_1_hello(client), next(places)) for client in clients]
        server.flood(old, 0.25)  # its queue never empties from now on
        for client, place in zip(clients[:30], places, strict=False):
            for retry in server.say(client.datagram(2), address=place):
                server.say(client.datagram(2, client.cookie(retry)), address=place)
        before = Counter(datagram[:1] for datagram, _ in server.sent)
        server.run(1.0)
        after = Counter(datagram[:1] for datagram, _ in server.sent)
        answered = after - before
        assert 36 <= answered.total() <= 44
        assert answered[b"\x04"] >= 18

    def test_limits_may_change_while_it_serves(self) -> None:
        server = Server(Limits(handshake_rate=1.0))
        places = addresses()
        for _ in range(5):
            server.say(SecondClient().datagram(2), address=next(places))
        server.context.limits = replace(server.context.limits, handshake_rate=1000.0)
        server.run(1.5)
        before = server.engine.stats.hellos_answered
        server.flood([(SecondClient().datagram(2), next(places)) for _ in range(24)], 0.2)
        assert server.engine.stats.hellos_answered == before + 24


class TestPacketsOfNobody:
    @pytest.mark.parametrize(
        ("datagram", "reason"),
        [
            (b"\x08\x01" + bytes(25), "no session"),
            (b"\x0f\x53" + bytes(1198), "no session"),
            (b"\x08" + bytes(25), "too short"),
            (b"\x0c", "too short"),
            (b"", "no session"),
            (b"\x03" + bytes(60), "no session"),
            (b"\x10" + bytes(60), "no session"),
            (b"\x80" + bytes(60), "no session"),
        ],
    )
    def test_one_is_dropped_and_counted(self, datagram: bytes, reason: str) -> None:
        server = Server()
        assert server.say(datagram) == []
        assert server.engine.drops == {reason: 1}

    def test_none_of_them_harms_a_session_of_protocol_1_at_its_address(self) -> None:
        server = Server()
        player = server.join(*ADDRESS)
        server.say(b"\x08" + bytes(40), b"\x04" + bytes(40), b"\x0f", b"", address=ADDRESS)
        player.send(b"still here")
        server.run(0.2)
        assert server.handler.messages == [b"still here"]
        assert player.connection is not None
        assert player.connection.is_live


class TestResets:
    """A server that has lost its sessions says so, with the token that each client was given."""

    def test_a_client_of_a_server_that_restarted_gets_its_token(self) -> None:
        before = World()
        player = Player2(before).join()
        packet = player.peer.packet_of(Ping())
        [reply] = Server().say(packet)
        assert reply == b"\x04\xff\x04" + player.peer.reset_token
        assert len(reply) == 19
        assert handshake.at_client(reply, []) == player.peer.reset_token

    def test_only_the_worker_that_the_id_names_answers(self) -> None:
        assert Server().say(b"\x08\x01" + bytes(30)) == []

    def test_it_is_not_said_for_a_live_session_nor_one_that_has_just_closed(self) -> None:
        server = Server()
        player = Player2(server).join()
        forged = b"\x08" + player.connection_id + bytes(30)
        assert server.say(forged, address=("10.7.7.7", 7)) == []
        player.peer.close()
        server.run(0.5)
        assert len(server.engine.sessions) == 0
        assert server.say(forged, address=("10.7.7.7", 7)) == []
        server.run(4)
        assert len(server.say(forged, address=("10.7.7.7", 7))) == 1
        assert len(server.engine.closed) == 0

    def test_it_is_rationed(self) -> None:
        server = Server()
        packets = [b"\x0a\0" + bytes([n % 256, n // 256]) + bytes(30) for n in range(1000)]
        assert len(server.say(*packets)) == RESETS_AT_ONCE
        server.run(0.1)
        assert len(server.say(*packets)) == pytest.approx(0.1 * RESETS_PER_SECOND, abs=6)

    def test_blocked_hosts_get_none(self) -> None:
        server = Server()
        server.context.setBlockList([ADDRESS[0]])
        server.run(0.1)
        assert server.say(b"\x08\0" + bytes(30)) == []


class TestClosing:
    def test_a_close_whose_ack_was_lost_is_acked_again(self) -> None:
        server = Server()
        player = Player2(server).join()
        player.is_held = True
        closing = player.peer.packet_of(Close(0, b""))
        assert len(server.say(closing, address=player.address)) == 1
        assert len(server.engine.sessions) == 0
        again = player.peer.packet_of(Close(0, b""))
        [reply] = server.say(again, address=player.address)
        player.peer.receive(reply)
        assert player.peer._newest_acked == player.peer._session.newest_sent
        assert server.say(b"\x08" + player.connection_id + bytes(40), address=player.address) == []

    def broken(self) -> tuple[Server, Player2]:
        """A session that was closed for a broken rule, with a CLOSE that was lost."""
        server = Server()
        player = Player2(server).join()
        server.run(1.0)
        player.is_held, player.links = True, LinkPair(DEAD)
        server.say(player.peer.packet_of(Message(0, 0, b"")), address=player.address)
        server.run(0.2)
        assert server.handler.reasons == ["protocol violated"]
        return server, player

    def test_what_comes_after_a_close_for_a_broken_rule_is_answered_with_it(self) -> None:
        """At most once in a probe timeout (RFC 9000 section 10.2.1)."""
        server, player = self.broken()
        server.run(1.0)
        packets = [player.peer.packet_of(Ping()) for _ in range(20)]
        [again] = server.say(*packets, address=player.address)
        player.peer.receive(again)
        assert player.closed == (1, "")

    def test_a_packet_that_breaks_a_rule_again_is_answered_with_it_too(self) -> None:
        server, player = self.broken()
        server.run(1.0)
        packet = player.peer.packet_of(Message(0, 0, b""))
        assert len(server.say(packet, address=player.address)) == 1

    def test_no_replay_nor_forgery_is(self) -> None:
        server, player = self.broken()
        server.run(1.0)
        packet = player.peer.packet_of(Ping())
        assert len(server.say(packet, address=player.address)) == 1
        server.run(1.0)
        sealed = [datagram for datagram in player.sent if 8 <= datagram[0] < 16]
        forged = packet[:-1] + bytes([packet[-1] ^ 1])
        assert server.say(packet, forged, *sealed, address=("10.7.7.7", 7)) == []

    def test_nor_is_the_ack_of_it(self) -> None:
        server, player = self.broken()
        server.run(1.0)
        [closing] = server.say(player.peer.packet_of(Ping()), address=player.address)
        player.peer.receive(closing)
        for _ in range(5):
            server.run(0.2)
            for datagram in player.peer.datagrams(server.now):
                assert server.say(datagram, address=player.address) == []

    def test_what_comes_after_a_kick_at_once_is_answered_too(self) -> None:
        server = Server()
        player = Player2(server).join()
        server.run(1.0)
        player.is_held, player.links = True, LinkPair(DEAD)
        server.context.setBlockList([player.address[0]])
        server.run(0.1)
        server.context.setBlockList([])
        server.run(1.0)
        assert len(server.engine.sessions) == 0
        packets = [player.peer.packet_of(Ping()) for _ in range(20)]
        assert len(server.say(*packets, address=player.address)) == 1

    def test_those_that_are_kept_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mpgameserver.server.closed.MAX_CLOSED", 3)
        server = Server()
        players = [Player2(server).join() for _ in range(5)]
        for player in players:
            player.peer.close()
        server.run(0.5)
        assert len(server.engine.closed) == 3
        assert players[-1].connection_id in server.engine.closed
        assert players[0].connection_id not in server.engine.closed


def test_the_settings_of_protocol_2_are_checked_where_they_are_given() -> None:
    handler = World().handler
    for wrong, error in [(0, ValueError), (3, ValueError), (True, TypeError), ("2", TypeError)]:
        with pytest.raises(error, match="minimum_protocol must be"):
            ServerContext(handler, minimum_protocol=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="audience must have at most 40 bytes"):
        ServerContext(handler, audience="é" * 21)
