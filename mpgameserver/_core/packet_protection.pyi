from typing import Final, Protocol, final, type_check_only

from typing_extensions import Self

from mpgameserver._core.aead import AnyAead

__all__ = ["PacketMask", "PacketOpener", "PacketSealer"]

SEALED: Final[int]
MAX_NUMBER_SIZE: Final[int]
MAX_SEALED_HEADER: Final[int]
MAX_PHASE_PACKETS: Final[int]

@type_check_only
class BlockEncryptor(Protocol):
    def update(self, data: bytes, /) -> bytes: ...

@type_check_only
class PhaseSecret(Protocol):
    @property
    def iv(self) -> bytes: ...
    def cipher(self) -> AnyAead: ...
    def next(self) -> PhaseSecret: ...

@final
class PacketMask:
    def __new__(cls, encryptor: BlockEncryptor) -> Self: ...

@final
class PacketSealer:
    def __new__(cls, secret: PhaseSecret, mask: PacketMask) -> Self: ...
    @property
    def phase(self) -> int: ...
    @property
    def sealed(self) -> int: ...
    def update(self) -> int: ...
    def seal(
        self, connection_id: bytes, number: int, newest_acked: int, frames: bytes
    ) -> bytes | None: ...

@final
class PacketOpener:
    def __new__(cls, secret: PhaseSecret, mask: PacketMask) -> Self: ...
    @property
    def phase(self) -> int: ...
    def forget_previous(self) -> None: ...
    def open(self, datagram: bytes, id_size: int, newest: int) -> tuple[int, bytes]: ...
