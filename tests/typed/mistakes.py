"""Mistakes that a type checker must find: each is marked with the error of mypy and of pyright.

Both checkers fail on a mark that marks nothing, so an argument that became `Any` is seen here.
"""

from __future__ import annotations

from mpgameserver import (
    Channel,
    EventHandler,
    ServerClient,
    ServerContext,
    ThreadedServer,
    UdpClient,
    UdpServer,
    aio,
)

client = UdpClient(7)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
client.connect("localhost")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
client.send("text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
client.send(b"", callback=lambda: None)  # type: ignore[arg-type, misc] # pyright: ignore[reportArgumentType]
client.setMessageTimeout("1 s")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
client.latency = 0.1  # type: ignore[method-assign, assignment] # pyright: ignore[reportAttributeAccessIssue]
client.channel("chat").send("text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
UdpClient(channels=["chat"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
client.disconnect("to the menu")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
seqnum, text = client.getMessage()
text.startswith("a")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


class Game(EventHandler):
    def connect(self) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        pass

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        client.send()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        client.token = 1  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


Channel("chat", "newest")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
context = ServerContext(Game(), 7)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
UdpServer(context)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
threaded = ThreadedServer(context, ("127.0.0.1", 0))
threaded.stop("5 s")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
threaded.name = 7  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]


async def play() -> None:
    async with aio.connect(("localhost", 1474)) as connected:
        connected.send_guaranteed(b"never awaited")  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]
        for _ in connected:  # type: ignore[attr-defined] # pyright: ignore
            pass
