"""The client and the server for asyncio: thin covers that know when to call `update`.

A `UdpClient` or a `UdpServer` does the work, in the thread of the event loop. What is here waits
for their sockets, for the time that they name, and for calls that leave them something to do;
nothing is polled.
"""

from mpgameserver.aio.client import AsyncChannel, AsyncClient, connect
from mpgameserver.aio.server import AsyncServer, serve

__all__ = ["AsyncChannel", "AsyncClient", "AsyncServer", "connect", "serve"]
