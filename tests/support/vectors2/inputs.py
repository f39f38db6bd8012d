"""Keys, and bytes that look random, the same each time."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from support.wire2 import keys

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The number of points of P-256 (FIPS 186-4, D.1.2.3)."""
ECDSA = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def random_bytes(name: str, size: int) -> bytes:
    """Return bytes that depend on the name alone."""
    seed = b"mpgameserver protocol 2 vectors " + name.encode()
    blocks = (sha256(seed + i.to_bytes(4, "big")).digest() for i in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def private_key(name: str) -> ec.EllipticCurvePrivateKey:
    scalar = int.from_bytes(random_bytes(name, 32), "big") % (ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def scalar_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_numbers().private_value.to_bytes(32, "big")


def point_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    return keys.point_of(private.public_key())


def sign(private: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
    """Return r and s of the signature that RFC 6979 makes, the same each time."""
    return keys.to_raw_signature(private.sign(signed, ECDSA))


CLIENT, ROOT, EPHEMERAL, OTHER = map(
    private_key, ("client key", "root key", "ephemeral key", "another key")
)
KEM_SEED = random_bytes("ML-KEM seed", 64)
KEM = keys.kem_private_key(KEM_SEED)
KEM_PUBLIC = KEM.public_key().public_bytes_raw()
# Encapsulated once for the key above: encapsulation is randomised, and takes no seed.
KEM_CIPHERTEXT = b64decode(
    "s4ZixbS0Ar8F/Oy7yvWjql5UHOUGN/sqdW02y8DQW4zHxE3MyOn5ePJfDMvQxw0mQz5EcAPel5feGkh2XK44vvoMoxqb"
    "bDD/FPdWJjqmfbsJSqf47Ag3SDPP1pOIw9jRXooOi3/Yx5hEBl1t+W4JJAOf4qwpyiabLB2PhQd9bP9DKwtHOigHTsE6"
    "NPzg0GpgSiYe0RffJtw6JDflsWbPFUNt/lMTLgQTqtaZnLPxed86fuyHnIcBRDSV7NmHgfBi9F0e2vlPt/Co2k/jUhR7"
    "CtM54dnxZDvN9WN+h1pKoRF22hotnHITZTupGD+8FaG6aP6Sr+fYL7iUYTVcpFQsqXbu8jsy4jVDwNP+nE3b6vv4/FLc"
    "EaKnt4HV8Kd2vdgzX0MmDw2ccYas2RcjtvVQEBfH/IIo4JnI/A0LW61yHIE4Oh9QhrnExpDsn2aXzu8dC1oGy5u7B+lV"
    "eN4DCxV5mfdFf4w3KD25pqL5nmv7ZdSVFksTYdyrGagRJH8uUHmEON2t8yw+b845L8JiM2eJKXkwi7Omuk9CH3Rl3b+0"
    "6+zzF3CpWbiH/eW/riFlE4r+W4X4Zw4LGJxlF+z6TlfXQbVrcCoQ/dCPwPwbssHTA4rkESYc2jF/gCa9Zq7T+2VYH3df"
    "pPB6I8cTd2usyNYmrwjBxME9lz5MQN/GIpAVmXVbVWjWLj+XwZ+lmqWnyX44JA5Rtot34eEEX9y+tFm06naNYZAXvo+9"
    "B27n9+zhZojVBcEnk8EYObpdS3OKMcy0twdXI3lWOue5aEK6d1iLwt7rNA9MqHtOLn26tScRd2PNIjNBknacf99w/wIV"
    "K41bJ5rRqKTIIa1W9V1ZbKsFbS8X/8nEMn/V1950fQ2Uw/RoDIWKHSg2RFUJ46XMgpnMCdI3F+/r1q73hwawwZFpRjS8"
    "FufF0Z8uJOloY6GMUc/y8PcI4FfMEDYf4dSGEegN7xtFoJuZ6fpd1D3Z4k08kNiWb3rGTlXXiFlkwjyRxIQMIKkYJpLy"
    "XmGfGync8gmfM5Ri/ZOXeA+CXtSp5cetazjjEDakdvkmj48vfdy3BwmSxFZErKMw48ayhWYmH+XqvB3oyrAidPtdl66G"
    "sSng5eBOzajmbe53qcd4FwdhbD8/70DnoGyyNoMVTB+T4p13Q/ffytNiyOnatOpBffhl7RWqlnQ4VYEHxYuCnQen/Lgt"
    "6Xi2VvaccbnXG0JkTz3M+PBKVpuehgvE55YpbeJ0Sm0N2DMXNj+zX2J9AWRaTQeLbkHAQz6+hi3752yyT1cb682H+jKJ"
    "yZPujCCgPPiZPkcXl3+Qi14hrswsIJvxjzB5hn+AhXOf7p/FEUwvsljiInCRN6gaxBnQeAMAvWYx+szVcNhexDCRQ9FU"
    "3QdY+ErwkGsXty+/M3u420N5QC7IUiF1INK01KwocOxnikDcNpv+zFWkiQsAqlQ7dJNDhh4="
)
KEM_SECRET = KEM.decapsulate(KEM_CIPHERTEXT)
