"""Clients and servers in a forked process.

The child has a copy of everything: the keys of sessions, the sockets, the locks as other threads
held them. What it would seal would be sealed under keys and nonces that its parent uses, too, and
what it would read would be missing there. So everything that has a session or a socket is ended in
the child, without a datagram or a callback, and its file descriptors are closed.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["Inherited", "end_in_child"]


class Inherited(Protocol):
    """An object that a forked child must not use."""

    def end_in_child(self) -> None:
        """End in a child that was just forked, maybe in the middle of a call of this.

        Nothing may be sent, called back, or changed for the parent: a shared epoll object, say.
        Locks may be held by threads that the child does not have.
        """


_live: WeakSet[Inherited] = WeakSet()


def end_in_child(owner: Inherited) -> None:
    """Have `owner.end_in_child` called in each child that is forked while it exists."""
    _live.add(owner)


def _end_all() -> None:
    for owner in list(_live):
        owner.end_in_child()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_end_all)
