"""`pipeline check`: what a run would do, without sending anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pipeline.cli.console import terminal
from pipeline.cli.estimate import RunEstimate
from pipeline.cli.messages import question_about, tell_error
from pipeline.cli.schedule_options import appointed
from pipeline.cli.setup import (
    ROWS,
    AllowOption,
    embedded_simulator,
    expand,
    read_config,
    whole,
)
from pipeline.config import Config
from pipeline.jobs import read_jobs
from pipeline.loader import FaultKind
from pipeline.model import PipelineError, RunAborted
from pipeline.model.formatting import one_line
from pipeline.run import Prepared, discard, prepare
from pipeline.runs import RunOptions
from pipeline.ui.terminal import show_question
from pipeline.workers.exchange_text import as_curl, shown_request

_FAULTS_CHARS = 12_000  # two or three screens

ALL_GOOD, SOME_INVALID, BROKEN = 0, 1, 2


@click.command()
@click.argument("files", nargs=-1)
@click.option("--simulate", is_flag=True, help="As a run with --simulate would see it.")
@click.option("--operation", help="Of every row, for example xsolla.coupon.")
@click.option("--account", help="Of every row, as named in the configuration.")
@click.option("--rows", type=ROWS, help="Only these rows, for example 17,40-60.")
@click.option("--force-order", is_flag=True, help="Take an earlier report's rows as new ones.")
@click.option(
    "--allow", type=AllowOption(), help="irreversible: take rows that nothing takes back."
)
@click.option("--until", metavar="TIME", help="Whether a run would be through by then.")
@click.option("--show", type=click.IntRange(min=0), default=0, help="Print the first N jobs.")
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
    """Read FILES as a run would, name every fault, send nothing.

    Exit code 0: every row can be sent; 1: some cannot; 2: a file is broken.
    """
    console = terminal()
    config = read_config(config_file)
    if simulate:
        with embedded_simulator(config, strict_ids=False) as simulated:
            config = simulated  # only bound, never sent to: it may be gone by then
    run_options = RunOptions(allow_irreversible=bool(allow), **options)
    outlook = RunEstimate(appointed(config, until=until))
    codes = [
        _check(path, config, run_options, show=show, console=console, outlook=outlook)
        for path in expand(files, config)
    ]
    sys.exit(max(codes, default=ALL_GOOD))


def _check(
    path: Path,
    config: Config,
    options: RunOptions,
    *,
    show: int,
    console: Console,
    outlook: RunEstimate,
) -> int:
    try:
        prepared = whole(partial(prepare, path, config, options))
    except RunAborted:
        raise
    except PipelineError as error:
        tell_error(error)
        return BROKEN
    try:
        show_question(console, question_about(prepared, outlook), would=True)
        for line in _fault_lines(prepared.bound.faults):
            console.print(line, markup=False, soft_wrap=True)
        for line in _samples(prepared, show):
            console.print(line, markup=False, soft_wrap=True)
    finally:
        discard(prepared)
    return SOME_INVALID if prepared.bound.invalid else ALL_GOOD


def _fault_lines(kinds: Sequence[FaultKind]) -> Iterator[str]:
    """A few examples of each kind of fault, the most frequent first, as far as a reader goes."""
    chars = 0
    for number, kind in enumerate(kinds):
        if chars > _FAULTS_CHARS:
            yield f"  ... and {len(kinds) - number} more kinds of faults"
            return
        lines = [f"  {fault}" for fault in kind.examples]
        if kind.rows > len(kind.examples):
            lines.append(f"  ... {kind.rows} rows in all with: {one_line(kind.what)}")
        chars += sum(map(len, lines))
        yield from lines


def _samples(prepared: Prepared, show: int) -> Iterator[str]:
    """The first jobs, and the first request as a curl command without secrets."""
    for account in prepared.accounts:
        batches = read_jobs(prepared.bound.jobs[account.name].path)
        jobs = list(islice(chain.from_iterable(batches), show))
        for job in jobs:
            yield f"row {job.row} -> {job.operation}: {job.text}"
        if jobs:
            first = account.operation(jobs[0].operation)
            shown = shown_request(account, first, [jobs[0].text], is_read=jobs[0].keeps)
            yield as_curl(account, shown)
