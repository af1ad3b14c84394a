"""Makes the job of one row, or finds why there is none. Pure."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.jobs.jobs_file import bound_request
from pipeline.loader.origin_columns import NEW, RowOrigin
from pipeline.loader.rows import ReadRow, RowReader
from pipeline.model import Fault, JobRow
from pipeline.vendors import VendorSettings

IRREVERSIBLE = Fault(
    what="cannot be taken back", todo="Check the row; --allow irreversible sends it"
)


class Made(NamedTuple):
    """The outcome of binding a row.

    job              None if the row is invalid
    faults           all its faults, without row and line; empty if there is a job
    warnings         doubts that do not stop the row
    is_irreversible  True if the job cannot be undone
    """

    job: JobRow | None
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()
    is_irreversible: bool = False


class JobMaker:
    """Makes the jobs of one operation through one account.

    allow_irreversible  accept jobs that cannot be undone; otherwise their rows are invalid
    """

    def __init__(
        self, reader: RowReader, settings: VendorSettings, *, allow_irreversible: bool
    ) -> None:
        self.reader = reader
        self.operation = reader.plan.operation
        self.settings = settings
        self._allow_irreversible = allow_irreversible

    def make(self, number: int, row: ReadRow, origin: RowOrigin | tuple[Fault, ...] = NEW) -> Made:
        """Make the job of a row.

        number  of the row
        origin  of the row, or the faults of the cells that tell it
        """
        operation, settings = self.operation, self.settings
        job = self.reader.job(row)
        faults = () if isinstance(origin, RowOrigin) else origin
        if isinstance(job, tuple):
            return Made(None, (*job, *faults))
        if (why := operation.refuse(settings, job)) is not None:
            faults = (Fault(what=why), *faults)
        is_irreversible = operation.irreversible(job)
        if is_irreversible and not self._allow_irreversible:
            faults = (*faults, IRREVERSIBLE)
        if faults:
            return Made(None, faults)
        keeps = self.reader.plan.keeps
        made = JobRow._make(
            (
                number,
                operation.name,
                operation.entity(settings, job).text(),
                operation.repeatable(settings, job),
                job.canonical_json(),
                operation.batch_key(settings, job),
                *origin,
                "",
                keeps,
                *bound_request(operation, settings, job, keeps=keeps),
            )
        )
        return Made(made, (), (*row.warnings, *operation.warn(job)), is_irreversible)
