"""The loop between a socket and its sessions."""

from __future__ import annotations

import pytest
from support.endpoints import Peer, new_endpoint

from mpgameserver._core.pump import ClientPump, ServerPump
from mpgameserver.connection import Connection, Timing
from mpgameserver.enums import RetryMode
from mpgameserver.stats import ConnectionStats


class DatagramIO:
    """A socket that takes as many datagrams as it is told to, and never gets one."""

    def __init__(self) -> None:
        self.room = 0
        self.offered: list[bytes] = []
        self.taken: list[bytes] = []

    def receive(self) -> bytes | None:
        return None

    def queue(self, datagram: bytes) -> bool:
        self.offered.append(datagram)
        if self.room == 0:
            return False
        self.room -= 1
        self.taken.append(datagram)
        return True

    def flush(self) -> bool:
        return True


def test_what_the_socket_does_not_take_is_not_sent_and_leaves_first_later() -> None:
    connection, io = Connection(new_endpoint(), 1, Timing()), DatagramIO()
    pump = ClientPump(connection, io, print)
    connection.send(b"x", RetryMode.NONE)
    pump.send(0.0)
    stats = ConnectionStats.of(connection.endpoint, 0.0)
    assert (pump.is_blocked, stats.assembled, stats.sent) == (True, 1, 0)
    [unsent] = io.offered
    io.room = 10
    pump.send(2.0)
    stats = ConnectionStats.of(connection.endpoint, 2.0)
    assert (pump.is_blocked, stats.sent) == (False, len(io.taken))
    assert stats.pkts_sent[-1] == sum(stats.pkts_sent) == stats.sent
    assert sum(stats.bytes_sent) == sum(map(len, io.taken))
    assert io.taken[0] == unsent


@pytest.mark.parametrize("kind", [ClientPump, ServerPump])
def test_none_comes_to_be_without_what_it_moves_datagrams_for(kind: type) -> None:
    with pytest.raises(TypeError):
        kind.__new__(kind, object(), DatagramIO())
    with pytest.raises(TypeError):
        kind(None, DatagramIO(), print)


class Flood(DatagramIO):
    """A socket with as many datagrams of 255 messages as one asks for."""

    def __init__(self) -> None:
        super().__init__()
        self._peer = Peer()

    def receive(self) -> bytes | None:
        return self._peer.make(*(self._peer.message(b"!") for _ in range(255)))


def test_a_client_reads_no_more_messages_in_a_frame_than_a_frame_bears() -> None:
    connection = Connection(new_endpoint(), 1, Timing())
    pump = ClientPump(connection, Flood(), print)
    pump.receive(1024, 0.0)
    read = connection.endpoint.messages_received
    assert 16_384 < read <= 16_384 + 255
    pump.receive(1024, 0.1)
    assert connection.endpoint.messages_received == 2 * read
