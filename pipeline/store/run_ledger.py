"""The ledger of one run in a SQLite file.

A row of `results` has the row's number, its status, the rest of the result as JSON, and a checksum.
`claim_windows` holds the rows that may have been sent; `claims` held them in earlier versions, and
has been empty since.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain, starmap
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Self

from pipeline.model import RowResult, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.store import claim_windows
from pipeline.store import exchanges as exchanges_table
from pipeline.store import previous_states as states_table
from pipeline.store.claim_windows import ClaimWindows
from pipeline.store.contract import LEFT, LedgerError
from pipeline.store.database import (
    OWNER,
    Database,
    DatabaseRecord,
    create,
    damaged,
    ledger_errors,
    read_only,
    sum_of,
)
from pipeline.store.previous_states import FormerPreviousStates
from pipeline.store.result_lines import STATUSES, Line, is_sound, line_of, result_of

_FORMAT_1 = """
CREATE TABLE results (
    row INTEGER PRIMARY KEY, status TEXT NOT NULL, checksum INTEGER NOT NULL, record BLOB NOT NULL
);
CREATE TABLE claims (row INTEGER PRIMARY KEY, negative INTEGER NOT NULL);
CREATE TABLE samples (
    number INTEGER PRIMARY KEY, account TEXT NOT NULL, at_s REAL NOT NULL, seconds REAL NOT NULL,
    sent INTEGER NOT NULL, in_flight INTEGER NOT NULL, in_flight_limit INTEGER NOT NULL,
    pause_left_s REAL NOT NULL, latencies TEXT NOT NULL
);
"""
_SAMPLES_TELL_MORE = """
ALTER TABLE samples ADD COLUMN allowed_per_s REAL NOT NULL DEFAULT 0;
ALTER TABLE samples ADD COLUMN throttled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE samples ADD COLUMN is_probing INTEGER NOT NULL DEFAULT 0;
"""
_LEGS = """
CREATE TABLE legs (
    number INTEGER NOT NULL, account TEXT NOT NULL, began_at_s REAL NOT NULL,
    last_at_s REAL NOT NULL, requests INTEGER NOT NULL, retries INTEGER NOT NULL,
    sending_s REAL NOT NULL, is_over INTEGER NOT NULL, PRIMARY KEY (number, account)
) WITHOUT ROWID;
INSERT INTO legs
SELECT 1, account, min(at_s - seconds), max(at_s), sum(sent), 0, sum(seconds), 1
FROM samples GROUP BY account;
"""
_CHECKSUMS = """
ALTER TABLE samples ADD COLUMN checksum INTEGER;
ALTER TABLE legs ADD COLUMN checksum INTEGER;
"""  # null in earlier rows
_MIGRATIONS = (
    *(_FORMAT_1, exchanges_table.TABLE, _SAMPLES_TELL_MORE, _LEGS, OWNER, _CHECKSUMS),
    *(claim_windows.TABLE, states_table.TABLE),
)

_END = """
INSERT INTO results (row, status, checksum, record)
SELECT * FROM (VALUES {}) WHERE column1 IS NOT NULL
ON CONFLICT (row) DO UPDATE
SET status = excluded.status, checksum = excluded.checksum, record = excluded.record
WHERE status = 'not_attempted'
"""
# Many rows in one step, because every step gives up the interpreter, and a busy event loop is slow
# to hand it back. Few texts, so that each is prepared once: the rest of the rows are null.
_SIZES = (1, 2, 4, 8, 16, 32, *range(64, 513, 64))
_ENDS = {size: _END.format(", ".join(["(?, ?, ?, ?)"] * size)) for size in _SIZES}
_MOST_IN_STEP = _SIZES[-1]
_READ = """
SELECT row, status, checksum, record FROM results WHERE row BETWEEN ? AND ? ORDER BY row LIMIT ?
"""
_READ_WITH = """
SELECT row, status, checksum, record FROM results
WHERE status IN (SELECT value FROM json_each(?)) AND row BETWEEN ? AND ? ORDER BY row LIMIT ?
"""

_ENDED = """
SELECT row, status FROM results
WHERE row IN (SELECT value FROM json_each(?)) AND status <> 'not_attempted'
"""

_NOT_ATTEMPTED = "SELECT row FROM results WHERE status = 'not_attempted' ORDER BY row"

_SAMPLE = ", ".join(Sample._fields)
_LEG = ", ".join(Leg._fields)
# ruff: disable[S608] - made of the names above
_READ_SAMPLES = (
    f"SELECT number, {_SAMPLE}, checksum FROM samples WHERE number > ? ORDER BY number LIMIT ?"
)
_RECENT_SAMPLES = f"SELECT {_SAMPLE} FROM samples WHERE account = ? ORDER BY number DESC LIMIT ?"
_READ_LEGS = f"SELECT {_LEG}, checksum FROM legs ORDER BY number, account"
# ruff: enable[S608]

_CHUNK_ROWS = 4096
_LAST_ROW = 2**62
_encode = json.JSONEncoder(separators=(",", ":")).encode  # pure ASCII for any text


class RunLedger(DatabaseRecord):
    """A ledger in an existing file, which is checked completely before use.

    run         run that the ledger belongs to; empty accepts any
    witness     path of a second mark of the last commit
    at_least    number of a commit that is known to be in the file
    former      opens the previous states that an earlier version recorded; None if it did not
    may_record  called before each commit of rows; it raises if they must not be recorded

    Raises RunAborted if the file cannot be used, LedgerError if it is damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        run: str = "",
        witness: Path | None = None,
        at_least: int = 0,
        former: Callable[[], FormerPreviousStates] | None = None,
        may_record: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._may_record = may_record
        self._open_former = former
        self._former: FormerPreviousStates | None = None
        self._database = Database(path, _MIGRATIONS, owner=run, witness=witness, at_least=at_least)
        self._claims = ClaimWindows(self._database)
        try:
            for _ in self._lines(-_LAST_ROW, _LAST_ROW):
                pass
            self._claims.load()
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def create(cls, path: Path, *, run: str = "", witness: Path | None = None) -> Self:
        """Create a ledger, readable by its owner only. Raises RunAborted if the file exists."""
        with ledger_errors(path):
            create(path)
        Database(path, _MIGRATIONS, may_be_empty=True, owner=run, witness=witness).close()
        return cls(path, run=run, witness=witness)

    @property
    def commits(self) -> int:
        """Number of the last commit."""
        return self._database.commits

    def go_on_after(self, commits: int) -> None:
        """Make the next commits have higher numbers than `commits`, that of another record."""
        with self._database.commit(at_least=commits + 1):
            pass

    def record(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange] = (),
        previous_states: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Claims, then results, exchanges and previous states, in one commit."""
        self._may_record()
        lines = [line_of(result, self._database.seed) for result in results]
        with self._database.commit() as connection:
            window = self._claims.claim(connection, claims) if claims else None
            self._end(connection, lines)
            exchanges_table.keep(connection, exchanges, self._database.seed)
            if previous_states:
                states_table.keep(connection, previous_states, self._database.seed)
            self._claims.prune(connection)
        self._claims.recorded(window, [line[0] for line in lines])

    def _end(self, connection: Connection, lines: Sequence[Line]) -> None:
        written = 0
        for first in range(0, len(lines), _MOST_IN_STEP):
            some = lines[first : first + _MOST_IN_STEP]
            size = _SIZES[bisect_left(_SIZES, len(some))]
            values: list[object] = [*chain.from_iterable(some)]
            # sqlite3 looks for an adapter of each bytes, and of no bytearray
            values[3::4] = [bytearray(line[3]) for line in some]
            values += [None] * (4 * (size - len(some)))
            written += connection.execute(_ENDS[size], values).rowcount
        if written != len(lines):
            self._database.roll_back()  # else the new results would hide the existing one
            raise LedgerError(f"row {self._second(lines)} has a result already in {self._path}")

    def _second(self, lines: Sequence[Line]) -> int:
        """The first row of `lines` that already had a result."""
        ended = set(self.ended([line[0] for line in lines]))
        for row, status, _, _ in lines:
            if row in ended:
                return row
            if status != Status.NOT_ATTEMPTED:
                ended.add(row)
        raise AssertionError  # pragma: no cover - only called if there is one

    def release(self, rows: Sequence[int]) -> None:
        """Take the rows out of their windows."""
        self._may_record()
        with self._database.commit() as connection:
            self._claims.release(connection, rows)
        self._claims.load()

    def results(self, first: int, last: int) -> Iterator[RowResult]:
        """The lines' values."""
        return starmap(result_of, self.lines(first, last))

    def lines(self, first: int, last: int) -> Iterator[Line]:
        """Read in chunks; each row's checksum is checked again."""
        return chain.from_iterable(self._lines(first, last))

    def _lines(
        self, first: int, last: int, query: str = _READ, *values: object
    ) -> Iterator[Sequence[Line]]:
        """The lines in chunks, each checked before it is yielded."""
        seed = self._database.seed
        while True:
            lines = self._database.rows(query, (*values, first, last, _CHUNK_ROWS))
            for row, status, checksum, record in lines:
                if not is_sound(row, status, checksum, record, seed):
                    raise damaged(self._path, f"the result of row {row} is not what was written")
            yield lines
            if len(lines) < _CHUNK_ROWS:
                return
            first = lines[-1][0] + 1

    def results_left(self) -> Iterator[RowResult]:
        """Found in the file, in chunks; each row's checksum is checked again."""
        values = _encode(sorted(LEFT))
        for lines in self._lines(-_LAST_ROW, _LAST_ROW, _READ_WITH, values):
            yield from starmap(result_of, lines)

    def claimed(self) -> Iterator[int]:
        """Read at once: they are few."""
        return iter(self._claims.claimed())

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """Looked up in one query."""
        found = self._database.rows(_ENDED, (_encode(list(rows)),))
        return {row: STATUSES[status] for row, status in found}

    def not_attempted(self) -> list[int]:
        """The rows with the result `not_attempted`, ascending."""
        return [row for (row,) in self._database.rows(_NOT_ATTEMPTED)]

    def counts(self) -> dict[Status, int]:
        """Counted in the file: seconds at ten million rows."""
        query = "SELECT status, count(*) FROM results GROUP BY status"
        return {STATUSES[status]: count for status, count in self._database.rows(query)}

    def exchanges(self, row: int | None = None) -> Iterator[Exchange]:
        """Read at once: they are few."""
        return exchanges_table.kept(self._database, row)

    def previous_states(self, rows: Sequence[int]) -> dict[int, str]:
        """Looked up in one query; in another file those that an earlier version recorded."""
        found = states_table.kept(self._database, rows)
        former = self._opened_former()
        if former is None or len(found) == len(rows):
            return found
        return {**former.of(rows), **found}

    def has_previous_states(self) -> bool:
        """Opens and checks what an earlier version recorded."""
        return self._opened_former() is not None or states_table.are_kept(self._database)

    def _opened_former(self) -> FormerPreviousStates | None:
        if self._former is None and self._open_former is not None:
            self._former = self._open_former()
        return self._former

    def close(self) -> None:
        """Close the files; all records are on the disk."""
        if self._former is not None:
            self._former.close()
        super().close()

    def sample(self, samples: Sequence[Sample], legs: Sequence[Leg] = ()) -> None:
        """Append samples and replace legs, in one commit."""
        with self._database.commit() as connection:
            connection.executemany(
                "INSERT INTO samples VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_summed(_stored(sample), self._database.seed) for sample in samples],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO legs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_summed(leg, self._database.seed) for leg in legs],
            )

    def samples(self) -> Iterator[Sample]:
        """Read in chunks."""
        last = 0
        while rows := self._database.rows(_READ_SAMPLES, (last, _CHUNK_ROWS)):
            for row in rows:
                yield _sample(self._sound(row[1:], "a sample"))
            last = rows[-1][0]

    def legs(self) -> list[Leg]:
        """Read at once: they are few."""
        found = (self._sound(row, "a leg of the run") for row in self._database.rows(_READ_LEGS))
        return [Leg._make((*values[:-1], bool(values[-1]))) for values in found]

    def _sound(self, row: Sequence[Any], what: str) -> Sequence[Any]:
        """The values of a row, checked against its checksum; earlier versions wrote none."""
        *values, checksum = row
        if checksum is not None and checksum != sum_of(values, self._database.seed):
            raise damaged(self._path, f"{what} is not what was written")
        return values


def ended_among(path: Path, rows: Sequence[int]) -> set[int]:
    """The rows of `rows` that have a final result; none if the file cannot be read.

    The file is not checked, as in `recent_samples`: never decide from this to send a row.
    """
    try:
        with closing(read_only(path)) as connection:
            found = connection.execute(_ENDED, (_encode(list(rows)),)).fetchall()
    except sqlite3.Error:
        return set()
    return {row for row, _ in found}


def sound_results(path: Path, run: str) -> Iterator[RowResult]:
    """The intact results of a damaged ledger, in any order.

    run  run that the ledger must belong to, if it names one

    Stops at the first unreadable place; yields nothing if the file is missing.
    """
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(read_only(path)) as connection:
        seeds = {0}
        with suppress(sqlite3.OperationalError):  # files of an earlier version have no such table
            owners = connection.execute("SELECT name, seed FROM owner").fetchall()
            if any(name != run for name, _ in owners):
                return
            seeds = {seed for _, seed in owners} or {0}
        for line in connection.execute("SELECT row, status, checksum, record FROM results"):
            row, status, checksum, record = line
            if any(is_sound(row, status, checksum, record, seed) for seed in seeds):
                yield result_of(row, status, checksum, record)


def sound_previous_states(path: Path, run: str) -> Iterator[tuple[int, str]]:
    """The intact previous states of a damaged ledger; as `sound_results` otherwise."""
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(read_only(path)) as connection:
        seed = _seed(connection, run)
        for line in connection.execute("SELECT row, checksum, state FROM previous_states"):
            row, checksum, state = line
            if seed is not None and states_table.is_sound(row, checksum, state, seed):
                yield row, state


def _seed(connection: Connection, run: str) -> int | None:
    """Seed of the checksums of a ledger; None if it belongs to another run."""
    owners = connection.execute("SELECT name, seed FROM owner").fetchall()
    if any(name != run for name, _ in owners):
        return None
    return next((int(seed) for _, seed in owners), 0)


def recent_samples(path: Path, account: str, *, most: int) -> list[Sample]:
    """The last samples of an account, newest first; none if the file cannot be read.

    The file is not checked, because that takes long and samples only inform people.
    """
    try:
        with closing(read_only(path)) as connection:
            rows = connection.execute(_RECENT_SAMPLES, (account, most)).fetchall()
        return [_sample(row) for row in rows]
    except (sqlite3.Error, TypeError, ValueError):
        return []


def _stored(sample: Sample) -> tuple[object, ...]:
    """The columns of `samples` after the number."""
    return tuple(
        _encode(value) if name == "latencies" else value
        for name, value in zip(Sample._fields, sample, strict=True)
    )


def _sample(values: Sequence[Any]) -> Sample:
    """A sample from the columns of `samples` after the number."""
    stored = Sample._make(values)
    latencies = tuple(json.loads(stored.latencies))  # type: ignore[arg-type] # as it is stored
    return stored._replace(latencies=latencies, is_probing=bool(stored.is_probing))


def _summed(values: Sequence[object], seed: int) -> tuple[object, ...]:
    """The values and their checksum."""
    return *values, sum_of(values, seed)
