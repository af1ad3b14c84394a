"""Checks that rows and results agree. Pure: each check raises ReconciliationError if not."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from pipeline.model import Status
from pipeline.reporter.errors import ReconciliationError


def check_rows(rows: pl.Series, after: int) -> None:
    """Check that row numbers ascend, without repeats, and are above `after`.

    >>> check_rows(pl.Series([3, 4, 9]), after=2)
    >>> check_rows(pl.Series([3, 4, 4]), after=2)
    Traceback (most recent call last):
    pipeline.reporter.errors.ReconciliationError: The snapshot has rows twice or out of order...
    """
    wrong = rows.filter(rows <= rows.shift(1).fill_null(after))
    if len(wrong):
        raise ReconciliationError("The snapshot has rows twice or out of order", wrong.to_list())


def check_results(rows: pl.Series, results: pl.Series) -> None:
    """Check that each of `rows` has at most one result, and no other row has one.

    Both series hold row numbers.

    >>> check_results(pl.Series([1, 2, 3]), pl.Series([1, 3]))
    >>> check_results(pl.Series([1, 2]), pl.Series([2, 2]))
    Traceback (most recent call last):
    pipeline.reporter.errors.ReconciliationError: More than one result for a row: 2...
    """
    strange = results.filter(~results.is_in(rows.implode()))
    if len(strange):
        raise ReconciliationError("Results for rows that the input does not have", _shown(strange))
    doubled = results.filter(results.is_duplicated())
    if len(doubled):
        raise ReconciliationError("More than one result for a row", _shown(doubled))


def check_totals(*, selected: int, stored: int, with_result: int, written: int) -> None:
    """Check that the reader's count, the snapshot's footer, results and files agree."""
    if not selected == stored == with_result == written:
        raise ReconciliationError(
            f"The reader counted {selected} rows, the snapshot has {stored}, "
            f"{with_result} have a result, {written} were written"
        )


def check_recorded(recorded: Mapping[Status, int], found: Mapping[Status, int]) -> None:
    """Check that each status has as many results as were recorded.

    `found` may have more that are not attempted: rows without a recorded result.
    """
    for status in Status:
        expected, count = recorded.get(status, 0), found.get(status, 0)
        is_right = count >= expected if status is Status.NOT_ATTEMPTED else count == expected
        if not is_right:
            raise ReconciliationError(
                f"{expected} results were recorded as {status}, {count} were found"
            )


def _shown(rows: pl.Series) -> list[int]:
    return [int(row) for row in rows.unique(maintain_order=True)]
