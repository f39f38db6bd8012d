"""The accounts, in a file of SQLite."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from accounts.passwords import DEFAULT_COST, Cost, hashed, is_right

NAME = re.compile(r"[A-Za-z0-9_-]{1,16}")
MIN_PASSWORD = 8
MAX_PASSWORD = 128

_TABLE = """CREATE TABLE IF NOT EXISTS accounts
    (name TEXT PRIMARY KEY COLLATE NOCASE, password TEXT NOT NULL)"""


class NameTakenError(Exception):
    """Somebody else has that name."""


class Accounts:
    """Names and what is kept of passwords. May be used from any thread."""

    def __init__(self, path: Path, cost: Cost = DEFAULT_COST) -> None:
        self._path, self._cost = path, cost
        self._nobody = hashed("", cost)
        with self._connection() as database:
            database.execute(_TABLE)

    def add(self, name: str, password: str) -> None:
        """Make an account. ValueError for a name or a password that cannot be had."""
        if not NAME.fullmatch(name):
            raise ValueError("a name has 1 to 16 letters, digits, - or _")
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        row = (name, hashed(password, self._cost))
        try:
            with self._connection() as database:
                database.execute("INSERT INTO accounts VALUES (?, ?)", row)
        except sqlite3.IntegrityError:
            raise NameTakenError(name) from None

    def name_of(self, name: str, password: str) -> str | None:
        """The name as its owner writes it; None if there is none, or the password is wrong.

        Both take equally long, so that names cannot be found out by a clock.
        """
        with self._connection() as database:
            query = "SELECT name, password FROM accounts WHERE name = ?"
            row = database.execute(query, (name,)).fetchone()
        known, kept = row or (None, self._nobody)
        return known if is_right(password, kept) else None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path)) as database, database:
            yield database
