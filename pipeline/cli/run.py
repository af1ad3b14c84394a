"""`pipeline run`: files in, updates out, a report for each."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.cli.drops import send_dropped
from pipeline.cli.notifying import telling
from pipeline.cli.schedule_options import appointed
from pipeline.cli.sending import CommandSession
from pipeline.cli.setup import (
    CONDITION,
    ROWS,
    SHARE,
    AllowOption,
    embedded_simulator,
    expand,
    read_config,
    whole,
)
from pipeline.config import Config
from pipeline.loader import RowSelection
from pipeline.model import UsageError
from pipeline.notify.events import LEVELS, Level
from pipeline.reporter import SUMMARY_NAME, read_summary
from pipeline.run import prepare, reopen, report_only, same_finished
from pipeline.runs import RunOptions


@click.command()
@click.argument("files", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@click.option("--simulate", is_flag=True, help="To a simulator; --strict-ids: only its ids exist.")
@click.option("--strict-ids", is_flag=True, hidden=True)  # told with --simulate
@click.option("--operation", help="Of every row, for example xsolla.coupon.")
@click.option("--account", help="Of every row, as named in the configuration.")
@click.option("--limit", type=click.IntRange(min=1), hidden=True)  # told with --rows
@click.option("--rows", type=ROWS, help="Only these: 17,40-60. Or --limit N: the first N.")
@click.option("--strict", is_flag=True, help="Send nothing if any row is invalid.")
@click.option(
    "--max-invalid",
    type=click.FloatRange(0, 100),
    default=50.0,
    metavar="PERCENT",
    show_default=False,
    help="More rows invalid: send nothing (50).",
)
@click.option("--min-rows", type=click.IntRange(min=0), default=0, help="With fewer, send nothing.")
@click.option("--no-fail-fast", is_flag=True, help="Go on after 20 equal refusals at the start.")
@click.option("--force-order", is_flag=True, help="Send an earlier report's rows as new ones.")
@click.option(
    "--allow", type=AllowOption(), help="irreversible: send rows that nothing takes back."
)
@click.option("--coalesce", is_flag=True, help="Of rows that replace the whole, send the last.")
@click.option(
    "--skip-unchanged", is_flag=True, help="Read first; send only what changes something."
)
@click.option(
    "--record-previous", is_flag=True, help="Read first; keep what is overwritten, for undo."
)
@click.option("--canary", type=click.IntRange(min=1), default=None, help="Try N rows, then ask.")
@click.option("--stop-if", type=CONDITION, multiple=True, help='For example "errors > 2%".')
@click.option("--run-id", help="A scheduler's: the same id sends a file once.")
@click.option("--at", metavar="TIME", help="Get ready, and send from then on: 06:00.")
@click.option("--until", metavar="TIME", help="Stop then; resume carries on: 07:30.")
@click.option("--tolerate", type=SHARE, default=0.0, help="Exit code 0 with 1% failed, say.")
@click.option("--no-wait", is_flag=True, help="Leave if another process uses the account.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per file.")
@click.option(
    "--log", type=click.Choice(["json", "text"]), help="Log lines; more by --log-level row."
)
@click.option("--log-level", type=click.Choice(LEVELS), hidden=True)  # told with --log
@click.option("--metrics-file", type=click.Path(path_type=Path), help="For Prometheus, at the end.")
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
    max_invalid: float,
    no_fail_fast: bool,
    at: str | None,
    until: str | None,
    no_wait: bool,
    allow: bool | None,
    canary: int | None,
    quiet: bool,
    as_json: bool,
    log: str | None,
    log_level: Level | None,
    metrics_file: Path | None,
    **options: Any,
) -> None:
    """Send the rows of FILES and report what became of each.

    FILES are paths, folders or globs of .csv, .csv.gz and .parquet files, or plans; without any,
    files in inputs/ are sent and put away.
    """
    if limit is not None and rows is not None:
        raise UsageError("--limit and --rows say different things: give one of them")
    if strict_ids and not simulate:
        raise UsageError("--strict-ids speaks of the simulator: add --simulate")
    run_options = RunOptions(
        rows=RowSelection.first(limit) if limit is not None else rows,
        max_invalid=0.0 if strict else max_invalid / 100,
        fail_fast=not no_fail_fast,
        allow_irreversible=bool(allow),
        canary=canary or 0,
        **options,
    )
    told: dict[str, Any] = {"log": log, "log_level": log_level, "metrics_file": metrics_file}
    with ExitStack() as stack:
        config = read_config(config_file)
        if simulate:
            config = stack.enter_context(embedded_simulator(config, strict_ids=strict_ids))
        session = CommandSession(
            quiet=quiet,
            as_json=as_json,
            wait=not no_wait,
            goes_on=yes or simulate,
            window=appointed(config, at=at, until=until),
            notifier=stack.enter_context(telling(config, **told)),
        )
        if run_options.run_id is not None and len(files) != 1:
            raise UsageError("--run-id names one run: give it one file")
        if files or simulate:
            sys.exit(_send(files, config, run_options, session, is_agreed=yes or simulate))
        sys.exit(send_dropped(config, run_options, session, is_agreed=yes))


def _send(
    files: tuple[str, ...],
    config: Config,
    options: RunOptions,
    session: CommandSession,
    *,
    is_agreed: bool,
) -> int:
    """Send the files that are meant, and leave them where they lie: the exit code."""
    paths = expand(files, config)
    if not paths:
        session.tell_nothing_came(config.inputs)
        return 0
    if options.run_id is not None and len(paths) > 1:
        raise UsageError("--run-id names one run: give it one file")
    if options.run_id is not None:
        _leave_if_finished(paths[0], config, options.run_id, session)
    makes = [partial(whole, partial(prepare, path, config, options)) for path in paths]
    named = [(path.name, make) for path, make in zip(paths, makes, strict=True)]
    return session.run(named, is_agreed=is_agreed)


def _leave_if_finished(path: Path, config: Config, run_id: str, session: CommandSession) -> None:
    """Tell of the run that has this id, and end as it did, where there is nothing left to do."""
    name = same_finished(path, config, run_id)
    if name is None:
        return
    folder = config.reports / name
    session.say(f"Run {name} has this id and is finished: nothing was sent.")
    if not (folder / SUMMARY_NAME).exists():  # reports are people's: they may have removed it
        report_only(reopen(name, config))
    summary = read_summary(folder / SUMMARY_NAME)
    session.tell_end(summary, folder)
    sys.exit(summary.exit_code)
