"""What is left of a run that was resumed: for an estimate, not for a decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pipeline.jobs.jobs_file import JobsFile, read_operations
from pipeline.run.prepare import Prepared
from pipeline.runs.record import LEDGER
from pipeline.store import ended_among


def rows_left(prepared: Prepared) -> dict[str, Counter[str]]:
    """Account -> operation -> jobs without a result on record; all of them in a run that begins."""
    jobs: Mapping[str, JobsFile] = prepared.bound.jobs
    if not prepared.is_resumed:
        return {name: Counter(file.operations) for name, file in jobs.items()}
    record = prepared.folder / LEDGER
    left: dict[str, Counter[str]] = {}
    for name, file in jobs.items():
        left[name] = Counter()
        for rows, operations in read_operations(file.path):
            ended = ended_among(record, rows)
            pairs = zip(rows, operations, strict=True)
            left[name].update(operation for row, operation in pairs if row not in ended)
    return left
