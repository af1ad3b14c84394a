"""Stores the previous states of entities in a SQLite file beside the run's ledger."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from pipeline.store.database import (
    OWNER,
    Database,
    DatabaseRecord,
    create,
    damaged,
    ledger_errors,
)

_FORMAT_1 = """
CREATE TABLE befores (row INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, state TEXT NOT NULL);
"""
_MIGRATIONS = (_FORMAT_1, OWNER)
_KEEP = "INSERT OR REPLACE INTO befores VALUES (?, ?, ?)"
_READ = """
SELECT row, checksum, state FROM befores WHERE row IN (SELECT value FROM json_each(?))
"""


class PreviousStates(DatabaseRecord):
    """The last recorded state of each row's entity. Calls may come from any thread.

    run      run that the file belongs to; empty accepts any
    witness  path of a second mark of the last commit

    States survive `kill -9` and loss of power once `keep` returns. Raises RunAborted if the file
    cannot be used, LedgerError if it is damaged.
    """

    def __init__(self, path: Path, *, run: str = "", witness: Path | None = None) -> None:
        self._path = path
        if not path.exists():
            with ledger_errors(path):
                create(path)
        self._turn = threading.Lock()
        self._database = Database(path, _MIGRATIONS, may_be_empty=True, owner=run, witness=witness)

    def keep(self, previous_states: Sequence[tuple[int, str]]) -> None:
        """Record the states of the entities of these rows, replacing earlier ones."""
        lines = [(row, self._checksum(row, state), state) for row, state in previous_states]
        with self._turn, self._database.commit() as connection:
            connection.executemany(_KEEP, lines)

    def of(self, rows: Sequence[int]) -> dict[int, str]:
        """The recorded states, by row, of those of these rows that have one."""
        with self._turn:
            lines = self._database.rows(_READ, (json.dumps(list(rows)),))
        for row, checksum, state in lines:
            if self._checksum(row, str(state)) != checksum:
                raise damaged(self._path, f"what row {row} overwrote is not what was written")
        return {row: state for row, _, state in lines}

    def _checksum(self, row: int, state: str) -> int:
        return crc32(state.encode(), (row & 0xFFFF_FFFF) ^ self._database.seed)
