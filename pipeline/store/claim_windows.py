"""Stores which rows of a run may have been sent: one line per window of claims, with a checksum.

A row is claimed if a window names it and it has no result. So the end of a row writes nothing here:
a window is deleted as a whole once each of its rows has a result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from sqlite3 import Connection
from typing import Any, NamedTuple
from zlib import crc32

from pipeline.model import Status
from pipeline.store.contract import LedgerError
from pipeline.store.database import Database, damaged

TABLE = """
CREATE TABLE claim_windows (
    number INTEGER PRIMARY KEY, ranges TEXT NOT NULL, checksum INTEGER NOT NULL
);
"""
_RESULTS_IN = """
FROM json_each(?) AS range JOIN results
ON row BETWEEN json_extract(range.value, '$[0]') AND json_extract(range.value, '$[1]')
"""
_STATUSES_IN = f"SELECT row, status {_RESULTS_IN}"
_ROWS_IN = f"SELECT row {_RESULTS_IN}"
_UNATTEMPT = "DELETE FROM results WHERE row IN (SELECT value FROM json_each(?))"
_ADD = "INSERT INTO claim_windows (ranges, checksum) VALUES (?, ?)"
_CHANGE = "UPDATE claim_windows SET ranges = ?, checksum = ? WHERE number = ?"
_DELETE = "DELETE FROM claim_windows WHERE number IN (SELECT value FROM json_each(?))"
_READ = "SELECT number, ranges, checksum FROM claim_windows ORDER BY number"
_FORMER = "SELECT row, negative FROM claims"

_encode = json.JSONEncoder(separators=(",", ":")).encode


class ClaimWindow(NamedTuple):
    """A window that was added to the file.

    number  of its line; 0 if all of its rows were claimed already
    rows    its rows
    """

    number: int
    rows: Sequence[int]


class ClaimWindows:
    """The windows in a ledger.

    Remembers the rows without a result, to know when a window is finished. Whatever is given a
    connection only changes the file; `recorded` follows once that is committed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._window_of: dict[int, int] = {}  # row without a result -> number of its window
        self._left: dict[int, int] = {}  # number of a window -> its rows without a result
        self._finished: list[int] = []  # windows that can be deleted

    def load(self) -> None:
        """Read and check all windows. Raises LedgerError if one was changed."""
        self._adopt_former()
        self._window_of, self._left, self._finished = {}, {}, []
        for number, rows in self._windows():
            unfinished = rows - self._with_result(rows) - self._window_of.keys()
            if unfinished:
                self._keep(ClaimWindow(number, list(unfinished)))
            else:
                self._finished.append(number)

    def _adopt_former(self) -> None:
        """Make a window of the claims that an earlier version stored one by one."""
        if not self._database.rows(f"{_FORMER} LIMIT 1"):
            return
        with self._database.commit() as connection:
            found = connection.execute(_FORMER).fetchall()
            for row, negative in found:
                if negative != -(row + self._database.seed):
                    what = f"the claim of row {row} is not what was written"
                    raise damaged(self._database.path, what)
            connection.execute(_ADD, self._line([row for row, _ in found]))
            connection.execute("DELETE FROM claims")

    def claimed(self) -> list[int]:
        """The rows with a claim and no result, ascending. Raises LedgerError as `load` does."""
        rows: set[int] = set()
        for _, window in self._windows():
            rows |= window - self._with_result(window)
        return sorted(rows)

    def claim(self, connection: Connection, rows: Sequence[int]) -> ClaimWindow:
        """Add a window of those of `rows` that are not claimed yet.

        Deletes results `not_attempted` of the rows. Raises LedgerError if a row has another one.
        """
        found = connection.execute(_STATUSES_IN, (_text(rows),)).fetchall()
        if found:
            ended = [row for row, status in found if status != Status.NOT_ATTEMPTED]
            if ended:
                path = self._database.path
                raise LedgerError(
                    f"row {min(ended)} has a result in {path} and was about to be sent again"
                )
            connection.execute(_UNATTEMPT, (_encode([row for row, _ in found]),))
        fresh = {row for row in rows if row not in self._window_of}
        if not fresh:
            return ClaimWindow(0, ())
        number = connection.execute(_ADD, self._line(fresh)).lastrowid
        return ClaimWindow(number or 0, list(fresh))

    def prune(self, connection: Connection) -> None:
        """Delete the windows whose rows all have results."""
        if self._finished:
            connection.execute(_DELETE, (_encode(self._finished),))

    def recorded(self, window: ClaimWindow | None, ended: Iterable[int]) -> None:
        """Note what was committed: a window, pruning, and then results of the rows `ended`."""
        self._finished = []
        if window is not None:
            self._keep(window)
        self._note_ended(ended)

    def release(self, connection: Connection, rows: Iterable[int]) -> None:
        """Take rows out of all windows; `load` follows once that is committed."""
        released = set(rows)
        for number, window in self._windows():
            if kept := window - released:
                if len(kept) < len(window):
                    connection.execute(_CHANGE, (*self._line(kept), number))
            else:
                connection.execute(_DELETE, (_encode([number]),))

    def _keep(self, window: ClaimWindow) -> None:
        if window.number:
            self._left[window.number] = len(window.rows)
            self._window_of.update(dict.fromkeys(window.rows, window.number))

    def _note_ended(self, rows: Iterable[int]) -> None:
        window_of, left = self._window_of, self._left
        for row in rows:
            number = window_of.pop(row, None)
            if number is not None:
                left[number] -= 1
                if not left[number]:
                    del left[number]
                    self._finished.append(number)

    def _line(self, rows: Iterable[int]) -> tuple[str, int]:
        text = _text(rows)
        return text, crc32(text.encode(), self._database.seed)

    def _windows(self) -> Iterator[tuple[int, set[int]]]:
        """Numbers and rows of all windows. Raises LedgerError at one that was changed."""
        for number, text, checksum in self._database.rows(_READ):
            if not _is_sound(text, checksum, self._database.seed):
                what = f"claims of the run are not what was written (window {number})"
                raise damaged(self._database.path, what)
            yield (
                number,
                {row for first, last in json.loads(text) for row in range(first, last + 1)},
            )

    def _with_result(self, rows: Iterable[int]) -> set[int]:
        return {row for (row,) in self._database.rows(_ROWS_IN, (_text(rows),))}


def _is_sound(text: Any, checksum: Any, seed: int) -> bool:
    """True if a line is intact. The values of a damaged line may be of any type."""
    return isinstance(text, str) and crc32(text.encode(), seed) == checksum


def _text(rows: Iterable[int]) -> str:
    return _encode(ranges(rows))


def ranges(rows: Iterable[int]) -> list[tuple[int, int]]:
    """First and last row of each run of consecutive rows.

    >>> ranges([3, 9, 1, 2, 2])
    [(1, 3), (9, 9)]
    """
    ascending = sorted(set(rows))
    if not ascending:
        return []
    if ascending[-1] - ascending[0] == len(ascending) - 1:  # as most are
        return [(ascending[0], ascending[-1])]
    found, first, last = [], ascending[0], ascending[0]
    for row in ascending[1:]:
        if row != last + 1:
            found.append((first, last))
            first = row
        last = row
    found.append((first, last))
    return found
