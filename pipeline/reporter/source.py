"""The values that a report is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.model import Snapshot, Status
from pipeline.model.exchange import Exchange
from pipeline.model.sample import Sample
from pipeline.reporter.summary import RunFacts
from pipeline.store.result_lines import Line

Lines = Callable[[int, int], Iterable[Line]]
Samples = Callable[[], Iterable[Sample]]
Exchanges = Callable[[], Iterable[Exchange]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSource:
    """A run's snapshot, results and facts.

    lines      (first, last) -> the stored results with first <= row <= last, in row order; called
               with consecutive ranges from 1 to `LAST_ROW`. A row without a result is absent
    routes     account -> its Parquet file of jobs, with `row` and `operation`, in row order; they
               give the account and operation of a row without a result
    stopped    account -> why it stopped
    claimed    rows that may have been sent and have no result: they are `unknown`
    recorded   results per status, counted when they were recorded; None if they were not counted
    samples    samples of the throughput, in the order of their times
    exchanges  requests and replies of rows that did not succeed, as far as they are stored
    """

    snapshot: Snapshot
    run: str
    lines: Lines
    facts: RunFacts
    routes: Mapping[str, Path] = field(default_factory=dict)
    stopped: Mapping[str, str] = field(default_factory=dict)
    claimed: frozenset[int] = frozenset()
    recorded: Mapping[Status, int] | None = None
    samples: Samples = tuple
    exchanges: Exchanges = tuple
