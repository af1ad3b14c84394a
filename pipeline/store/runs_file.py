"""The registry that runs share, in a small SQLite file: the runs, and the use of their quotas.

Departures are recorded in seconds since the machine booted, with the name of the boot and the wall
clock time of the entry; pauses in UTC seconds since 1970.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NamedTuple, get_args
from zlib import crc32

from pipeline.model import Status, UsageError
from pipeline.model.pause import AskedPause
from pipeline.store.contract import LedgerError
from pipeline.store.database import (
    WAIT_S,
    Database,
    DatabaseRecord,
    create,
    damaged,
    ledger_errors,
    sum_of,
)
from pipeline.store.page_checks import PageChecks
from pipeline.store.run_entry import Run, State

_COLUMNS = (
    *("name", "source", "sha256", "rows", "operations", "accounts", "run_id", "repeats"),
    *("continues", "state", "started", "ended", "counts", "exit_code"),
    *("description", "credentials", "commits"),
)
_SINCE_FORMAT_3 = {"description": "", "credentials": "{}", "commits": 0}
"""The last columns, which earlier formats lack, and their values in earlier rows."""
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
_MIGRATIONS = (
    *(_FORMAT_1, _FORMAT_2, _FORMAT_3, _FORMAT_4, _PAUSES_BEAR_CHECKSUMS),
    *(_FORMAT_6, _DEPARTURES_BEAR_CHECKSUMS, _DEPARTURES_ARE_COUNTED),
)
_NAMES = ", ".join(_COLUMNS)
_MARKS = ", ".join("?" * len(_COLUMNS))
# ruff: disable[S608] - made of the constants above
_ADD = f"INSERT INTO runs (checksum, {_NAMES}) VALUES (0, {_MARKS})"
_PUT = f"UPDATE runs SET checksum = ?, ({_NAMES}) = ({_MARKS}) WHERE sequence = ?"
_SELECT = f"SELECT sequence, checksum, {_NAMES} FROM runs "
# ruff: enable[S608]
_FORGET_DEPARTURES = """
DELETE FROM departures WHERE quota_group = ?
AND ((boot = ? AND last_s < ?) OR (boot <> ? AND noted_utc_s < ?))
"""


class Departures(NamedTuple):
    """An entry of requests that a quota group sent.

    boot       boot whose clock the times refer to; empty: they are UTC seconds since 1970
    noted_s    when it was recorded, by that clock; `noted_utc_s` by the wall clock
    times      times from which requests count
    counts     number of requests of each time
    under_way  number of further requests without a known time
    number     position in the record, ascending from 1; 0 before it is recorded
    """

    boot: str
    noted_s: float
    noted_utc_s: float
    times: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    under_way: int = 0
    number: int = 0


class Runs(DatabaseRecord):
    """The registry of runs. Creates the file if there is none.

    witness  path of a second mark of the last commit
    checks   remembers recent page checks, so that they are not repeated; None always checks

    Safe between processes; within one, calls MUST NOT overlap. The effect of a call that returned
    survives `kill -9` and loss of power. Raises RunAborted if the file cannot be used, LedgerError
    if it is damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        wait_s: float = WAIT_S,
        witness: Path | None = None,
        checks: PageChecks | None = None,
    ) -> None:
        self._path = path
        with ledger_errors(path), suppress(FileExistsError):
            create(path)
        self._database = Database(
            path, _MIGRATIONS, may_be_empty=True, wait_s=wait_s, witness=witness, checks=checks
        )

    def add(self, run: Run) -> Run:
        """Add a run, and return it with its sequence.

        Raises UsageError if its `run_id` belongs to another run.
        """
        with self._database.commit() as connection:
            try:
                cursor = connection.execute(_ADD, _values(run))
            except sqlite3.IntegrityError as error:
                owner = self.by_run_id(run.run_id) if run.run_id is not None else None
                if owner is not None:
                    raise UsageError(f"run id {run.run_id} belongs to run {owner.name}") from error
                raise LedgerError(f"run {run.name} is in {self._path} already") from error
            added = replace(run, sequence=int(cursor.lastrowid or 0))
            _put(connection, added)
        return added

    def change_state(
        self,
        name: str,
        state: State,
        *,
        ended: datetime | None = None,
        counts: Mapping[Status, int] | None = None,
        exit_code: int | None = None,
        commits: int = 0,
    ) -> Run:
        """Change the state of a run; fields given as None stay unchanged.

        commits  last commit of its own ledger; 0 if none is known

        Raises LedgerError for an unknown run.
        """
        with self._database.commit() as connection:
            run = self._known(name)
            run = replace(
                run,
                state=state,
                ended=run.ended if ended is None else ended,
                counts=run.counts if counts is None else counts,
                exit_code=run.exit_code if exit_code is None else exit_code,
                commits=max(run.commits, commits),
            )
            _put(connection, run)
        return run

    def keep_credentials(self, name: str, credentials: Mapping[str, str]) -> None:
        """Add digests of credentials of a run's accounts. Raises LedgerError for an unknown run."""
        with self._database.commit() as connection:
            run = self._known(name)
            _put(connection, replace(run, credentials={**run.credentials, **credentials}))

    def _known(self, name: str) -> Run:
        run = self.get(name)
        if run is None:
            raise LedgerError(f"run {name} is not in {self._path}")
        return run

    def give_id(self, name: str, run_id: str) -> None:
        """Set the `run_id` of a run that has none.

        Raises UsageError if `run_id` belongs to another run, LedgerError for an unknown run.
        """
        with self._database.commit() as connection:
            owner, run = self.by_run_id(run_id), self._known(name)
            if owner is not None and owner.name != name:
                raise UsageError(f"run id {run_id} belongs to run {owner.name}")
            if run.run_id is None:
                _put(connection, replace(run, run_id=run_id))

    def get(self, name: str) -> Run | None:
        """The run of this name, or None."""
        return next(iter(self._select("WHERE name = ?", name)), None)

    def by_run_id(self, run_id: str) -> Run | None:
        """The run with this `run_id`, or None."""
        return next(iter(self._select("WHERE run_id = ?", run_id)), None)

    def find(self, sha256: str) -> list[Run]:
        """Runs of an input with this digest, newest first."""
        return self._select("WHERE sha256 = ? ORDER BY sequence DESC", sha256)

    def unfinished(self, fingerprints: Iterable[str]) -> list[Run]:
        """Prepared or sending runs to any of these accounts, oldest first.

        A killed run stays in its state; its lock shows if a process still works on it.
        """
        wanted = set(fingerprints)
        open_runs = self._select("WHERE state IN ('prepared', 'sending') ORDER BY sequence")
        return [run for run in open_runs if not wanted.isdisjoint(run.accounts.values())]

    def all(
        self,
        *,
        states: Sequence[State] = get_args(State),
        since: datetime | None = None,
        most: int | None = None,
    ) -> list[Run]:
        """Runs in one of `states`, started at `since` or later, newest first, at most `most`."""
        return self._select(
            "WHERE state IN (SELECT value FROM json_each(?)) AND started >= ? "
            "ORDER BY sequence DESC LIMIT ?",
            json.dumps(states),
            "" if since is None else _time(since),
            -1 if most is None else most,
        )

    def older_than(self, moment: datetime) -> list[Run]:
        """Runs that ended, or without a known end started, before `moment`, oldest first."""
        return self._select("WHERE coalesce(ended, started) < ? ORDER BY sequence", _time(moment))

    def since(self, sequence: int) -> list[Run]:
        """Runs with this sequence or a later one, newest first."""
        return self._select("WHERE sequence >= ? ORDER BY sequence DESC", sequence)

    def names(self) -> set[str]:
        """The names of all runs; their rows are not checked."""
        return {name for (name,) in self._database.rows("SELECT name FROM runs")}

    def forget(self, name: str) -> None:
        """Remove a run; its sequence is not reused."""
        with self._database.commit() as connection:
            connection.execute("DELETE FROM runs WHERE name = ?", (name,))

    def _select(self, where: str, *values: object) -> list[Run]:
        return [self._run(row) for row in self._database.rows(_SELECT + where, values)]

    def _run(self, row: tuple[Any, ...]) -> Run:
        sequence, checksum, *values = row
        if checksum != _checksum(sequence, values):
            raise damaged(self._path, f"run {sequence} is not what was written")
        texts = dict(zip(_COLUMNS, values, strict=True))
        counts = json.loads(texts.pop("counts"))
        ended = texts.pop("ended")
        return Run(
            sequence=sequence,
            started=datetime.fromisoformat(texts.pop("started")),
            ended=None if ended is None else datetime.fromisoformat(ended),
            operations=json.loads(texts.pop("operations")),
            accounts=json.loads(texts.pop("accounts")),
            credentials=json.loads(texts.pop("credentials")),
            counts={Status(status): count for status, count in counts.items()},
            **texts,
        )

    # The use of quotas

    def depart(self, group: str, entry: Departures, *, longest_s: float) -> int:
        """Record departures of a quota group, and remove those that no window needs any more.

        longest_s  length of the longest window
        returns    number of this entry, higher than any before; 0 if the entry is empty
        """
        if not entry.times and not entry.under_way:
            return 0
        boot, noted_s, noted_utc_s, times, counts, under_way, _number = entry
        forgotten = group, boot, noted_s - longest_s, boot, noted_utc_s - longest_s
        last_s = max(times, default=noted_s)
        packed = struct.pack(f"<{len(times)}d", *times), struct.pack(f"<{len(times)}I", *counts)
        with self._database.commit() as connection:
            connection.execute(_FORGET_DEPARTURES, forgotten)
            values = group, boot, noted_s, noted_utc_s, last_s, under_way, *packed
            cursor = connection.execute(
                "INSERT INTO departures (quota_group, boot, noted_s, noted_utc_s, last_s, "
                "under_way, times, counts, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, sum_of(values)),
            )
        return int(cursor.lastrowid or 0)

    def departures(self, group: str, *, after: int = 0) -> list[Departures]:
        """The recorded departures of a quota group, in order.

        after  number of the last known entry
        """
        query = """
        SELECT number, checksum, quota_group, boot, noted_s, noted_utc_s, last_s, under_way, times,
        counts FROM departures WHERE quota_group = ? AND number > ? ORDER BY number
        """
        rows = self._database.rows(query, (group, after))
        return [self._departures(number, checksum, line) for number, checksum, *line in rows]

    def _departures(self, number: int, checksum: int | None, line: Sequence[Any]) -> Departures:
        *former, packed = line
        summed = former if packed is None else line  # an earlier version recorded no counts
        if checksum is not None and checksum != sum_of(summed):
            raise damaged(self._path, "send times are not what was written")
        _group, boot, noted_s, noted_utc_s, _last_s, under_way, packed_times = former
        times = self._unpacked("d", 8, packed_times)
        counts = (1,) * len(times) if packed is None else self._unpacked("I", 4, packed)
        if len(counts) != len(times):
            raise damaged(self._path, "send times are not what was written")
        return Departures(boot, noted_s, noted_utc_s, times, counts, under_way, number)

    def _unpacked(self, kind: str, size: int, packed: bytes) -> tuple[Any, ...]:
        try:
            return struct.unpack(f"<{len(packed) // size}{kind}", packed)
        except (struct.error, TypeError) as error:
            raise damaged(self._path, "send times are not what was written") from error

    def pause(self, group: str, asked: AskedPause) -> None:
        """Record a pause of a quota group, unless a longer one is on record."""
        line = group, *asked
        with self._database.commit() as connection:
            connection.execute(
                "INSERT INTO pauses VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (quota_group) "
                "DO UPDATE SET until_s = excluded.until_s, asked_s = excluded.asked_s, "
                "run = excluded.run, words = excluded.words, checksum = excluded.checksum "
                "WHERE excluded.until_s > until_s",
                (*line, sum_of(line)),
            )

    def pause_of(self, group: str) -> AskedPause | None:
        """The last pause of a quota group, which may be over; None if there is none."""
        return self.pauses(group).get(group)

    def pauses(self, prefix: str) -> dict[str, AskedPause]:
        """The last pause of each quota group with this prefix; they may be over."""
        query = """
        SELECT quota_group, until_s, asked_s, run, words, checksum FROM pauses
        WHERE substr(quota_group, 1, ?) = ?
        """
        found: dict[str, AskedPause] = {}
        for *line, checksum in self._database.rows(query, (len(prefix), prefix)):
            if checksum is not None and checksum != sum_of(line):
                raise damaged(self._path, "a pause is not what was written")
            found[line[0]] = AskedPause(*line[1:])
        return found

    def lift_pause(self, group: str) -> AskedPause | None:
        """Remove the pause of a quota group and return it; None if there is none."""
        lifted = self.pause_of(group)
        if lifted is not None:
            with self._database.commit() as connection:
                connection.execute("DELETE FROM pauses WHERE quota_group = ?", (group,))
        return lifted


def _time(moment: datetime) -> str:
    """A time as text that sorts by time.

    >>> _time(datetime(2026, 5, 1, 12, tzinfo=UTC))
    '2026-05-01T12:00:00.000000+00:00'
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _values(run: Run) -> tuple[object, ...]:
    texts = {
        "operations": json.dumps(dict(run.operations)),
        "accounts": json.dumps(dict(run.accounts)),
        "credentials": json.dumps(dict(run.credentials)),
        "started": _time(run.started),
        "ended": None if run.ended is None else _time(run.ended),
        "counts": json.dumps(dict(run.counts)),
    }
    return tuple(texts[name] if name in texts else getattr(run, name) for name in _COLUMNS)


def _put(connection: Connection, run: Run) -> None:
    values = _values(run)
    connection.execute(_PUT, (_checksum(run.sequence, values), *values, run.sequence))


def _checksum(sequence: int, values: Sequence[object]) -> int:
    """Checksum of a row; without the later columns if they hold their default values."""
    first, later = values[: -len(_SINCE_FORMAT_3)], values[-len(_SINCE_FORMAT_3) :]
    if tuple(later) == tuple(_SINCE_FORMAT_3.values()):
        values = first
    return crc32(json.dumps([sequence, *values], default=repr).encode())
