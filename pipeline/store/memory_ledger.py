"""A ledger in memory, for tests and to measure the cost of durability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.model import RowResult, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.store.contract import LEFT, MAX_EXCHANGE_CHARS, LedgerError
from pipeline.store.exchanges import size_of
from pipeline.store.result_lines import Line, line_of


class MemoryLedger:
    """A ledger in dictionaries. It keeps the contract, except that nothing survives a kill."""

    def __init__(self) -> None:
        self._results: dict[int, RowResult] = {}
        self._claims: set[int] = set()
        self._exchanges: dict[int, Exchange] = {}
        self._samples: list[Sample] = []
        self._legs: dict[tuple[int, str], Leg] = {}
        self._previous_states: dict[int, str] = {}

    @property
    def commits(self) -> int:
        """Always 0: the record cannot be opened again."""
        return 0

    def record(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange] = (),
        previous_states: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Check everything, then change it."""
        ended = self.ended(claims)
        if ended:
            raise LedgerError(f"row {min(ended)} has a result and was about to be sent again")
        new: dict[int, RowResult] = {}
        for result in results:
            before = new.get(result.row) or self._results.get(result.row)
            if before is not None and before.status != Status.NOT_ATTEMPTED:
                raise LedgerError(f"row {result.row} has a result already")
            new[result.row] = result
        for row in claims:
            self._results.pop(row, None)
        self._results.update(new)
        self._claims.update(claims)
        self._claims.difference_update(new)
        for exchange in exchanges:
            room = MAX_EXCHANGE_CHARS - sum(map(size_of, self._exchanges.values()))
            if size_of(exchange) <= room:
                self._exchanges[exchange.row] = exchange
        self._previous_states.update(previous_states)

    def release(self, rows: Sequence[int]) -> None:
        """Drop the claims."""
        self._claims.difference_update(rows)

    def results(self, first: int, last: int) -> Iterator[RowResult]:
        """Sorted on each call."""
        for row in sorted(row for row in self._results if first <= row <= last):
            yield self._results[row]

    def lines(self, first: int, last: int) -> Iterator[Line]:
        """Made on each call."""
        return (line_of(result, seed=0) for result in self.results(first, last))

    def results_left(self) -> Iterator[RowResult]:
        """Sorted on each call."""
        return iter([each for _, each in sorted(self._results.items()) if each.status in LEFT])

    def claimed(self) -> Iterator[int]:
        """Sorted on each call."""
        return iter(sorted(self._claims))

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """Look up each row."""
        found = (self._results[row] for row in rows if row in self._results)
        return {each.row: each.status for each in found if each.status != Status.NOT_ATTEMPTED}

    def counts(self) -> dict[Status, int]:
        """Counted on each call."""
        return dict(Counter(result.status for result in self._results.values()))

    def exchanges(self, row: int | None = None) -> Iterator[Exchange]:
        """Sorted on each call."""
        return iter(tuple(e for n, e in sorted(self._exchanges.items()) if row in (None, n)))

    def previous_states(self, rows: Sequence[int]) -> dict[int, str]:
        """Look up each row."""
        return {row: self._previous_states[row] for row in rows if row in self._previous_states}

    def has_previous_states(self) -> bool:
        """True if there are any."""
        return bool(self._previous_states)

    def sample(self, samples: Sequence[Sample], legs: Sequence[Leg] = ()) -> None:
        """Append."""
        self._samples.extend(samples)
        self._legs.update({(leg.number, leg.account): leg for leg in legs})

    def samples(self) -> Iterator[Sample]:
        """In order."""
        return iter(tuple(self._samples))

    def legs(self) -> list[Leg]:
        """Sorted on each call."""
        return sorted(self._legs.values())

    def close(self) -> None:
        """Nothing to close."""
