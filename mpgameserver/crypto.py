"""The keys: ECDSA and ECDH over the curve P-256 (secp256r1).

A server has one long-lived root key, which signs; its public half is given to the clients, which
trust what it signed. Each side of a handshake also makes a key for that handshake alone, which
only exchanges. Both are the same two classes, over the `cryptography` package.

A public key travels as the DER form of its SubjectPublicKeyInfo (RFC 5480): 26 bytes that are
the same for every key, then the 65 bytes of the uncompressed point.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from mpgameserver.errors import InvalidSignature
from mpgameserver.reprs import even_unmade

__all__ = [
    "PUBLIC_KEY_PREFIX",
    "PUBLIC_KEY_SIZE",
    "EllipticCurvePrivateKey",
    "EllipticCurvePublicKey",
    "InvalidSignature",
    "load_private_key",
    "load_public_key",
]

PUBLIC_KEY_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""The first bytes of every public key: the DER of the algorithm, then 04, an uncompressed point."""
PUBLIC_KEY_SIZE = 91
"""The length of every public key in DER, in bytes."""

_PEM_MARK = "-----BEGIN "
_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())
_ECDH = ec.ECDH()
_LOAD_PRIVATE_PEM = partial(load_pem_private_key, password=None)
_LOAD_PRIVATE_DER = partial(load_der_private_key, password=None)
_KeyT = TypeVar("_KeyT")
_PemKeyT = TypeVar("_PemKeyT", "EllipticCurvePublicKey", "EllipticCurvePrivateKey")


class EllipticCurvePublicKey:
    """A P-256 public key: verifies signatures.

    Get one from `fromPEM`, `fromBytes` or `EllipticCurvePrivateKey.getPublicKey`. Two keys are
    equal, and have the same hash, if they are the same point.

    Parameters:
        key: a key of `cryptography` to wrap.

    Raises:
        TypeError: `key` is not such a key.
        ValueError: `key` is of another curve.
    """

    __slots__ = ("_key",)

    InvalidSignature = InvalidSignature
    """The exception that `verify` raises."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise TypeError(f"must be an elliptic curve public key, not {type(key).__name__}")
        _require_p256(key.curve)
        self._key = key

    @staticmethod
    def fromPEM(pem: str | bytes) -> EllipticCurvePublicKey:
        """Return the key in a PEM text ("BEGIN PUBLIC KEY").

        Raises:
            TypeError: `pem` is not a str or bytes.
            ValueError: `pem` is not a P-256 public key.
        """
        data = _pem_bytes(pem)
        if b"PRIVATE KEY-----" in data:
            raise ValueError("expected a public key, but this PEM text is a private key")
        return _load(load_pem_public_key, data, EllipticCurvePublicKey)

    @staticmethod
    def fromBytes(der: bytes) -> EllipticCurvePublicKey:
        """Return the key in a DER SubjectPublicKeyInfo.

        Raises:
            TypeError: `der` is not bytes.
            ValueError: `der` is not a P-256 public key; a point off the curve is not one either.
        """
        return _load(load_der_public_key, _require_bytes(der), EllipticCurvePublicKey)

    def getBytes(self) -> bytes:
        """Return the key as a DER SubjectPublicKeyInfo: always `PUBLIC_KEY_SIZE` bytes."""
        return self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def getPublicKeyPEM(self) -> str:
        """Return the key as PEM text ("BEGIN PUBLIC KEY")."""
        pem = self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode("ascii")

    def savePEM(self, path: str | os.PathLike[str]) -> None:
        """Write the PEM text to a file that everyone can read (mode 0644).

        The file appears whole or not at all. An existing file is replaced; so is a symbolic link,
        which is not followed.

        Raises:
            OSError: the file cannot be written; nothing has changed.
        """
        _replace_file(path, self.getPublicKeyPEM(), 0o644)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Verify the private key's ECDSA-SHA256 signature of `data`.

        Parameters:
            signature: the signature, in DER.
            data: the signed bytes.

        Raises:
            InvalidSignature: the signature is not valid, whatever its bytes.
        """
        try:
            self._key.verify(signature, data, _ECDSA_SHA256)
        except exceptions.InvalidSignature:
            raise InvalidSignature("the signature is not this key's for this data") from None

    def curve(self) -> ec.EllipticCurve:
        """Return the curve, as an object of `cryptography`; its `name` is "secp256r1"."""
        return self._key.curve

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EllipticCurvePublicKey):
            return NotImplemented
        return self.getBytes() == other.getBytes()

    def __hash__(self) -> int:
        return hash(self.getBytes())

    def __reduce__(self) -> tuple[Callable[[str], EllipticCurvePublicKey], tuple[str]]:
        return EllipticCurvePublicKey.fromPEM, (self.getPublicKeyPEM(),)

    @even_unmade
    def __repr__(self) -> str:
        return f"<EllipticCurvePublicKey {_fingerprint(self)}>"


class EllipticCurvePrivateKey:
    """A P-256 private key: signs, and agrees on secrets.

    Get one from `new`, `fromPEM` or `fromBytes`. Its `repr` shows only a fingerprint of the public
    key. It cannot be pickled or copied.

    Parameters:
        key: a key of `cryptography` to wrap.

    Raises:
        TypeError: `key` is not such a key.
        ValueError: `key` is of another curve.
    """

    __slots__ = ("_key",)

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"must be an elliptic curve private key, not {type(key).__name__}")
        _require_p256(key.curve)
        self._key = key

    @staticmethod
    def new() -> EllipticCurvePrivateKey:
        """Generate a key from the system's random source."""
        return EllipticCurvePrivateKey(ec.generate_private_key(ec.SECP256R1()))

    @staticmethod
    def fromPEM(pem: str | bytes) -> EllipticCurvePrivateKey:
        """Return the key in unencrypted PEM ("BEGIN PRIVATE KEY" or "BEGIN EC PRIVATE KEY").

        Raises:
            TypeError: `pem` is not a str or bytes.
            ValueError: `pem` is not a P-256 private key, or is protected by a password.
        """
        data = _pem_bytes(pem)
        if b"BEGIN PUBLIC KEY-----" in data:
            raise ValueError("expected a private key, but this PEM text is a public key")
        return _load(_LOAD_PRIVATE_PEM, data, EllipticCurvePrivateKey)

    @staticmethod
    def fromBytes(der: bytes) -> EllipticCurvePrivateKey:
        """Return the key in unencrypted DER, as `getBytes` writes it.

        Raises:
            TypeError: `der` is not bytes.
            ValueError: `der` is not a P-256 private key, or is protected by a password.
        """
        return _load(_LOAD_PRIVATE_DER, _require_bytes(der), EllipticCurvePrivateKey)

    def getBytes(self) -> bytes:
        """Return the key in DER (PKCS #8, not encrypted): a secret."""
        return self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def getPrivateKeyPEM(self) -> str:
        """Return the key as PEM text (PKCS #8, not encrypted): a secret."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem.decode("ascii")

    def savePEM(self, path: str | os.PathLike[str]) -> None:
        """Write the PEM text to a file that only its owner can read or write (mode 0600).

        The file appears whole or not at all. An existing file is replaced together with its mode;
        so is a symbolic link, which is not followed.

        Raises:
            OSError: the file cannot be written; nothing has changed.
        """
        _replace_file(path, self.getPrivateKeyPEM(), 0o600)

    def getPublicKey(self) -> EllipticCurvePublicKey:
        """Return the public key."""
        return EllipticCurvePublicKey(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Return an ECDSA-SHA256 signature of `data` in DER: up to 72 bytes, random each time."""
        return self._key.sign(data, _ECDSA_SHA256)

    def exchange(self, peer: EllipticCurvePublicKey) -> bytes:
        """Return the ECDH secret (32 bytes) shared with the holder of the peer's private key.

        It is not a key yet: see `handshake.session_key`.
        """
        return self._key.exchange(_ECDH, peer._key)

    def curve(self) -> ec.EllipticCurve:
        """Return the curve, as an object of `cryptography`; its `name` is "secp256r1"."""
        return self._key.curve

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a private key is not pickled or copied, for what holds it should be known: hand over "
            "the path of its PEM file, and read it there by fromPEM"
        )

    @even_unmade
    def __repr__(self) -> str:
        return f"<EllipticCurvePrivateKey of {_fingerprint(self.getPublicKey())}>"


def load_public_key(
    source: EllipticCurvePublicKey | str | bytes | os.PathLike[str],
) -> EllipticCurvePublicKey:
    """Return the public key that `source` is, contains, or names.

    A key is returned unchanged. A str or bytes that contains "-----BEGIN " is PEM text; any other
    str, and an os.PathLike, is the path of a PEM file.

    Raises TypeError for anything else (a private key included), ValueError if it contains no P-256
    public key, and OSError (FileNotFoundError) if the file cannot be read.
    """
    return _load_key(EllipticCurvePublicKey, "public", source)


def load_private_key(
    source: EllipticCurvePrivateKey | str | bytes | os.PathLike[str],
) -> EllipticCurvePrivateKey:
    """Return the private key that `source` is, contains, or names; compare `load_public_key`."""
    return _load_key(EllipticCurvePrivateKey, "private", source)


def _load_key(
    kind: type[_PemKeyT], name: str, source: _PemKeyT | str | bytes | os.PathLike[str]
) -> _PemKeyT:
    if isinstance(source, kind):
        return source
    if isinstance(source, bytes) or (isinstance(source, str) and _PEM_MARK in source):
        return kind.fromPEM(source)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"a {name} key must be an {kind.__name__}, PEM text or a path, "
            f"not {type(source).__name__}"
        )
    pem = Path(source).read_bytes()
    try:
        return kind.fromPEM(pem)
    except ValueError as error:
        raise ValueError(f"{os.fspath(source)!r}: {error}") from error


def _require_p256(curve: ec.EllipticCurve) -> None:
    if curve.name != "secp256r1":
        raise ValueError(f"the curve must be secp256r1 (P-256), not {curve.name}")


def _load(loader: Callable[[bytes], object], data: bytes, wrapper: Callable[[Any], _KeyT]) -> _KeyT:
    """The key that `loader` finds in `data`, wrapped; every failure is a ValueError."""
    try:
        return wrapper(loader(data))
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm) as error:
        # A TypeError is how cryptography asks for a password, and the wrapper for another kind.
        raise ValueError(f"not a plain P-256 key: {error}") from error


def _pem_bytes(pem: str | bytes) -> bytes:
    """The bytes of a PEM text; an error that says what to do for the path of a file."""
    advice = "fromPEM takes the text: Path(...).read_text()"
    if isinstance(pem, os.PathLike):
        raise TypeError(f"PEM text must be str or bytes, not the path {os.fspath(pem)!r}; {advice}")
    if not isinstance(pem, (str, bytes)):
        raise TypeError(f"PEM text must be str or bytes, not {type(pem).__name__}")
    data = pem.encode() if isinstance(pem, str) else pem
    if _PEM_MARK.encode() not in data:  # the text is not repeated, for it may be a secret
        raise ValueError(f"not a plain P-256 key: PEM text has {_PEM_MARK!r} in it; {advice}")
    return data


def _require_bytes(der: bytes) -> bytes:
    if not isinstance(der, bytes):
        raise TypeError(f"a key in DER must be bytes, not {type(der).__name__}")
    return der


def _fingerprint(key: EllipticCurvePublicKey) -> str:
    return f"sha256:{hashlib.sha256(key.getBytes()).hexdigest()[:16]}"


def _replace_file(path: str | os.PathLike[str], text: str, mode: int) -> None:
    """Replace a file in one step by one that had this mode, or a stricter one, at any moment."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".key-", dir=os.path.dirname(path) or ".")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, mode)  # mkstemp leaves less, under a strict umask even of 0600
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:  # it names the file on the way, of which the caller knows nothing
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error
