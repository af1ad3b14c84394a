"""Binds the rows of a snapshot: each becomes a typed job, or an `invalid` result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

from pipeline.jobs.jobs_file import (
    JobsWriter,
    is_read_first,
    jobs_frame,
    jobs_writer,
)
from pipeline.loader.bound import Bound, ClearedField
from pipeline.loader.file_routing import Routes, check_arguments, routing_of
from pipeline.loader.header import Routing, plan_header
from pipeline.loader.issue_counts import FaultKind, IssueCounts, WarningKind
from pipeline.loader.make_job import JobMaker
from pipeline.loader.origin_columns import NEW, ROW, RUN, OriginReader, RowOrigin
from pipeline.loader.panics import panics_as_input_errors
from pipeline.loader.plain_rows import PlainBinder
from pipeline.loader.route import Route, Router, RoutingCells
from pipeline.loader.rows import RowReader, fault_text, hint_text
from pipeline.model import (
    LINE_COLUMN,
    ROW_COLUMN,
    ConfigError,
    Fault,
    InputError,
    InputSettings,
    JobRow,
    RowResult,
    Snapshot,
    Status,
)
from pipeline.store.frame_values import cells_of
from pipeline.store.parquet import ahead, read_frames
from pipeline.vendors.kit.account import Account
from pipeline.vendors.kit.contract import Operation

_ROWS_AT_ONCE = 8_192  # more are hardly faster, and take 30 MB more
_CAREFUL_ROWS = 4_096  # Python values take far more memory than the frame

Emit = Callable[[Sequence[RowResult]], None]


def bind(
    snapshot: Snapshot,
    folder: Path,
    *,
    operations: Mapping[str, Operation[Any, Any]],
    accounts: Mapping[str, Account],
    inputs: Mapping[str, InputSettings],
    operation: str | None,
    folder_operation: str | None,
    account: str | None,
    timezone: str | None,
    force_order: bool,
    allow_irreversible: bool,
    emit: Emit,
    known_runs: Callable[[str], bool] = lambda _name: False,
    by_columns: bool = True,
) -> Bound:
    """Write a jobs file per account into `folder`, and emit the invalid rows, both in row order.

    operation, account  given with the command; None takes them from the file
    folder_operation    the operation whose drop folder holds the file; None outside such a folder
    timezone            of dates without an offset, if the input's settings have none
    force_order         send the rows of an earlier report as new ones
    allow_irreversible  send rows that cannot be undone; otherwise they are invalid
    emit                called with some invalid rows at a time
    known_runs          returns True if a run of that name is on record, so its rows have an order
    by_columns          bind plain rows by columns; the result is the same without, but slower

    Raises UsageError, ConfigError or InputError if the file as a whole cannot be sent; then no jobs
    file is left. A corrupt snapshot raises `polars.exceptions.PolarsError`, a full disk OSError.
    """
    file = str(snapshot.source)
    with panics_as_input_errors(file):
        check_arguments(file, operation, folder_operation, operations, account=(account, accounts))
        found, routing = routing_of(snapshot, operation or folder_operation, operations, inputs)
        if not found:
            return Bound(jobs={}, rows=0, invalid=0)
        readers = _row_readers(snapshot, routing, operations, found, inputs=(inputs, timezone))
        router = Router(
            operations=tuple(operations),
            accounts=accounts,
            inputs=inputs,
            operation=operation,
            folder_operation=folder_operation,
            account=account,
        )
        if not routing.headers and (faults := router.route(RoutingCells()).faults):
            raise InputError(replace(fault, file=file) for fault in faults)
        is_ordered = _is_ours(snapshot) and not force_order
        return _Binder(
            file=file,
            folder=folder,
            readers=readers,
            accounts=accounts,
            routes=Routes(router, routing),
            origins=OriginReader(known_runs) if is_ordered else None,
            allow_irreversible=allow_irreversible,
            emit=emit,
            by_columns=by_columns,
        ).bind(snapshot.path)


class _Position(NamedTuple):
    """The number and line of a row, for messages."""

    row: int
    line: int | None


class _Jobs(NamedTuple):
    """Jobs in row order, a frame of `JOBS_SCHEMA`.

    reads  how many of them are read first
    """

    frame: pl.DataFrame
    reads: int


class _Binder:
    """Binds the rows of one snapshot. Keeps writers, counts and a few examples."""

    def __init__(
        self,
        *,
        file: str,
        folder: Path,
        readers: Mapping[str, RowReader],
        accounts: Mapping[str, Account],
        routes: Routes,
        origins: OriginReader | None,
        allow_irreversible: bool,
        emit: Emit,
        by_columns: bool,
    ) -> None:
        self._file = file
        self._folder = folder
        self._readers = readers
        self._accounts = accounts
        self._routes = routes
        self._origin_reader = origins
        self._allow_irreversible = allow_irreversible
        self._emit = emit
        self._by_columns = by_columns and origins is None
        self._stack = ExitStack()
        self._writers: dict[str, JobsWriter] = {}
        self._makers: dict[tuple[str, str], tuple[JobMaker, PlainBinder]] = {}
        self._rows = 0
        self._invalid: list[RowResult] = []
        self._invalid_rows = 0
        self._faults = IssueCounts[tuple[str, str | None], Fault](("other faults", None))
        self._warnings = IssueCounts[str, int]("other warnings")
        self._cleared: Counter[tuple[str, str]] = Counter()
        self._irreversible: Counter[str] = Counter()

    def bind(self, path: Path) -> Bound:
        """Bind all rows of the snapshot at `path`."""
        with self._stack:
            for frame in ahead(read_frames(path, batch_rows=_ROWS_AT_ONCE)):
                self._bind_frame(frame)
        return self._bound()  # the files are closed

    def _bind_frame(self, frame: pl.DataFrame) -> None:
        """Write each row of a frame to its account's jobs file, or emit it as invalid."""
        self._rows += frame.height
        jobs: dict[str, list[_Jobs]] = {}
        for route, indexes in self._routes.groups(frame).items():
            part = frame if indexes is None else frame[indexes]
            if route.faults:
                self._refuse_all(part, route)
            elif found := self._jobs(part, route):
                jobs.setdefault(route.account, []).extend(found)
        for account, some in jobs.items():
            self._write(account, some)
        if self._invalid:
            self._emit(sorted(self._invalid))
            self._invalid_rows += len(self._invalid)
            self._invalid = []

    def _jobs(self, frame: pl.DataFrame, route: Route) -> list[_Jobs]:
        """The jobs of a frame whose rows have one route."""
        maker, plain_binder = self._maker(route)
        plain = plain_binder.bind(frame) if self._by_columns else None
        found: list[_Jobs] = []
        cleared: dict[str, tuple[int, int, int]] = {}
        if plain is not None:
            cleared = plain.cleared
            if plain.jobs.height:
                found.append(_Jobs(plain.jobs, plain.reads))
            frame = frame[plain.others] if plain.jobs.height else frame
        is_first = partial(is_read_first, self._accounts[route.account])
        slices = frame.iter_slices(_CAREFUL_ROWS)
        made = (self._careful_jobs(some, route, maker, cleared) for some in slices)
        found += [_Jobs(jobs_frame(jobs), sum(map(is_first, jobs))) for jobs in made if jobs]
        for name, (_, _, rows) in sorted(cleared.items(), key=lambda each: each[1][:2]):
            self._cleared[route.operation, name] += rows
        for name in maker.reader.plan.absent:
            self._cleared[route.operation, name] += sum(each.frame.height for each in found)
        return found

    def _maker(self, route: Route) -> tuple[JobMaker, PlainBinder]:
        key = route.operation, route.account
        if key not in self._makers:
            account = self._accounts[route.account]
            reader = self._readers[route.operation]
            maker = JobMaker(reader, account.settings, allow_irreversible=self._allow_irreversible)
            self._makers[key] = maker, PlainBinder(maker, partial(is_read_first, account))
        return self._makers[key]

    def _careful_jobs(
        self,
        frame: pl.DataFrame,
        route: Route,
        maker: JobMaker,
        cleared: dict[str, tuple[int, int, int]],
    ) -> list[JobRow]:
        """The jobs of a frame, made one by one.

        cleared  as in PlainRows, counted on
        """
        reader = maker.reader
        jobs: list[JobRow] = []
        cells = cells_of(frame, reader.sources)
        read = reader.read(cells, cells_of(frame, reader.foreign_sources))
        for place, row, origin in zip(_positions(frame), read, self._origins(frame), strict=True):
            made = maker.make(place.row, row, origin)
            if made.job is None:
                self._refuse(place, route, made.faults)
                continue
            for text in made.warnings:
                self._warnings.add(text, place.row)
            for at, name in enumerate(row.cleared):
                first, before, rows = cleared.get(name, (place.row, at, 0))
                cleared[name] = (*min((first, before), (place.row, at)), rows + 1)
            if made.is_irreversible:
                self._irreversible[route.operation] += 1
            jobs.append(made.job)
        return jobs

    def _origins(self, frame: pl.DataFrame) -> Sequence[RowOrigin | tuple[Fault, ...]]:
        if self._origin_reader is None:
            return [NEW] * frame.height
        return self._origin_reader.read(*cells_of(frame, [(RUN, None), (ROW, None)]))

    def _refuse_all(self, frame: pl.DataFrame, route: Route) -> None:
        for place in _positions(frame):
            self._refuse(place, route, route.faults)

    def _refuse(self, place: _Position, route: Route, faults: Sequence[Fault]) -> None:
        for fault in faults:
            placed = replace(fault, file=self._file, row=place.row, line=place.line)
            self._faults.add((fault.what, fault.column), placed)
        self._invalid.append(
            RowResult(
                row=place.row,
                operation=route.operation,
                account=route.account,
                status=Status.INVALID,
                error_code="invalid",
                error=fault_text(faults, place.line),
                hint=hint_text(faults),
            )
        )

    def _write(self, account: str, jobs: Sequence[_Jobs]) -> None:
        if account not in self._writers:
            writer = jobs_writer(self._folder, self._accounts[account])
            self._writers[account] = self._stack.enter_context(writer)
        frame = jobs[0].frame
        if len(jobs) > 1:
            frame = pl.concat(each.frame for each in jobs).sort("row")
        self._writers[account].write_frame(frame, sum(each.reads for each in jobs))

    def _bound(self) -> Bound:
        return Bound(
            jobs={name: self._writers[name].file() for name in sorted(self._writers)},
            rows=self._rows,
            invalid=self._invalid_rows,
            faults=tuple(
                FaultKind(what, column, rows, examples)
                for (what, column), rows, examples in self._faults.most_first()
            ),
            warnings=tuple(WarningKind(*entry) for entry in self._warnings.most_first()),
            cleared=tuple(
                ClearedField(operation, field, jobs)
                for (operation, field), jobs in self._cleared.most_common()
                if jobs
            ),
            irreversible=dict(self._irreversible),
            keeps=tuple(name for name, reader in self._readers.items() if reader.plan.keeps),
        )


def _is_ours(snapshot: Snapshot) -> bool:
    return {RUN, ROW}.issubset(snapshot.columns)


def _positions(frame: pl.DataFrame) -> list[_Position]:
    pairs = zip(frame[ROW_COLUMN].to_list(), frame[LINE_COLUMN].to_list(), strict=True)
    return list(map(_Position._make, pairs))


def _structs(schema: Mapping[str, pl.DataType]) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(field.name for field in kind.fields)
        for name, kind in schema.items()
        if isinstance(kind, pl.Struct)
    }


def _row_readers(
    snapshot: Snapshot,
    routing: Routing,
    known: Mapping[str, Operation[Any, Any]],
    found: Sequence[str],
    *,
    inputs: tuple[Mapping[str, InputSettings], str | None],
) -> dict[str, RowReader]:
    """A reader for the rows of each operation. Raises InputError for faults of the header.

    found   operations of the rows
    inputs  settings by operation, and the time zone of dates if they have none
    """
    settings, timezone = inputs
    others = [] if not _is_ours(snapshot) else [name for name in known if name not in found]
    plans = plan_header(
        snapshot.columns,
        routing,
        [known[name] for name in found],
        settings,
        file=str(snapshot.source),
        structs=_structs(pl.read_parquet_schema(snapshot.path)),
        unread=snapshot.unread,
        elsewhere=[known[name] for name in others],  # a row of theirs may have been in the file
    )
    return {
        name: RowReader(plan, timezone=_zone(name, settings, timezone), offsets=snapshot.offsets)
        for name, plan in plans.items()
    }


def _zone(
    operation: str, inputs: Mapping[str, InputSettings], timezone: str | None
) -> ZoneInfo | None:
    name = inputs.get(operation, InputSettings()).timezone or timezone
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ConfigError(
            Fault(
                what="an unknown timezone",
                value=repr(name),
                expected='a name such as "Europe/Berlin"',
            )
        ) from error
