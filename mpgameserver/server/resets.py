"""The tokens of stateless resets: proofs that a session is gone, which need no session to make.

A client keeps the token that it was given under the session's keys. A server that has lost its
sessions makes it again from the connection id of a packet, with a secret that outlives the process:
it follows from the root key, the name of the machine, and the worker.
"""

from __future__ import annotations

import platform
from hashlib import blake2s

from mpgameserver._core.frames import RESET_TOKEN_SIZE
from mpgameserver.crypto import EllipticCurvePrivateKey

__all__ = ["ResetTokens"]

_LABEL = b"mpgreset"


class ResetTokens:
    """Makes the tokens of a worker's connection ids."""

    __slots__ = ("_secret",)

    def __init__(self, root_key: EllipticCurvePrivateKey, worker: int = 0) -> None:
        # Hosts that share a root key must not make each other's tokens: whoever sees a packet could
        # send it to another host, and would get the token of a session that lives.
        origin = platform.node().encode(errors="replace") + bytes([worker])
        self._secret = blake2s(root_key.getBytes() + origin, person=_LABEL).digest()

    def of(self, connection_id: bytes) -> bytes:
        """Return the token of a connection id."""
        return blake2s(connection_id, key=self._secret).digest()[:RESET_TOKEN_SIZE]
