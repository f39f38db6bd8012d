"""One small tree of errors, and the page that lists them."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from cryptography import exceptions

import mpgameserver
from mpgameserver import errors

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "errors.md").read_text()
OWN, BUILT_IN = (PAGE.partition(heading)[2] for heading in ("## The package", "## Built-in"))
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \|", re.M)
ERRORS = [getattr(errors, name) for name in errors.__all__]

NEVER_SEEN = {
    "HelloRefused": "caught by the server's engine, which counts it",
    "ReplyDropped": "caught by the client's handshake, which names the reason",
    "UnreachableError": "caught by the command line, which prints it",
    "WrongKeyError": "a HandshakeError that the client turns into a ConnectFailure",
}
"""Errors of single modules that no caller of the package meets as such."""
NEVER_LISTED = {
    "MemoryError": "Python's own business",
    "StopAsyncIteration": "how an iteration ends",
    "SystemError": "a mistake of ours: a packet is never filled beyond its size",
    "BufferError": "the endpoint asks for room before it gives a piece to the reassembly",
}


def own_errors() -> dict[str, type[BaseException]]:
    """Every error class that a module of the installed package defines, by name."""
    found = {}
    for info in pkgutil.walk_packages(mpgameserver.__path__, "mpgameserver."):
        if info.name == "mpgameserver.__main__":
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, BaseException):
                found[name] = value
    return {n: c for n, c in found.items() if c.__module__.startswith("mpgameserver")}


def raised_names() -> set[str]:
    """Return the exceptions that the sources raise by name, in Python and in Cython."""
    names = set()
    for path in (ROOT / "mpgameserver").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None:
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                names |= {raised.id} if isinstance(raised, ast.Name) else set()
    for path in (ROOT / "_core").glob("*.pyx"):
        names |= set(re.findall(r"^\s*raise (\w+)", path.read_text(), re.M))
    return names


@pytest.mark.parametrize("error", ERRORS)
def test_each_is_of_the_tree_and_documented(error: type[Exception]) -> None:
    assert issubclass(error, errors.MpGameServerError)
    assert error.__doc__


def test_every_error_that_the_package_exports_is_of_the_tree() -> None:
    exported = {
        name
        for name in mpgameserver.__all__
        if inspect.isclass(value := getattr(mpgameserver, name))
        and issubclass(value, BaseException)
    }
    assert exported == set(errors.__all__)


def test_no_module_has_errors_of_its_own_that_a_caller_could_meet() -> None:
    assert set(own_errors()) - set(errors.__all__) == set(NEVER_SEEN)


def test_the_page_lists_each_with_the_built_in_that_it_is() -> None:
    listed = dict(ROW.findall(OWN))
    assert set(listed) == set(errors.__all__)
    for name, built_in in listed.items():
        assert issubclass(getattr(errors, name), getattr(builtins, built_in))


def test_the_page_lists_every_built_in_error_that_is_raised() -> None:
    raised = {name for name in raised_names() if hasattr(builtins, name)} - set(NEVER_LISTED)
    cells = re.findall(r"^\| (`.*?`) \|", BUILT_IN, re.M)
    listed = tuple(getattr(builtins, name) for name in re.findall(r"\w+", " ".join(cells)))
    assert {name for name in raised if not issubclass(getattr(builtins, name), listed)} == set()


def test_a_forged_signature_is_also_the_error_of_cryptography() -> None:
    assert issubclass(errors.InvalidSignature, exceptions.InvalidSignature)
