"""Clients of protocol 2 whose address changes, and those who would have them believed to."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from support.players2 import Player2
from support.serverworld import Recorder, World
from support.wire2.frames import (
    Frame,
    Message,
    Padding,
    PathChallenge,
    PathResponse,
    Ping,
    unpack_all,
)
from support.wire2.packets import open_packet

from mpgameserver.enums import RetryMode
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.paths import AMPLIFICATION, MAX_CANDIDATES

ELSEWHERE = ("198.51.100.7", 4000)
STRANGER = ("203.0.113.9", 666)


def to(address: tuple[object, ...], world: World, since: int = 0) -> list[bytes]:
    return [datagram for datagram, place in world.sent[since:] if place == address]


def frames_to(player: Player2, datagram: bytes) -> list[Frame]:
    """Return the frames of a sealed packet to a player, which need not have got it."""
    peer = player.peer
    packet = open_packet(
        datagram, peer._receiving, peer._their_mask_key, b"", peer._received.newest
    )
    return unpack_all(packet.payload)


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


class TestAnswers:
    """A challenge of the client is answered where it came from (RFC 9000, section 8.2.2)."""

    CHALLENGE = b"8 bytes!"

    def answered(self, world: World, player: Player2, since: int) -> set[tuple[object, ...]]:
        """Return where the answer went, and check that there is one for each address."""
        places = []
        for datagram, place in world.sent[since:]:
            places += [
                place
                for each in frames_to(player, datagram)
                if each == PathResponse(self.CHALLENGE)
            ]
        assert len(places) == len(set(places))
        return set(places)

    def challenge(self, world: World, address: tuple[str, int], *others: Frame) -> set[object]:
        player = Player2(world).join()
        world.run(1)
        player.is_held, since = True, len(world.sent)
        packet = player.peer.packet_of(PathChallenge(self.CHALLENGE), *others)
        world.serve([(packet, address or player.address)])
        world.run(0.5)
        found = self.answered(world, player, since)
        return {"home" if place == player.address else place for place in found}

    def test_from_the_sessions_address(self):
        assert self.challenge(World(), ()) == {"home"}

    def test_from_elsewhere(self):
        assert self.challenge(World(), ELSEWHERE) == {ELSEWHERE}

    def test_not_beyond_three_times_what_came_from_there(self):
        world = World()
        self.challenge(world, ELSEWHERE, *[Padding()] * 300)
        assert 0 < sum(len(each) for each in to(ELSEWHERE, world)) <= 3 * 400

    def test_from_a_host_that_is_blocked_there_is_none(self):
        world = World()
        world.context.setBlockList([ELSEWHERE[0]])
        assert self.challenge(world, ELSEWHERE) == set()


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
