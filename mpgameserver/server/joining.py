"""Clients that are not admitted yet: from the first packet of a session to its `connect` event.

    protocol 2: CONNECT ─> channels compared ─> authenticate ─> ACCEPT, connect
                              └> CLOSE              └> CLOSE
    protocol 1:                               authenticate ─> connect
                                                    └> DISCONNECT

A session counts against the limits of clients from its first packet on, so those that never get any
further hold no more than clients do, and each of the two steps has a time limit.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver._core.frames import MAX_CLOSE_TEXT
from mpgameserver._core.session import Session
from mpgameserver.channels import ChannelTable
from mpgameserver.enums import CloseCode, ConnectionStatus, DisconnectReason
from mpgameserver.errors import HandshakeError, RefusedError
from mpgameserver.server.context import ServerSettings
from mpgameserver.server.further_ids import FurtherIds
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.resets import ResetTokens
from mpgameserver.wire.protocol2.setup import (
    AcceptData,
    ChannelKind,
    ConnectData,
    Window,
)

__all__ = ["Joining"]

_REASONS = {
    CloseCode.PROTOCOL: DisconnectReason.PROTOCOL,
    CloseCode.CHANNELS: DisconnectReason.CHANNELS,
    CloseCode.REFUSED: DisconnectReason.REFUSED,
    CloseCode.TIMEOUT: DisconnectReason.TIMEOUT,
}


class Deferred(Protocol):
    """The result of an `authenticate` that is a coroutine, as a future has it."""

    def add_done_callback(self, function: Callable[[Any], object], /) -> object:
        """Call the function with this when there is a result."""

    def cancel(self) -> object:
        """Give up."""

    def cancelled(self) -> bool:
        """Return True if it was given up."""

    def result(self) -> object:
        """Return the result, or raise what there is instead."""


class Owner(Protocol):
    """The part of a server that this uses."""

    handler: EventHandler
    ids: FurtherIds

    @property
    def now(self) -> float:
        """The monotonic time, in seconds."""

    @property
    def settings(self) -> ServerSettings:
        """The settings in effect."""

    def call_event(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        """Call an event of the handler."""

    def on_joined(self, session: Session) -> None:
        """Serve a session soon, about which something was decided outside its turn."""


@dataclass(eq=False)
class _Stage:
    """The progress of a client that is not admitted."""

    peer_windows: tuple[Window, ...] = ()
    """Those that it grants, one for each ordered channel."""
    is_asked: bool = False
    """`authenticate` was called."""
    deferred: Deferred | None = None
    refusal: tuple[CloseCode, str] | None = None


class Joining:
    """Admits the clients of sessions, or refuses them.

    `authenticates` is True if the handler has an `authenticate` of its own.
    """

    def __init__(
        self, owner: Owner, channels: ChannelTable, tokens: ResetTokens, authenticates: bool
    ) -> None:
        self._owner = owner
        self._channels = channels
        self._tokens = tokens
        self._authenticates = authenticates
        self._deadlines: OrderedDict[Session, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._deadlines)

    def begin(self, session: Session) -> None:
        """Begin to admit the client of a new session, if there is anything to do for that."""
        if session.connection_id or self._authenticates:
            session.joining = _Stage()
            self._set_deadline(session)

    def _set_deadline(self, session: Session) -> None:
        self._deadlines.pop(session, None)
        self._deadlines[session] = self._owner.now + self._owner.settings.handshake_timeout

    def end(self, session: Session) -> None:
        """Wait no longer for a session; one that was not admitted never is."""
        self._deadlines.pop(session, None)
        stage: _Stage | None = session.joining
        if stage is not None and stage.deferred is not None:
            stage.deferred.cancel()

    # -- in the session's turn --------------------------------------------------------------

    def advance(self, session: Session) -> bool:
        """Go on with a session; return True once its client is admitted."""
        stage: _Stage = session.joining
        if not _may_join(session):
            return False
        if stage.refusal is None and not stage.is_asked:
            self._begin_to_authenticate(session, stage)
        if stage.refusal is not None:
            self._refuse(session, *stage.refusal)
        elif stage.is_asked and stage.deferred is None:
            self._admit(session, stage)
        return session.joining is None

    def _begin_to_authenticate(self, session: Session, stage: _Stage) -> None:
        credential = b""
        if session.connection_id:
            data = self._connect_data(session, stage)
            if data is None:
                return
            credential = data.credential
        stage.is_asked = True
        if self._authenticates:
            self._set_deadline(session)
            stage.refusal = CloseCode.REFUSED, ""  # unless the event says otherwise
            self._owner.call_event("authenticate", self._ask, session, stage, credential)

    def _connect_data(self, session: Session, stage: _Stage) -> ConnectData | None:
        """Return what the client has said, once that is complete and could be accepted."""
        endpoint = _endpoint(session)
        if endpoint.setup is None:
            return None
        try:
            data = ConnectData.decode(endpoint.setup)
        except HandshakeError as error:
            stage.refusal = CloseCode.PROTOCOL, str(error)
            return None
        difference = self._channels.first_difference(data.channels)
        if difference is not None:
            stage.refusal = CloseCode.CHANNELS, difference
            return None
        stage.peer_windows = tuple(
            row.window for row in data.channels if row.kind is ChannelKind.ORDERED
        )
        endpoint.peer_idle_timeout = data.limits.idle_timeout / 1000
        endpoint.path_mtu.peer_limit = data.limits.largest_datagram
        return data

    # -- what the game says -----------------------------------------------------------------

    def _ask(self, session: Session, stage: _Stage, credential: bytes) -> None:
        """Call `authenticate`; what else it raises than a refusal is logged by the caller."""
        try:
            result: Any = self._owner.handler.authenticate(session.client, credential)
        except RefusedError as error:
            stage.refusal = CloseCode.REFUSED, str(error)
            return
        if inspect.isawaitable(result):
            deferred = cast(Deferred, result)
            stage.refusal, stage.deferred = None, deferred
            deferred.add_done_callback(partial(self._on_done, session, stage))
        else:
            _take_identity(session, stage, result)

    def _on_done(self, session: Session, stage: _Stage, deferred: Deferred) -> None:
        """Take the result of a coroutine, outside the session's turn."""
        stage.deferred = None
        stage.refusal = CloseCode.REFUSED, ""
        if not deferred.cancelled():
            self._owner.call_event("authenticate", self._take_result, session, stage, deferred)
        if session.joining is stage:
            self._owner.on_joined(session)

    def _take_result(self, session: Session, stage: _Stage, deferred: Deferred) -> None:
        try:
            _take_identity(session, stage, deferred.result())
        except RefusedError as error:
            stage.refusal = CloseCode.REFUSED, str(error)

    # -- the outcome ------------------------------------------------------------------------

    def _admit(self, session: Session, stage: _Stage) -> None:
        if session.connection_id:
            self._accept(session, stage)
        self.end(session)
        session.joining = None

    def _accept(self, session: Session, stage: _Stage) -> None:
        endpoint = _endpoint(session)
        windows = iter(stage.peer_windows)
        for row, (number, channel) in zip(self._channels.declared, self._channels, strict=True):
            peer = next(windows) if row.kind is ChannelKind.ORDERED else Window()
            endpoint.open_channel(
                number,
                row.kind,
                channel.priority,
                window=(row.window.number, row.window.total),
                peer_window=(peer.number, peer.total),
            )
        token = self._tokens.of(session.connection_id)
        endpoint.send_setup(AcceptData(token, self._channels.windows).encode())
        session.connection.establish(self._owner.now)
        self._owner.ids.begin(session)

    def _refuse(self, session: Session, code: CloseCode, text: str) -> None:
        self.end(session)
        session.disconnect_here(_REASONS[code], code, _clipped(text))

    # -- time -------------------------------------------------------------------------------

    def expire(self) -> None:
        """Refuse the clients whose time is over."""
        while self._deadlines:
            session, deadline = next(iter(self._deadlines.items()))
            if deadline > self._owner.now:
                break
            self._refuse(session, CloseCode.TIMEOUT, "")

    def next_time(self) -> float:
        """Return the time at which `expire` is due; infinity if there is nobody to refuse."""
        return next(iter(self._deadlines.values()), float("inf"))


def _may_join(session: Session) -> bool:
    """Return False for a session that has begun to end."""
    return session.ending is None and session.connection.status in (
        ConnectionStatus.CONNECTING,
        ConnectionStatus.CONNECTED,
    )


def _endpoint(session: Session) -> Endpoint2:
    return cast(Endpoint2, session.connection.endpoint)


def _take_identity(session: Session, stage: _Stage, identity: object) -> None:
    if identity is None or identity is False:
        stage.refusal = CloseCode.REFUSED, ""
    else:
        stage.refusal = None
        session.client.identity = identity


def _clipped(text: str) -> str:
    """Return as much of a text as a CLOSE holds."""
    return text.encode(errors="replace")[:MAX_CLOSE_TEXT].decode(errors="ignore")
