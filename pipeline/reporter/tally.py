"""Counts the results of a run, batch by batch and in bounded memory. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from pipeline.model import SUCCESS, Status
from pipeline.reporter.summary import Counts, ErrorSummary

MAX_KINDS = 1_000
SHOWN_ROWS = 5
_KIND_CHARS = 200
# the parts in which messages of one kind may differ: quoted values, words with a digit
_PARTICULAR = r"'[^']*'|\"[^\"]*\"|[\w.:/-]*\d[\w.:/-]*"


class ErrorKind(NamedTuple):
    """A kind of error: status, code and the message without names and numbers."""

    status: str
    code: str
    pattern: str


@dataclass(slots=True)
class _KindCount:
    message: str
    hint: str
    count: int
    rows: list[int]


class Tally:
    """Counts per status and account, and kinds of errors.

    Counts per status are exact, as are those of the first `MAX_KINDS` kinds. Rows of later kinds
    are only counted as not listed.
    """

    def __init__(self) -> None:
        self.by_operation: Counter[tuple[str, str, Status]] = Counter()
        self._kinds: dict[ErrorKind, _KindCount] = {}

    @property
    def rows(self) -> int:
        """Number of results so far."""
        return self.by_operation.total()

    def add(self, results: pl.DataFrame) -> None:
        """Count a frame of `RESULT_SCHEMA`."""
        groups = results.group_by("_account", "_operation", "_status").len()
        for account, operation, status, count in groups.iter_rows():
            self.by_operation[account or "", operation or "", Status(status)] += count

    def add_errors(self, errors: pl.DataFrame) -> list[int]:
        """Count failed rows by kind; return the numbers of those that are examples of it.

        errors  a frame of `RESULT_SCHEMA`, with rows after all earlier ones
        """
        shown: list[int] = []
        for status, code, pattern, message, hint, count, rows in _kinds(errors).iter_rows():
            shown += self._add_kind(
                ErrorKind(status, code, pattern), _KindCount(message, hint, count, rows)
            )
        return shown

    def counts(self, account: str | None = None) -> Counts:
        """Rows per status, zeros included.

        account  "" counts rows without an account, None all rows
        """
        counts: Counts = dict.fromkeys(Status, 0)
        for (name, _, status), count in self.by_operation.items():
            if account is None or name == account:
                counts[status] += count
        return counts

    def outcomes(self) -> dict[tuple[str, str], Counts]:
        """(account, operation) -> rows per status, in alphabetical order; both may be empty."""
        found: dict[tuple[str, str], Counts] = {}
        for (account, operation, status), count in sorted(self.by_operation.items()):
            empty: Counts = dict.fromkeys(Status, 0)
            found.setdefault((account, operation), empty)[status] = count
        return found

    def accounts(self) -> tuple[str, ...]:
        """Accounts that have a row, in alphabetical order."""
        return tuple(sorted({name for name, _, _ in self.by_operation if name}))

    def errors(self, most: int = 10) -> tuple[ErrorSummary, ...]:
        """The most frequent kinds; the earlier one first if equally frequent."""
        ranked = sorted(self._kinds.items(), key=lambda item: (-item[1].count, item[1].rows[0]))
        return tuple(
            ErrorSummary(
                status=Status(kind.status),
                code=kind.code,
                message=seen.message,
                hint=seen.hint,
                count=seen.count,
                rows=tuple(seen.rows),
            )
            for kind, seen in ranked[:most]
        )

    def errors_not_listed(self, most: int = 10) -> int:
        """Number of failed rows that `errors(most)` does not include."""
        wrong = sum(n for (*_, status), n in self.by_operation.items() if status not in SUCCESS)
        return wrong - sum(error.count for error in self.errors(most))

    def _add_kind(self, kind: ErrorKind, seen: _KindCount) -> list[int]:
        known = self._kinds.get(kind)
        if known is not None:
            known.count += seen.count
            new = seen.rows[: SHOWN_ROWS - len(known.rows)]
            known.rows.extend(new)
            return new
        if len(self._kinds) < MAX_KINDS:
            self._kinds[kind] = seen
            return seen.rows
        return []


def _kinds(errors: pl.DataFrame) -> pl.DataFrame:
    text = [pl.col(name).fill_null("") for name in ("_error_code", "_error", "_hint")]
    pattern = pl.col("_error").fill_null("").str.head(_KIND_CHARS).str.replace_all(_PARTICULAR, "…")
    return (
        errors.select("_row", "_status", *text, pattern=pattern)
        .group_by("_status", "_error_code", "pattern", maintain_order=True)
        .agg(
            pl.col("_error").first(),
            pl.col("_hint").first(),
            pl.len(),
            pl.col("_row").head(SHOWN_ROWS),
        )
    )
