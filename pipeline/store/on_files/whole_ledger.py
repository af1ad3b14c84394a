"""The record of a run that is sent in shares, read as one: each share has a ledger of its own."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby, starmap
from operator import attrgetter, itemgetter
from typing import Self

from pipeline.model import RowResult, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.store.result_lines import Line, result_of
from pipeline.store.run_ledger import RunLedger

_row_of = attrgetter("row")
_row_of_line = itemgetter(0)


class WholeLedger:
    """Reads the ledgers of shares together, in row order; records in that of the run.

    own     the ledger of the run itself, with the rows that became no job
    shares  the ledgers of its shares, or of some

    A row is claimed, or has its result, in one of them. Only `not_attempted` may be in another too,
    as the result of an earlier process: it counts for nothing then.
    """

    def __init__(self, own: RunLedger, shares: Sequence[RunLedger]) -> None:
        self._own = own
        self._all = own, *shares

    @property
    def commits(self) -> int:
        """Number of the last commit of the run's own ledger."""
        return self._own.commits

    def record(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange] = (),
        previous_states: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Record in the run's own ledger."""
        self._own.record(claims, results, exchanges, previous_states)

    def release(self, rows: Sequence[int]) -> None:
        """Release claims of the run's own ledger."""
        self._own.release(rows)

    def results(self, first: int, last: int) -> Iterator[RowResult]:
        """The lines' values."""
        return starmap(result_of, self.lines(first, last))

    def lines(self, first: int, last: int) -> Iterator[Line]:
        """The results of all ledgers."""
        found = heapq.merge(*(each.lines(first, last) for each in self._all), key=_row_of_line)
        for _, same in groupby(found, key=_row_of_line):
            yield max(same, key=lambda line: line[1] != Status.NOT_ATTEMPTED)

    def results_left(self) -> Iterator[RowResult]:
        """Of all ledgers; `not_attempted` only where it counts."""
        found = heapq.merge(*(each.results_left() for each in self._all), key=_row_of)
        for row, same in groupby(found, key=_row_of):
            each = max(same, key=lambda each: each.status is not Status.NOT_ATTEMPTED)
            if each.status is not Status.NOT_ATTEMPTED or not self.ended([row]):
                yield each

    def claimed(self) -> Iterator[int]:
        """The claims of all ledgers."""
        rows = {row for each in self._all for row in each.claimed()}
        return iter(sorted(rows - self.ended(sorted(rows)).keys()))

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """Looked up in each ledger."""
        return {row: status for each in self._all for row, status in each.ended(rows).items()}

    def counts(self) -> dict[Status, int]:
        """The sum of all ledgers."""
        counts = Counter[Status]()
        waiting: set[int] = set()
        for each in self._all:
            counts.update(each.counts())
            waiting.update(each.not_attempted())
        counts[Status.NOT_ATTEMPTED] = len(waiting - self.ended(sorted(waiting)).keys())
        return dict(+counts)

    def exchanges(self, row: int | None = None) -> Iterator[Exchange]:
        """The exchanges of all ledgers, in row order."""
        return heapq.merge(*(each.exchanges(row) for each in self._all), key=attrgetter("row"))

    def previous_states(self, rows: Sequence[int]) -> dict[int, str]:
        """Looked up in each ledger."""
        return {
            row: state for each in self._all for row, state in each.previous_states(rows).items()
        }

    def has_previous_states(self) -> bool:
        """True if one of the ledgers has some."""
        return any(each.has_previous_states() for each in self._all)

    def sample(self, samples: Sequence[Sample], legs: Sequence[Leg] = ()) -> None:
        """Add to the run's own ledger."""
        self._own.sample(samples, legs)

    def samples(self) -> Iterator[Sample]:
        """The samples of all ledgers, by time."""
        return heapq.merge(*(each.samples() for each in self._all), key=attrgetter("at_s"))

    def legs(self) -> list[Leg]:
        """The legs of all ledgers."""
        return sorted(leg for each in self._all for leg in each.legs())

    def close(self) -> None:
        """Close all ledgers."""
        with ExitStack() as closing:
            for each in self._all:
                closing.callback(each.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
