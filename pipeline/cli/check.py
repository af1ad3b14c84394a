"""`pipeline check`: show what a run would do, and send nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pipeline.cli.console import terminal
from pipeline.cli.estimate import RunEstimate
from pipeline.cli.messages import no_files, print_error, question_about
from pipeline.cli.schedule_options import schedule_window
from pipeline.cli.setup import (
    ROWS,
    AllowOption,
    embedded_simulator,
    expand,
    read_config,
    uninterrupted,
)
from pipeline.config import Config
from pipeline.jobs import read_jobs
from pipeline.loader import FaultKind
from pipeline.model import PipelineError, RunAborted
from pipeline.model.formatting import one_line
from pipeline.model.object_path import ObjectPath
from pipeline.run import Prepared, discard, prepare
from pipeline.runs import RunOptions
from pipeline.ui.terminal import show_question

_FAULTS_CHARS = 12_000  # two or three screens

ALL_GOOD, SOME_INVALID, BROKEN = 0, 1, 2


@click.command(short_help="Validate FILES as a run would, and send nothing.")
@click.argument("files", nargs=-1)
@click.option("--simulate", is_flag=True, help="Check as for run --simulate.")
@click.option("--operation", help="Operation of every row, such as xsolla.coupon.")
@click.option("--account", help="Account of every row, as the configuration names it.")
@click.option("--rows", type=ROWS, help="Check only these rows: 17,40-60.")
@click.option("--force-order", is_flag=True, help="Treat rows of an earlier report as new rows.")
@click.option(
    "--allow", type=AllowOption(), help="irreversible: accept rows that cannot be undone."
)
@click.option("--until", metavar="TIME", help="Tell whether a run would finish by this time.")
@click.option(
    "--show", type=click.IntRange(min=0), default=0, metavar="N", help="Print the first N jobs."
)
@click.pass_obj
def check(
    config_file: Path | None,
    /,
    *,
    files: tuple[str, ...],
    simulate: bool,
    show: int,
    allow: bool | None,
    until: str | None,
    **options: Any,
) -> None:
    """Validate FILES as a run would, report every error, send nothing.

    Exit code 0: every row is valid; 1: some rows are invalid; 2: a file is broken.
    """
    console = terminal()
    config = read_config(config_file)
    if simulate:
        with embedded_simulator(config, strict_ids=False) as simulated:
            config = simulated  # nothing is sent, so the simulator may stop here
    run_options = RunOptions(allow_irreversible=bool(allow), **options)
    estimate = RunEstimate(schedule_window(config, until=until))
    paths = expand(files, config)
    if not paths:
        console.print(no_files(config.inputs), markup=False, soft_wrap=True)
    codes = [
        _check(path, config, run_options, show=show, console=console, estimate=estimate)
        for path in paths
    ]
    sys.exit(max(codes, default=ALL_GOOD))


def _check(
    path: Path | ObjectPath,
    config: Config,
    options: RunOptions,
    *,
    show: int,
    console: Console,
    estimate: RunEstimate,
) -> int:
    try:
        prepared = uninterrupted(partial(prepare, path, config, options))
    except RunAborted:
        raise
    except PipelineError as error:
        print_error(error)
        return BROKEN
    try:
        for name in prepared.bound.jobs:
            config.check_files(name)
        question = replace(question_about(prepared, estimate), examples=())  # all faults follow
        show_question(console, question, would=True)
        for line in _fault_lines(prepared.bound.faults):
            console.print(line, markup=False, soft_wrap=True)
        for line in _samples(prepared, show) if show else ():
            console.print(line, markup=False, soft_wrap=True)
    finally:
        discard(prepared)
    return SOME_INVALID if prepared.bound.invalid else ALL_GOOD


def _fault_lines(kinds: Sequence[FaultKind]) -> Iterator[str]:
    """Examples of each kind of fault, most frequent first, up to `_FAULTS_CHARS`."""
    chars = 0
    for number, kind in enumerate(kinds):
        if chars > _FAULTS_CHARS:
            yield f"  ... and {len(kinds) - number} more kinds of errors"
            return
        lines = [f"  {fault}" for fault in kind.examples]
        if kind.rows > len(kind.examples):
            lines.append(f"  ... {kind.rows} rows in total with: {one_line(kind.what)}")
        chars += sum(map(len, lines))
        yield from lines


def _samples(prepared: Prepared, show: int) -> Iterator[str]:
    """The first jobs, and the first request as a curl command without secrets."""
    from pipeline.exchanges.text import as_curl, shown_request  # noqa: PLC0415 - few look at it

    for account in prepared.accounts:
        batches = read_jobs(prepared.bound.jobs[account.name].path)
        jobs = list(islice(chain.from_iterable(batches), show))
        for job in jobs:
            yield f"row {job.row} -> {job.operation}: {job.text}"
        if jobs:
            first = account.operation(jobs[0].operation)
            shown = shown_request(account, first, [jobs[0].text], is_read=jobs[0].keeps)
            yield as_curl(account, shown)
