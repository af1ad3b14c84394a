"""Joins the rows of a run with their results, in one pass over both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import polars as pl

from pipeline.model import ROW_COLUMN, RowResult, Status
from pipeline.model.exit_codes import NOTHING_SENT
from pipeline.reporter.columns import result_frame
from pipeline.reporter.errors import SHOWN_ROWS
from pipeline.reporter.reconcile import check_results, check_rows
from pipeline.reporter.source import ReportSource
from pipeline.reporter.stored_results import stored_frame
from pipeline.store.parquet import ahead, read_frames

LAST_ROW = 2**63 - 1
UNSENT_CODE = "not_sent"
_UNSENT_ERROR = "the run ended before this row was sent"
INTERRUPTED_CODE = "interrupted"
_KILLED_ERROR = "the process ended before the reply to this row was recorded"
_STOPPED_ERROR = "it may have been applied, and the run stopped before that was resolved"
_NO_ROWS = pl.Series(dtype=pl.Int64)


def match_results(source: ReportSource) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield frames of the snapshot, each with the results of its rows in the same order.

    A row without a result gets one: `unknown` if it may have been sent, else `not_attempted`.
    Raises ReconciliationError if rows and results do not agree.
    """
    routes = [AccountRows(account, path) for account, path in source.routes.items()]
    last_read = 0
    for frame in ahead(read_frames(source.snapshot.path)):
        rows = frame[ROW_COLUMN].cast(pl.Int64)
        check_rows(rows, after=last_read)
        last = int(rows[-1])
        results = _results(source, last_read + 1, last, most=len(rows))
        if not results["_row"].equals(rows):
            check_results(rows, results["_row"])
            results = _completed(source, rows, results, routes)
        yield frame, results
        last_read = last
    check_results(_NO_ROWS, _results(source, last_read + 1, LAST_ROW, most=0)["_row"])


def _results(source: ReportSource, first: int, last: int, most: int) -> pl.DataFrame:
    # a few more than expected: enough to detect surplus results and to name them
    return stored_frame(islice(source.lines(first, last), most + SHOWN_ROWS + 1), source.run)


def _completed(
    source: ReportSource, rows: pl.Series, results: pl.DataFrame, routes: Sequence[AccountRows]
) -> pl.DataFrame:
    missing = rows.filter(~rows.is_in(results["_row"].implode()))
    known = {
        row: (operation, route.account)
        for route in routes
        for row, operation in route.of(missing).iter_rows()
    }
    unsent = (_unsent(source, row, *known.get(row, ("", ""))) for row in missing)
    return pl.concat([results, result_frame(unsent, source.run)]).sort("_row")


def _unsent(source: ReportSource, row: int, operation: str, account: str) -> RowResult:
    why = source.stopped.get(account) or source.facts.stopped_by
    if row in source.claimed:
        return RowResult(
            row,
            operation,
            account,
            Status.UNKNOWN,
            error_code=INTERRUPTED_CODE,
            error=f"{_STOPPED_ERROR}: {why}" if why else _KILLED_ERROR,
            hint=_hint(source, "resolves what can be resolved"),
        )
    return RowResult(
        row,
        operation,
        account,
        Status.NOT_ATTEMPTED,
        error_code=UNSENT_CODE,
        error=why or _UNSENT_ERROR,
        hint=_hint(source, "sends it"),
    )


def _hint(source: ReportSource, does: str) -> str:
    """The hint for a row that the run did not finish."""
    if source.facts.exit_code == NOTHING_SENT:
        return "nothing was sent: remove the cause, then run the file again"
    if source.facts.is_simulated:  # its simulator ended with the run
        return "this was a simulated run: run the file again"
    return f"once the cause is gone: `pipeline resume {source.run}` {does}"


class AccountRows:
    """The rows of one account's jobs file, read forward and only as far as needed."""

    def __init__(self, account: str, path: Path) -> None:
        self.account = account
        self._frames = read_frames(path, columns=("row", "operation"))  # opens nothing yet
        self._held = pl.DataFrame(schema={"row": pl.Int64, "operation": pl.String})
        self._is_read = False

    def of(self, rows: pl.Series) -> pl.DataFrame:
        """Return `row` and `operation` of those of `rows` that are in the file.

        rows  at least one, ascending, and after those of the call before
        """
        found = [self._part(rows)]
        while not self._is_read and (self._held.is_empty() or self._held["row"][-1] < rows[-1]):
            self._advance()
            found.append(self._part(rows))
        return pl.concat(found)

    def _advance(self) -> None:
        frame = next(self._frames, None)
        self._is_read = frame is None
        self._held = self._held.clear() if frame is None else frame.select("row", "operation")

    def _part(self, rows: pl.Series) -> pl.DataFrame:
        return self._held.filter(pl.col("row").is_in(rows.implode()))
