from typing import Protocol, final, type_check_only

from typing_extensions import Self

__all__ = ["PacketCipher", "disown_keys"]

@type_check_only
class Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...

@final
class PacketCipher:
    def __new__(cls, aead: Aead) -> Self: ...

def disown_keys() -> None: ...
