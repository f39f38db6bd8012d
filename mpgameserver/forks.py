"""Clients and servers in a forked process.

The child has a copy of everything: session keys, sockets, locks as other threads held them. It
would encrypt under keys and nonces that its parent uses as well, and read datagrams that its parent
would miss. Everything with a session or a socket is therefore ended in the child, without a
datagram or a callback, and its file descriptors are closed.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["Inherited", "end_in_child"]


class Inherited(Protocol):
    """An object that a forked child must not use."""

    def end_in_child(self) -> None:
        """End in a child that was just forked, perhaps in the middle of one of this object's calls.

        Nothing may be sent, called back, or changed for the parent, such as a shared epoll object.
        Locks may be held by threads that the child does not have.
        """


_live: WeakSet[Inherited] = WeakSet()


def end_in_child(owner: Inherited) -> None:
    """Call `owner.end_in_child` in each child that is forked while `owner` exists."""
    _live.add(owner)


def _end_all() -> None:
    for owner in list(_live):
        owner.end_in_child()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_end_all)
