"""The SQLite file that runs share: runs and their shares, quotas, orders, and who waits for what.

It stays open between calls. Closing it as the only process would lock out all others while the log
is written back, and for as long as this process is stopped in the middle of that. Each call looks
whether it was replaced, removed or cut since, and it is opened again, with all checks, after a
minute or an error.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NamedTuple

from pipeline.model import RunAborted
from pipeline.store.commit_mark import commits_in
from pipeline.store.contract import LedgerError
from pipeline.store.database import WAIT_S, Database, create, ledger_errors
from pipeline.store.page_checks import AGAIN_AFTER_S, PageChecks

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


class _Kept(NamedTuple):
    """An open file, and how to close it.

    opened_s  monotonic seconds
    """

    database: Database
    opened_s: float
    end: Callable[[], object]


class RegistryFile:
    """Opens the file when it is first used, and creates it if there is none.

    wait_s   longest wait for another process that is writing
    witness  path of a second mark of the last commit
    checks   remembers recent page checks, so that they are not repeated; None always checks
    clock    monotonic seconds

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._wait_s = wait_s
        self._witness = witness
        self._checks = checks
        self._clock = clock
        self._turn = threading.RLock()
        self._kept: _Kept | None = None
        self._in_use: Database | None = None  # by the thread that has the turn

    @contextmanager
    def opened(self) -> Iterator[Database]:
        """The open file. Other threads wait for the end of the block."""
        with self._turn, _with_advice(self.path):
            if self._in_use is not None:
                yield self._in_use
                return
            self._in_use = self._current()
            try:
                yield self._in_use
            except BaseException:
                with suppress(RunAborted):  # the earlier error matters more
                    self.close()
                raise
            finally:
                self._in_use = None

    def _current(self) -> Database:
        now_s, kept = self._clock(), self._kept
        if kept is not None and not kept.database.is_current():
            self.close()  # first: a log that was removed is written back from its open file
        elif kept is not None and now_s < kept.opened_s + AGAIN_AFTER_S:
            return kept.database
        database = self._open()
        self.close()  # last: while one of the two is open, no other process is locked out
        self._kept = _Kept(database, now_s, weakref.finalize(self, database.close))
        return database

    def close(self) -> None:
        """Close the file; the next call opens it again. It is closed with this object, too."""
        with self._turn:
            kept, self._kept = self._kept, None
            if kept is not None:
                kept.end()

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
        if self._in_use is None and self._was_never_there():
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
