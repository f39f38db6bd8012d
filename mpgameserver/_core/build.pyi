from typing import Literal

__all__ = ["KIND"]

KIND: Literal["release", "profile", "debug", "sanitize"]
