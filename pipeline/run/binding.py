"""Ingests a file and binds its rows, by the configuration and the options of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePath

from pipeline.config import Config
from pipeline.loader import Bound, bind, ingest
from pipeline.loader.bind_plan import bind_plan
from pipeline.loader.plan_file import planned_of
from pipeline.model import Fault, InputError, InputSettings, RowResult, Snapshot, UsageError
from pipeline.model.plan import Planned
from pipeline.runs.options import RunOptions
from pipeline.runs.registry import fingerprint, open_store
from pipeline.store import Ledger

SAMPLES = "samples"


def folder_operation(path: PurePath, config: Config) -> str | None:
    """The operation whose drop folder contains the file, at any depth; None if there is none."""
    names = {op.name for vendor in config.vendors.values() for op in vendor.operations}
    whole = path.absolute() if isinstance(path, Path) else path
    return next((part.name for part in whole.parents if part.name in names), None)


def inputs_of(config: Config, *, is_sample: bool) -> Mapping[str, InputSettings]:
    """Input settings per operation; samples are read with the defaults."""
    names = [op.name for vendor in config.vendors.values() for op in vendor.operations]
    return {name: InputSettings() if is_sample else config.input_for(name) for name in names}


def bind_snapshot(
    snapshot: Snapshot,
    folder: Path,
    config: Config,
    options: RunOptions,
    *,
    placed_in: str | None,
    is_sample: bool,
    emit: Callable[[Sequence[RowResult]], None],
    known_runs: Callable[[str], bool],
) -> Bound:
    """Bind the rows of a snapshot: jobs files in `folder`.

    placed_in   the operation whose drop folder contained the input; None: it was elsewhere
    emit        gets the results of rows that become no job
    known_runs  True for the name of a recorded run

    Raises as `bind` does.
    """
    return bind(
        snapshot,
        folder,
        operations={op.name: op for v in config.vendors.values() for op in v.operations},
        accounts={name: config.outline(name) for name in config.accounts},
        inputs=inputs_of(config, is_sample=is_sample),
        operation=options.operation,
        folder_operation=placed_in,
        account=options.account,
        timezone=config.timezone,
        force_order=options.force_order,
        allow_irreversible=options.allow_irreversible,
        emit=emit,
        known_runs=known_runs,
    )


def is_sample_file(path: Path, config: Config) -> bool:
    """True for a sample file. Raises InputError if it would reach a real account."""
    samples = os.path.realpath(config.inputs / SAMPLES)
    is_sample = Path(os.path.realpath(path)).is_relative_to(samples)  # a loop of links is no error
    if is_sample and not any(entry.is_simulated for entry in config.accounts.values()):
        raise InputError(
            Fault(
                what="a sample cannot reach a real account",
                file=str(path),
                todo="Add --simulate",
            )
        )
    return is_sample


def ingest_and_bind(
    path: Path,
    config: Config,
    options: RunOptions,
    folder: Path,
    ledger: Ledger,
    *,
    shown: PurePath | None = None,
    dropped: PurePath | None = None,
) -> tuple[Snapshot, Bound]:
    """Write the snapshot and the jobs of a file to `folder`, results of invalid rows to `ledger`.

    shown    name of the file in the snapshot; None: its own
    dropped  path whose folder names the operation; None: `path`

    Raises InputError if the file is broken, OSError or RunAborted if files cannot be written.
    """
    planned = planned_of(path)
    if planned is not None:
        return _ingest_plan(
            path, planned, config, options, folder, ledger=ledger, shown=shown or path
        )
    is_sample = is_sample_file(path, config)
    placed_in = folder_operation(dropped or path, config)
    sources = inputs_of(config, is_sample=is_sample)
    named = options.operation or placed_in
    delimiter = sources[named].delimiter if named is not None and named in sources else None
    snapshot = ingest(path, folder / "snapshot.parquet", delimiter=delimiter, rows=options.rows)
    snapshot = replace(snapshot, source=shown or path)
    runs = open_store(config).runs
    bound = bind_snapshot(
        snapshot,
        folder,
        config,
        options,
        placed_in=placed_in,
        is_sample=is_sample,
        emit=lambda results: ledger.record((), results),
        known_runs=cache(lambda name: runs.get(name) is not None),
    )
    return snapshot, bound


def _ingest_plan(
    path: Path,
    planned: Planned,
    config: Config,
    options: RunOptions,
    folder: Path,
    *,
    ledger: Ledger,
    shown: PurePath,
) -> tuple[Snapshot, Bound]:
    """As `ingest_and_bind` for a plan, which contains operations and accounts."""
    if options.operation or options.account:
        raise UsageError(f"{shown} is a plan, which contains operation and account")
    accounts = {name: config.outline(name) for name in planned.accounts}
    for name, account in accounts.items():
        is_simulated = planned.is_simulated and account.is_simulated
        if fingerprint(account) != planned.accounts[name] and not is_simulated:
            what = f"it was made for account {name} at {planned.accounts[name]}, which leads "
            what += f"to {fingerprint(account)} now"
            raise InputError(Fault(what=what, file=str(shown), todo="Make a new plan"))
    snapshot = ingest(path, folder / "snapshot.parquet", rows=options.rows)
    snapshot = replace(snapshot, source=shown)
    bound = bind_plan(
        snapshot,
        folder,
        accounts=accounts,
        allow_irreversible=options.allow_irreversible,
        emit=lambda results: ledger.record((), results),
    )
    return snapshot, bound
