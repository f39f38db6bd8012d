"""Compiled classes in every state that Python code can bring them into.

`__new__` without `__init__`, a subclass that does not call it, any method with any arguments: each
may raise what it likes, but none may crash the interpreter.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from support.endpoints import new_endpoint
from support.everymethod import compiled_classes

from mpgameserver._core.lifecycle import Lifecycle
from mpgameserver.connection import Connection

EVERY_METHOD = Path(__file__).parents[1] / "support" / "everymethod.py"


def test_no_method_of_any_instance_crashes_the_interpreter():
    command = [sys.executable, "-X", "faulthandler", str(EVERY_METHOD)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr[-4000:])
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(compiled_classes())


@pytest.mark.parametrize("kind", [Lifecycle, Connection])
def test_a_connection_without_an_endpoint_is_not_made(kind):
    with pytest.raises(TypeError, match="positional arguments"):
        kind.__new__(kind)


@pytest.mark.parametrize("make", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_endpoint_cannot_be_pickled_or_copied(make):
    with pytest.raises(TypeError, match=r"cannot pickle .*Endpoint"):
        make(new_endpoint())
