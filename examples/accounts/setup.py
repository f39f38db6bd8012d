"""Makes the keys, and a certificate for https://localhost."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from accounts.files import Files
from mpgameserver import EllipticCurvePrivateKey

VALID = datetime.timedelta(days=90)
NAMES = ("localhost",)
ADDRESSES = ("127.0.0.1", "::1")


def make_files(files: Files) -> None:
    """Make a folder with all that there is to be before the first start.

    FileExistsError if the folder is there: the keys in it are not to be lost.
    """
    files.folder.mkdir(mode=0o700)
    for private, public in (
        (files.game_key, files.game_public_key),
        (files.token_key, files.token_public_key),
    ):
        key = EllipticCurvePrivateKey.new()
        key.savePEM(private)
        key.getPublicKey().savePEM(public)
    https_key = ec.generate_private_key(ec.SECP256R1())
    EllipticCurvePrivateKey(https_key).savePEM(files.https_key)
    certificate = self_signed(https_key, datetime.datetime.now(datetime.timezone.utc))
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))


def self_signed(key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> x509.Certificate:
    """A certificate for this machine that is its own authority."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAMES[0])])
    public = key.public_key()
    builder = x509.CertificateBuilder(name, name, public, x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + VALID)
    hosts: list[x509.GeneralName] = [x509.DNSName(host) for host in NAMES]
    hosts += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    # Required of an authority by Python's ssl since 3.13 (VERIFY_X509_STRICT).
    builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
    builder = builder.add_extension(_key_usage(), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = builder.add_extension(identifier, critical=False)
    return builder.sign(key, hashes.SHA256())


def _key_usage() -> x509.KeyUsage:
    """For TLS, and for signing itself."""
    unused = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(digital_signature=True, key_cert_sign=True, **unused)


def main() -> None:
    """Make them in the folder where the other programs look."""
    files = Files()
    make_files(files)
    print(f"made {files.folder}")


if __name__ == "__main__":
    main()
