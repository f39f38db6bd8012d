"""ML-KEM-768 in KEM frames, where the hello had no room for the client's encapsulation key.

An endpoint sends the `opening`, puts together what the peer sends, and has `take` make the shared
secret and the reply of it.
"""

from __future__ import annotations

from collections.abc import Callable

from mpgameserver.wire.protocol2.hello import CIPHERTEXT_SIZE, ENCAPSULATION_KEY_SIZE
from mpgameserver.wire.protocol2.ml_kem import DecapsulationKey, MlKem

__all__ = ["LateDecapsulation", "LateEncapsulation"]

OnSecret = Callable[[bytes], None]


class LateDecapsulation:
    """The side of a client; `on_secret` is called with the shared secret."""

    peers_size: int = CIPHERTEXT_SIZE
    """Bytes of what the peer sends."""

    def __init__(self, key: DecapsulationKey, on_secret: OnSecret) -> None:
        self._key = key
        self._on_secret = on_secret
        self.opening: bytes = key.encapsulation_key
        """The first to send: the public half of the key."""

    def take(self, ciphertext: bytes) -> tuple[bytes, bytes]:
        """Return the shared secret, and what to reply, which is nothing."""
        shared_secret = self._key.decapsulate(ciphertext)
        self._on_secret(shared_secret)
        return shared_secret, b""


class LateEncapsulation:
    """The side of a server; `on_secret` is called with the shared secret."""

    peers_size: int = ENCAPSULATION_KEY_SIZE
    """Bytes of what the peer sends."""
    opening: bytes = b""
    """The first to send: nothing."""

    def __init__(self, ml_kem: MlKem, on_secret: OnSecret) -> None:
        self._ml_kem = ml_kem
        self._on_secret = on_secret

    def take(self, encapsulation_key: bytes) -> tuple[bytes, bytes]:
        """Return the shared secret, and the ciphertext to reply.

        Raises HandshakeError for a key that fails the check of FIPS 203, section 7.2.
        """
        shared_secret, ciphertext = self._ml_kem.encapsulate(encapsulation_key)
        self._on_secret(shared_secret)
        return shared_secret, ciphertext
