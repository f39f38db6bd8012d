"""The files of each program.

All of them lie in one folder here. Elsewhere, each machine has only those that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Files:
    """The files in a folder."""

    folder: Path = Path("accounts-files")

    @property
    def game_key(self) -> Path:
        """Private, on the game server."""
        return self.folder / "game.pem"

    @property
    def game_public_key(self) -> Path:
        """On the service, which hands it out to players."""
        return self.folder / "game.pem.pub"

    @property
    def token_key(self) -> Path:
        """Private, on the service."""
        return self.folder / "tokens.pem"

    @property
    def token_public_key(self) -> Path:
        """On the game server."""
        return self.folder / "tokens.pem.pub"

    @property
    def https_key(self) -> Path:
        """Private, on the service."""
        return self.folder / "https.pem"

    @property
    def certificate(self) -> Path:
        """On the service; on the players' machines only because it is self-signed."""
        return self.folder / "https.crt"

    @property
    def database(self) -> Path:
        """On the service."""
        return self.folder / "accounts.db"


def files_in_place() -> Files:
    """The files of `python -m accounts.setup`; ends the program if that has not been run."""
    files = Files()
    if not files.folder.is_dir():
        raise SystemExit(f"there is no {files.folder}; make it with `python -m accounts.setup`")
    return files
