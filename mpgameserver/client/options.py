"""The options of a client that only protocol 2 has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mpgameserver.channels import Channel, ChannelTable
from mpgameserver.wire.protocol2.hello import VERSION, checked_audience
from mpgameserver.wire.protocol2.ml_kem import find_ml_kem
from mpgameserver.wire.protocol2.setup import MAX_CREDENTIAL_SIZE

__all__ = ["Credential", "SessionOptions"]

Credential = bytes | bytearray | memoryview | Callable[[bytes], bytes]
"""Proof of who the player is, or a function that makes it: see `UdpClient`."""


@dataclass(frozen=True, eq=False)
class SessionOptions:
    """The wishes of a client for its sessions."""

    channels: ChannelTable
    credential: bytes | Callable[[bytes], bytes]
    audience: str
    require_hybrid: bool
    only_version_2: bool
    """A session of protocol 1 is refused."""

    @classmethod
    def checked(
        cls,
        minimum_protocol: int = 1,
        channels: Iterable[Channel] = (),
        credential: Credential = b"",
        audience: str = "",
        require_hybrid: bool = False,
    ) -> SessionOptions:
        """Return the options as given to a client.

        Raises TypeError or ValueError for one that is not allowed.
        """
        if minimum_protocol not in (1, VERSION) or isinstance(minimum_protocol, bool):
            raise ValueError(f"minimum_protocol must be 1 or {VERSION}, not {minimum_protocol!r}")
        if not isinstance(audience, str):
            raise TypeError(f"audience must be a str, not {type(audience).__name__}")
        if require_hybrid and find_ml_kem() is None:
            raise ValueError("require_hybrid needs a `cryptography` with ML-KEM-768, from 48 on")
        table = ChannelTable(channels)
        if not callable(credential):
            credential = _checked_credential(credential)
        wants_more = len(table) > 0 or credential != b"" or audience != "" or require_hybrid
        return cls(
            table,
            credential,
            checked_audience(audience),
            bool(require_hybrid),
            minimum_protocol == VERSION or wants_more,
        )

    def credential_for(self, export: bytes) -> bytes:
        """Return the credential for the session with that export.

        Raises whatever the game's function raises, and TypeError or ValueError for what it returns.
        """
        if callable(self.credential):
            return _checked_credential(self.credential(export))
        return self.credential


def _checked_credential(credential: object) -> bytes:
    if not isinstance(credential, bytes | bytearray | memoryview):
        raise TypeError(f"the credential must be bytes, not {type(credential).__name__}")
    data = bytes(credential)
    if len(data) > MAX_CREDENTIAL_SIZE:
        raise ValueError(
            f"the credential must have at most {MAX_CREDENTIAL_SIZE} bytes, not {len(data)}"
        )
    return data
