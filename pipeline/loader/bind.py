"""The rows of a snapshot become typed jobs, or `invalid` results with all their faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

from pipeline.jobs.jobs_file import JobsFile, JobsWriter, is_read_first, jobs_path
from pipeline.loader.cells import BLANKS_AROUND
from pipeline.loader.header import (
    Routing,
    find_operation,
    find_routing,
    plan_header,
)
from pipeline.loader.issue_counts import FaultKind, IssueCounts, WarningKind
from pipeline.loader.library_panics import panics_as_input_errors
from pipeline.loader.origin_columns import NEW, ROW, RUN, OriginReader, RowOrigin
from pipeline.loader.route import SAY_OPERATION, Route, Router, RoutingCells
from pipeline.loader.rows import ReadRow, RowReader, fault_text, hint_text
from pipeline.loader.suggestions import nearest
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
    UpdateJob,
    UsageError,
)
from pipeline.model.errors import shorten
from pipeline.store.frame_values import cells_of
from pipeline.store.parquet import read_frames
from pipeline.vendors.kit.contract import Account, Operation, VendorSettings

_ROWS_AT_ONCE = 4_096  # as Python values; they are far larger than the frame
_ROUTES_KEPT = 4_096
_NAME_CHARS = 1_000  # more than any name has, so that what is cut is unknown all the same

IRREVERSIBLE = Fault(
    what="cannot be taken back", todo="Check the row; --allow irreversible sends it"
)

Emit = Callable[[Sequence[RowResult]], None]


@dataclass(frozen=True, slots=True)
class ClearedField:
    """A field that the vendor will clear, for rows leave it out; in how many jobs."""

    operation: str
    field: str
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What the rows of a file became.

    jobs          by account; only accounts that have any
    rows          of the snapshot: all jobs, and the invalid ones
    faults        of the invalid rows, the most frequent kind first
    cleared       the most frequent first
    irreversible  jobs that nothing takes back, by operation; only operations that have any
    keeps         operations whose jobs are laid over what the vendor holds
    has_befores   the jobs come from a plan, with what their entities hold
    """

    jobs: Mapping[str, JobsFile]
    rows: int
    invalid: int
    faults: tuple[FaultKind, ...] = ()
    warnings: tuple[WarningKind, ...] = ()
    cleared: tuple[ClearedField, ...] = ()
    irreversible: Mapping[str, int] = field(default_factory=dict)
    keeps: tuple[str, ...] = ()
    has_befores: bool = False

    @property
    def repeated(self) -> int:
        """Jobs whose entity has more than one job in the file."""
        return sum(jobs.repeated for jobs in self.jobs.values())


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
) -> Bound:
    """Write a file of jobs per account into `folder`, and emit the invalid rows, both in row order.

    operation, account  what the user asked for; None leaves it to the file
    folder_operation    the operation whose drop folder the file lies in; None elsewhere
    timezone            of dates without an offset, where the input's settings name none
    force_order         send the rows of an earlier report as new ones
    allow_irreversible  send also what nothing takes back; otherwise such rows are invalid
    emit                is given some rows at a time
    known_runs          whether a run of that name is on record: its rows have a place in time

    Raises UsageError, ConfigError, or InputError where the file as a whole cannot be sent; then no
    file of jobs is left. A corrupt snapshot raises `polars.exceptions.PolarsError`, a full disk
    OSError.
    """
    file = str(snapshot.source)
    with panics_as_input_errors(file):
        _check_asked(file, operation, folder_operation, operations, account=(account, accounts))
        named = operation or folder_operation
        found, routing = _routing(snapshot, named, operations, inputs)
        if not found:
            return Bound(jobs={}, rows=0, invalid=0)
        chosen = [operations[name] for name in found]
        readers = _row_readers(snapshot, routing, chosen, inputs, timezone)
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
        has_places = {RUN, ROW}.issubset(snapshot.columns) and not force_order
        return _bind_rows(
            snapshot,
            folder,
            readers=readers,
            accounts=accounts,
            routes=_Routes(router, routing),
            since=OriginReader(known_runs) if has_places else None,
            allow_irreversible=allow_irreversible,
            emit=emit,
        )


class _Routes:
    """The route of every row of a frame."""

    def __init__(self, router: Router, routing: Routing) -> None:
        self._router = router
        self._headers = (
            routing.operation,
            routing.account,
            routing.own_operation,
            routing.own_account,
        )
        self._kept: dict[tuple[str | None, ...], Route] = {}

    def groups(self, frame: pl.DataFrame) -> dict[Route, list[int] | None]:
        """The rows of each route, by their place in the frame; None means all of them."""
        if not any(self._headers):
            return {self._route((None,) * 4): None}
        columns = [
            frame[header].cast(pl.String).str.slice(0, _NAME_CHARS).to_list()
            if header
            else [None] * frame.height
            for header in self._headers
        ]
        groups: dict[Route, list[int] | None] = {}
        for index, cells in enumerate(zip(*columns, strict=True)):
            rows = groups.setdefault(self._kept.get(cells) or self._route(cells), [])
            if rows is not None:
                rows.append(index)
        return groups

    def _route(self, cells: tuple[str | None, ...]) -> Route:
        if len(self._kept) >= _ROUTES_KEPT:
            self._kept.clear()
        route = self._kept[cells] = self._router.route(RoutingCells(*cells))
        return route


class _Placed(NamedTuple):
    """A row's number and line, as messages give them."""

    row: int
    line: int | None


class _Binder:
    """Binds frame after frame; holds what must outlive them: writers, counts, a few examples."""

    def __init__(
        self,
        *,
        file: str,
        folder: Path,
        readers: Mapping[str, RowReader],
        accounts: Mapping[str, Account],
        routes: _Routes,
        since: OriginReader | None,
        allow_irreversible: bool,
        emit: Emit,
        stack: ExitStack,
    ) -> None:
        self._file = file
        self._folder = folder
        self._readers = readers
        self._accounts = accounts
        self._routes = routes
        self._since = since
        self._allow_irreversible = allow_irreversible
        self._emit = emit
        self._stack = stack
        self._writers: dict[str, JobsWriter] = {}
        self._rows = 0
        self._invalid: list[RowResult] = []
        self._invalid_rows = 0
        self._faults = IssueCounts[tuple[str, str | None], Fault](("other faults", None))
        self._warnings = IssueCounts[str, int]("other warnings")
        self._cleared: Counter[tuple[str, str]] = Counter()
        self._irreversible: Counter[str] = Counter()

    def bind(self, frame: pl.DataFrame) -> None:
        """Every row of a frame becomes a job in its account's file, or an invalid result."""
        self._rows += frame.height
        jobs: dict[str, list[JobRow]] = {}
        groups = self._routes.groups(frame)
        for route, indexes in groups.items():
            part = frame if indexes is None else frame[indexes]
            if route.faults:
                self._refuse_all(part, route)
            else:
                jobs.setdefault(route.account, []).extend(self._jobs(part, route))
        for account, some in jobs.items():
            if some:
                self._write(account, some if len(groups) == 1 else sorted(some))
        if self._invalid:
            self._emit(sorted(self._invalid))
            self._invalid_rows += len(self._invalid)
            self._invalid = []

    def _jobs(self, frame: pl.DataFrame, route: Route) -> list[JobRow]:
        reader = self._readers[route.operation]
        operation = reader.plan.operation
        settings = self._accounts[route.account].settings
        entity, repeatable = operation.entity, operation.repeatable
        warn, batch_key = operation.warn, operation.batch_key
        jobs: list[JobRow] = []
        cells = cells_of(frame, reader.sources)
        read = reader.read(cells, cells_of(frame, reader.foreign_sources))
        for place, row, since in zip(_places(frame), read, self._sinces(frame), strict=True):
            job = reader.job(row)
            faults = () if isinstance(since, RowOrigin) else since
            if isinstance(job, tuple) or (faults := self._unfit(operation, settings, job, faults)):
                self._refuse(place, route, (*job, *faults) if isinstance(job, tuple) else faults)
                continue
            warnings = warn(job)
            if warnings or row.cleared or row.warnings:
                self._note(place, operation.name, row, warnings)
            jobs.append(
                JobRow._make(
                    (
                        place.row,
                        operation.name,
                        entity(settings, job).text(),
                        repeatable(settings, job),
                        job.canonical_json(),
                        batch_key(settings, job),
                        *since,
                        "",
                        reader.plan.keeps,
                    )
                )
            )
        for name in reader.plan.absent:
            self._cleared[operation.name, name] += len(jobs)
        return jobs

    def _sinces(self, frame: pl.DataFrame) -> Sequence[RowOrigin | tuple[Fault, ...]]:
        if self._since is None:
            return [NEW] * frame.height
        return self._since.read(*cells_of(frame, [(RUN, None), (ROW, None)]))

    def _unfit(
        self,
        operation: Operation[Any, Any],
        settings: VendorSettings,
        job: UpdateJob,
        faults: tuple[Fault, ...],
    ) -> tuple[Fault, ...]:
        """Why a good job is not sent all the same; counts what cannot be taken back.

        faults  of its row that are known already
        """
        if (why := operation.refuse(settings, job)) is not None:
            faults = (Fault(what=why), *faults)
        if not operation.irreversible(job):
            return faults
        if not self._allow_irreversible:
            return (*faults, IRREVERSIBLE)
        if not faults:
            self._irreversible[operation.name] += 1
        return faults

    def _note(self, place: _Placed, operation: str, row: ReadRow, warnings: Sequence[str]) -> None:
        for name in row.cleared:
            self._cleared[operation, name] += 1
        for text in (*row.warnings, *warnings):
            self._warnings.add(text, place.row)

    def _refuse_all(self, frame: pl.DataFrame, route: Route) -> None:
        for place in _places(frame):
            self._refuse(place, route, route.faults)

    def _refuse(self, place: _Placed, route: Route, faults: Sequence[Fault]) -> None:
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

    def _write(self, account: str, jobs: Sequence[JobRow]) -> None:
        writer = self._writers.get(account)
        if writer is None:
            path, batch_size = jobs_path(self._folder, account), self._batch_size(account)
            is_first = partial(is_read_first, self._accounts[account])
            writer = self._stack.enter_context(JobsWriter(path, batch_size, is_first))
            self._writers[account] = writer
        writer.write(jobs)

    def _batch_size(self, account: str) -> Callable[[str], int]:
        settings, readers = self._accounts[account].settings, self._readers
        return lambda operation: readers[operation].plan.operation.batch_size(settings)

    def bound(self) -> Bound:
        """What became of all rows, once the files are closed."""
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


def _bind_rows(
    snapshot: Snapshot,
    folder: Path,
    *,
    readers: Mapping[str, RowReader],
    accounts: Mapping[str, Account],
    routes: _Routes,
    since: OriginReader | None,
    allow_irreversible: bool,
    emit: Emit,
) -> Bound:
    with ExitStack() as stack:
        binder = _Binder(
            file=str(snapshot.source),
            folder=folder,
            readers=readers,
            accounts=accounts,
            routes=routes,
            since=since,
            allow_irreversible=allow_irreversible,
            emit=emit,
            stack=stack,
        )
        for frame in read_frames(snapshot.path):
            for some in frame.iter_slices(_ROWS_AT_ONCE):
                binder.bind(some)
    return binder.bound()  # the files are closed


def _places(frame: pl.DataFrame) -> list[_Placed]:
    pairs = zip(frame[ROW_COLUMN].to_list(), frame[LINE_COLUMN].to_list(), strict=True)
    return list(map(_Placed._make, pairs))


def _structs(schema: Mapping[str, pl.DataType]) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(field.name for field in kind.fields)
        for name, kind in schema.items()
        if isinstance(kind, pl.Struct)
    }


def _row_readers(
    snapshot: Snapshot,
    routing: Routing,
    operations: Sequence[Operation[Any, Any]],
    inputs: Mapping[str, InputSettings],
    timezone: str | None,
) -> dict[str, RowReader]:
    """A reader for the rows of each operation; raises InputError for faults of the header."""
    plans = plan_header(
        snapshot.columns,
        routing,
        operations,
        inputs,
        file=str(snapshot.source),
        structs=_structs(pl.read_parquet_schema(snapshot.path)),
        unread=snapshot.unread,
    )
    return {
        name: RowReader(plan, timezone=_zone(name, inputs, timezone), offsets=snapshot.offsets)
        for name, plan in plans.items()
    }


def _check_routing(routing: Routing, snapshot: Snapshot) -> None:
    schema = pl.read_parquet_schema(snapshot.path)
    odd = [name for name in routing.headers if _names_nothing(schema[name])]
    if odd:
        what = "a column that names an operation or account does not hold text"
        raise InputError(
            Fault(what=what, file=str(snapshot.source), column=name) for name in sorted(odd)
        )


def _names_nothing(dtype: pl.DataType) -> bool:
    return dtype.is_nested() or dtype.is_temporal()


def _routing(
    snapshot: Snapshot,
    named: str | None,
    known: Mapping[str, Operation[Any, Any]],
    inputs: Mapping[str, InputSettings],
) -> tuple[list[str], Routing]:
    """The operations that rows ask for, and the routing columns as their settings have them.

    named  the operation of the whole file; None leaves it to the rows
    """
    file = str(snapshot.source)
    if named:
        found = [named]
    else:
        said = find_operation(snapshot.columns, inputs.values(), file)
        _check_routing(said, snapshot)
        found = _operations_in(snapshot, said, known)
    settings = [inputs[name] for name in found if name in inputs]
    routing = find_routing(snapshot.columns, settings, file)
    if not named:  # whoever's settings found that column
        routing = replace(routing, operation=said.operation)
    _check_routing(routing, snapshot)
    return found, routing


def _operations_in(
    snapshot: Snapshot, routing: Routing, known: Mapping[str, Operation[Any, Any]]
) -> list[str]:
    """The known operations that rows of the file ask for, in the order of `known`."""
    file, expected = str(snapshot.source), f"one of {', '.join(known)}"
    columns = [name for name in (routing.operation, routing.own_operation) if name is not None]
    if not columns:
        what = "no operation is given for its rows"
        raise InputError([Fault(file=file, what=what, expected=expected, todo=SAY_OPERATION)])
    found: set[str] = set()
    example = None
    for frame in read_frames(snapshot.path, columns=columns):
        different = frame.select(pl.col(columns).cast(pl.String)).unique(maintain_order=True)
        said = list(filter(None, map(_first_word, different.rows())))
        found |= known.keys() & said
        example = example or next(iter(said), None)
    if not found and snapshot.selected:
        what = "no row names a known operation"
        value = shorten(example) if example else None
        fault = Fault(file=file, what=what, column=columns[0], value=value, expected=expected)
        raise InputError([fault])
    return [name for name in known if name in found]


def _first_word(cells: Iterable[str | None]) -> str:
    """What the first cell that is not empty says."""
    return next(filter(None, ((cell or "").strip(BLANKS_AROUND) for cell in cells)), "")


def _check_asked(
    file: str,
    operation: str | None,
    folder_operation: str | None,
    known: Mapping[str, Any],
    *,
    account: tuple[str | None, Mapping[str, Any]],
) -> None:
    """Raise UsageError for an operation or account that there is not, or for two operations.

    account  that is asked for, and those there are
    """
    _check_known("account", *account)
    _check_known("operation", operation, known)
    _check_known("operation", folder_operation, known)
    if operation and folder_operation and operation != folder_operation:
        raise UsageError(
            f"{file} lies in the folder of {folder_operation}, the command says {operation}: "
            "move the file, or leave out --operation"
        )


def _check_known(noun: str, name: str | None, known: Mapping[str, Any]) -> None:
    if name is None or name in known:
        return
    near = nearest(name, known)
    raise UsageError(
        f"unknown {noun} {name!r}" + (f", perhaps {near}" if near else "")
        + f"; there are {', '.join(known) or 'none'}"
    )  # fmt: skip


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
            [
                Fault(
                    what="an unknown timezone",
                    value=repr(name),
                    expected='a name such as "Europe/Berlin"',
                )
            ]
        ) from error
