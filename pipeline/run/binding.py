"""Binds the rows of a snapshot by the configuration and the options of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.loader import Bound, bind
from pipeline.model import InputSettings, RowResult, Snapshot
from pipeline.runs.options import RunOptions


def folder_operation(path: Path, config: Config) -> str | None:
    """The operation whose drop folder contains the file, at any depth; None if there is none."""
    names = {op.name for vendor in config.vendors.values() for op in vendor.operations}
    return next((part.name for part in path.absolute().parents if part.name in names), None)


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
