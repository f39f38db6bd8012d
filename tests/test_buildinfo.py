from __future__ import annotations

import importlib
from dataclasses import FrozenInstanceError
from importlib.machinery import ExtensionFileLoader
from importlib.metadata import version
from pathlib import Path

import pytest

import mpgameserver


def test_the_version_is_the_one_of_the_distribution():
    assert mpgameserver.__version__ == version("mpgameserver")


def test_the_kind_of_build_is_one_of_four():
    assert mpgameserver.build_info().kind in ("release", "profile", "debug", "sanitize")


def test_a_compiled_module_is_listed_once_it_is_loaded():
    importlib.import_module("mpgameserver._core.seqnum")
    modules = mpgameserver.build_info().modules
    assert "mpgameserver._core.seqnum" in modules
    assert list(modules) == sorted(set(modules))


def test_what_is_not_compiled_is_not_listed():
    assert "mpgameserver._core" not in mpgameserver.build_info().modules


def test_build_info_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        mpgameserver.build_info().kind = "release"


def test_every_module_that_has_types_beside_it_is_there_and_compiled():
    core = importlib.import_module("mpgameserver._core")
    names = [f"{core.__name__}.{stub.stem}" for stub in Path(core.__file__).parent.glob("*.pyi")]
    assert len(names) > 1
    loaders = {name: importlib.import_module(name).__loader__ for name in names}
    assert {n for n, used in loaders.items() if not isinstance(used, ExtensionFileLoader)} == set()
    assert set(mpgameserver.build_info().modules) == set(names)
