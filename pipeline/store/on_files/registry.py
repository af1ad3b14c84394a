"""The registry on files: which runs there are, and their shares."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import Any
from zlib import crc32

from pipeline.model import Status, UsageError
from pipeline.store.contract import LedgerError
from pipeline.store.database import damaged, sum_of
from pipeline.store.on_files.registry_file import RegistryFile
from pipeline.store.run_entry import STATES, Run, State, is_taken
from pipeline.store.seam import Share, ShareChange, ShareState

_COLUMNS = (
    *("name", "source", "sha256", "rows", "operations", "accounts", "run_id", "repeats"),
    *("continues", "state", "started", "ended", "counts", "exit_code"),
    *("description", "credentials", "commits"),
)
_SINCE_FORMAT_3 = {"description": "", "credentials": "{}", "commits": 0}
"""The last columns, which earlier formats lack, and their values in earlier rows."""
_NAMES = ", ".join(_COLUMNS)
_MARKS = ", ".join("?" * len(_COLUMNS))
# ruff: disable[S608] - made of the constants above
_ADD = f"INSERT INTO runs (checksum, {_NAMES}) VALUES (0, {_MARKS})"
_PUT = f"UPDATE runs SET checksum = ?, ({_NAMES}) = ({_MARKS}) WHERE sequence = ?"
_SELECT = f"SELECT sequence, checksum, {_NAMES} FROM runs "
# ruff: enable[S608]
_SHARE = "account, number, parts, is_open, is_done, stopped, attempts, progress"
# ruff: disable[S608] - made of the names above
_ADD_SHARE = f"INSERT INTO shares (checksum, run, {_SHARE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CHANGE_SHARE = (
    f"UPDATE shares SET checksum = ?, run = ?, ({_SHARE}) = (?, ?, ?, ?, ?, ?, ?, ?) "
    "WHERE run = ? AND account = ? AND number = ?"
)
_READ_SHARES = f"SELECT checksum, {_SHARE} FROM shares WHERE run = ? ORDER BY account, number"
# ruff: enable[S608]


class FileRegistry:
    """The registry in a file."""

    def __init__(self, file: RegistryFile) -> None:
        self._file = file
        self._path = file.path

    def add(self, run: Run) -> Run:
        """Add a run, and return it with its sequence.

        Raises UsageError if its `run_id` belongs to another run.
        """
        with self._file.commit() as connection:
            try:
                cursor = connection.execute(_ADD, _values(run))
            except sqlite3.IntegrityError as error:
                owner = self.by_run_id(run.run_id) if run.run_id is not None else None
                if owner is not None and run.run_id is not None:
                    raise is_taken(owner, run.run_id, run.sha256, run.source) from error
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
        with self._file.commit() as connection:
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
        with self._file.commit() as connection:
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
        with self._file.commit() as connection:
            owner, run = self.by_run_id(run_id), self._known(name)
            if owner is not None and owner.name != name:
                raise is_taken(owner, run_id, run.sha256, run.source)
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

    def unfinished(self, fingerprints: Sequence[str]) -> list[Run]:
        """Prepared or sending runs to any of these accounts, oldest first.

        A killed run stays in its state; its lock shows if a process still works on it.
        """
        wanted = set(fingerprints)
        open_runs = self._select("WHERE state IN ('prepared', 'sending') ORDER BY sequence")
        return [run for run in open_runs if not wanted.isdisjoint(run.accounts.values())]

    def all(
        self,
        *,
        states: Sequence[State] = STATES,
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
        return {name for (name,) in self._file.rows("SELECT name FROM runs")}

    def forget(self, name: str) -> None:
        """Remove a run, its shares and its order; its sequence is not reused."""
        with self._file.commit() as connection:
            connection.execute("DELETE FROM runs WHERE name = ?", (name,))
            connection.execute("DELETE FROM shares WHERE run = ?", (name,))
            connection.execute("DELETE FROM orders WHERE run = ?", (name,))

    def share(self, name: str, shares: Sequence[Share]) -> None:
        """Record the shares of a run; the first of each account may be taken."""
        with self._file.commit() as connection:
            self._known(name)
            known = [state.share for state in self.shares(name)]
            if known and known != sorted(shares):
                raise UsageError(f"run {name} is sent in other shares: {_names(known)}")
            for share in [] if known else shares:
                state = ShareState(share, share.number == 0, False, "", 0, "")
                connection.execute(_ADD_SHARE, _share_line(name, state))

    def shares(self, name: str) -> list[ShareState]:
        """The shares of a run, by account and number; empty if none were recorded."""
        return [self._share(name, line) for line in self._file.rows(_READ_SHARES, (name,))]

    def _share(self, name: str, line: Sequence[Any]) -> ShareState:
        checksum, *values = line
        if checksum != sum_of([name, *values]):
            raise damaged(self._path, f"a share of run {name} is not what was written")
        account, number, parts, is_open, is_done, stopped, attempts, progress = values
        share = Share(account, number, parts)
        return ShareState(share, bool(is_open), bool(is_done), stopped, attempts, progress)

    def change_share(self, name: str, share: Share, change: ShareChange) -> None:
        """Change the state of a share."""
        with self._file.commit() as connection:
            found = next((each for each in self.shares(name) if each.share == share), None)
            if found is None:
                raise LedgerError(f"run {name} has no share {share.name} in {self._path}")
            changed = _share_line(name, change.applied(found))
            values = *changed, name, share.account, share.number
            connection.execute(_CHANGE_SHARE, values)

    def _select(self, where: str, *values: object) -> list[Run]:
        return [self._run(row) for row in self._file.rows(_SELECT + where, values)]

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


def _names(shares: Sequence[Share]) -> str:
    return ", ".join(share.name for share in shares)


def _share_line(run: str, state: ShareState) -> tuple[object, ...]:
    share, *more = state
    values = run, *share, *more
    return sum_of(values), *values


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
