"""Makes every compiled class in every way, and calls everything on what came of it.

Run as a program, in a process of its own: what is looked for is what ends one. Prints a line for
each class, with how many calls were made of how many objects.
"""

from __future__ import annotations

import copy
import gc
import importlib
import inspect
import itertools
import math
import pickle
import pkgutil
import socket
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import mpgameserver._core as core
from mpgameserver._core.budget import Share
from mpgameserver._core.connection import Connection
from mpgameserver._core.dispatcher import Dispatcher
from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.grid_reassembly import GridReassembler
from mpgameserver._core.session import Session
from mpgameserver.connection import Timing
from mpgameserver.wire.protocol2.keys import TrafficSecret
from mpgameserver.wire.session_cipher import session_cipher

MAX_ARGUMENTS = 4
MOST_OF_A_KIND = 3
"""Instances of a class that one way to make them contributes."""
BUSY = {"spin"}
"""Methods that go on for as long as they are told to."""
KEY = bytes(16)


class Bare:
    """No such thing as is expected anywhere."""


class Reader:
    """Has whatever is asked for, and does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: None


def compiled_classes() -> list[type]:
    """Every class of a compiled module that holds more than a Python object does."""
    modules = [
        importlib.import_module(f"{core.__name__}.{found.name}")
        for found in pkgutil.iter_modules(core.__path__)
    ]
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type)
        and kind.__module__ == module.__name__
        and kind.__basicsize__ > object.__basicsize__
        and not issubclass(kind, (tuple, int))
    ]


def new_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def samples() -> list[object]:
    """Plausible and implausible arguments."""
    endpoint = Endpoint1(session_cipher(KEY), False, 0.0, 1.7e9)
    connection = Connection(endpoint, 1, Timing())
    context = SimpleNamespace(settings=None)
    owner = SimpleNamespace(now=1.0, wants_out=lambda _: None)
    session = Session(connection, ("127.0.0.1", 1), b"", owner)
    numbers = [0, 1, -1, 2, 255, 65536, 1 << 31, 1 << 62, -(1 << 63), 1 << 64]
    times = [0.5, -1.0, math.inf, -math.inf, math.nan, 1e300]
    texts = [
        b"",
        KEY,
        bytes(36),
        bytes(1500),
        b"FSOC" + bytes(60),
        bytearray(8),
        memoryview(b"abc"),
    ]
    containers = [(), (b"a", ("127.0.0.1", 9)), ("127.0.0.1", 9), [], [1], {}, {1: 2}]
    return [
        *numbers, *times, *texts, *containers, None, "text", True, Bare(), Bare, repr, Reader(),
        endpoint, connection, session, Dispatcher(Reader(), context, Reader(), {}, {}),
        session_cipher(KEY), Timing(), context, owner,
    ]  # fmt: skip


def argument_lists(values: list[object]) -> Iterator[tuple[object, ...]]:
    """No argument, each alone, each pair of some, and a few longer lists."""
    yield ()
    yield from ((value,) for value in values)
    some = values[::4]
    yield from itertools.product(some, some)
    for count in range(3, MAX_ARGUMENTS + 1):
        yield from ((value,) * count for value in values)


def constructors(kind: type) -> Iterator[Any]:
    """Ways to make an instance that may be uninitialised."""
    yield lambda *arguments: kind.__new__(kind, *arguments)
    try:
        heir = type("Heir", (kind,), {"__init__": lambda self, *arguments: None})
    except TypeError:  # is final
        return
    yield heir


def instances(kind: type, values: list[object]) -> Iterator[object]:
    """Yield what the constructors make of no arguments, and of those that some class takes."""
    endpoint = next(value for value in values if isinstance(value, Endpoint1))
    connection = next(value for value in values if isinstance(value, Connection))
    secret = TrafficSecret(bytes(32))
    plausible: list[tuple[object, ...]] = [
        (),
        (KEY,),
        (KEY, Reader()),
        (repr,),
        (secret, secret.mask()),
        (1472,),
        (1.0,),
        (1,),
        (1, 1, GridReassembler(), 8, 1000),
        (b"game", 0, bytes(8), bytes(3)),
        (Share(), 8, 1000),
        (session_cipher(KEY),),
        (session_cipher(KEY), False, 0.0, 1.7e9),
        (secret, secret, False, 0.0, bytes(8)),
        (Reader(), True, 0.0, 1.7e9),
        (endpoint, 1, Timing()),
        (connection, ("127.0.0.1", 1), b"", SimpleNamespace(now=1.0, wants_out=lambda _: None)),
        (connection, Reader(), Reader()),
        (
            Dispatcher(Reader(), SimpleNamespace(settings=None), Reader(), {}, {}),
            Reader(),
            lambda: 0.0,
        ),
        (Dispatcher.__new__(Dispatcher), Reader(), lambda: 0.0),
        (new_socket(),),
    ]
    for make in constructors(kind):
        made = 0
        for arguments in plausible:
            try:
                instance = make(*arguments)
            except Exception:  # a refusal is what most deserve
                continue
            yield instance
            made += 1
            if made == MOST_OF_A_KIND:
                break


def members(kind: type) -> list[str]:
    """All that can be called or read of an instance, but what every object has."""
    ordinary = {*dir(object), *BUSY} - {"__init__"}
    return [name for name in dir(kind) if name not in ordinary]


def exercise(instance: object, values: list[object]) -> int:
    """Read and call every member with every list of arguments; how many calls were made."""
    calls = 0
    for name in members(type(instance)):
        for arguments in argument_lists(values):
            try:
                member = getattr(instance, name)
                if not callable(member):
                    break
                calls += 1
                result = member(*arguments)
                if inspect.isgenerator(result):
                    result.close()
            except Exception:  # any exception will do
                continue
    return calls


def refuses_copies(instance: object) -> None:
    """Neither pickle nor copy must make another of what holds pointers."""
    for attempt in (copy.copy, copy.deepcopy, *pickles()):
        try:
            attempt(instance)
        except TypeError:
            continue
        raise AssertionError(f"{attempt} has copied {instance!r}")


def pickles() -> list[Any]:
    return [
        lambda instance, protocol=protocol: pickle.dumps(instance, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]


def main(names: list[str]) -> None:
    kinds = compiled_classes()
    assert len(kinds) > 20
    for kind in kinds:
        if names and kind.__name__ not in names:
            continue
        values = samples()
        made = list(instances(kind, values))
        assert made, f"{kind} was not made"
        calls = 0
        for instance in made:
            if type(instance) is kind:  # an heir of here is not to be found by pickle at all
                refuses_copies(instance)
            calls += exercise(instance, samples())
        del made, values
        gc.collect()
        print(f"{kind.__module__}.{kind.__name__}: {calls} calls", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
