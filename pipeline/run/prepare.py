"""A file becomes a prepared run: taken, bound, and all that is known before the first request."""

from __future__ import annotations

import secrets
import shutil
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.ledger import RunFile
from pipeline.load import Bound, RowSelection, bind, take
from pipeline.model import (
    Fault,
    InputError,
    InputSettings,
    RunAborted,
    Snapshot,
)
from pipeline.vendors import Account, Operation

SAMPLES = "samples"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How one file is run.

    operation, account  of every row; None: the file, its folder or the configuration says it
    rows         which rows to send; None: all
    max_invalid  share of rows, 0 to 1; with more of them invalid nothing is sent
    min_rows     with fewer rows in the file nothing is sent
    use_brake    stop an account whose first answers are all the same refusal
    force_order  take rows of an earlier report as new ones
    allow_irreversible  send rows that nothing can take back
    grace_s      how long requests in flight may finish once the run is stopped
    """

    operation: str | None = None
    account: str | None = None
    rows: RowSelection | None = None
    max_invalid: float = 0.5
    min_rows: int = 0
    use_brake: bool = True
    force_order: bool = False
    allow_irreversible: bool = False
    grace_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A file that is taken and bound: all that is known before the first request.

    refusal  why nothing may be sent although the file itself is sound; None where it may
    """

    run: str
    folder: Path
    report_folder: Path
    config: Config
    options: RunOptions
    snapshot: Snapshot
    bound: Bound
    refusal: str | None = None
    is_sample: bool = False

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts that rows go to, without their secrets."""
        return tuple(self.config.outline(name) for name in self.bound.jobs)

    @property
    def places(self) -> frozenset[tuple[str, str]]:
        """What its rows reach: base URL and scope of each account."""
        return frozenset(map(_place, self.accounts))


def prepare(path: Path, config: Config, options: RunOptions) -> Prepared:
    """Take and bind one file: its snapshot, its jobs, what is wrong with its rows.

    Raises InputError where the file is broken, RunAborted where the disk refuses.
    """
    is_sample = _is_sample(path, config)
    run = _run_name(datetime.now(UTC), path)
    folder = _private(config.ledger_folder / "runs" / run)
    try:
        snapshot, bound = _take_and_bind(path, config, options, folder, is_sample=is_sample)
        _check_accounts(config, bound, path)
        _check_writable(config.reports)
    except OSError as error:
        shutil.rmtree(folder)
        raise RunAborted(
            f"{path} cannot be copied to {folder}: {error}. Nothing was sent"
        ) from error
    except BaseException:
        shutil.rmtree(folder)
        raise
    return Prepared(
        run=run,
        folder=folder,
        report_folder=config.reports / run,
        config=config,
        options=options,
        snapshot=snapshot,
        bound=bound,
        refusal=_refusal(snapshot, bound, options),
        is_sample=is_sample,
    )


def check_secrets(prepared: Prepared, environ: Mapping[str, str]) -> None:
    """Raise ConfigError where an account cannot be used: better before a person is asked."""
    if prepared.refusal is None:
        for name in prepared.bound.jobs:
            prepared.config.account(name, environ)


def discard(prepared: Prepared) -> None:
    """Forget a run that was prepared and is not carried out."""
    shutil.rmtree(prepared.folder)


def _is_sample(path: Path, config: Config) -> bool:
    """Whether the file is one of the samples, which only the simulator accepts."""
    is_sample = path.resolve().is_relative_to((config.inputs / SAMPLES).resolve())
    if is_sample and not any(entry.is_simulated for entry in config.accounts.values()):
        raise InputError(
            [
                Fault(
                    what="a sample cannot reach a real account",
                    file=str(path),
                    todo="Add --simulate",
                )
            ]
        )
    return is_sample


def _take_and_bind(
    path: Path, config: Config, options: RunOptions, folder: Path, *, is_sample: bool
) -> tuple[Snapshot, Bound]:
    operations = {op.name: op for v in config.vendors.values() for op in v.operations}
    placed_in = _folder_operation(path, operations)
    sources = {
        name: InputSettings() if is_sample else config.input_for(name) for name in operations
    }
    named = options.operation or placed_in
    delimiter = sources[named].delimiter if named in sources else None
    snapshot = take(path, folder / "snapshot.parquet", delimiter=delimiter, rows=options.rows)
    with RunFile(folder / "results.jsonl") as ledger:
        bound = bind(
            snapshot,
            folder,
            operations=operations,
            accounts={name: config.outline(name) for name in config.accounts},
            inputs=sources,
            operation=options.operation,
            folder_operation=placed_in,
            account=options.account,
            timezone=config.timezone,
            force_order=options.force_order,
            allow_irreversible=options.allow_irreversible,
            emit=ledger.end,
        )
    return snapshot, bound


def _folder_operation(path: Path, operations: Mapping[str, Operation[Any, Any]]) -> str | None:
    """The operation whose drop folder the file lies in, however deep."""
    return next((part.name for part in path.absolute().parents if part.name in operations), None)


def _run_name(started: datetime, path: Path) -> str:
    """`<UTC time>-<file stem>-<4 letters>`, safe as the name of a folder."""
    stem = path.name.split(".")[0]
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in stem)[:60]
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
    return f"{started:%Y%m%dT%H%M%SZ}-{safe or 'file'}-{letters}"


def _private(folder: Path) -> Path:
    """A new folder that only its owner can read."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise RunAborted(
            f"{folder} cannot be made: {error.strerror}. Mend its permissions, or set `ledger`"
        ) from error
    return folder


def _check_writable(reports: Path) -> None:
    """Raise RunAborted where no report could be written after the run."""
    try:
        reports.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunAborted(
            f"reports cannot be written to {reports}: {error.strerror}. Nothing was sent; "
            "mend its permissions, or set `reports`"
        ) from error


def _check_accounts(config: Config, bound: Bound, path: Path) -> None:
    """Raise InputError where two accounts of the file reach the same entities.

    Rows of one entity keep their order within an account; account names are labels only.
    """
    reached: dict[tuple[str, str], str] = {}
    for name in bound.jobs:
        place = _place(config.outline(name))
        if place in reached:
            raise InputError(
                [
                    Fault(
                        what=f"accounts {reached[place]} and {name} reach the same "
                        f"{' '.join(filter(None, place[::-1]))}, and rows sent through both would "
                        "lose their order",
                        file=str(path),
                        todo="Name one of them in all rows",
                    )
                ]
            )
        reached[place] = name


def _place(account: Account) -> tuple[str, str]:
    return account.link.base_url, account.vendor.scope(account.settings)


def _refusal(snapshot: Snapshot, bound: Bound, options: RunOptions) -> str | None:
    if snapshot.rows < options.min_rows:
        return f"rows in the file: {snapshot.rows}, fewer than the {options.min_rows} asked for"
    if bound.invalid > options.max_invalid * bound.rows:
        return (
            f"{bound.invalid} of {bound.rows} rows are invalid, more than "
            f"{options.max_invalid:.0%}: nothing was sent"
        )
    return None
