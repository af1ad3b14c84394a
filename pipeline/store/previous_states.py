"""What entities held before a run wrote to them, in a SQLite file beside the run's ledger."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from zlib import crc32

from pipeline.store.database import OWNER, Database, create, damaged, ledger_errors

_FORMAT_1 = """
CREATE TABLE befores (row INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, state TEXT NOT NULL);
"""
_MIGRATIONS = (_FORMAT_1, OWNER)
_KEEP = "INSERT OR REPLACE INTO befores VALUES (?, ?, ?)"
_READ = """
SELECT row, checksum, state FROM befores WHERE row IN (SELECT value FROM json_each(?))
"""


class PreviousStates:
    """A text per row: the last that was kept for it. Calls may come from any thread.

    run      whose it is; empty: whosever
    witness  where the number of its last commit is noted, beside the mark that lies with it

    What `keep` has returned for survives `kill -9` and loss of power. Raises RunAborted where the
    file cannot be used, LedgerError where it is damaged.
    """

    def __init__(self, path: Path, *, run: str = "", witness: Path | None = None) -> None:
        self._path = path
        if not path.exists():
            with ledger_errors(path):
                create(path)
        self._turn = threading.Lock()
        self._database = Database(path, _MIGRATIONS, may_be_empty=True, owner=run, witness=witness)

    def keep(self, previous_states: Sequence[tuple[int, str]]) -> None:
        """Put on record what the entities of these rows hold; what was kept before gives way."""
        lines = [(row, self._checksum(row, state), state) for row, state in previous_states]
        with self._turn, self._database.commit() as connection:
            connection.executemany(_KEEP, lines)

    def of(self, rows: Sequence[int]) -> dict[int, str]:
        """What was kept, of these rows."""
        with self._turn:
            lines = self._database.rows(_READ, (json.dumps(list(rows)),))
        for row, checksum, state in lines:
            if self._checksum(row, str(state)) != checksum:
                raise damaged(self._path, f"what row {row} overwrote is not what was written")
        return {row: state for row, _, state in lines}

    def _checksum(self, row: int, state: str) -> int:
        return crc32(state.encode(), (row & 0xFFFF_FFFF) ^ self._database.seed)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
