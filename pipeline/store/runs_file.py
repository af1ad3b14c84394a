"""What runs share, in one small SQLite file: the runs themselves, and what their quotas remember.

Departures are on record by the time since the machine booted, with the name of the boot and the
wall clock's time of the note; pauses by UTC seconds since 1970.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Literal, NamedTuple, get_args
from zlib import crc32

from pipeline.model import Status, UsageError
from pipeline.model.pause import AskedPause
from pipeline.store.contract import LedgerError
from pipeline.store.database import (
    WAIT_S,
    Database,
    DatabaseOwner,
    create,
    damaged,
    ledger_errors,
    sum_of,
)
from pipeline.store.page_checks import PageChecks

State = Literal["prepared", "sending", "ended", "reported"]

_COLUMNS = (
    *("name", "source", "sha256", "rows", "operations", "accounts", "run_id", "repeats"),
    *("continues", "state", "started", "ended", "counts", "exit_code"),
    *("description", "credentials", "commits"),
)
_SINCE_FORMAT_3 = {"description": "", "credentials": "{}", "commits": 0}
"""Columns that rows of earlier formats lack, last of all, and what they hold there."""
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
# A number is never given twice, or whoever knows the last one would miss the next.
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
# What a run is bound to: the checksum of its description, who signs in, its last known commit.
_FORMAT_3 = """
ALTER TABLE runs ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN credentials TEXT NOT NULL DEFAULT '{}';
ALTER TABLE runs ADD COLUMN commits INTEGER NOT NULL DEFAULT 0;
"""
# A pause that an older version put on record stays, and nobody knows who asked for it.
_FORMAT_4 = """
ALTER TABLE pauses ADD COLUMN asked_s REAL NOT NULL DEFAULT 0;
ALTER TABLE pauses ADD COLUMN run TEXT NOT NULL DEFAULT '';
ALTER TABLE pauses ADD COLUMN words TEXT NOT NULL DEFAULT '';
"""
_PAUSES_BEAR_CHECKSUMS = "ALTER TABLE pauses ADD COLUMN checksum INTEGER;"  # null of before
# The wall clock may be set. Times of before have no boot, hence are UTC seconds since 1970.
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
_DEPARTURES_BEAR_CHECKSUMS = "ALTER TABLE departures ADD COLUMN checksum INTEGER;"  # likewise
_MIGRATIONS = (
    *(_FORMAT_1, _FORMAT_2, _FORMAT_3, _FORMAT_4, _PAUSES_BEAR_CHECKSUMS),
    *(_FORMAT_6, _DEPARTURES_BEAR_CHECKSUMS),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run as it is known to later ones.

    source      path of the input as the user named it; `sha256` is of its bytes
    operations  rows per operation
    accounts    fingerprint of each account that rows go to, by name
    started     UTC, as is `ended`; that is None while the run goes on
    run_id      the scheduler's name for it; no two runs have the same
    repeats, continues  names of the earlier run with the same content, of the one it carries on
    counts      results per status, once ended
    exit_code   of the command, once ended
    sequence    its place in time from 1, given when it is added and never given again; 0 before
    description checksum of the description in its folder; empty where none was kept
    credentials digest of who signs in for an account, once something was sent through it
    commits     number of the last commit to its own record that is known here; 0: of none
    """

    name: str
    source: str
    sha256: str
    rows: int
    started: datetime
    operations: Mapping[str, int] = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    repeats: str | None = None
    continues: str | None = None
    state: State = "prepared"
    ended: datetime | None = None
    counts: Mapping[Status, int] = field(default_factory=dict)
    exit_code: int | None = None
    sequence: int = 0
    description: str = ""
    credentials: Mapping[str, str] = field(default_factory=dict)
    commits: int = 0


class Departures(NamedTuple):
    """Requests of a quota group: an entry of the record.

    boot       of the machine whose clock the times are of; empty: they are UTC seconds since 1970
    noted_s    when it was put on record, by that clock; `noted_utc_s` by the wall clock
    times      from when on they count
    under_way  so many more had left of which that was not known
    number     its place on record, rising from 1; 0 before it is there
    """

    boot: str
    noted_s: float
    noted_utc_s: float
    times: tuple[float, ...] = ()
    under_way: int = 0
    number: int = 0


class Runs(DatabaseOwner):
    """The file that runs share; it is made where there is none.

    witness  where the number of its last commit is noted, beside the mark that lies with it
    checks   of whoever opens it again and again: soon after one its pages are not compared anew

    Safe between processes; within one, calls MUST NOT overlap. What a call has returned for
    survives `kill -9` and loss of power. Raises RunAborted where the file cannot be used, and
    LedgerError where it is damaged.
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
        """Put a new run on record: `run` with its place in time.

        Raises UsageError where its `run_id` belongs to another run.
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
        """Move a run on; what is None stays as it was. Raises LedgerError for an unknown run.

        commits  number of the last one to its own record; 0: none is known
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
        """Who signs in for accounts of a run, beside those that are known."""
        with self._database.commit() as connection:
            run = self._known(name)
            _put(connection, replace(run, credentials={**run.credentials, **credentials}))

    def _known(self, name: str) -> Run:
        run = self.get(name)
        if run is None:
            raise LedgerError(f"run {name} is not in {self._path}")
        return run

    def give_id(self, name: str, run_id: str) -> None:
        """A run without a scheduler's id has this one from now on; one that has keeps its own.

        Raises UsageError where `run_id` belongs to another run, LedgerError for an unknown run.
        """
        with self._database.commit() as connection:
            owner, run = self.by_run_id(run_id), self._known(name)
            if owner is not None and owner.name != name:
                raise UsageError(f"run id {run_id} belongs to run {owner.name}")
            if run.run_id is None:
                _put(connection, replace(run, run_id=run_id))

    def get(self, name: str) -> Run | None:
        """The run of that name."""
        return next(iter(self._select("WHERE name = ?", name)), None)

    def by_run_id(self, run_id: str) -> Run | None:
        """The run that the scheduler calls so."""
        return next(iter(self._select("WHERE run_id = ?", run_id)), None)

    def find(self, sha256: str) -> list[Run]:
        """Runs of the same content, newest first."""
        return self._select("WHERE sha256 = ? ORDER BY sequence DESC", sha256)

    def unfinished(self, fingerprints: Iterable[str]) -> list[Run]:
        """Runs to any of these accounts that are prepared or sending, oldest first.

        A run that was killed stays so; whether it still goes on, its lock tells.
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
        """Runs that ended, or where no end is known started, before `moment`, oldest first."""
        return self._select("WHERE coalesce(ended, started) < ? ORDER BY sequence", _time(moment))

    def since(self, sequence: int) -> list[Run]:
        """Runs from that place in time on, newest first."""
        return self._select("WHERE sequence >= ? ORDER BY sequence DESC", sequence)

    def names(self) -> set[str]:
        """Of all runs; they are not compared with the checksums of their rows."""
        return {name for (name,) in self._database.rows("SELECT name FROM runs")}

    def forget(self, name: str) -> None:
        """Take a run off the record; its place in time is not given to another."""
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

    # What quotas remember

    def depart(self, group: str, entry: Departures, *, longest_s: float) -> int:
        """Put departures of a quota group on record, and drop those that no window needs now.

        longest_s  how long a window is at most
        returns    the number of this entry, higher than any before; 0 where there is nothing in it
        """
        if not entry.times and not entry.under_way:
            return 0
        boot, noted_s, noted_utc_s, times, under_way, _number = entry
        forgotten = group, boot, noted_s - longest_s, boot, noted_utc_s - longest_s
        last_s = max(times, default=noted_s)
        packed = struct.pack(f"<{len(times)}d", *times)
        with self._database.commit() as connection:
            connection.execute(_FORGET_DEPARTURES, forgotten)
            values = group, boot, noted_s, noted_utc_s, last_s, under_way, packed
            cursor = connection.execute(
                "INSERT INTO departures VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, sum_of(values)),
            )
        return int(cursor.lastrowid or 0)

    def departures(self, group: str, *, after: int = 0) -> list[Departures]:
        """What is on record of a quota group, in the order in which it was put there.

        after  the number of the last entry that is known already
        """
        query = """
        SELECT number, checksum, quota_group, boot, noted_s, noted_utc_s, last_s, under_way, times
        FROM departures WHERE quota_group = ? AND number > ? ORDER BY number
        """
        rows = self._database.rows(query, (group, after))
        return [self._departures(number, checksum, line) for number, checksum, *line in rows]

    def _departures(self, number: int, checksum: int | None, line: Sequence[Any]) -> Departures:
        if checksum is not None and checksum != sum_of(line):
            raise damaged(self._path, "send times are not what was written")
        _group, boot, noted_s, noted_utc_s, _last_s, under_way, times = line
        return Departures(boot, noted_s, noted_utc_s, self._times(times), under_way, number)

    def _times(self, packed: bytes) -> tuple[float, ...]:
        try:
            return struct.unpack(f"<{len(packed) // 8}d", packed)
        except (struct.error, TypeError) as error:
            raise damaged(self._path, "send times are not what was written") from error

    def pause(self, group: str, asked: AskedPause) -> None:
        """The vendor asks a quota group to wait; a longer pause on record stands."""
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
        """The last pause of a quota group, which may be over; None where there is none."""
        return self.pauses(group).get(group)

    def pauses(self, prefix: str) -> dict[str, AskedPause]:
        """The last pause of each quota group whose name begins so; they may be over."""
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
        """Take the pause of a quota group off the record: what it was, None where there is none."""
        lifted = self.pause_of(group)
        if lifted is not None:
            with self._database.commit() as connection:
                connection.execute("DELETE FROM pauses WHERE quota_group = ?", (group,))
        return lifted


def _time(moment: datetime) -> str:
    """Text that sorts as time does.

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
    """Of a row; as an earlier format has it, where the row holds nothing that it lacks."""
    first, later = values[: -len(_SINCE_FORMAT_3)], values[-len(_SINCE_FORMAT_3) :]
    if tuple(later) == tuple(_SINCE_FORMAT_3.values()):
        values = first
    return crc32(json.dumps([sequence, *values], default=repr).encode())
