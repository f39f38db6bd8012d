from typing import Protocol, final, type_check_only

from typing_extensions import Self

__all__ = ["Aead", "disown_keys"]

@type_check_only
class AnyAead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...

@final
class Aead:
    def __new__(cls, aead: AnyAead) -> Self: ...

def disown_keys() -> None: ...
