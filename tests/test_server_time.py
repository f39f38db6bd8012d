"""One clock for both sides of a session of protocol 2."""

from __future__ import annotations

import pytest

from mpgameserver import EventHandler, ServerContext
from mpgameserver.netsim import LinkConditions
from mpgameserver.testing import World


class Quiet(EventHandler):
    """Ignores what it hears."""

    def handle_message(self, client: object, seqnum: int, msg: bytes = b"") -> None:
        pass


def test_a_client_knows_the_server_s_time_over_a_bad_link(seed: int) -> None:
    context = ServerContext(Quiet())
    world = World(context, LinkConditions(latency=0.05, jitter=0.03, loss=0.05), seed)
    client = world.connect()
    assert client.protocol == 2
    world.run(20)
    known = client.server_time()
    assert known == pytest.approx(context.server_time(), abs=0.005 + 1 / 60)  # a frame of each


def test_it_is_unknown_while_there_is_no_session() -> None:
    context = ServerContext(Quiet())
    assert context.server_time() == 0.0
    world = World(context)
    client = world.client()
    assert client.server_time() is None
