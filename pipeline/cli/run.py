"""`pipeline run`: files in, updates out, a report for each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import anyio
import click
from rich.console import Console

from pipeline.cli.setup import (
    Allowed,
    Rows,
    embedded_simulator,
    expand,
    prepare_whole,
    read_config,
)
from pipeline.cli.side_by_side import Board, Turns
from pipeline.cli.words import question_about, tell_error
from pipeline.config import Config
from pipeline.load import RowSelection
from pipeline.model import ConfigError, PipelineError, RunAborted, UsageError
from pipeline.report import LiveDisplay, PlainDisplay, Summary, closing, show_question
from pipeline.run import (
    Prepared,
    Progress,
    RunOptions,
    Shared,
    Way,
    carry_out,
    check_secrets,
    discard,
    signals_obeyed,
)

FAILED_ROWS, NOTHING_SENT, STOPPED, SIGNALLED = 1, 2, 3, 128


@click.command()
@click.argument("files", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@click.option("--simulate", is_flag=True, help="Send to the embedded simulator instead.")
@click.option("--strict-ids", is_flag=True, help="With --simulate: only its sample ids exist.")
@click.option("--operation", help="Of every row, for example xsolla.coupon.")
@click.option("--account", help="Of every row, as named in the configuration.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N rows.")
@click.option("--rows", type=Rows(), help="Only these rows, for example 17,40-60.")
@click.option("--strict", is_flag=True, help="Send nothing if any row is invalid.")
@click.option(
    "--max-invalid",
    type=click.FloatRange(0, 100),
    default=50.0,
    show_default=True,
    help="Percent of rows; with more of them invalid nothing is sent.",
)
@click.option("--min-rows", type=click.IntRange(min=0), default=0, help="With fewer, send nothing.")
@click.option("--no-brake", is_flag=True, help="Go on after 20 equal refusals at the start.")
@click.option("--force-order", is_flag=True, help="Send an earlier report's rows as new ones.")
@click.option("--allow", type=Allowed(), help="irreversible: send rows that nothing takes back.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per file.")
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
    no_brake: bool,
    allow: bool | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Send the rows of FILES and report what became of each.

    FILES are paths, folders or globs of .csv, .csv.gz and .parquet files; without any, the drop
    folder inputs/<operation>/ is taken. Each file is a run with a report of its own; files of one
    account go one after the other, the others side by side.
    """
    if limit is not None and rows is not None:
        raise UsageError("--limit and --rows say different things: give one of them")
    if strict_ids and not simulate:
        raise UsageError("--strict-ids speaks of the simulator: add --simulate")
    run_options = RunOptions(
        rows=RowSelection.first(limit) if limit is not None else rows,
        max_invalid=0.0 if strict else max_invalid / 100,
        use_brake=not no_brake,
        allow_irreversible=bool(allow),
        **options,
    )
    with ExitStack() as stack:
        config = read_config(config_file)
        if simulate:
            config = stack.enter_context(embedded_simulator(config, strict_ids=strict_ids))
        session = _Session(config, run_options, _console(quiet=quiet), as_json=as_json)
        sys.exit(session.run(expand(files, config), is_agreed=yes or simulate))


def _console(*, quiet: bool) -> Console:
    return Console(stderr=True, quiet=quiet, highlight=False)


class _Session:
    """One command over one or more files."""

    def __init__(
        self, config: Config, options: RunOptions, console: Console, *, as_json: bool
    ) -> None:
        self._config = config
        self._options = options
        self._console = console
        self._as_json = as_json

    def run(self, paths: Sequence[Path], *, is_agreed: bool) -> int:
        """Prepare all, ask once, send. Gives back the exit code."""
        if not paths:
            self._console.print(f"No files in {self._config.inputs}: nothing to do.", markup=False)
            return 0
        found: list[Prepared | None] = []
        try:
            for path in paths:
                found.append(self._prepare(path))  # noqa: PERF401 - what is there is discarded below
            if not is_agreed:
                self._ask([one for one in found if one is not None])
        except BaseException:
            for one in filter(None, found):
                discard(one)
            raise
        return _together(anyio.run(self._send_all, found))

    async def _send_all(self, found: Sequence[Prepared | None]) -> list[int]:
        """One event loop for all files: they share the gates of their accounts."""
        codes = [NOTHING_SENT] * len(found)
        shared, board = Shared(), Board(self._open_display)
        turns = Turns(() if one is None else one.places for one in found)

        async def send_one(number: int, one: Prepared) -> None:
            async with turns.wait_for(number):
                codes[number] = await self._carry_out(one, shared, board)

        async with signals_obeyed(shared), anyio.create_task_group() as tasks:
            for number, one in enumerate(found):
                if one is not None:
                    tasks.start_soon(send_one, number, one)
        return codes

    def _prepare(self, path: Path) -> Prepared | None:
        try:
            with self._console.status(f"Reading {path.name}", spinner="dots"):
                prepared = prepare_whole(path, self._config, self._options)
        except RunAborted:
            raise
        except PipelineError as error:
            tell_error(error)
            return None
        try:
            check_secrets(prepared, os.environ)
        except ConfigError as error:
            discard(prepared)
            tell_error(error)
            return None
        show_question(self._console, question_about(prepared))
        return prepared

    def _ask(self, ready: Sequence[Prepared]) -> None:
        if not any(one.bound.jobs and one.refusal is None for one in ready):
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "nothing was sent: there is no terminal to ask at. --yes says yes beforehand, "
                "--simulate sends to the simulator"
            )
        with suppress(click.Abort):  # Ctrl-C or Ctrl-D at the question is a no
            if click.confirm("Send this?", default=False, err=True):
                return
        raise UsageError("nothing was sent")

    async def _carry_out(self, prepared: Prepared, shared: Shared, board: Board) -> int:
        if shared.interrupted is not None:
            source = prepared.snapshot.source
            tell_error(f"{source}: nothing was sent: the command was interrupted")
            discard(prepared)
            return NOTHING_SENT
        try:
            summary: Summary = await carry_out(prepared, Way(watch=board.watch, shared=shared))
        except ConfigError as error:
            tell_error(error)
            return NOTHING_SENT
        except PipelineError as error:
            tell_error(error)
            return STOPPED
        closing(self._console, summary, prepared.report_folder)
        if self._as_json:
            click.echo(summary.one_line())
        return summary.exit_code

    def _open_display(self, poll: Progress) -> AbstractContextManager[object]:
        if self._console.quiet:
            return nullcontext()
        display = LiveDisplay if self._console.is_terminal else PlainDisplay
        return display(self._console, poll)


def _together(codes: Sequence[int]) -> int:
    """One exit code for several files: among them one that was not sent counts as failed rows.

    >>> _together([0, 2]), _together([2]), _together([1, 3, 0]), _together([0, 130])
    (1, 2, 3, 130)
    """
    if len(set(codes)) == 1:
        return codes[0]
    return max(FAILED_ROWS if code == NOTHING_SENT else code for code in codes)
