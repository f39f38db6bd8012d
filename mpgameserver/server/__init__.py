"""The server: `UdpServer`, `ThreadedServer`, and what the handler of a game sees."""

from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.limits import Limits
from mpgameserver.server.stats import ServerStats
from mpgameserver.server.udpserver import ThreadedServer, UdpServer

__all__ = [
    "EventHandler",
    "Limits",
    "ServerClient",
    "ServerContext",
    "ServerStats",
    "ThreadedServer",
    "UdpServer",
]
