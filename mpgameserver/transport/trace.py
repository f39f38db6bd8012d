"""The packet trace: one JSON line for each datagram that is sent, received or dropped.

A line contains the header, which anyone on the path can read, and never a payload or a key. If a
trace was requested, the datagram I/O has an observer that writes the lines: a client's is
`PathTrace`, a server's is in `server.observer`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

from mpgameserver._core.frames import CONNECTION_ID_SIZE
from mpgameserver._core.packet_header import decode_header
from mpgameserver._core.packet_protection import SEALED
from mpgameserver.enums import PacketIdentifier, PacketType
from mpgameserver.errors import PacketError
from mpgameserver.transport.address import SocketAddress, format_address, plain_address
from mpgameserver.transport.linefile import LineFile, open_named
from mpgameserver.wire.protocol2.hello import HANDSHAKE_FORM, Kind

__all__ = ["TRACE_VARIABLE", "PacketTrace", "PathTrace", "open_trace"]

TRACE_VARIABLE = "MPGAMESERVER_TRACE"
"""The environment variable that names the file for all clients and servers."""
MAX_TRACE_BYTES = 1 << 30
"""The size of the file: some four million lines. Unknown addresses must not fill a disk."""

_LOG = logging.getLogger("mpgameserver.trace")
_KINDS = {bytes([kind]): kind.name for kind in Kind}


class PacketTrace:
    """Appends lines to a file, each whole in one write: several traces may share it.

    `of_server` is True for the trace of a server.

    Raises OSError if the file cannot be written. A later error, or a file that has
    `MAX_TRACE_BYTES`, whoever wrote them, ends the trace with a line in the log.
    """

    def __init__(self, path: str | os.PathLike[str], *, of_server: bool = False) -> None:
        self._of_server = of_server
        self._file = LineFile(path, "packet trace", _LOG)  # who communicates with whom

    def sent(self, datagram: bytes, local: SocketAddress, peer: SocketAddress) -> None:
        """Write a line for a datagram that was sent."""
        self._write("sent", "out", local, peer, datagram, None)

    def arrived(
        self, datagram: bytes, local: SocketAddress, peer: SocketAddress, reason: str | None
    ) -> None:
        """Write a line for a datagram that was received, or dropped if there is a reason."""
        event = "received" if reason is None else "dropped"
        self._write(event, "in", local, peer, datagram, reason)

    def dropped(
        self, direction: str, local: SocketAddress, peer: SocketAddress, reason: str
    ) -> None:
        """Write a line for a deferred datagram that was dropped; `direction` is "in" or "out"."""
        self._write("dropped", direction, local, peer, None, reason)

    def _write(
        self,
        event: str,
        direction: str,
        local: SocketAddress,
        peer: SocketAddress,
        datagram: bytes | None,
        reason: str | None,
    ) -> None:
        if not self._file.is_open:
            return
        line: dict[str, Any] = {
            "time": round(time.time(), 6),
            "event": event,
            "direction": direction,
            "local": format_address(plain_address(local)),
            "peer": format_address(plain_address(peer)),
        }
        if reason is not None:
            line["reason"] = reason
        if datagram is not None:
            to_server = self._of_server == (direction == "in")
            line |= {"size": len(datagram), "header": _header(datagram, to_server)}
        self._file.append(json.dumps(line, separators=(",", ":")).encode() + b"\n", MAX_TRACE_BYTES)


class PathTrace:
    """Observes the datagrams between two addresses, and writes a line for each."""

    def __init__(self, trace: PacketTrace, local: SocketAddress, peer: SocketAddress) -> None:
        self._trace = trace
        self._local = local
        self._peer = peer

    def sent(self, datagram: bytes) -> None:
        """Write a line for a datagram that was sent."""
        self._trace.sent(datagram, self._local, self._peer)

    def arrived(self, datagram: bytes, reason: str | None) -> None:
        """Write a line for a datagram that was received, or dropped if there is a reason."""
        self._trace.arrived(datagram, self._local, self._peer, reason)


def open_trace(
    path: str | os.PathLike[str] | None, *, of_server: bool = False
) -> PacketTrace | None:
    """Open a trace in a file, by default the one that `TRACE_VARIABLE` names, if any.

    Raises OSError if the file cannot be written; it names the variable if that named the file.
    """
    return open_named(path, TRACE_VARIABLE, lambda chosen: PacketTrace(chosen, of_server=of_server))


def _header(datagram: bytes, to_server: bool) -> dict[str, Any] | None:
    """Return the fields of the header; None if the datagram has none."""
    try:
        fields = decode_header(datagram)
    except PacketError:
        return _header_of_protocol_2(datagram, to_server)
    identifier = PacketIdentifier.TO_CLIENT if fields.from_server else PacketIdentifier.TO_SERVER
    known = fields.packet_type in PacketType.__members__.values()
    return {
        "identifier": identifier.value.decode(),
        "time": fields.time,
        "seq": fields.seq,
        "ack": fields.ack,
        "type": PacketType(fields.packet_type).name if known else fields.packet_type,
        "length": fields.length,
        "count": fields.count,
        "ack_bits": f"{fields.ack_bits:08x}",
    }


def _header_of_protocol_2(datagram: bytes, to_server: bool) -> dict[str, Any] | None:
    """Return the type, and the connection id where there is one: all else is masked."""
    if not datagram:
        return None
    if SEALED <= datagram[0] < 2 * SEALED:
        connection_id = datagram[1 : 1 + CONNECTION_ID_SIZE]
        return {"type": "SEALED"} | ({"connection_id": connection_id.hex()} if to_server else {})
    if datagram[0] == HANDSHAKE_FORM and datagram[2:3] in _KINDS:
        return {"type": _KINDS[datagram[2:3]]}
    return None
