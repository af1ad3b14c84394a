"""The rows of a snapshot are bound as the configuration and the options of a run say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.loader import Bound, bind
from pipeline.model import InputSettings, RowResult, Snapshot
from pipeline.runs.options import RunOptions


def folder_operation(path: Path, config: Config) -> str | None:
    """The operation whose drop folder the file lies in, however deep."""
    names = {op.name for vendor in config.vendors.values() for op in vendor.operations}
    return next((part.name for part in path.absolute().parents if part.name in names), None)


def inputs_of(config: Config, *, is_sample: bool) -> Mapping[str, InputSettings]:
    """How the files of each operation are read; the samples are read as they are."""
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
    """Its rows as jobs, in files in `folder`.

    placed_in   the operation whose drop folder the input lay in
    emit        takes the results of rows that become no job
    known_runs  whether a run of that name is on record

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
