"""A key pair in two files: the server's private key, and the public one for its clients."""

from __future__ import annotations

import os
from pathlib import Path

from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey

__all__ = ["write_key_pair"]


def write_key_pair(path: str | os.PathLike[str]) -> Path:
    """Write a new private key to `path` (mode 0600), and its public key beside it.

    Returns the path of the public key, which is `path` with ".pub" behind it. Raises
    FileExistsError when either is there, for a key that clients were given cannot be had again,
    and OSError when one cannot be written; neither is left behind then.
    """
    private, public = Path(path), Path(f"{os.fspath(path)}.pub")
    for target in (private, public):
        if os.path.lexists(target):
            raise FileExistsError(f"{str(target)!r} exists, and is not overwritten")
    key = EllipticCurvePrivateKey.new()
    _save(key, private)
    try:
        _save(key.getPublicKey(), public)
    except BaseException:
        private.unlink()
        raise
    return public


def _save(key: EllipticCurvePrivateKey | EllipticCurvePublicKey, path: Path) -> None:
    """Write a key; the error names the file that was asked for, not one that is on the way."""
    try:
        key.savePEM(path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {str(path)!r}: {error.strerror}") from error
