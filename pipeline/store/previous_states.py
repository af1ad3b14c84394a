"""Stores the previous states of entities in the ledger of a run: a row each, with a checksum.

Earlier versions kept them in a file of their own beside the ledger, which is still read.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any
from zlib import crc32

from pipeline.store.database import OWNER, Database, DatabaseRecord, damaged

TABLE = """
CREATE TABLE previous_states (
    row INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, state TEXT NOT NULL
);
"""
_KEEP = "INSERT OR REPLACE INTO previous_states VALUES (?, ?, ?)"
_READ = """
SELECT row, checksum, state FROM previous_states WHERE row IN (SELECT value FROM json_each(?))
"""
_ANY = "SELECT 1 FROM previous_states LIMIT 1"

_FORMER_1 = """
CREATE TABLE befores (row INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, state TEXT NOT NULL);
"""
_FORMER_MIGRATIONS = (_FORMER_1, OWNER)
_READ_FORMER = """
SELECT row, checksum, state FROM befores WHERE row IN (SELECT value FROM json_each(?))
"""


def keep(connection: Connection, states: Sequence[tuple[int, str]], seed: int) -> None:
    """Add states, replacing earlier ones of the same rows.

    seed  seed of the database's checksums
    """
    connection.executemany(
        _KEEP, [(row, checksum_of(row, state, seed), state) for row, state in states]
    )


def kept(database: Database, rows: Sequence[int]) -> dict[int, str]:
    """The recorded states of these rows. Raises LedgerError if one was changed."""
    return _checked(database, database.rows(_READ, (json.dumps(list(rows)),)))


def are_kept(database: Database) -> bool:
    """True if a state is recorded."""
    return bool(database.rows(_ANY))


def is_sound(row: Any, checksum: Any, state: Any, seed: int) -> bool:
    """True if a line is intact. The values of a damaged line may be of any type."""
    try:
        return bool(checksum_of(row, state, seed) == checksum)
    except (TypeError, AttributeError, ValueError):
        return False


class FormerPreviousStates(DatabaseRecord):
    """The previous states of a run of an earlier version. Calls may come from any thread.

    run      run that the file belongs to; empty accepts any
    witness  path of a second mark of the last commit

    Raises RunAborted if the file cannot be used, LedgerError if it is damaged.
    """

    def __init__(self, path: Path, *, run: str = "", witness: Path | None = None) -> None:
        self._turn = threading.Lock()
        self._database = Database(
            path, _FORMER_MIGRATIONS, may_be_empty=True, owner=run, witness=witness
        )

    def of(self, rows: Sequence[int]) -> dict[int, str]:
        """The recorded states, by row, of those of these rows that have one."""
        with self._turn:
            lines = self._database.rows(_READ_FORMER, (json.dumps(list(rows)),))
        return _checked(self._database, lines)


def _checked(database: Database, lines: Sequence[tuple[Any, ...]]) -> dict[int, str]:
    for row, checksum, state in lines:
        if not is_sound(row, checksum, state, database.seed):
            raise damaged(database.path, f"what row {row} overwrote is not what was written")
    return {row: state for row, _, state in lines}


def checksum_of(row: int, state: str, seed: int) -> int:
    """Checksum of the previous state of a row."""
    return crc32(state.encode(), (row & 0xFFFF_FFFF) ^ seed)
