"""The key schedule: from the two secrets of a handshake to the keys of each packet."""

from __future__ import annotations

from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from support.wire import WireError

CLIENT, SERVER = b"mpgameserver 2 client", b"mpgameserver 2 server"
EXPORT = b"mpgameserver 2 export"
KEM_MODULUS = 3329
PACKETS_PER_KEY = 1 << 23
"""A side updates its key before it has sealed so many packets under it."""


def sha256(data: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize()


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract of RFC 5869: one HMAC, whose key is the salt."""
    hmac = HMAC(salt, hashes.SHA256())
    hmac.update(secret)
    return hmac.finalize()


def expand(secret: bytes, label: bytes, size: int) -> bytes:
    return HKDFExpand(hashes.SHA256(), size, label).derive(secret)


# Points and signatures.


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    form = serialization.PublicFormat.UncompressedPoint
    return key.public_bytes(serialization.Encoding.X962, form)


def load_point(point: bytes) -> ec.EllipticCurvePublicKey:
    if len(point) != 65 or point[0] != 4:
        raise WireError("not an uncompressed point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise WireError("not a point on the curve") from None


def to_raw_signature(der: bytes) -> bytes:
    return b"".join(part.to_bytes(32, "big") for part in utils.decode_dss_signature(der))


def verify(point: bytes, signature: bytes, signed: bytes) -> None:
    halves = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    der = utils.encode_dss_signature(*halves)
    try:
        load_point(point).verify(der, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise WireError("the signature does not verify") from None


# The secrets of the two directions.


def shared_secret(private: ec.EllipticCurvePrivateKey, peer: bytes) -> bytes:
    """Return the x of the ECDH of a key and a point."""
    return private.exchange(ec.ECDH(), load_point(peer))


def first_secret(label: bytes, transcript: bytes, answer: bytes, secret: bytes) -> bytes:
    """Return secret_0 of the side of the label; `secret` is the ECDH's and then the ML-KEM's."""
    return expand(extract(sha256(transcript + answer), secret), label, 32)


def exported(transcript: bytes, answer: bytes, secret: bytes) -> bytes:
    """Return what a game may bind a credential with."""
    return expand(extract(sha256(transcript + answer), secret), EXPORT, 32)


def next_secret(secret: bytes) -> bytes:
    return expand(secret, b"next", 32)


def late_secret(secret: bytes, kem_secret: bytes) -> bytes:
    """Return secret_1 where the ML-KEM comes in KEM frames."""
    return expand(extract(secret, kem_secret), b"next", 32)


class Keys(NamedTuple):
    """Seals and opens the packets of one direction under key n."""

    n: int
    key: bytes
    iv: bytes

    @property
    def phase(self) -> int:
        return self.n & 1


def packet_keys(n: int, secret: bytes) -> Keys:
    return Keys(n, expand(secret, b"key", 16), expand(secret, b"iv", 12))


def mask_key(secret_0: bytes) -> bytes:
    return expand(secret_0, b"mask", 16)


# ML-KEM-768. Old releases of cryptography are without it, and tests of the rest run with them.


def kem_private_key(seed: bytes):
    """Return the decapsulation key of 64 bytes, d and z of FIPS 203."""
    from cryptography.hazmat.primitives.asymmetric import mlkem

    return mlkem.MLKEM768PrivateKey.from_seed_bytes(seed)


def check_encapsulation_key(key: bytes) -> None:
    """Check that no coefficient is above the modulus (FIPS 203, section 7.2)."""
    for low, middle, high in zip(*(key[i:-32:3] for i in range(3)), strict=True):
        if max(low | (middle & 15) << 8, middle >> 4 | high << 4) >= KEM_MODULUS:
            raise WireError("a coefficient of the encapsulation key is not below the modulus")


def encapsulate(encapsulation_key: bytes) -> tuple[bytes, bytes]:
    """Return a shared secret, and its ciphertext."""
    from cryptography.hazmat.primitives.asymmetric import mlkem

    check_encapsulation_key(encapsulation_key)
    return mlkem.MLKEM768PublicKey.from_public_bytes(encapsulation_key).encapsulate()
