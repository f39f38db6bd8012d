"""Garbage whose finalizers call into the package, collected in the middle of its calls.

Until Python 3.11 an allocation in compiled code can start a collection, from 3.12 on only the
interpreter's loop does, between two instructions of Python code.
"""

from __future__ import annotations

import gc
from collections.abc import Callable


class Finalizing:
    """An object in a cycle that calls `action` when it is collected; `raised` gets what it raises.

    An exception of a finalizer would only be printed.
    """

    def __init__(self, action: Callable[[], object], raised: list[BaseException]) -> None:
        self.itself = self
        self.action = action
        self.raised = raised

    def __del__(self) -> None:
        try:
            self.action()
        except Exception as error:  # for the test to look at
            self.raised.append(error)


class CollectedSoon:
    """Have the first allocation in the block that can start a collection run the actions.

    Whatever was not collected by the end of the block is collected then. No context manager of
    `contextlib`: its own allocations would come first.
    """

    def __init__(self, *actions: Callable[[], object]) -> None:
        self.actions = actions
        self.raised: list[BaseException] = []
        self.threshold = gc.get_threshold()

    def __enter__(self) -> list[BaseException]:
        gc.disable()
        gc.freeze()  # no collection looks at what earlier tests have left
        gc.collect()  # empties the free lists: what is taken from them starts no collection
        for action in self.actions:
            Finalizing(action, self.raised)
        self.ballast = [[] for _ in range(8)]  # past the threshold already
        gc.set_threshold(1, 1, 1)
        gc.enable()
        return self.raised

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self.threshold)
        gc.collect()
