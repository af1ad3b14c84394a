"""`pipeline run`: send files and write a report for each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline import run as engine
from pipeline.cli.notifying import command_notifier
from pipeline.cli.schedule_options import schedule_window
from pipeline.cli.sending import CommandSession
from pipeline.cli.setup import (
    CONDITION,
    ROWS,
    SHARE,
    WORKERS,
    AllowOption,
    embedded_simulator,
    expand,
    read_config,
    uninterrupted,
)
from pipeline.cli.workers_on import ON, opened_by
from pipeline.config import Config
from pipeline.loader import RowSelection
from pipeline.model import UsageError
from pipeline.model.exit_codes import STOPPED
from pipeline.model.object_path import ObjectPath
from pipeline.notify.events import LEVELS, Level
from pipeline.reporter import SUMMARY_NAME, read_summary
from pipeline.run import prepare, reopen, same_finished
from pipeline.runs import RunOptions
from pipeline.runs.options import MAX_INVALID


@click.command(short_help="Send the rows of FILES and report what became of each.")
@click.argument("files", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask. Required without a terminal.")
@click.option("--simulate", is_flag=True, help="Send to a simulator.")
@click.option(
    "--strict-ids", is_flag=True, help="The simulator knows the vendors' sample ids only."
)
@click.option("--operation", help="Operation of every row, such as xsolla.coupon.")
@click.option("--account", help="Account of every row, as the configuration names it.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Send only the first N rows."
)
@click.option("--rows", type=ROWS, help="Send only these: 17,40-60.")
@click.option("--strict", is_flag=True, help="Send nothing if any row is invalid.")
@click.option(
    "--max-invalid",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Send nothing if more are invalid [50].",
)
@click.option(
    "--min-rows",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Send nothing if there are fewer rows.",
)
@click.option(
    "--no-fail-fast", is_flag=True, help="Continue if the first 20 replies are equal refusals."
)
@click.option("--force-order", is_flag=True, help="Send rows of an earlier report as new rows.")
@click.option("--allow", type=AllowOption(), help="irreversible: send rows that cannot be undone.")
@click.option("--coalesce", is_flag=True, help="Send only the last full replacement per entity.")
@click.option("--skip-unchanged", is_flag=True, help="Read first; skip rows that change nothing.")
@click.option(
    "--record-previous", is_flag=True, help="Read first; record previous values for undo."
)
@click.option(
    "--canary",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Send N rows first, then ask.",
)
@click.option(
    "--stop-if", type=CONDITION, multiple=True, help='Stop the run if true: "errors > 2%".'
)
@click.option("--run-id", help="Idempotency key: the same id sends a file once.")
@click.option("--at", metavar="TIME", help="Prepare now, start sending at this time: 06:00.")
@click.option("--until", metavar="TIME", help="Stop at this time: 07:30. Continue with resume.")
@click.option(
    "--tolerate", type=SHARE, default=0.0, help="Exit 0 if at most this share failed: 1%."
)
@click.option(
    "--no-wait", is_flag=True, help="Exit with code 4 if another process uses the account."
)
@click.option("--workers", type=WORKERS, metavar="N", help="Send by N worker processes.")
@click.option("--on", type=ON, help="Start them by Ray: ray, or http://HOST:8265.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per file.")
@click.option("--log", type=click.Choice(["json", "text"]), help="Write log lines.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    metavar="LEVEL",
    help="Of --log: error, warning, info, row.",
)
@click.option(
    "--metrics-file", type=click.Path(path_type=Path), help="Write Prometheus metrics at the end."
)
@click.pass_obj
def run(
    config_file: Path | None,
    /,
    *,
    files: tuple[str, ...],
    yes: bool,
    simulate: bool,
    strict_ids: bool,
    limit: int | None,
    rows: RowSelection | None,
    strict: bool,
    max_invalid: float | None,
    no_fail_fast: bool,
    at: str | None,
    until: str | None,
    no_wait: bool,
    allow: bool | None,
    canary: int | None,
    workers: int | None,
    on: str | None,
    quiet: bool,
    as_json: bool,
    log: str | None,
    log_level: Level | None,
    metrics_file: Path | None,
    **options: Any,
) -> None:
    """Send the rows of FILES and report what became of each. FILES: paths, folders, globs or URLs
    (s3://, gs://, az://) of .csv, .csv.gz and .parquet, or plans. Without, those in inputs/ are
    sent, then moved.
    """
    _check_simulate(simulate=simulate, strict_ids=strict_ids, workers=workers)
    run_options = RunOptions(
        rows=_selection(limit, rows),
        max_invalid=_share_of_invalid(max_invalid, strict=strict),
        fail_fast=not no_fail_fast,
        allow_irreversible=bool(allow),
        canary=canary or 0,
        **options,
    )
    outputs: dict[str, Any] = {"log": log, "log_level": log_level, "metrics_file": metrics_file}
    with ExitStack() as stack:
        config = read_config(config_file)
        if simulate:
            config = stack.enter_context(embedded_simulator(config, strict_ids=strict_ids))
        window = schedule_window(config, at=at, until=until)
        session = CommandSession(
            quiet=quiet,
            as_json=as_json,
            wait=not no_wait,
            continues=yes or simulate,
            window=window,
            workers=workers,
            place=opened_by(on, workers, config, window.until, os.environ),
            notifier=stack.enter_context(command_notifier(config, **outputs)),
        )
        _check_one_file(run_options, files)
        if files or simulate:
            sys.exit(_send(files, config, run_options, session, is_agreed=yes or simulate))
        sys.exit(_send_dropped(config, run_options, session, is_agreed=yes))


def _selection(limit: int | None, rows: RowSelection | None) -> RowSelection | None:
    """The rows to send; None: all. Raises UsageError."""
    if limit is not None and rows is not None:
        raise UsageError("--limit and --rows exclude each other: give one")
    return rows if limit is None else RowSelection.first(limit)


def _share_of_invalid(percent: float | None, *, strict: bool) -> float:
    """The share of invalid rows that a run accepts. Raises UsageError."""
    if strict and percent is not None:
        raise UsageError("--strict and --max-invalid exclude each other: give one")
    if percent is None:
        return 0.0 if strict else MAX_INVALID
    return percent / 100


def _check_simulate(*, simulate: bool, strict_ids: bool, workers: int | None) -> None:
    """Raise UsageError if an option does not go with `--simulate`, or only with it."""
    if workers is not None and simulate:
        raise UsageError(
            "--workers cannot be combined with --simulate: its simulator ends with this process. "
            "Start `pipeline simulator`, and name its address as base_url"
        )
    if strict_ids and not simulate:
        raise UsageError("--strict-ids needs --simulate")


def _check_one_file(options: RunOptions, files: Sequence[object]) -> None:
    """Raise UsageError if an id was given for several files, or none, or if an option is wrong."""
    options.check()
    if options.run_id is not None and len(files) != 1:
        raise UsageError("--run-id identifies one run: give exactly one file")


def _send_dropped(
    config: Config, options: RunOptions, session: CommandSession, *, is_agreed: bool
) -> int:
    """Send the files of the drop folder; returns the exit code."""
    from pipeline.cli.drops import send_dropped  # noqa: PLC0415 - a given file needs no drop folder

    return send_dropped(config, options, session, is_agreed=is_agreed)


def _send(
    files: tuple[str, ...],
    config: Config,
    options: RunOptions,
    session: CommandSession,
    *,
    is_agreed: bool,
) -> int:
    """Send the given files and leave them in place; returns the exit code."""
    paths = expand(files, config)
    if not paths:
        session.report_no_files(config.inputs)
        return 0
    _check_one_file(options, paths)
    if options.run_id is not None:
        _leave_if_finished(paths[0], config, options.run_id, session)
    makes = [partial(uninterrupted, partial(prepare, path, config, options)) for path in paths]
    named = [(path.name, make) for path, make in zip(paths, makes, strict=True)]
    return session.run(named, is_agreed=is_agreed)


def _leave_if_finished(
    path: Path | ObjectPath, config: Config, run_id: str, session: CommandSession
) -> None:
    """Exit as the run with this id did, if it is finished; else return."""
    name = same_finished(path, config, run_id)
    if name is None:
        return
    folder = config.reports / name
    session.say(f"Run {name} already finished with this id. Nothing was sent.")
    if not (folder / SUMMARY_NAME).exists():  # users may remove reports
        engine.report_only(reopen(name, config))
    summary = read_summary(folder / SUMMARY_NAME)
    session.report_end(summary, config.report_place(name))
    is_there = session.delivered(config, summary)
    sys.exit(summary.exit_code if is_there else max(summary.exit_code, STOPPED))
