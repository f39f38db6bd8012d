"""A key pair in two files: the server's private key, and the public one for its clients."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mpgameserver.cli.parser import EXIT_OK, Commands, print_at_once
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey

__all__ = ["register", "run", "write_key_pair"]

_DESCRIPTION = """\
Make the key pair of a server. OUT is the private key, which stays on the server and only its
owner can read (mode 0600); OUT.pub is the public key for the clients. Both are PEM files. Existing
files are never overwritten.
"""

_EPILOG = """\
exit codes:
  0    both files are written
  1    neither is: one already exists, or cannot be written
  2    invalid command line

example:
  mpgameserver genkey server.pem
"""


def write_key_pair(path: str | os.PathLike[str]) -> Path:
    """Write a new private key to `path` (mode 0600), and its public key beside it.

    Returns the path of the public key, which is `path` with ".pub" appended. Raises FileExistsError
    if either file exists, because a key that clients were given cannot be recovered, and OSError if
    one cannot be written; neither is left behind then.
    """
    private, public = Path(path), Path(f"{os.fspath(path)}.pub")
    key = EllipticCurvePrivateKey.new()
    _create(key, private)
    try:
        _create(key.getPublicKey(), public)
    except BaseException:
        private.unlink()
        raise
    return public


def _create(key: EllipticCurvePrivateKey | EllipticCurvePublicKey, path: Path) -> None:
    """Write a key to a file that is not there yet, not even by the time that it is written.

    Two processes may try at once: O_EXCL lets one of them have the name. The key then replaces the
    empty file in one step.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            key.savePEM(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except FileExistsError:
        raise FileExistsError(f"{str(path)!r} exists and is not overwritten") from None
    except OSError as error:
        raise OSError(error.errno, f"cannot write {str(path)!r}: {error.strerror}") from error


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "genkey", help="make the key pair of a server", description=_DESCRIPTION, epilog=_EPILOG
    )
    command.add_argument("out", metavar="OUT", help="file of the private key")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit code."""
    public = write_key_pair(arguments.out)
    print_at_once(f"{arguments.out}: the private key, for the server only")
    print_at_once(f"{public}: the public key, for the clients")
    return EXIT_OK
