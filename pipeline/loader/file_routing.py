"""The operation and account of every row of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from pipeline.loader.cells import BLANKS_AROUND
from pipeline.loader.header import Routing, find_operation, find_routing
from pipeline.loader.route import SAY_OPERATION, Route, Router, RoutingCells
from pipeline.loader.suggestions import nearest
from pipeline.model import Fault, InputError, InputSettings, Snapshot, UsageError
from pipeline.model.errors import shorten
from pipeline.store.parquet import read_frames
from pipeline.vendors.kit.contract import Operation

_ROUTES_KEPT = 4_096
_NAME_CHARS = 1_000  # longer than any name; a cut name is unknown anyway


def check_arguments(
    file: str,
    operation: str | None,
    folder_operation: str | None,
    known: Mapping[str, Any],
    *,
    account: tuple[str | None, Mapping[str, Any]],
) -> None:
    """Raise UsageError for an unknown operation or account, or for two operations.

    account  the given account, and the known ones
    """
    _check_known("account", *account)
    _check_known("operation", operation, known)
    _check_known("operation", folder_operation, known)
    if operation and folder_operation and operation != folder_operation:
        raise UsageError(
            f"{file} is in the folder of {folder_operation}, but --operation is {operation}: "
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


def routing_of(
    snapshot: Snapshot,
    named: str | None,
    known: Mapping[str, Operation[Any, Any]],
    inputs: Mapping[str, InputSettings],
) -> tuple[list[str], Routing]:
    """The operations of the rows, and the routing columns according to their settings.

    named  the operation of the whole file; None takes it from the rows
    """
    file = str(snapshot.source)
    if named:
        found = [named]
    else:
        columns = find_operation(snapshot.columns, inputs.values(), file)
        _check_routing(columns, snapshot)
        found = _operations_in(snapshot, columns, known)
    settings = [inputs[name] for name in found if name in inputs]
    routing = find_routing(snapshot.columns, settings, file)
    if not named:  # found with the settings of any operation
        routing = replace(routing, operation=columns.operation)
    _check_routing(routing, snapshot)
    return found, routing


def _operations_in(
    snapshot: Snapshot, routing: Routing, known: Mapping[str, Operation[Any, Any]]
) -> list[str]:
    """The known operations that rows of the file name, in the order of `known`."""
    file, expected = str(snapshot.source), f"one of {', '.join(known)}"
    columns = [name for name in (routing.operation, routing.own_operation) if name is not None]
    if not columns:
        what = "no operation is given for its rows"
        raise InputError(Fault(file=file, what=what, expected=expected, todo=SAY_OPERATION))
    found: set[str] = set()
    example = None
    for frame in read_frames(snapshot.path, columns=columns):
        different = frame.select(pl.col(columns).cast(pl.String)).unique(maintain_order=True)
        names = list(filter(None, map(_first_word, different.rows())))
        found |= known.keys() & names
        example = example or next(iter(names), None)
    if not found and snapshot.selected:
        what = "no row names a known operation"
        value = shorten(example) if example else None
        fault = Fault(file=file, what=what, column=columns[0], value=value, expected=expected)
        raise InputError([fault])
    return [name for name in known if name in found]


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


def _first_word(cells: Iterable[str | None]) -> str:
    """The text of the first cell that is not empty; empty if all are."""
    return next(filter(None, ((cell or "").strip(BLANKS_AROUND) for cell in cells)), "")


class Routes:
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
        """The row indexes of each route; None stands for all rows of the frame."""
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
