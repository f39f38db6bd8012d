"""The recipes of the page about channels, and one of the server page, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.documents import ROOT, Block, blocks

from mpgameserver import (
    Channel,
    CloseCode,
    CloseReason,
    ConnectFailure,
    EventHandler,
    Reconnector,
    ReconnectState,
    ServerContext,
    UdpClient,
)
from mpgameserver.netsim import LinkConditions
from mpgameserver.testing import World

PAGE = ROOT / "docs" / "channels.md"
DEAD = LinkConditions(loss=1.0)


def pieces(page: Path = PAGE) -> list[Block]:
    """The blocks that are no programs of their own."""
    return [block for block in blocks(page) if block.language == "python" and not block.name]


def piece(name: str, page: Path = PAGE) -> dict[str, Any]:
    """Run the one block that defines a name, and return what it defines."""
    [block] = [
        each
        for each in pieces(page)
        if f"def {name}(" in each.text or f"class {name}(" in each.text
    ]
    defined: dict[str, Any] = {}
    exec(compile(block.text, f"{page}:{block.line}", "exec"), defined)
    return defined


class Named(EventHandler):
    """Takes the credential for the name."""

    def authenticate(self, client: Any, credential: bytes) -> str:
        return credential.decode()


def test_a_kicked_player_reads_why() -> None:
    recipe = piece("kick")
    world = World(Named())
    eve, ada = (world.connect(credential=name) for name in (b"Eve", b"Ada"))
    world.server_client(eve).send_guaranteed(b"a last word")
    recipe["kick"](world.context.clients, "Eve", "no shouting")
    world.run(1)
    assert eve.reason == CloseReason(code=300, text="no shouting")
    assert [message for _, message in eve.getMessages()] == [b"a last word"]
    assert ada.connected()
    assert world.connect(credential=b"Eve").connected()


def test_a_banned_player_is_sent_away_and_does_not_get_back_in() -> None:
    guarded = piece("Guarded")["Guarded"]()
    arrived: list[str] = []
    guarded.connect = lambda client: arrived.append(client.identity)
    world = World(guarded)
    eve, ada = (world.connect(credential=name) for name in (b"Eve", b"Ada"))
    guarded.ban(world.context.clients, "Eve", "no shouting")
    world.run(1)
    assert eve.reason == (301, "you are banned: no shouting")
    again = world.client(credential=b"Eve")
    again.connect(world.address)
    world.run(1)
    assert again.failure is ConnectFailure.REJECTED
    assert again.reason == (CloseCode.REFUSED, "you are banned: no shouting")
    assert ada.connected()
    assert arrived == ["Eve", "Ada"]


class TestRejoin:
    """A player comes back with the credential, before or after the server misses the session."""

    @pytest.fixture
    def lasting(self) -> Any:
        return piece("Lasting")["Lasting"]()

    @pytest.fixture
    def world(self, lasting: Any) -> World:
        return World(lasting)

    def test_what_the_player_has_is_kept(self, lasting: Any, world: World) -> None:
        first = world.connect(credential=b"Ada")
        world.run(0.5)
        assert first.getMessage()[1] == b"0 gold"
        lasting.gold["Ada"] = 30
        world.set_conditions(first, DEAD)
        world.run(10)
        assert lasting.playing == {}
        second = world.connect(credential=b"Ada")
        world.run(0.5)
        assert second.getMessage()[1] == b"30 gold"

    def test_a_session_that_the_server_has_not_missed_is_ended(
        self, lasting: Any, world: World
    ) -> None:
        first = world.connect(credential=b"Ada")
        second = world.connect(credential=b"Ada")
        world.run(1)
        assert first.reason == (302, "you play on elsewhere")
        assert second.connected()
        assert lasting.playing == {"Ada": world.server_client(second)}

    @pytest.mark.parametrize("code", [None, 0, 256])
    def test_the_program_goes_on_unless_it_was_sent_away(self, code: int | None) -> None:
        keep_playing = piece("keep_playing")["keep_playing"]
        world = World(Named())
        client = world.connect(credential=b"Ada")
        reconnector = Reconnector(client, world.address)
        server_client = world.server_client(client)
        if code is None:
            world.set_conditions(client, DEAD)
        else:
            server_client.disconnect(code)
        stopped = self._states(world, client, reconnector, keep_playing)
        assert stopped is (code == 256)

    @staticmethod
    def _states(
        world: World, client: UdpClient, reconnector: Reconnector, keep_playing: Any
    ) -> bool:
        """Let the session end and come back, if it does; return whether that was given up."""
        was_gone = False
        for _ in range(60 * 20):
            world.frame()
            keep_playing(client, reconnector)
            if not client.connected() and not was_gone:
                was_gone = True
                world.set_conditions(client, LinkConditions())
        assert was_gone
        assert client.connected() is (reconnector.state is ReconnectState.CONNECTED)
        return reconnector.state is ReconnectState.STOPPED


def test_both_sides_show_how_far_a_map_is() -> None:
    send_map, draw_bars = piece("send_map")["send_map"], piece("draw_bars")["draw_bars"]
    handler = EventHandler()
    channels = [Channel("files", window=4_000_000)]
    handler.handle_message = lambda client, seqnum, msg=b"", channel="": None  # type: ignore[method-assign]
    world = World(ServerContext(handler, channels=channels), LinkConditions(latency=0.03))
    client = world.connect()
    sent: list[tuple[int, int]] = []
    drawn: list[float] = []

    class Bar:
        def show(self, done: int, total: int) -> None:
            sent.append((done, total))

    send_map(client, bytes(2_000_000), Bar())
    while not sent or sent[-1] != (2_000_000, 2_000_000):
        world.frame()
        draw_bars(world.server_client(client), drawn.append)
    assert len(sent) > 10
    assert len(drawn) > 10
    assert drawn == sorted(drawn)
    assert 0 < drawn[0] < drawn[-1] < 1


def test_a_credential_that_is_bound_to_its_session_is_of_no_use_in_another() -> None:
    recipe = piece("credential", ROOT / "docs" / "server.md")
    world = World(recipe["Game"]())
    copied: list[bytes] = []

    def credential(binding: bytes) -> bytes:
        copied.append(recipe["credential"](binding))
        return copied[-1]

    ann = world.connect(credential=credential)
    assert world.server_client(ann).identity == "ann"
    for useless in (copied[0], b"", b"bob " + copied[0]):
        thief = world.client(credential=useless)
        thief.connect(world.address)
        world.run(1)
        assert thief.failure is ConnectFailure.REJECTED


def test_every_piece_of_the_page_was_run() -> None:
    source = (ROOT / "tests/repository/test_recipes.py").read_text()
    for block in pieces():
        defined = [
            line.split("(")[0].split()[1]
            for line in block.text.splitlines()
            if line.startswith(("def ", "class "))
        ]
        assert any(f'piece("{name}")' in source for name in defined), block
