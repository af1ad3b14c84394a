"""The result of binding a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.jobs.jobs_file import JobsFile
from pipeline.loader.issue_counts import FaultKind, WarningKind


@dataclass(frozen=True, slots=True)
class ClearedField:
    """A field that the vendor clears because jobs leave it out.

    jobs  number of jobs that leave it out
    """

    operation: str
    field: str
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The result of binding a file.

    jobs                 jobs files by account; only accounts that have any
    rows                 rows of the snapshot: jobs and invalid rows
    faults               faults of the invalid rows, most frequent kind first
    cleared              most frequent first
    irreversible         number of jobs that cannot be undone, by operation that has any
    keeps                operations whose jobs keep the values of fields that they leave out
    has_previous_states  True if the jobs come from a plan
    """

    jobs: Mapping[str, JobsFile]
    rows: int
    invalid: int
    faults: tuple[FaultKind, ...] = ()
    warnings: tuple[WarningKind, ...] = ()
    cleared: tuple[ClearedField, ...] = ()
    irreversible: Mapping[str, int] = field(default_factory=dict)
    keeps: tuple[str, ...] = ()
    has_previous_states: bool = False

    @property
    def repeated(self) -> int:
        """Jobs whose entity has more than one job in the file."""
        return sum(jobs.repeated for jobs in self.jobs.values())
