"""Sends a file over a client that is called in a loop, and goes on when the connection was lost.

Back-pressure: the file is read only as fast as it leaves. `client.pending` tells how much waits to
be sent for the first time; while that is enough, nothing is read. How far ahead of the server's
disk it may be is bounded by `Outgoing`.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from filetransfer.sending import Outgoing
from filetransfer.wire import Busy, Done, Have, Offer, Refused, decode
from mpgameserver import ConnectFailure, ConnectionStatus, SendQueueFullError, UdpClient

Report = Callable[[int], object]
Tell = Callable[[str], object]

ENOUGH = 1 << 20
"""Bytes that wait to be sent for the first time: more than leaves between two turns of the loop."""
RETRY_INTERVAL = 0.5
"""Seconds until the next attempt to connect, or to offer a file that is being sent."""


class TransferError(Exception):
    """The file could not be sent; the text says why."""


class Transfer:
    """One file on its way to one server.

    `report` gets the bytes that the server has, `tell` what keeps it from getting more.
    """

    def __init__(
        self,
        client: UdpClient,
        server: tuple[str, int],
        offer: Offer,
        outgoing: Outgoing,
        report: Report,
        tell: Tell,
        patience: float,
    ) -> None:
        self.is_done = False
        self._client = client
        self._server = server
        self._offer = offer
        self._outgoing = outgoing
        self._report = report
        self._tell = tell
        self._told = ""
        self._patience = patience
        self._give_up = time.monotonic() + patience
        self._retry = 0.0
        self._is_accepted = False
        self._is_busy = False

    def run(self) -> None:
        """Send it. TransferError when it is refused, or nothing goes on for too long."""
        while not self.is_done:
            self._keep_connected()
            self._client.update()
            self._hear()
            if self._is_accepted:
                self._say()
            if not self.is_done:
                self._wait()

    def _keep_connected(self) -> None:
        """Connect for the first time, and again when the connection is lost."""
        now = time.monotonic()
        if now >= self._give_up:
            raise TransferError(f"{self._trouble()}; given up after {self._patience:g} s")
        if self._client.failure is ConnectFailure.WRONG_KEY:
            raise TransferError("the server has another key than the one given")
        lost = (ConnectionStatus.DISCONNECTED, ConnectionStatus.DROPPED)
        if self._client.status() in lost and now >= self._retry:
            if self._retry:  # not the first time
                self._tell_once(self._trouble())
            self._retry = now + RETRY_INTERVAL
            self._is_accepted = self._is_busy = False
            self._client.connect(self._server, self._connected)

    def _trouble(self) -> str:
        if self._is_busy:
            return "another client is sending this file"
        if self._client.failure is not None:
            return f"no connection: {self._client.failure.value}"
        return "the connection is lost" if self._is_accepted else "the server does not answer"

    def _tell_once(self, trouble: str) -> None:
        if trouble != self._told:
            self._told = trouble
            self._tell(f"{trouble}; trying again")

    def _connected(self, success: bool) -> None:
        if success:
            self._client.send_guaranteed(self._offer.encode())

    def _hear(self) -> None:
        for _, data in self._client.getMessages():
            try:
                message = decode(data)
                if isinstance(message, Have):
                    self._note_progress(message.offset)
            except ValueError as error:
                raise TransferError(f"the server makes no sense: {error}") from error
            if isinstance(message, Refused):
                raise TransferError(message.reason)
            if isinstance(message, Busy):
                self._is_busy = True
                self._client.forceDisconnect()
            if isinstance(message, Done):
                self.is_done = True
                self._report(self._offer.size)
                return  # what is behind it was overtaken by it

    def _say(self) -> None:
        """Queue pieces, as many as are good for now."""
        while self._client.connected() and self._client.pending < ENOUGH:
            chunk = self._outgoing.next_chunk()
            if chunk is None:
                return
            try:
                self._client.send_guaranteed(chunk.encode())
            except SendQueueFullError:  # somebody else sends over this client, too
                self._outgoing.put_back(chunk)
                return

    def _note_progress(self, offset: int) -> None:
        if self._is_accepted:
            self._outgoing.confirm(offset)
        else:
            self._outgoing.resume(offset)
            self._is_accepted = True
        self._give_up = time.monotonic() + self._patience
        self._told = ""
        self._report(self._outgoing.confirmed)

    def _wait(self) -> None:
        """Until something has come or is due."""
        client = self._client
        due = min(client.next_timer(), self._give_up)
        if client.status() in (ConnectionStatus.DISCONNECTED, ConnectionStatus.DROPPED):
            due = min(due, self._retry)
        seconds = max(due - time.monotonic(), 0.0)
        sockets = client.filenos()
        if not sockets:
            time.sleep(seconds)
        else:
            select.select(sockets, sockets[:1] if client.wants_write else (), (), seconds)
