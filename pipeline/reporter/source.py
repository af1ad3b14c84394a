"""All that a report is made from, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.model import RowResult, Snapshot, Status
from pipeline.model.exchange import Exchange
from pipeline.model.sample import Sample
from pipeline.reporter.summary import RunFacts

Results = Callable[[int, int], Iterable[RowResult]]
Samples = Callable[[], Iterable[Sample]]
Exchanges = Callable[[], Iterable[Exchange]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSource:
    """A run's snapshot, its results and what else is known about it.

    results   (first, last) -> the results with first <= row <= last, in row order; asked for
              ranges that follow each other from 1 to `LAST_ROW`. A row without a result is absent
    routes    account -> its Parquet file of jobs, with `row` and `operation`, in row order; they
              name what a row without a result was meant for
    stopped   account -> why it took no more rows
    claimed   rows that may have been sent and have no result: they are `unknown`
    recorded  results per status, as counted when they were recorded; None where nobody counted
    samples   how fast it went, in the order in which that was noted
    exchanges what rows that did not succeed met, as far as it is kept
    """

    snapshot: Snapshot
    run: str
    results: Results
    facts: RunFacts
    routes: Mapping[str, Path] = field(default_factory=dict)
    stopped: Mapping[str, str] = field(default_factory=dict)
    claimed: frozenset[int] = frozenset()
    recorded: Mapping[Status, int] | None = None
    samples: Samples = tuple
    exchanges: Exchanges = tuple
