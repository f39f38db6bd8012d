"""The limit on open files of a process: each bot has a socket."""

from __future__ import annotations

import contextlib

SPARE = 64
"""Files that a process has open besides."""


class TooFewFilesError(Exception):
    """The system does not allow as many as are needed; the text says what to do."""


def allow(sockets: int) -> None:
    """See to it that so many sockets can be open, by raising the limit as far as that is allowed.

    Raises TooFewFilesError.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = sockets + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < needed:
        raise TooFewFilesError(
            f"{needed:,} files have to be open, and {soft:,} may be (at most {hard:,}): "
            f"raise the limit (ulimit -n {needed}), or take fewer bots (--most)"
        )
