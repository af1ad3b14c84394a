"""The SQLite file that runs share: runs and their shares, quotas, orders, and who waits for what.

It is opened for each call, with all its checks: another process may have damaged, replaced or
removed it since.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from pipeline.model import RunAborted
from pipeline.store.commit_mark import commits_in
from pipeline.store.contract import LedgerError
from pipeline.store.database import WAIT_S, Database, create, ledger_errors
from pipeline.store.page_checks import PageChecks

_FORMAT_1 = """
CREATE TABLE runs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, checksum INTEGER NOT NULL,
    name TEXT NOT NULL UNIQUE, source TEXT NOT NULL, sha256 TEXT NOT NULL, rows INTEGER NOT NULL,
    operations TEXT NOT NULL, accounts TEXT NOT NULL, run_id TEXT UNIQUE, repeats TEXT,
    continues TEXT, state TEXT NOT NULL, started TEXT NOT NULL, ended TEXT, counts TEXT NOT NULL,
    exit_code INTEGER
);
CREATE INDEX runs_by_content ON runs (sha256);
CREATE TABLE departures (
    number INTEGER PRIMARY KEY, quota_group TEXT NOT NULL, last_s REAL NOT NULL, times BLOB NOT NULL
);
CREATE INDEX departures_by_time ON departures (quota_group, last_s);
CREATE TABLE pauses (quota_group TEXT PRIMARY KEY, until_s REAL NOT NULL);
"""
# Numbers are never reused, or a reader that knows the last one would miss the next.
_FORMAT_2 = """
DROP INDEX departures_by_time;
ALTER TABLE departures RENAME TO departures_1;
CREATE TABLE departures (
    number INTEGER PRIMARY KEY AUTOINCREMENT, quota_group TEXT NOT NULL, last_s REAL NOT NULL,
    times BLOB NOT NULL
);
INSERT INTO departures SELECT number, quota_group, last_s, times FROM departures_1;
DROP TABLE departures_1;
CREATE INDEX departures_by_time ON departures (quota_group, last_s);
"""
# The checksum of a run's description, its credentials, and its last known commit.
_FORMAT_3 = """
ALTER TABLE runs ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN credentials TEXT NOT NULL DEFAULT '{}';
ALTER TABLE runs ADD COLUMN commits INTEGER NOT NULL DEFAULT 0;
"""
# A pause that an older version recorded remains, with unknown origin.
_FORMAT_4 = """
ALTER TABLE pauses ADD COLUMN asked_s REAL NOT NULL DEFAULT 0;
ALTER TABLE pauses ADD COLUMN run TEXT NOT NULL DEFAULT '';
ALTER TABLE pauses ADD COLUMN words TEXT NOT NULL DEFAULT '';
"""
_PAUSES_BEAR_CHECKSUMS = "ALTER TABLE pauses ADD COLUMN checksum INTEGER;"  # null in earlier rows
# The wall clock may be changed. Earlier times have no boot and are UTC seconds since 1970.
_FORMAT_6 = """
DROP INDEX departures_by_time;
ALTER TABLE departures RENAME TO departures_2;
CREATE TABLE departures (
    number INTEGER PRIMARY KEY AUTOINCREMENT, quota_group TEXT NOT NULL, boot TEXT NOT NULL,
    noted_s REAL NOT NULL, noted_utc_s REAL NOT NULL, last_s REAL NOT NULL,
    under_way INTEGER NOT NULL, times BLOB NOT NULL
);
INSERT INTO departures
SELECT number, quota_group, '', last_s, last_s, last_s, 0, times FROM departures_2;
DROP TABLE departures_2;
CREATE INDEX departures_by_group ON departures (quota_group, number);
"""
_DEPARTURES_BEAR_CHECKSUMS = (
    "ALTER TABLE departures ADD COLUMN checksum INTEGER;"  # null in earlier rows
)
_DEPARTURES_ARE_COUNTED = "ALTER TABLE departures ADD COLUMN counts BLOB;"  # null: one at each time
_ORDERS_SHARES_AND_WISHES = """
CREATE TABLE orders (
    run TEXT PRIMARY KEY, is_stop INTEGER NOT NULL, quotas TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE shares (
    run TEXT NOT NULL, account TEXT NOT NULL, number INTEGER NOT NULL, parts INTEGER NOT NULL,
    is_open INTEGER NOT NULL, is_done INTEGER NOT NULL, stopped TEXT NOT NULL,
    attempts INTEGER NOT NULL, progress TEXT NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (run, account, number)
);
CREATE TABLE wishes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, lease TEXT NOT NULL, wisher TEXT NOT NULL UNIQUE,
    boot TEXT NOT NULL, at_s REAL NOT NULL
);
"""
MIGRATIONS = (
    *(_FORMAT_1, _FORMAT_2, _FORMAT_3, _FORMAT_4, _PAUSES_BEAR_CHECKSUMS),
    *(_FORMAT_6, _DEPARTURES_BEAR_CHECKSUMS, _DEPARTURES_ARE_COUNTED),
    _ORDERS_SHARES_AND_WISHES,
)


class DamagedRegistryError(LedgerError):
    """The registry of runs is damaged; the message says what to do."""


class RegistryFile:
    """Opens the file for a call, and creates it if there is none.

    wait_s   longest wait for another process that is writing
    witness  path of a second mark of the last commit
    checks   remembers recent page checks, so that they are not repeated; None always checks

    Safe between processes and threads. Raises RunAborted if the file cannot be used,
    DamagedRegistryError if it is damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        wait_s: float = WAIT_S,
        witness: Path | None = None,
        checks: PageChecks | None = None,
    ) -> None:
        self.path = path
        self._wait_s = wait_s
        self._witness = witness
        self._checks = checks
        self._turn = threading.RLock()
        self._database: Database | None = None  # while the thread that has the turn is in `opened`

    @contextmanager
    def opened(self) -> Iterator[Database]:
        """Keep the file open while the block runs. Other threads wait for its end."""
        with self._turn, _with_advice(self.path):
            if self._database is not None:
                yield self._database
                return
            self._database = self._open()
            try:
                yield self._database
            finally:
                database, self._database = self._database, None
                database.close()

    def _open(self) -> Database:
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RunAborted(
                f"{folder} cannot be made: {error.strerror}. Fix its permissions, or set `ledger`"
            ) from error
        with ledger_errors(self.path), suppress(FileExistsError):
            create(self.path)
        return Database(
            self.path,
            MIGRATIONS,
            may_be_empty=True,
            wait_s=self._wait_s,
            witness=self._witness,
            checks=self._checks,
        )

    @contextmanager
    def commit(self) -> Iterator[Connection]:
        """Make everything executed inside durable at the end, or nothing if it raises."""
        with self.opened() as database, database.commit() as connection:
            yield connection

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; none if the file was never there: a query does not create it."""
        if self._database is None and self._was_never_there():
            return []
        with self.opened() as database:
            return database.rows(query, values)

    def _was_never_there(self) -> bool:
        is_known = self._witness is not None and commits_in(self._witness) > 0
        return not self.path.exists() and not is_known


@contextmanager
def _with_advice(path: Path) -> Iterator[None]:
    """Add to an error about damage of the file what to do."""
    try:
        yield
    except DamagedRegistryError:
        raise
    except LedgerError as error:
        if not str(error).startswith(str(path)):  # about a run, or about another file
            raise
        raise DamagedRegistryError(
            f"{error}. It says which runs there are and what their quotas remember; nothing is "
            "sent without it. Reports stay. To continue without it, check at the vendor what "
            "unfinished runs have sent, then set `ledger` to a file in another folder"
        ) from error
