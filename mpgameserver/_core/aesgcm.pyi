from typing import Final, final

from typing_extensions import Self

__all__ = ["LIBRARY", "UNAVAILABLE", "NativeAesGcm", "NativeBlockCipher"]

KEY_SIZE: Final[int]
BLOCK_SIZE: Final[int]
LIBRARY: Final[str]
UNAVAILABLE: Final[str | None]

@final
class NativeAesGcm:
    def __new__(cls, key: bytes) -> Self: ...
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...
    def opens(self, datagram: bytes, /) -> bool: ...

@final
class NativeBlockCipher:
    def __new__(cls, key: bytes) -> Self: ...
    def update(self, data: bytes, /) -> bytes: ...
