"""The number of examples that a property is tried on."""

from __future__ import annotations

from mpgameserver import build_info

SANITIZED_SHARE = 4
"""Under sanitizers each example takes ten times as long. Whether a property holds shows in a plain
build; which memory is touched shows with few examples, and with the inputs of the fuzzer."""


def examples(count: int) -> int:
    """Return how many to try where a plain build tries `count`."""
    return count // SANITIZED_SHARE if build_info().kind == "sanitize" else count
