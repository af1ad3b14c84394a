"""`pipeline plan`, `verify` and `undo`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

from pipeline.cli.console import terminal
from pipeline.cli.screens import show_plan, show_verified
from pipeline.cli.sending import CommandSession
from pipeline.cli.setup import (
    ROWS,
    AllowOption,
    InputPath,
    embedded_simulator,
    named,
    read_config,
    uninterrupted,
)
from pipeline.loader import RowSelection
from pipeline.model import UsageError
from pipeline.model.formatting import one_line
from pipeline.model.object_path import ObjectPath
from pipeline.model.plan import SENT_KINDS, PlanKind
from pipeline.plan import MadePlan, make_plan, undo_plan, verify_run
from pipeline.run import RunEnvironment, Session, prepare
from pipeline.run.event_loop import run_async
from pipeline.runs import RunOptions

FAILED, STOPPED = 1, 3

T = TypeVar("T")
OUT = click.Path(path_type=Path, dir_okay=False)


class _ReadOnlyOutput:
    """Console and run environment of a command that only reads."""

    def __init__(self, *, wait: bool = True) -> None:
        self.console = terminal(stderr=True)
        self.environment = RunEnvironment(shared=Session(), wait=wait, tell=self._say)

    def _say(self, words: str) -> None:
        self.console.print(one_line(words), markup=False)

    def run(self, what: str, act: Callable[[Callable[[int, int], None]], Awaitable[T]]) -> T:
        """Run `act` with a status line; `act` gets a callback for (rows done, all rows)."""
        with self.console.status(what, spinner="dots") as status:

            async def main() -> T:
                return await act(lambda n, of: status.update(f"{what}: {n:,} of {of:,} rows"))

            return run_async(main)


@click.command(short_help="Show what a file would change, without changing it.")
@click.argument("file", type=InputPath())
@click.option("--out", "-o", type=OUT, help="Write the plan to this .parquet file.")
@click.option("--simulate", is_flag=True, help="Read from the simulator.")
@click.option("--operation", help="Operation of every row, such as xsolla.coupon.")
@click.option("--account", help="Account of every row, as the configuration names it.")
@click.option("--rows", type=ROWS, help="Plan only these rows: 17,40-60.")
@click.option("--allow", type=AllowOption(), help="irreversible: plan rows that cannot be undone.")
@click.option(
    "--no-wait", is_flag=True, help="Exit with code 4 if another process uses the account."
)
@click.pass_obj
def plan(
    config_file: Path | None,
    /,
    *,
    file: Path | ObjectPath,
    out: Path | None,
    simulate: bool,
    operation: str | None,
    account: str | None,
    rows: RowSelection | None,
    allow: bool | None,
    no_wait: bool,
) -> None:
    """Read the current state at the vendors and show what sending FILE would change.

    Nothing is changed. The plan is a Parquet file with each row's old and new values. `pipeline run
    PLAN` sends exactly those rows, except where an entity has changed since.

    Exit code 0: every row is sent or up to date; 1: some rows are not sent; 2: a file is broken; 3:
    an account stopped.
    """
    options = RunOptions(
        operation=operation, account=account, rows=rows, allow_irreversible=bool(allow)
    )
    with ExitStack() as stack:
        config = read_config(config_file)
        if simulate:
            config = stack.enter_context(embedded_simulator(config, strict_ids=False))
        output = _ReadOnlyOutput(wait=not no_wait)
        made = output.run(
            f"Reading the current state for {file}",
            lambda tell: make_plan(
                file, out, config, output.environment, options=options, tell=tell
            ),
        )
    show_plan(output.console, made)
    sys.exit(_code_of(made))


def _code_of(made: MadePlan) -> int:
    """3 if an account stopped, 1 if some rows are neither sent nor up to date, else 0."""
    if made.stopped:
        return STOPPED
    done = {*SENT_KINDS, PlanKind.UNCHANGED}
    is_left = any(count for kind, count in made.planned.kinds.items() if kind not in done)
    return FAILED if is_left else 0


@click.command(short_help="Compare what a run applied with the current state.")
@click.argument("run")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Check only N entities, spread over the run.",
)
@click.option(
    "--no-wait", is_flag=True, help="Exit with code 4 if another process uses the account."
)
@click.pass_obj
def verify(config_file: Path | None, /, *, run: str, sample: int | None, no_wait: bool) -> None:
    """Read what RUN applied and report every field that differs from what was sent.

    RUN is a name or number of `pipeline runs`, or `latest`. Exit code 0: no drift; 1: drift, or
    some rows could not be read; 3: an account stopped.
    """
    config, output = read_config(config_file), _ReadOnlyOutput(wait=not no_wait)
    run = named(run, config)
    found = output.run(
        f"Reading back {run}",
        lambda tell: verify_run(run, config, output.environment, sample=sample, tell=tell),
    )
    show_verified(output.console, run, found)
    if not found.rows and found.blind:
        raise UsageError(
            f"run {run} cannot be verified: no documented way to read from its vendor is known"
        )
    if not found.rows:
        raise UsageError(f"run {run} applied no row: nothing to verify")
    if found.stopped:
        sys.exit(STOPPED)
    sys.exit(FAILED if found.drifted or found.unread else 0)


@click.command(short_help="Undo a run: restore the previous values.")
@click.argument("run")
@click.option("--out", "-o", type=OUT, help="Write the plan to this .parquet file.")
@click.option("--plan-only", is_flag=True, help="Write the plan and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask. Required without a terminal.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one line of JSON.")
@click.pass_obj
def undo(
    config_file: Path | None,
    /,
    *,
    run: str,
    out: Path | None,
    plan_only: bool,
    yes: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Restore what RUN overwrote, except entities that were changed since.

    RUN is a name or number of `pipeline runs`, or `latest`. A plan is made from the recorded
    previous values, shown and, after a question, sent as a run of its own. That run can be undone
    too.
    """
    config, output = read_config(config_file), _ReadOnlyOutput()
    run = named(run, config)
    made = output.run(
        f"Reading the current state for {run}",
        lambda tell: undo_plan(run, out, config, output.environment, tell=tell),
    )
    if not quiet:
        show_plan(output.console, made, is_sent_next=not plan_only)
    if plan_only or not made.planned.sends:
        sys.exit(_code_of(made))
    session = CommandSession(quiet=quiet, as_json=as_json, continues=yes)
    make = partial(uninterrupted, partial(prepare, made.path, config, RunOptions()))
    sys.exit(session.run([(str(made.path), make)], is_agreed=yes) or _code_of(made))
