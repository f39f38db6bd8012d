"""Clients of protocol 2 whose address changes, and those who would have them believed to."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from support.players2 import Player2
from support.serverworld import Recorder, World
from support.wire2.frames import Message, Ping

from mpgameserver.enums import RetryMode
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.paths import AMPLIFICATION, MAX_CANDIDATES

ELSEWHERE = ("198.51.100.7", 4000)
STRANGER = ("203.0.113.9", 666)


def to(address: tuple[object, ...], world: World, since: int = 0) -> list[bytes]:
    return [datagram for datagram, place in world.sent[since:] if place == address]


class TestMoves:
    @pytest.mark.parametrize("loss", [0.0, 0.2])
    def test_a_client_whose_address_changes_plays_on(self, loss, seed):
        recorder = Recorder()
        world = World(recorder, LinkConditions(latency=0.03, loss=loss), seed)
        player = Player2(world).join()
        (client,) = recorder.clients
        for n in range(40):
            if n == 10:
                player.address = ELSEWHERE
            player.peer.say(0, b"up %d" % n)
            client.send(b"down %d" % n, RetryMode.RETRY_ON_TIMEOUT)
            world.run(0.1)
        world.run(3)
        assert sorted(recorder.messages) == sorted(b"up %d" % n for n in range(40))
        assert sorted(m for _, m in player.messages) == sorted(b"down %d" % n for n in range(40))
        assert client.addr == ELSEWHERE
        assert recorder.named("disconnect") == []

    def test_it_takes_a_round_trip_or_two(self):
        world = World(conditions=LinkConditions(latency=0.03))
        player = Player2(world).join()
        world.run(1)
        (session,) = world.engine.sessions
        player.address = ELSEWHERE
        player.peer.say(0, b"here I am")
        world.run(0.15)
        assert session.address == ELSEWHERE

    def test_the_host_is_counted_where_it_is(self):
        world = World()
        player = Player2(world).join()
        home = player.address
        player.address = ELSEWHERE
        player.peer.say(0, b"here I am")
        world.run(1)
        limits = replace(world.engine.settings.limits, clients_per_host=1)
        sessions = world.engine.sessions
        assert sessions.no_room(ip_address(ELSEWHERE[0]), limits) == "host full"
        assert sessions.no_room(ip_address(home[0]), limits) is None
        player.peer.close()
        world.run(2)
        assert sessions.no_room(ip_address(ELSEWHERE[0]), limits) is None

    def test_who_comes_back_at_once_needs_no_challenge(self):
        world = World(conditions=LinkConditions(latency=0.03))
        player = Player2(world).join()
        home = player.address
        world.run(1)
        (session,) = world.engine.sessions
        player.address = ELSEWHERE
        player.peer.say(0, b"gone")
        world.run(0.15)
        assert session.address == ELSEWHERE
        player.address = home
        player.peer.say(0, b"back")
        world.run(0.05)
        assert session.address == home


class TestStrangers:
    def hear(self, world: World, player: Player2, count: int = 1) -> None:
        """Let a stranger on the path send copies of new packets, before the packets arrive."""
        for _ in range(count):
            copy = player.peer.packet_of(Ping(), Message(0, 900 + len(world.sent), b"copied"))
            world.serve([(copy, STRANGER)])

    def test_a_copy_from_elsewhere_moves_nothing(self):
        world = World()
        player = Player2(world).join()
        (session,) = world.engine.sessions
        home = player.address
        self.hear(world, player, 3)
        session.client.send(b"for the player alone")
        world.run(1)
        assert session.address == home
        assert (0, b"for the player alone") in player.messages
        assert 0 < len(to(STRANGER, world)) <= 4

    def test_a_stranger_gets_at_most_three_times_what_it_has_sent(self):
        world = World()
        player = Player2(world).join()
        since, sent = len(world.sent), 0
        for _ in range(40):
            copy = player.peer.packet_of(Ping())
            sent += len(copy)
            world.serve([(copy, STRANGER)])
            assert sum(map(len, to(STRANGER, world, since))) <= AMPLIFICATION * sent
            world.run(0.05)
        assert max(len(datagram) for datagram in to(STRANGER, world, since)) == 1200

    def test_there_are_at_most_four_candidates(self):
        world = World()
        player = Player2(world).join()
        for n in range(20):
            world.serve([(player.peer.packet_of(Ping()), ("203.0.113.9", 1000 + n))])
        (paths,) = world.engine.paths._sessions.values()
        assert len(paths.candidates) == MAX_CANDIDATES
        assert ("203.0.113.9", 1019) in paths.candidates

    def test_candidates_are_forgotten(self):
        world = World()
        player = Player2(world).join()
        self.hear(world, player)
        assert len(world.engine.paths) == 1
        world.run(2)
        assert len(world.engine.paths) == 0

    def test_a_session_that_ends_leaves_none(self):
        world = World()
        player = Player2(world).join()
        self.hear(world, player)
        player.peer.close()
        world.run(0.1)
        assert len(world.engine.paths) == 0

    def test_a_blocked_host_is_no_candidate(self):
        world = World()
        player = Player2(world).join()
        world.context.setBlockList([STRANGER[0]])
        world.run(0.1)
        since = len(world.sent)
        self.hear(world, player)
        world.run(0.1)
        assert to(STRANGER, world, since) == []

    def test_a_replay_is_no_packet_of_the_session(self):
        world = World()
        player = Player2(world).join()
        player.peer.say(0, b"hello")
        world.run(0.5)
        for datagram in player.sent[-5:]:
            world.serve([(datagram, STRANGER)])
        assert len(world.engine.paths) == 0
        assert to(STRANGER, world) == []
