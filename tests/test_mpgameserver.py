from __future__ import annotations

import mpgameserver
from mpgameserver import connection, crypto, enums, errors


def test_every_public_name_is_there():
    assert [name for name in mpgameserver.__all__ if not hasattr(mpgameserver, name)] == []


def test_the_public_names_are_sorted_and_each_is_there_once():
    names = mpgameserver.__all__
    assert names == sorted(set(names))


def test_every_error_is_public():
    assert set(errors.__all__) <= set(mpgameserver.__all__)


def test_a_name_is_one_object_wherever_it_is_imported_from():
    for name in mpgameserver.__all__:
        for module in (connection, crypto, enums, errors):
            assert getattr(module, name, None) in (None, getattr(mpgameserver, name))
