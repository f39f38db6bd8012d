"""docs/security.md: its tables of bounds say what the code says, and leave none out.

Its promises are tested with the modules that keep them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from mpgameserver.server.limits import Limits

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mpgameserver"
PAGE = ROOT / "docs" / "security.md"

ROW = re.compile(r"^\| (.+) \| (.+) \| `([\w.]+)` \| (.+) \|$", re.M)
VALUE = re.compile(r"([\d,.]+)(?: (\w+))?")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "ms": 1e-3}
TEST_FILE = re.compile(r"`(tests/[\w./]+)`")

# A constant of a .pxd or .pyx file: a member of an enum, a C double, or a name of the module.
COMPILED_CONSTANT = re.compile(r"^(?:    |cdef double )?([A-Z][A-Z0-9_]+) = ([^#\n]+)", re.M)
CAP = re.compile(r"MAX_\w+|\w+_LIMIT|\w+_WIDTH|\w+_TIMEOUT|\w+_COST")
# Code that the network does not reach: commands, the demo, and tools for tests.
TOOLS = re.compile(r"cli\.|netsim|udpproxy|buildinfo")

SETTING_LIMITS = {"limits.py", "context.py"}
PYTHON = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent.name != "_core"
}
"""The modules of the package, by their names within it."""

NOT_BOUNDS = {
    "connection.CLIENT_IDLE_TIMEOUT": "what keep-alive intervals must be below",
    "_core.ack_frequency.MAX_TRIALS": "how often a receiver is tried",
    "_core.endpoint.MAX_HEARD": "shapes a timer",
    "_core.endpoint2_state.DEFAULT_IDLE_TIMEOUT": "what is said of a peer that says nothing",
    "_core.send_limits.MAX_PTO_BACKOFF": "shapes a timer",
    "_core.packet_protection.MAX_NUMBER_SIZE": "a size on the wire",
    "_core.packet_protection.MAX_SEALED_HEADER": "a size on the wire",
    "_core.send_limits.MAX_PTO": "shapes a timer",
    "_core.message.RETRY_ON_TIMEOUT": "a retry mode",
    "_core.ack_frequency.MAX_ACK_DELAY_MS": "shapes a timer",
    "client.connect.MAX_PATH_MTU": "tells a path from the loopback",
    "wire.protocol2.limits.MAX_IDLE_TIMEOUT": "a size on the wire",
    "server.udpserver.MAX_WAIT": "how long the loop sleeps",
}
"""Constants that are named like bounds, and why they have no row of their own."""


def rows() -> list[tuple[str, str]]:
    """The bound and the name in the code of each row of the page's tables."""
    return [(bound, name) for _, bound, name, _ in ROW.findall(PAGE.read_text())]


def number(text: str) -> float:
    """The number that a bound is: "64 MiB", "2,048 handshakes", "0.1 s"."""
    match = VALUE.match(text)
    assert match, f"no number: {text!r}"
    return float(match[1].replace(",", "")) * UNITS.get(match[2], 1)


def in_code(name: str) -> float:
    """The value of a constant, a field's default, or a constant of a compiled module."""
    if name.startswith("_core."):
        _, module, constant = name.split(".")
        return compiled_constants(module)[constant]
    module = next(m for m in PYTHON if name.startswith(f"{m}."))
    value = import_module(f"mpgameserver.{module}")
    for attribute in name.removeprefix(f"{module}.").split("."):
        value = getattr(value, attribute)
    assert isinstance(value, (int, float)), f"{name} is {value!r}"
    return value


@cache
def compiled_constants(module: str) -> dict[str, float]:
    """The numbers that the .pxd and .pyx files of a compiled module name."""
    sources = (PACKAGE / "_core" / f"{module}.pxd", ROOT / "_core" / f"{module}.pyx")
    text = "\n".join(path.read_text() for path in sources if path.exists())
    known: dict[str, float] = {}
    for name, expression in COMPILED_CONSTANT.findall(text):
        try:
            value = eval(expression, {"__builtins__": {}}, dict(known))
        except (NameError, SyntaxError):  # built from the constants of other modules
            continue
        if isinstance(value, (int, float)):
            known[name] = value
    return known


def caps_in_code() -> Iterator[str]:
    """The names of all constants that are named like bounds, and of the fields of `Limits`."""
    yield from (f"server.limits.Limits.{field.name}" for field in fields(Limits))
    for path in sorted((ROOT / "_core").glob("*.pyx")):
        for name in compiled_constants(path.stem):
            if CAP.fullmatch(name):
                yield f"_core.{path.stem}.{name}"
    for module, path in PYTHON.items():
        if not TOOLS.match(module):
            yield from (f"{module}.{name}" for name in python_caps(path))


def python_caps(path: Path) -> Iterator[str]:
    """The names of a module's public constants that are named like bounds."""
    for node in ast.parse(path.read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and CAP.fullmatch(target.id) and target.id[0] != "_":
            yield target.id


@pytest.mark.parametrize(("bound", "name"), rows(), ids=[name for _, name in rows()])
def test_each_bound_is_what_the_code_says(bound: str, name: str) -> None:
    assert number(bound) == in_code(name)


def test_no_bound_is_left_out() -> None:
    listed = {name for _, name in rows()}
    left_out = set(caps_in_code()) - listed - NOT_BOUNDS.keys()
    assert left_out == set(), f"no row in {PAGE.name}"


def test_every_limit_that_is_listed_is_asked_for() -> None:
    code = "\n".join(
        path.read_text() for path in PYTHON.values() if path.name not in SETTING_LIMITS
    )
    asked = {f"server.limits.Limits.{f.name}" for f in fields(Limits) if f"limits.{f.name}" in code}
    assert asked == {name for _, name in rows() if name.startswith("server.limits.Limits.")}


def test_no_bound_is_listed_twice() -> None:
    names = [name for _, name in rows()]
    assert len(names) == len(set(names))


def test_what_is_no_bound_exists() -> None:
    assert NOT_BOUNDS.keys() <= set(caps_in_code())


def test_the_tests_that_the_page_names_exist() -> None:
    named = TEST_FILE.findall(PAGE.read_text())
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("8,192", 8192), ("64 MiB", 64 << 20), ("0.25 s", 0.25), ("25 ms", 0.025), ("4 packets", 4)],
)
def test_a_bound_is_read_with_its_unit(text: str, value: float) -> None:
    assert number(text) == value
