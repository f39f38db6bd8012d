"""The key log: the keys of sessions, for Wireshark. Whoever reads it reads them.

A line is in the form of an SSLKEYLOGFILE (RFC 9850): a label, what the session is told by, and a
secret, in hexadecimal. In protocol 2 the session is told by its connection id instead of the
client's random bytes: two sessions may come of one hello, and the id is in each packet to the
server. In protocol 1, whose packets have none, it is the salt of the SERVER_HELLO.

    MPG2_CLIENT_TRAFFIC_SECRET_0 004fd1c7906ab1e2 5ce0...
    MPG2_SERVER_TRAFFIC_SECRET_0 004fd1c7906ab1e2 91b7...
    MPG1_SESSION_KEY 8bd3f9d1a5c40c2f6d12a77e3e07b951 d07e...

In protocol 2 the secrets of later key phases follow from these; where ML-KEM's secret came in KEM
frames, from those of phase 1, which have lines of their own.
"""

from __future__ import annotations

import logging
import os
from typing import Literal

from mpgameserver.transport.linefile import LineFile, open_named
from mpgameserver.wire.protocol2.keys import SessionSecrets, TrafficSecret

__all__ = ["KEY_LOG_LOGGER", "KEY_LOG_VARIABLE", "KeyLog", "open_key_log"]

KEY_LOG_VARIABLE = "MPGAMESERVER_KEYLOG"
"""The environment variable that names the file for all clients and servers. Not SSLKEYLOGFILE,
which is set for browsers by people who do not think of a game."""
MAX_KEY_LOG_BYTES = 1 << 30
"""The size of the file: some five million sessions. Whoever connects must not fill a disk."""

KEY_LOG_LOGGER = "mpgameserver.keylog"

_LOG = logging.getLogger(KEY_LOG_LOGGER)

Side = Literal["client", "server"]


class KeyLog:
    """Appends the secrets of sessions to a file: it says so in the log, once.

    `side` is whose sessions they are. Raises OSError if the file cannot be written. A later error,
    or a file that has `MAX_KEY_LOG_BYTES`, ends the key log with a line in the log.
    """

    def __init__(self, path: str | os.PathLike[str], side: Side) -> None:
        self._file = LineFile(path, "key log", _LOG)
        _LOG.warning(
            "the keys of this %s are written to %s: whoever reads that file reads its sessions",
            side,
            self._file.path,
        )

    def write_protocol_1(self, salt: bytes, key: bytes) -> None:
        """Append the key that a handshake of protocol 1 may lead to."""
        line = f"MPG1_SESSION_KEY {salt.hex()} {key.hex()}\n"
        self._file.append(line.encode(), MAX_KEY_LOG_BYTES)

    def write(self, connection_id: bytes, secrets: SessionSecrets) -> None:
        """Append the secrets with which a session of protocol 2 begins."""
        self._write(connection_id, 0, secrets.client, secrets.server)

    def write_mixed(
        self, connection_id: bytes, secrets: SessionSecrets, shared_secret: bytes
    ) -> None:
        """Append the secrets of phase 1, where a secret of KEM frames is mixed into them."""
        client, server = (
            traffic.mixed_with(shared_secret).next() for traffic in (secrets.client, secrets.server)
        )
        self._write(connection_id, 1, client, server)

    def _write(
        self, connection_id: bytes, phase: int, client: TrafficSecret, server: TrafficSecret
    ) -> None:
        lines = "".join(
            f"MPG2_{sender}_TRAFFIC_SECRET_{phase} {connection_id.hex()} {traffic.secret.hex()}\n"
            for sender, traffic in (("CLIENT", client), ("SERVER", server))
        )
        self._file.append(lines.encode(), MAX_KEY_LOG_BYTES)


def open_key_log(path: str | os.PathLike[str] | None, side: Side) -> KeyLog | None:
    """Open a key log in a file, by default the one that `KEY_LOG_VARIABLE` names, if any.

    Raises OSError if the file cannot be written; it names the variable if that named the file.
    """
    return open_named(path, KEY_LOG_VARIABLE, lambda chosen: KeyLog(chosen, side))
