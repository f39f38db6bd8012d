from typing import Literal

KIND: Literal["release", "profile", "debug", "sanitize"]
