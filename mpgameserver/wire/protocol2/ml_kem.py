"""ML-KEM-768 (FIPS 203), where the installed `cryptography` has it."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm

from mpgameserver.errors import HandshakeError

__all__ = ["DecapsulationKey", "MlKem", "find_ml_kem"]


class DecapsulationKey:
    """The private key of a client, for one attempt."""

    __slots__ = ("_key", "encapsulation_key")

    def __init__(self, key: Any) -> None:
        self._key = key
        self.encapsulation_key: bytes = key.public_key().public_bytes_raw()
        """The public half, 1,184 bytes, which the server encapsulates to."""

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """Return the shared secret, 32 bytes.

        A ciphertext for another key yields a secret that nobody else has (implicit rejection).
        Raises HandshakeError for one of another length than 1,088 bytes.
        """
        try:
            shared_secret: bytes = self._key.decapsulate(ciphertext)
        except ValueError as error:
            raise HandshakeError(f"a ciphertext of {len(ciphertext)} bytes: {error}") from None
        return shared_secret


class MlKem:
    """ML-KEM-768 of a module of `cryptography`."""

    __slots__ = ("_module",)

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def new_key(self) -> DecapsulationKey:
        """Make a key pair."""
        return DecapsulationKey(self._module.MLKEM768PrivateKey.generate())

    def encapsulate(self, encapsulation_key: bytes) -> tuple[bytes, bytes]:
        """Return a shared secret, 32 bytes, and its ciphertext, 1,088 bytes.

        Raises HandshakeError for a key that fails the check of FIPS 203, section 7.2.
        """
        try:
            key = self._module.MLKEM768PublicKey.from_public_bytes(encapsulation_key)
        except ValueError as error:
            raise HandshakeError(f"not an encapsulation key: {error}") from None
        shared_secret, ciphertext = key.encapsulate()
        return shared_secret, ciphertext


@cache
def find_ml_kem() -> MlKem | None:
    """Return ML-KEM-768, or None where the installed `cryptography` has none.

    Only the first call probes; importing this module imports no cryptography for it.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import mlkem

        mlkem.MLKEM768PrivateKey.generate()  # its OpenSSL may be without, unlike its Python
    except (ImportError, UnsupportedAlgorithm):
        return None
    return MlKem(mlkem)
