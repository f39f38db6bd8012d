"""The file transfer: over a bad link, over a server that goes away, and as its README says."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.dialogue import Dialogue, succeeds
from support.patience import PATIENCE
from support.programs import copied_examples, readme_commands

from filetransfer import sending, transfer
from filetransfer.send import send
from filetransfer.sending import Outgoing, offer_of
from filetransfer.server import FileServer
from filetransfer.transfer import Transfer, TransferError
from filetransfer.wire import CHUNK, Chunk, Done, Have
from mpgameserver import (
    EllipticCurvePrivateKey,
    EventHandler,
    SendQueueFullError,
    ServerClient,
    ServerContext,
    ThreadedServer,
    UdpClient,
    aio,
)
from mpgameserver.connection import Timing
from mpgameserver.netsim import LinkConditions
from mpgameserver.udpproxy import UdpProxy

LOOPBACK = ("127.0.0.1", 0)
BAD = LinkConditions(loss=0.1, latency=0.01, jitter=0.005)
SLOW = LinkConditions(latency=0.005, rate=600_000.0, queue=0.1)
SIZE = 400_000
KEY = EllipticCurvePrivateKey.new()


@dataclass
class Sender:
    """A user who sends a file, and what is told."""

    path: Path
    key: Path
    patience: float = PATIENCE
    progress: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    on_progress: Callable[[int], object] = lambda confirmed: None

    def event_at(self, confirmed: int) -> asyncio.Event:
        """The event that is set when the server has received so much."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def note(now: int) -> None:
            if now >= confirmed:
                loop.call_soon_threadsafe(event.set)

        self.on_progress = note
        return event

    async def send(self, address: tuple[str, int]) -> None:
        await asyncio.to_thread(
            send, self.path, address, self.key, self._report, self.told.append, self.patience
        )

    def _report(self, confirmed: int) -> None:
        self.progress.append(confirmed)
        self.on_progress(confirmed)


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    key, path = tmp_path / "files.pem.pub", tmp_path / "data.bin"
    KEY.getPublicKey().savePEM(key)
    path.write_bytes(random.Random(2).randbytes(SIZE))
    return Sender(path, key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "received").mkdir()
    return tmp_path / "received"


class CountingServer(FileServer):
    """A server that counts what it is sent of files."""

    address = LOOPBACK
    slowness = 0.0
    chunk_bytes = 0

    async def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        await asyncio.sleep(self.slowness)
        if msg[:1] == b"C":
            self.chunk_bytes += len(msg) - len(Have(0).encode())
        await super().handle_message(client, seqnum, msg)


@asynccontextmanager
async def serving(
    folder: Path, address: tuple[str, int] = LOOPBACK, idle_timeout: float = 5.0
) -> AsyncIterator[CountingServer]:
    handler = CountingServer(folder, print)
    context = ServerContext(handler, KEY)
    context.setConnectionTimeout(idle_timeout)
    async with aio.serve(context, address) as server:
        handler.address = server.address
        yield handler


def run(main: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def received(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestTransfer:
    def test_a_file_arrives_over_a_link_that_loses_a_tenth(
        self, sender: Sender, folder: Path, seed: int
    ) -> None:
        async def main() -> None:
            async with serving(folder) as server:
                with UdpProxy(LOOPBACK, server.address, BAD, seed=seed) as proxy:
                    await sender.send(proxy.address)
                assert proxy.stats.up.lost_random > 0

        run(main)
        assert received(folder) == {"data.bin": sender.path.read_bytes()}
        assert sender.progress == sorted(sender.progress)
        assert sender.progress[-1] == SIZE

    def test_an_empty_file_and_one_that_is_there_need_no_pieces(
        self, sender: Sender, folder: Path
    ) -> None:
        async def main() -> None:
            async with serving(folder) as server:
                sender.path.write_bytes(b"")
                await sender.send(server.address)
                await sender.send(server.address)
                assert server.chunk_bytes == 0

        run(main)
        assert received(folder) == {"data.bin": b""}

    def test_a_server_that_is_slower_than_the_network_is_waited_for(
        self, sender: Sender, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Unread fragments would fill its memory, and it would disconnect the client."""
        monkeypatch.setattr("mpgameserver.aio.server.MAX_WAITING_BYTES", 5 * CHUNK)
        monkeypatch.setattr(sending, "WINDOW", 4 * CHUNK)

        async def main() -> None:
            async with serving(folder) as server:
                server.slowness = 0.01
                await sender.send(server.address)

        run(main)
        assert received(folder) == {"data.bin": sender.path.read_bytes()}
        assert sender.told == []

    def test_it_goes_on_when_the_server_was_started_again(
        self, sender: Sender, folder: Path
    ) -> None:
        async def main() -> None:
            half = sender.event_at(SIZE // 2)
            with ExitStack() as stack:
                async with serving(folder) as server:
                    address = server.address
                    proxy = stack.enter_context(UdpProxy(LOOPBACK, address, SLOW))
                    sending = asyncio.ensure_future(sender.send(proxy.address))
                    await half.wait()
                [part] = folder.iterdir()
                kept = part.stat().st_size
                async with serving(folder, address) as server:
                    await sending
            assert kept > SIZE // 4
            assert server.chunk_bytes == SIZE - kept

        run(main)
        assert received(folder) == {"data.bin": sender.path.read_bytes()}
        assert sender.told[0] == "the connection is lost; trying again"

    def test_it_goes_on_when_the_connection_has_fallen_silent(
        self, sender: Sender, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "mpgameserver.client.udpclient.Timing", lambda: Timing(idle_timeout=0.3)
        )

        async def main() -> None:
            half = sender.event_at(SIZE // 2)
            async with serving(folder, idle_timeout=0.6) as server:
                with UdpProxy(LOOPBACK, server.address, SLOW) as proxy:
                    sending = asyncio.ensure_future(sender.send(proxy.address))
                    await half.wait()
                # As a router that is started again: another port for the same client.
                with UdpProxy(proxy.address, server.address, SLOW):
                    await sending
                assert server.chunk_bytes < 1.5 * SIZE

        run(main)
        assert received(folder) == {"data.bin": sender.path.read_bytes()}
        # In protocol 2 the end of the lost connection reaches its session from any port.
        assert set(sender.told) <= {"the connection is lost; trying again"}

    def test_of_two_who_send_the_same_the_second_waits(self, sender: Sender, folder: Path) -> None:
        async def main() -> None:
            second = Sender(sender.path, sender.key)
            begun = sender.event_at(1)
            async with serving(folder) as server:
                with UdpProxy(LOOPBACK, server.address, SLOW) as proxy:
                    sending = asyncio.ensure_future(sender.send(proxy.address))
                    await begun.wait()
                    await second.send(server.address)
                    await sending
                assert server.chunk_bytes == SIZE
            assert second.told == ["another client is sending this file; trying again"]
            assert second.progress == [SIZE]

        run(main)
        assert received(folder) == {"data.bin": sender.path.read_bytes()}

    def test_a_file_that_changes_while_it_is_sent_is_refused(
        self, sender: Sender, folder: Path
    ) -> None:
        def change(confirmed: int) -> None:
            sender.path.write_bytes(bytes(SIZE))

        async def main() -> None:
            sender.on_progress = change
            async with serving(folder) as server:
                with pytest.raises(TransferError, match="another SHA-256"):
                    await sender.send(server.address)

        run(main)
        assert received(folder) == {}

    def test_another_file_of_that_name_stays(self, sender: Sender, folder: Path) -> None:
        (folder / "data.bin").write_bytes(b"mine")

        async def main() -> None:
            async with serving(folder) as server:
                with pytest.raises(TransferError, match=r"another file 'data\.bin'"):
                    await sender.send(server.address)

        run(main)
        assert received(folder) == {"data.bin": b"mine"}

    def test_a_folder_that_cannot_be_written_is_told(self, sender: Sender, tmp_path: Path) -> None:
        async def main() -> None:
            async with serving(tmp_path / "is not there") as server:
                with pytest.raises(TransferError, match="cannot write"):
                    await sender.send(server.address)

        run(main)

    def test_no_server_is_told_until_patience_ends(self, sender: Sender) -> None:
        sender.patience = 0.2
        with pytest.raises(TransferError, match=r"no connection: refused; given up after 0\.2 s"):
            run(partial(sender.send, ("127.0.0.1", 9)))

    def test_a_server_with_another_key_is_not_tried_again(
        self, sender: Sender, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mpgameserver.client.udpclient.CONNECTION_TIMEOUT", 0.2)
        EllipticCurvePrivateKey.new().getPublicKey().savePEM(sender.key)

        async def main() -> None:
            async with serving(folder) as server:
                with pytest.raises(TransferError, match="another key"):
                    await sender.send(server.address)

        run(main)

    @pytest.mark.parametrize(
        "message", [b"", b"nonsense", Chunk(0, b"x").encode(), Have(0).encode()], ids=repr
    )
    def test_a_client_that_makes_no_sense_is_disconnected(
        self, folder: Path, message: bytes
    ) -> None:
        async def main() -> None:
            async with (
                serving(folder) as server,
                aio.connect(server.address, KEY.getPublicKey()) as client,
            ):
                client.send(message)
                assert [message async for message in client] == []

        run(main)

    def test_what_the_end_has_overtaken_changes_nothing(self, sender: Sender) -> None:
        class Overtaken(EventHandler):
            def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
                for message in (Have(0), Done(), Have(0)):
                    client.send_guaranteed(message.encode())

        with ThreadedServer(ServerContext(Overtaken(), KEY), LOOPBACK) as server:
            run(partial(sender.send, server.address))
        assert sender.progress == [0, SIZE]

    def test_a_server_that_makes_no_sense_ends_it(self, sender: Sender) -> None:
        class Nonsense(EventHandler):
            def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
                client.send_guaranteed(Have(SIZE + 1).encode())

        with (
            ThreadedServer(ServerContext(Nonsense(), KEY), LOOPBACK) as server,
            pytest.raises(TransferError, match="makes no sense"),
        ):
            run(partial(sender.send, server.address))


class WatchedClient(UdpClient):
    """A client that says how much it was asked to hold."""

    def __init__(self) -> None:
        super().__init__(KEY.getPublicKey())
        self.most_pending = 0
        self.refusals = 0

    def send_guaranteed(self, payload: Any, callback: Any = None) -> None:
        try:
            super().send_guaranteed(payload, callback)
        except SendQueueFullError:
            self.refusals += 1
            raise
        self.most_pending = max(self.most_pending, self.pending)


class TestBackPressure:
    @pytest.fixture
    def client(self) -> Iterator[WatchedClient]:
        with WatchedClient() as client:
            yield client

    def transfer(
        self,
        client: WatchedClient,
        sender: Sender,
        folder: Path,
        report: Callable[[int], object] = lambda confirmed: None,
    ) -> None:
        def send(address: tuple[str, int]) -> None:
            offer = offer_of(sender.path)
            with sender.path.open("rb") as file:
                outgoing = Outgoing(file, offer.size)
                Transfer(client, address, offer, outgoing, report, print, PATIENCE).run()

        async def main() -> None:
            async with serving(folder) as server:
                with UdpProxy(LOOPBACK, server.address, SLOW) as proxy:
                    await asyncio.to_thread(send, proxy.address)
                client.forceDisconnect()

        run(main)
        assert received(folder) == {"data.bin": sender.path.read_bytes()}

    def test_no_more_is_read_than_leaves(
        self,
        client: WatchedClient,
        sender: Sender,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(transfer, "ENOUGH", 2 * CHUNK)
        self.transfer(client, sender, folder)
        assert 2 * CHUNK <= client.most_pending < 3 * CHUNK + 100
        assert client.refusals == 0

    def test_a_queue_that_is_full_is_waited_for(
        self, client: WatchedClient, sender: Sender, folder: Path
    ) -> None:
        def narrow(confirmed: int) -> None:
            client._connection.endpoint.send_queue.max_pending = 2 * CHUNK + 1000

        self.transfer(client, sender, folder, narrow)
        assert client.refusals > 0


class TestProgram:
    def test_the_readme_works_word_for_word_but_for_the_port(self, tmp_path: Path) -> None:
        folder = copied_examples(tmp_path)
        genkey, server, send_it, netsim, send_over_it = readme_commands("filetransfer")
        data = random.Random(3).randbytes(100_000)
        (folder / "some-large-file").write_bytes(data)
        succeeds(folder, *genkey)
        with Dialogue(folder, *server, "--port", "0") as serving:
            port = serving.sees(r"serving on 127\.0\.0\.1:(\d+)")[1]
            changed = ["--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{port}"]
            with Dialogue(folder, *netsim, *changed) as relay:
                listening = relay.sees(r"listening on 127\.0\.0\.1:(\d+).*")[1]
                # The last --port counts: what the README has is on the way to another server.
                printed = succeeds(folder, *send_over_it, "--port", listening)
            assert printed.endswith("some-large-file: sent, and its SHA-256 is right")
            assert "100.0/100.0 kB" in printed
            serving.sees(r"received 'some-large-file', 100,000 bytes")
            assert succeeds(folder, *send_it, "--port", port)
            serving.process.send_signal(signal.SIGTERM)
            assert serving.ended() == 0
        assert (folder / "received" / "some-large-file").read_bytes() == data

    def test_a_file_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        folder = copied_examples(tmp_path)
        KEY.getPublicKey().savePEM(folder / "files.pem.pub")
        with Dialogue(folder, "-m", "filetransfer.send", "nothing") as program:
            program.sees("nothing: .*No such file.*")
            assert program.ended() == 1
