"""Texts by key, on disk, for as long as a process works with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable


class ScratchTable:
    """Texts by key in a file without a name, so that memory does not grow. For one thread.

    >>> table = ScratchTable()
    >>> table.put([("shop|1", "one"), ("shop|2", "two"), ("site|1", "three")])
    >>> table.clear("shop|")
    >>> table.get("shop|1"), table.get("site|1")
    (None, 'three')
    >>> table.close()
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a file without a name
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE texts (name TEXT PRIMARY KEY, text TEXT)")
        self._database.execute("BEGIN")

    def put(self, texts: Iterable[tuple[str, str]]) -> None:
        """Store texts by their keys, replacing earlier ones."""
        self._database.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?)", texts)

    def get(self, name: str) -> str | None:
        """The text of a key; None if there is none."""
        query = "SELECT text FROM texts WHERE name = ?"
        row = self._database.execute(query, (name,)).fetchone()
        return None if row is None else row[0]

    def clear(self, prefix: str) -> None:
        """Remove the texts whose keys begin so."""
        last = f"{prefix}\U0010ffff"
        self._database.execute("DELETE FROM texts WHERE name BETWEEN ? AND ?", (prefix, last))

    def close(self) -> None:
        """Free the disk space."""
        self._database.close()
