from typing import Final, Protocol, final, type_check_only

from typing_extensions import Self

__all__ = ["OwnIds", "PeerIds"]

MAX_CONNECTION_IDS: Final[int]
REMEMBERED_IDS: Final[int]

@type_check_only
class IdSource(Protocol):
    def issue(self) -> tuple[bytes, bytes]: ...
    def retire(self, connection_id: bytes, /) -> object: ...

@final
class PeerIds:
    def __new__(cls, first: bytes) -> Self: ...
    @property
    def current(self) -> bytes: ...
    @property
    def token(self) -> bytes | None: ...
    def learn_token(self, token: bytes) -> None: ...

@final
class OwnIds:
    def __new__(cls, first: bytes, source: IdSource) -> Self: ...
