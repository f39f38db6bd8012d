"""The keys of a session of protocol 2: one secret for each direction and phase.

    ECDH and ML-KEM secrets ─extract─> PRK ─expand─> secret 0 of each direction ─> secret 1 ...
                                        │              │
                                        └> export      └> key, IV, mask key

All of it is HKDF-SHA256 (RFC 5869).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from mpgameserver._core.aesgcm import KEY_SIZE
from mpgameserver._core.packet_header import NONCE_SIZE
from mpgameserver._core.packet_protection import PacketMask
from mpgameserver.wire.session_cipher import SessionCipher, block_cipher, session_cipher

__all__ = ["SessionSecrets", "TrafficSecret"]

_SECRET_SIZE = 32


@dataclass(frozen=True)
class TrafficSecret:
    """The secret of one direction and one phase."""

    secret: bytes = field(repr=False)

    def cipher(self) -> SessionCipher:
        """The AEAD under the key of this phase."""
        return session_cipher(_expand(self.secret, b"key", KEY_SIZE))

    @property
    def iv(self) -> bytes:
        """The IV of this phase, 12 bytes."""
        return _expand(self.secret, b"iv", NONCE_SIZE)

    def mask(self) -> PacketMask:
        """The mask of the direction; that of the first phase stays."""
        return PacketMask(block_cipher(_expand(self.secret, b"mask", KEY_SIZE)))

    def next(self) -> TrafficSecret:
        """The secret of the next phase."""
        return TrafficSecret(_expand(self.secret, b"next", _SECRET_SIZE))

    def mixed_with(self, shared_secret: bytes) -> TrafficSecret:
        """This secret with that of ML-KEM mixed in: the one to derive the next phase from."""
        return TrafficSecret(_extract(self.secret, shared_secret))


@dataclass(frozen=True)
class SessionSecrets:
    """The secrets that both sides derive from a handshake."""

    client: TrafficSecret
    """Of what the client seals."""
    server: TrafficSecret
    """Of what the server seals."""
    export: bytes = field(repr=False)
    """32 bytes that no other session has, to bind a credential to this one."""

    @classmethod
    def derive(
        cls, ecdh_secret: bytes, transcript_hash: bytes, ml_kem_secret: bytes = b""
    ) -> SessionSecrets:
        """The secrets of a session.

        `ml_kem_secret` is empty where there was no ciphertext, `transcript_hash` that of
        `mpgameserver.wire.protocol2.hello`.
        """
        prk = _extract(transcript_hash, ecdh_secret + ml_kem_secret)
        client, server, export = (
            _expand(prk, b"mpgameserver 2 " + label, _SECRET_SIZE)
            for label in (b"client", b"server", b"export")
        )
        return cls(TrafficSecret(client), TrafficSecret(server), export)


def _extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, hashlib.sha256)


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=size, info=label).derive(secret)
