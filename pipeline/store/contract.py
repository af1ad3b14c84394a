"""The contract of a ledger, the record of one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.model import RowResult, RunAborted, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.store.result_lines import Line

LEFT = (Status.NOT_ATTEMPTED, Status.UNKNOWN)
"""Statuses of rows that `resume` looks at again."""

MAX_EXCHANGE_CHARS = 4_000_000
"""Limit on the text of all exchanges of a run."""


class LedgerError(RunAborted):
    """The record is damaged, or the call would contradict it. The call recorded nothing."""


class RecordGoneError(LedgerError):
    """The record was removed, or another file put in its place, while it was open."""


class Ledger(Protocol):
    """The record of one run: rows that may have been sent, and results.

    A row is untouched, claimed, or has a result. Calls MUST NOT overlap, and neither may a call and
    the step of an iterator, but they may come from any thread. The effect of a call that returned
    survives `kill -9` and loss of power. Every call may raise RunAborted if the disk fails, and
    LedgerError if the record is damaged; then the record is unchanged.
    """

    @property
    def commits(self) -> int:
        """Number of the last commit. As long as it exists, everything recorded before it does."""

    def record(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange] = (),
        previous_states: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Record, in one commit, claims of rows to send, results, exchanges of these results, and
        what the entities of rows held before they are sent.

        The claims are one window: a line, however many rows, that is short if they are
        consecutive. Claiming a claimed row again changes nothing. A result ends the claim. A result
        is final: another result or claim for its row raises LedgerError, which names the row. Only
        `not_attempted` can be replaced by either. Exchanges beyond MAX_EXCHANGE_CHARS in total are
        left out. A previous state replaces that of the same row. If this raises, nothing is
        recorded.
        """

    def release(self, rows: Sequence[int]) -> None:
        """Remove claims of rows that were certainly not sent."""

    def results(self, first: int, last: int) -> Iterator[RowResult]:
        """The results with first <= row <= last, in row order."""

    def lines(self, first: int, last: int) -> Iterator[Line]:
        """The same results as they are stored, for those who read many."""

    def results_left(self) -> Iterator[RowResult]:
        """The results with a status of LEFT, in row order; fast if few of many have one."""

    def claimed(self) -> Iterator[int]:
        """The rows with a claim and no result, ascending."""

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """The given rows with a result other than `not_attempted`; they must not be sent again."""

    def counts(self) -> dict[Status, int]:
        """The number of results per status; only statuses that occur."""

    def exchanges(self, row: int | None = None) -> Iterator[Exchange]:
        """The recorded exchanges in row order, at most one per row.

        row  only of this row; None for all
        """

    def previous_states(self, rows: Sequence[int]) -> dict[int, str]:
        """The recorded previous states, by row, of those of these rows that have one."""

    def has_previous_states(self) -> bool:
        """True if a previous state was recorded."""

    def sample(self, samples: Sequence[Sample], legs: Sequence[Leg] = ()) -> None:
        """Add samples, and add or replace legs."""

    def samples(self) -> Iterator[Sample]:
        """All samples, in the order in which they were added."""

    def legs(self) -> list[Leg]:
        """The legs of each process and account, by number and account."""

    def close(self) -> None:
        """Close the files; the record remains."""
