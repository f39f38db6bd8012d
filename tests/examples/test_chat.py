"""The chat: over real sockets, over a bad link, and run as its README says."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from support.dialogue import Dialogue, succeeds
from support.patience import PATIENCE
from support.programs import copied_examples, port_named, readme_commands

from chat.client import talk
from chat.conversation import Conversation
from chat.server import chat_context
from chat.transcript import Transcript
from chat.wire import CHAT, NONSENSE, Kind, Line, Request, Verb, encode_request
from mpgameserver import ServerContext, aio
from mpgameserver.errors import ConnectFailedError
from mpgameserver.netsim import LinkConditions
from mpgameserver.udpproxy import UdpProxy

LOOPBACK = ("127.0.0.1", 0)
BAD = LinkConditions(loss=0.3, latency=0.01, jitter=0.008, duplicate=0.1)


class Somebody:
    """A user: types into a queue, and has a screen."""

    def __init__(self) -> None:
        self.screen: list[str] = []
        self._typed: asyncio.Queue[str] = asyncio.Queue()
        self._shown = asyncio.Event()

    def type(self, *lines: str) -> None:
        for line in lines:
            self._typed.put_nowait(line)

    def show(self, text: str) -> None:
        self.screen.append(text)
        self._shown.set()

    async def sees(self, text: str) -> None:
        """Wait until that is on the screen."""
        while text not in self.screen:
            self._shown.clear()
            await self._shown.wait()

    async def lines(self) -> AsyncIterator[str]:
        while True:
            yield await self._typed.get()


def run(main: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[ServerContext, aio.AsyncServer]]:
    context = chat_context(Transcript(path))
    async with aio.serve(context, LOOPBACK) as server:
        yield context, server


def joined(
    context: ServerContext, address: tuple[str, int]
) -> AbstractAsyncContextManager[aio.AsyncClient]:
    return aio.connect(address, context.root_key.getPublicKey(), channels=[CHAT])


@asynccontextmanager
async def chatting(
    context: ServerContext, address: tuple[str, int], nick: str
) -> AsyncIterator[Somebody]:
    """Somebody who has joined the lobby."""
    somebody = Somebody()
    async with joined(context, address) as client:
        for request in (Request(Verb.NICK, nick), Request(Verb.JOIN, "lobby")):
            client.channel(CHAT.name).send(encode_request(request))
        talking = asyncio.ensure_future(
            talk(client, Conversation(), somebody.lines(), somebody.show)
        )
        try:
            yield somebody
            somebody.type("/quit")
            await talking
        finally:
            talking.cancel()


class TestTogether:
    def test_those_in_a_room_hear_each_other(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with (
                serving(tmp_path / "chat.txt") as (context, server),
                chatting(context, server.address, "ada") as ada,
            ):
                await ada.sees("[lobby] * here: ada")
                async with chatting(context, server.address, "bob") as bob:
                    await bob.sees("[lobby] * here: ada, bob")
                    bob.type("hello", "/nick bea", "/who", "/nick no good", "/dance")
                    await ada.sees("[lobby] * bob is now bea")
                    await bob.sees("[lobby] * here: ada, bea")
                    bob.type("/join den", "alone?")
                    await bob.sees("[den] bea: alone?")
                await ada.sees("[lobby] * bea has left")
            assert ada.screen == [
                "* you are guest-1",
                "* you are ada",
                "[lobby] * here: ada",
                "[lobby] * bob has joined",
                "[lobby] bob: hello",
                "[lobby] * bob is now bea",
                "[lobby] * bea has left",
            ]
            assert [text for text in bob.screen if text.startswith("!")] == [
                "! a name has 1 to 20 of A-Z a-z 0-9 _ -, and is not 'no good'",
                "! /nick NAME, /join ROOM, /who, /quit; all else is said",
            ]

        run(main)

    def test_what_was_said_is_known_to_a_newcomer_and_after_a_restart(self, tmp_path: Path) -> None:
        async def main() -> None:
            path = tmp_path / "chat.txt"
            async with serving(path) as (context, server):
                async with chatting(context, server.address, "ada") as ada:
                    ada.type("one", "two")
                    await ada.sees("[lobby] ada: two")
                async with chatting(context, server.address, "bob") as bob:
                    await bob.sees("[lobby] * here: bob")
                    assert bob.screen[2:-1] == ["[lobby] ada: one", "[lobby] ada: two"]
            async with (
                serving(path) as (context, server),
                chatting(context, server.address, "cid") as cid,
            ):
                await cid.sees("[lobby] * here: cid")
                assert cid.screen[2:-1] == ["[lobby] ada: one", "[lobby] ada: two"]

        run(main)

    def test_the_order_is_kept_on_a_bad_link(self, tmp_path: Path, seed: int) -> None:
        async def main() -> None:
            with ExitStack() as stack:
                async with serving(tmp_path / "chat.txt") as (context, server):
                    proxy = UdpProxy(LOOPBACK, server.address, BAD, seed=seed)
                    address = stack.enter_context(proxy).address
                    async with chatting(context, address, "ada") as ada:
                        await ada.sees("[lobby] * here: ada")
                        async with chatting(context, address, "bob") as bob:
                            await bob.sees("[lobby] * here: ada, bob")
                            for number in range(12):
                                ada.type(f"a{number}")
                                bob.type(f"b{number}")
                            for somebody in (ada, bob):
                                await somebody.sees("[lobby] ada: a11")
                                await somebody.sees("[lobby] bob: b11")
            said = [
                [text for text in somebody.screen if "ada: " in text or "bob: " in text]
                for somebody in (ada, bob)
            ]
            assert said[0] == said[1]
            for name, letter in (("ada", "a"), ("bob", "b")):
                own = [text for text in said[0] if f"{name}: {letter}" in text]
                assert own == [f"[lobby] {name}: {letter}{n}" for n in range(12)]

        run(main)

    def test_who_makes_no_sense_is_disconnected(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with serving(tmp_path / "chat.txt") as (context, server):
                for nonsense in (b"", b"\xff", b"say \x1b[2J", b"whoever ", b"nick a b"):
                    async with joined(context, server.address) as client:
                        client.channel(CHAT.name).send(nonsense)
                        async for _ in client:
                            pass
                        assert client.reason is not None
                        assert client.reason.code == NONSENSE
                async with chatting(context, server.address, "ada") as ada:
                    await ada.sees("[lobby] * here: ada")

        run(main)

    def test_who_is_sent_away_reads_why(self, tmp_path: Path) -> None:
        async def main() -> None:
            somebody = Somebody()
            async with (
                serving(tmp_path / "chat.txt") as (context, server),
                joined(context, server.address) as client,
            ):
                client.channel(CHAT.name).send(b"nonsense")
                await talk(client, Conversation(), somebody.lines(), somebody.show)
            assert somebody.screen[-1] == (
                "* the server has ended the chat: that is no message of this chat"
            )

        run(main)

    def test_a_client_without_the_channel_is_refused(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with serving(tmp_path / "chat.txt") as (context, server):
                with pytest.raises(ConnectFailedError, match="channel 1 is ordered 'chat'"):
                    async with aio.connect(server.address, context.root_key.getPublicKey()):
                        pass

        run(main)

    def test_the_end_of_the_server_ends_the_talk(self, tmp_path: Path) -> None:
        async def main() -> None:
            somebody = Somebody()
            async with (
                serving(tmp_path / "chat.txt") as (context, server),
                joined(context, server.address) as client,
            ):
                server.stop()
                await talk(client, Conversation(), somebody.lines(), somebody.show)
            assert somebody.screen[-1] == "* the server has ended the chat"

        run(main)

    def test_a_transcript_that_cannot_be_written_stops_nobody(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def main() -> None:
            path = tmp_path / "away" / "chat.txt"
            async with (
                serving(path) as (context, server),
                chatting(context, server.address, "ada") as ada,
            ):
                ada.type("hello")
                await ada.sees("[lobby] ada: hello")

        run(main)
        assert "a line is not in the transcript" in caplog.text


class TestTranscript:
    def test_what_is_no_line_is_passed_over(self, tmp_path: Path) -> None:
        path = tmp_path / "chat.txt"
        line = Line(Kind.SAID, "lobby", "ada", "grüße  euch ")

        async def main() -> None:
            transcript = Transcript(path)
            assert await transcript.load() == []
            await transcript.add(line)
            with path.open("ab") as file:
                file.write(b"cut sho\n")
            await transcript.add(line)
            assert await Transcript(path).load() == [line, line]

        run(main)


class TestProgram:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return copied_examples(tmp_path)

    def test_the_readme_works_word_for_word_but_for_the_port(self, folder: Path) -> None:
        genkey, server, *clients, netsim, far = readme_commands("chat")
        succeeds(folder, *genkey)
        with ExitStack() as stack:
            serving = stack.enter_context(Dialogue(folder, *server, "--port", "0"))
            port = serving.sees(r"serving on 127\.0\.0\.1:(\d+)")[1]
            ada, bob = (
                stack.enter_context(Dialogue(folder, *client, "--port", port)) for client in clients
            )
            ada.sees(r"\[lobby\] \* (here: .*ada.*|ada has joined)")
            bob.sees(r"\[lobby\] \* (here: .*bob.*|bob has joined)")
            ada.type("hello")
            bob.sees(r"\[lobby\] ada: hello")
            netsim = [port_named(argument, port) for argument in netsim]
            relay = stack.enter_context(Dialogue(folder, *netsim))
            far[far.index("--port") + 1] = relay.sees(r"listening on 127\.0\.0\.1:(\d+), .*")[1]
            cid = stack.enter_context(Dialogue(folder, *far))
            ada.sees(r"\[lobby\] \* cid has joined")
            cid.type("hello from afar")
            ada.sees(r"\[lobby\] cid: hello from afar")
            bob.type("/quit")
            ada.sees(r"\[lobby\] \* bob has left")
            assert bob.ended() == 0
            ada.type_no_more()
            assert ada.ended() == 0
            serving.process.send_signal(signal.SIGTERM)
            assert serving.ended() == 0
        assert "Traceback" not in "".join(serving.printed + ada.printed + bob.printed)

    def test_what_others_say_does_not_run_into_a_half_typed_line(self, folder: Path) -> None:
        pytest.importorskip("prompt_toolkit")
        terminal = pytest.importorskip("support.terminal", exc_type=ImportError)
        succeeds(folder, *readme_commands("chat")[0])
        with Dialogue(folder, "-m", "chat.server", "--port", "0") as serving:
            port = serving.sees(r".*127\.0\.0\.1:(\d+).*")[1]
            program = ("-m", "chat.client", "--port", port, "--nick")
            with terminal.Terminal(folder, *program, "ada") as ada:
                ada.sees("here: ada")
                ada.type("half a li")
                ada.sees("half a li")
                with Dialogue(folder, *program, "bob") as bob:
                    bob.type("hello")
                    ada.sees(r"bob: hello\s.*half a li")
                ada.type("ne\r")
                ada.sees("ada: half a line")

    def test_a_client_without_a_server_says_why(self, folder: Path) -> None:
        succeeds(folder, *readme_commands("chat")[0])
        with Dialogue(folder, "-m", "chat.client", "--port", "9") as client:
            client.sees(r"no connection to 127\.0\.0\.1:9: No server is running on that port\.")
            assert client.ended() == 1

    def test_a_client_ends_with_its_server_though_nobody_types(self, folder: Path) -> None:
        succeeds(folder, *readme_commands("chat")[0])
        with ExitStack() as stack:
            serving = stack.enter_context(Dialogue(folder, "-m", "chat.server", "--port", "0"))
            port = serving.sees(r"serving on 127\.0\.0\.1:(\d+)")[1]
            client = stack.enter_context(Dialogue(folder, "-m", "chat.client", "--port", port))
            client.sees(r"\[lobby\] \* here: guest-1")
            serving.process.send_signal(signal.SIGINT)
            client.sees(r"\* the server has ended the chat")
            assert client.ended() == 0
            assert serving.ended() == 0
