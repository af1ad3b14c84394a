"""Acme with operations that have a field of every kind, and snapshots made from rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field
from typing_extensions import TypedDict

from pipeline.jobs import read_jobs
from pipeline.loader.bind import bind
from pipeline.loader.bound import Bound
from pipeline.model import (
    LINE_COLUMN,
    ROW_COLUMN,
    Cell,
    CellKind,
    EntityKey,
    InputSettings,
    Link,
    RowResult,
    Snapshot,
    UpdateJob,
)
from pipeline.model.quota import Quota
from pipeline.model.retry import RetryPolicy
from pipeline.store.parquet import ParquetWriter
from pipeline.vendors.kit.account import Account
from pipeline.vendors.kit.contract import Defaults, Operation, Vendor
from tests import acme


def short_items(text: str) -> list[dict[str, Any]]:
    if ":" not in text:
        raise ValueError("expected sku:quantity")
    split = [part.strip().split(":") for part in text.split(",")]
    return [{"sku": sku, "quantity": int(quantity)} for sku, quantity in split]


class ItemValue(TypedDict, total=False):
    sku: str
    quantity: int


class LimitsValue(TypedDict, total=False):
    per_user: int | None
    schedule: dict[str, str] | None


class Gift(UpdateJob):
    """Replaces the whole entity."""

    gift_id: Annotated[str, Field(pattern=r"^\S+$"), Cell(CellKind.ID)]
    shelf_id: Annotated[str, Cell(CellKind.ID)] = ""
    name: Annotated[
        dict[str, str],
        Field(min_length=1),
        Cell(CellKind.MAP, members=(("*", Cell(CellKind.TEXT)),)),
    ]
    items: Annotated[list[ItemValue] | None, Cell(CellKind.LIST, short=short_items)] = None
    until: Annotated[str | None, Cell(CellKind.DATE)] = None
    most: Annotated[Annotated[int, Field(ge=0)] | None, Cell(CellKind.INTEGER)] = None
    limits: Annotated[
        LimitsValue | None,
        Cell(
            CellKind.OBJECT,
            members=(("per_user", Cell(CellKind.INTEGER)), ("schedule", Cell(CellKind.OBJECT))),
        ),
    ] = None


class Switch(UpdateJob):
    """Changes what it names, and nothing else."""

    gift_id: Annotated[str, Cell(CellKind.ID)]
    is_on: Annotated[bool, Cell(CellKind.BOOLEAN)]
    note: Annotated[str, Cell(CellKind.TEXT)] = ""


def operation(name: str, job_type: type[UpdateJob], **changes: Any) -> Operation[Any, Any]:
    return replace(
        acme.PRICE,
        **{
            "name": name,
            "summary": name,
            "job_type": job_type,
            "entity_kind": "gift",
            "replaces": False,
            "defaults": Defaults(("10/s",), 1, 1.0),
            "entity": lambda s, job: EntityKey(name[:4], s.base_url, "", "gift", job.gift_id),
            "repeatable": lambda _s, job: "note" not in job.model_fields_set,
            "refuse": lambda _s, job: "13 is not for sale" if job.gift_id == "13" else None,
            "warn": lambda job: ("a gift of nothing",) if job.gift_id == "0" else (),
            **changes,
        },
    )


GIFT = operation("acme.gift", Gift, replaces=True, always=("most",))
SWITCH = operation("acme.switch", Switch)
OTHER = operation("apex.switch", Switch)
OPERATIONS = {op.name: op for op in (GIFT, SWITCH, OTHER)}


def vendor(name: str) -> Vendor[Any]:
    operations = tuple(op for op in OPERATIONS.values() if op.name.startswith(name))
    return replace(acme.ACME, name=name, summary=name, operations=operations)


def account(name: str, of: Vendor[Any]) -> Account:
    return Account(
        name=name,
        vendor=of,
        settings=of.settings(base_url=f"https://{of.name}.example", **of.simulated),
        link=Link(base_url=f"https://{of.name}.example"),
        quotas=(Quota(10, 1.0),),
        is_assumed=True,
        in_flight=1,
        retry=RetryPolicy(),
    )


ACME, APEX = vendor("acme"), vendor("apex")
SHOP, PEAK = account("shop", ACME), account("peak", APEX)
ACCOUNTS = {"shop": SHOP, "peak": PEAK}

ROW = {
    "gift_id": "g1",
    "name.en-US": "A gift",
    "items": "sword:1",
    "until": "2026-12-31T18:00:00Z",
    "most": "10",
    "limits.per_user": "3",
    "limits.schedule": "null",
}
"""A row of `acme.gift` that gives everything."""


def snapshot_of(
    folder: Path, table: pl.DataFrame | Sequence[Mapping[str, str]], name: str
) -> Snapshot:
    """A snapshot of a typed table, or of rows of text with the columns of the first."""
    if not isinstance(table, pl.DataFrame):
        columns = list(table[0])
        table = pl.DataFrame(
            {column: [row.get(column) for row in table] for column in columns},
            schema=dict.fromkeys(columns, pl.String),
        )
    kind = "csv" if name.endswith("csv") else "parquet"
    rows = pl.int_range(1, table.height + 1, eager=True)
    lines = rows + 1 if kind == "csv" else pl.Series([None] * table.height, dtype=pl.Int64)
    frame = pl.DataFrame([rows.alias(ROW_COLUMN), lines.alias(LINE_COLUMN), *table.get_columns()])
    path = folder / f"{name}.snapshot"
    with ParquetWriter(path, frame.schema) as writer:
        writer.write(frame)
    return Snapshot(
        path=path,
        source=Path(name),
        kind=kind,
        is_compressed=False,
        sha256="",
        size_bytes=0,
        columns=tuple(table.columns),
        rows=table.height,
        selected=table.height,
    )


class Bind:
    """What binding a table gave."""

    def __init__(
        self,
        folder: Path,
        table: pl.DataFrame | Sequence[Mapping[str, str]],
        *,
        settings: Mapping[str, Any] | None = None,
        file: str = "gifts.csv",
        **arguments: Any,
    ) -> None:
        self.emitted: list[Sequence[RowResult]] = []
        inputs = {"acme.gift": InputSettings(**(settings or {}))}
        arguments = {
            "operations": OPERATIONS,
            "accounts": ACCOUNTS,
            "inputs": inputs,
            "operation": "acme.gift",
            "folder_operation": None,
            "account": None,
            "timezone": None,
            "force_order": False,
            "allow_irreversible": False,
            **arguments,
        }
        self.bound: Bound = bind(
            snapshot_of(folder, table, file),
            folder,
            emit=self.emitted.append,
            **arguments,
        )
        self.invalid = [result for results in self.emitted for result in results]
        self.rows = [
            (account, job)
            for account, jobs in self.bound.jobs.items()
            for batch in read_jobs(jobs.path)
            for job in batch
        ]

    @property
    def jobs(self) -> dict[int, dict[str, Any]]:
        """The jobs by row."""
        return {job.row: json.loads(job.text) for _, job in self.rows}

    @property
    def errors(self) -> dict[int, str]:
        """What is said of the invalid rows."""
        return {result.row: result.error for result in self.invalid}
