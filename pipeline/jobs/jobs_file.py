"""The jobs file: the jobs of one account as Parquet, in row order."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import polars as pl

from pipeline.jobs.repeats import BusiestEntity, find_repeats
from pipeline.jobs.shares import is_in_share, share_of
from pipeline.model import JobRow, UpdateJob
from pipeline.store.parquet import ParquetWriter, read_frames, read_metadata
from pipeline.vendors import Account, Operation, VendorSettings

JOBS_SCHEMA = MappingProxyType(
    {
        "row": pl.Int64(),
        "operation": pl.String(),
        "entity": pl.String(),
        "repeatable": pl.Boolean(),
        "job": pl.String(),
        "batch": pl.String(),
        "since_run": pl.String(),  # null in a new row, as is since_row
        "since_row": pl.Int64(),
        "expects": pl.String(),  # null if the entity may hold anything
        "keeps": pl.Boolean(),
        "path": pl.String(),  # null if the request is built when it is sent, as is body
        "body": pl.Binary(),
    }
)
WITHOUT_REQUEST = tuple(name for name in JOBS_SCHEMA if name not in {"path", "body"})
_ENCODES_WITH = "encodes_with"
"""Metadata entry: `encodes_with` of the account that the requests were written for."""
READ_ROWS = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsFile:
    """The jobs of one account.

    rows        jobs in the file
    operations  jobs per operation
    repeated    jobs whose entity has more than one job in the file
    requests    needed to send each job once, in full batches
    reads       of entities, one before each job that needs it
    reaches     vendor, origin and scope of the entities, as an entity key's text begins
    hottest     the entity with the most jobs; None if it has fewer than HOT
    checksum    digest of the file's checksums; empty if an earlier version wrote it
    """

    path: Path
    rows: int
    operations: Mapping[str, int]
    repeated: int
    requests: int
    reaches: frozenset[str]
    reads: int = 0
    hottest: BusiestEntity | None = None
    checksum: str = ""


JOBS = "jobs-*.parquet"
"""Pattern of the names of jobs files."""


def jobs_path(folder: Path, account: str) -> Path:
    """The jobs file of an account.

    >>> jobs_path(Path("run"), "shop").as_posix()
    'run/jobs-shop.parquet'
    """
    return folder / f"jobs-{account}.parquet"


_REACHED = r"^([^|]*\|[^|]*\|[^|]*)\|"


class JobsWriter:
    """Writes the jobs of one account to a file, in row order, and counts them.

    batch_size     returns the most jobs that one request of an operation carries
    is_read_first  True if the entity of a job is read before it is sent
    encodes_with   of the account, if jobs may have a path and a body

    A context manager, as ParquetWriter is. Raises OSError if the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        batch_size: Callable[[str], int],
        is_read_first: Callable[[JobRow], bool] = lambda _job: False,
        encodes_with: str = "",
    ) -> None:
        self._is_read_first = is_read_first
        self._reads = 0
        metadata = {_ENCODES_WITH: encodes_with} if encodes_with else {}
        self._writer = ParquetWriter(path, JOBS_SCHEMA, metadata=metadata, is_checked=True)
        self._batch_size = batch_size
        self._operations: Counter[str] = Counter()
        self._groups: Counter[tuple[str, str]] = Counter()
        self._reaches: set[str] = set()
        self._reach = ""  # that of the last jobs, which the next ones mostly have too

    def write(self, jobs: Sequence[JobRow]) -> None:
        """Append `jobs`."""
        self.write_frame(jobs_frame(jobs), sum(map(self._is_read_first, jobs)))

    def write_frame(self, frame: pl.DataFrame, reads: int) -> None:
        """Append jobs in a frame of `JOBS_SCHEMA`.

        reads  how many of them are read first
        """
        self._writer.write(frame)
        self._note_reaches(frame["entity"])
        self._reads += reads
        for operation, batch, jobs in _groups(frame):
            self._operations[operation] += jobs
            if batch:
                self._groups[operation, batch] += jobs

    def _note_reaches(self, entities: pl.Series) -> None:
        others = entities.filter(~entities.str.starts_with(f"{self._reach}|"))
        found = others.str.extract(_REACHED).drop_nulls().unique(maintain_order=True)
        if len(found):
            self._reach = found[-1]
            self._reaches.update(found)

    def file(self) -> JobsFile:
        """The written file. Call it after leaving the context."""
        path, rows = self._writer.path, self._writer.rows
        repeats = find_repeats(path, rows)
        return JobsFile(
            path=path,
            rows=rows,
            operations=dict(self._operations),
            repeated=repeats.jobs,
            hottest=repeats.hottest(path),
            requests=rows - sum(self._saved(*group) for group in self._groups.items()),
            reads=self._reads,
            reaches=frozenset(self._reaches),
            checksum=self._writer.digest,
        )

    def _saved(self, group: tuple[str, str], members: int) -> int:
        """Requests that jobs of one batch key save by travelling together."""
        return members - math.ceil(members / self._batch_size(group[0]))

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)


def _groups(frame: pl.DataFrame) -> list[tuple[str, str, int]]:
    """Operation, batch key and number of the jobs that have both."""
    keys = frame.select("operation", "batch")
    if frame.height and keys.select((pl.all() == pl.all().first()).all()).row(0) == (True, True):
        return [(*keys.row(0), frame.height)]
    return keys.group_by("operation", "batch", maintain_order=True).len().rows()


def jobs_writer(folder: Path, account: Account) -> JobsWriter:
    """Write the jobs of an account into a folder."""
    path, is_first = jobs_path(folder, account.name), partial(is_read_first, account)
    return JobsWriter(path, account.batch_size, is_first, encodes_with(account))


def encodes_with(account: Account) -> str:
    """A digest of what decides the path and body of a request, beside the job."""
    text = f"{account.vendor.name} {account.settings.model_dump_json()}"  # secrets decide nothing
    return hashlib.sha256(text.encode()).hexdigest()


def is_read_first(account: Account, job: JobRow) -> bool:
    """True if the entity is read first: to compare it, to keep its fields, or for a guard."""
    if job.is_repeatable and not (job.keeps or job.expects):
        return False
    operation = account.operation(job.operation)
    if job.keeps or job.expects:
        return operation.reading is not None and operation.change is not None
    guard = operation.guard
    return guard is not None and guard.needs(account.settings, operation.job_type.trusted(job.text))


def jobs_frame(jobs: Sequence[JobRow]) -> pl.DataFrame:
    """Jobs as a frame of `JOBS_SCHEMA`.

    >>> jobs_frame([JobRow(1, "xsolla.coupon", "e", True, "{}")]).rows()
    [(1, 'xsolla.coupon', 'e', True, '{}', '', None, None, None, False, None, None)]
    """
    columns = zip(*jobs, strict=True) if jobs else ((),) * len(JOBS_SCHEMA)
    frame = pl.DataFrame(
        [
            pl.Series(name, values, dtype=kind)
            for (name, kind), values in zip(JOBS_SCHEMA.items(), columns, strict=True)
        ]
    )
    since = ("since_run", "since_row")
    return frame.with_columns(
        pl.when(pl.col("since_run") != "").then(pl.col(since)),
        pl.when(pl.col("expects") != "").then(pl.col("expects")),
    )


def read_jobs(
    path: Path, *, encodes_with: str = "", number: int = 0, of: int = 1, batch_rows: int = READ_ROWS
) -> Iterator[list[JobRow]]:
    """The jobs of a file in row order, in batches. Raises as `read_frames` does.

    number, of    only those of this share of the entities
    encodes_with  of the account that sends them: jobs have their path and body only if those were
                  written for the same; empty: they have none
    """
    has_requests = encodes_with and encodes_with == written_for(path)
    columns = tuple(JOBS_SCHEMA) if has_requests else WITHOUT_REQUEST
    for frame in read_frames(path, columns=columns, batch_rows=batch_rows):
        yield job_rows(frame if of == 1 else _in_share(frame, number, of))


def _in_share(frame: pl.DataFrame, number: int, of: int) -> pl.DataFrame:
    return frame.filter(pl.Series(is_in_share(frame["entity"].to_list(), number, of)))


def fullest_share(path: Path, of: int) -> int:
    """The share that most of the first jobs of a file are in. Raises as `read_frames` does."""
    if of == 1:
        return 0
    first = next(read_frames(path, columns=("entity",), batch_rows=READ_ROWS), None)
    if first is None:
        return 0
    counts = Counter(share_of(entity, of) for entity in first["entity"].to_list())
    return max(range(of), key=counts.__getitem__)


def written_for(path: Path) -> str:
    """`encodes_with` of the account that the requests of a jobs file are for; empty if it has none.

    Raises as `read_frames` does.
    """
    return read_metadata(path).get(_ENCODES_WITH, "")


def bound_request(
    operation: Operation[Any, Any], settings: VendorSettings, job: UpdateJob, *, keeps: bool = False
) -> tuple[str, bytes] | tuple[None, None]:
    """The path and body of a job's request; None if they are known only when it is sent.

    keeps  as in a JobRow
    """
    if operation.head is None or keeps:
        return None, None
    if operation.batch_size(settings) > 1 and operation.batch_key(settings, job):
        return None, None  # other rows may join it
    request, head = operation.encode(settings, (job,)), operation.head(settings)
    if (request.method, request.headers) != head:
        return None, None
    return request.path, request.body


def read_operations(path: Path) -> Iterator[tuple[list[int], list[str]]]:
    """Row numbers and their operations, in row order, in batches."""
    for frame in read_frames(path, batch_rows=READ_ROWS):
        yield frame["row"].to_list(), frame["operation"].to_list()


def entities_of(path: Path, rows: Collection[int]) -> dict[str, int]:
    """The entities of a few rows of a jobs file, each with the last of its rows."""
    if not rows:
        return {}
    wanted = pl.Series(list(rows), dtype=pl.Int64).implode()
    frames = read_frames(path, columns=("row", "entity"))
    found = (frame.filter(pl.col("row").is_in(wanted)) for frame in frames)
    return {entity: row for some in found for row, entity in some.rows()}


def job_rows(frame: pl.DataFrame) -> list[JobRow]:
    """A frame of `JOBS_SCHEMA` as jobs; frames of an earlier version lack the last columns."""
    missing = {"expects": "", "keeps": False, "path": None, "body": None}
    lacking = {n: pl.lit(v) for n, v in missing.items() if n not in frame.columns}
    frame = frame.with_columns(**lacking)
    texts = ("since_run", "expects")
    frame = frame.with_columns(pl.col(texts).fill_null(""), pl.col("since_row").fill_null(0))
    columns = (frame[name].to_list() for name in JOBS_SCHEMA)
    return list(map(JobRow._make, zip(*columns, strict=True)))
