"""Groups of clients, such as the players of a room or of a team, and sending to several at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from weakref import WeakValueDictionary

from mpgameserver.channels import ChannelTable
from mpgameserver.errors import OldPeerError, SendQueueFullError
from mpgameserver.reprs import even_unmade
from mpgameserver.server.client import ServerClient
from mpgameserver.transport.ratelog import LimitedLog

__all__ = ["Broadcaster", "Group", "Groups"]

_LOG = logging.getLogger("mpgameserver.server")


class Broadcaster:
    """Sends a message to several clients."""

    def __init__(self, channels: ChannelTable) -> None:
        self._channels = channels
        self._log = LimitedLog(_LOG)

    def send(
        self,
        clients: Iterable[ServerClient],
        payload: bytes | bytearray | memoryview,
        retry: int | None,
        exclude: Iterable[ServerClient],
        channel: str,
    ) -> None:
        """Queue a message for the clients that are not excluded; see `ServerContext.broadcast`."""
        data = bytes(memoryview(payload))
        excluded = set(exclude)
        number, mode = self._channels.mode_on(channel, retry)
        for client in clients:
            if client in excluded:
                continue
            try:
                client._send_on(number, data, mode, None)
            except (SendQueueFullError, OldPeerError) as error:
                self._log.warning(client._session.now, "%r misses a broadcast: %s", client, error)


class Group:
    """The clients to which a message goes that is sent to the group; see `ServerContext.group`.

    Iterating gives a copy of its clients, in the order in which they were added.
    """

    def __init__(self, name: str, broadcaster: Broadcaster) -> None:
        self.name: str = name
        """The name by which `ServerContext.group` returns it."""
        self._broadcaster = broadcaster
        self._clients: dict[ServerClient, None] = {}

    @even_unmade
    def __repr__(self) -> str:
        return f"<Group {self.name!r} of {len(self)} clients>"

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[ServerClient]:
        return iter(tuple(self._clients))

    def __contains__(self, client: object) -> bool:
        return client in self._clients

    def add(self, client: ServerClient) -> None:
        """Add a client; idempotent. One whose session has ended is not added.

        Raises:
            TypeError: `client` is not a ServerClient.
        """
        if not isinstance(client, ServerClient):
            raise TypeError(f"client must be a ServerClient, not {client!r}")
        if client.reason is None:
            self._clients[client] = None
            client._groups.add(self)

    def discard(self, client: ServerClient) -> None:
        """Remove a client, if it is in the group."""
        if client in self._clients:
            del self._clients[client]
            client._groups.discard(self)

    def send(
        self,
        payload: bytes | bytearray | memoryview,
        retry: int | None = None,
        exclude: Iterable[ServerClient] = (),
        channel: str = "",
    ) -> None:
        """Queue a message for every connected client of the group: `ServerContext.broadcast`."""
        self._broadcaster.send(self, payload, retry, exclude, channel)


class Groups:
    """The groups of a context by name, as long as they have clients or somebody keeps them."""

    def __init__(self, broadcaster: Broadcaster) -> None:
        self._broadcaster = broadcaster
        self._groups: WeakValueDictionary[str, Group] = WeakValueDictionary()

    def get(self, name: str) -> Group:
        """Return the group of that name. Raises TypeError if it is not a str."""
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name, self._broadcaster)
        return group
