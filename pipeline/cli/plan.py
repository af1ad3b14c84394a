"""`pipeline plan`, `verify` and `undo`: what would change, whether it stands, taking it back."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import click

from pipeline.cli.console import terminal
from pipeline.cli.screens import show_plan, show_verified
from pipeline.cli.sending import CommandSession
from pipeline.cli.setup import ROWS, AllowOption, embedded_simulator, read_config, whole
from pipeline.config import Config
from pipeline.loader import RowSelection
from pipeline.model import UsageError
from pipeline.model.formatting import one_line
from pipeline.model.plan import PlanKind
from pipeline.plan import MadePlan, make_plan, undo_plan, verify_run
from pipeline.run import RunEnvironment, Session, prepare
from pipeline.runs import RunOptions, open_registry

FAILED, STOPPED = 1, 3
LATEST = "latest"

T = TypeVar("T")
OUT = click.Path(path_type=Path, dir_okay=False)


class _ReadOnlyOutput:
    """Where a command that only reads tells of itself."""

    def __init__(self, *, wait: bool = True) -> None:
        self.console = terminal(stderr=True)
        self.way = RunEnvironment(shared=Session(), wait=wait, tell=self._say)

    def _say(self, words: str) -> None:
        self.console.print(one_line(words), markup=False)

    def run(self, what: str, act: Callable[[Callable[[int, int], None]], Awaitable[T]]) -> T:
        """Carry out `act`, which tells how far it is, to its end."""
        with self.console.status(what, spinner="dots") as status:

            async def main() -> T:
                return await act(lambda n, of: status.update(f"{what}: {n:,} of {of:,} rows"))

            return anyio.run(main)


@click.command(short_help="Show what a file would change, and change nothing.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=OUT, help="Where the plan goes, a .parquet file.")
@click.option("--simulate", is_flag=True, help="Read from the embedded simulator instead.")
@click.option("--operation", help="Of every row, for example xsolla.coupon.")
@click.option("--account", help="Of every row, as named in the configuration.")
@click.option("--rows", type=ROWS, help="Only these rows, for example 17,40-60.")
@click.option(
    "--allow", type=AllowOption(), help="irreversible: plan rows that nothing takes back."
)
@click.option("--no-wait", is_flag=True, help="Leave if another process uses the account.")
@click.pass_obj
def plan(
    config_file: Path | None,
    /,
    *,
    file: Path,
    out: Path | None,
    simulate: bool,
    operation: str | None,
    account: str | None,
    rows: RowSelection | None,
    allow: bool | None,
    no_wait: bool,
) -> None:
    """Read what the vendors hold and show what sending FILE would change.

    Nothing is changed. The plan is a Parquet file of rows with before and after; `pipeline run
    PLAN` sends exactly that, but for rows whose entity somebody else has changed since.
    """
    options = RunOptions(
        operation=operation, account=account, rows=rows, allow_irreversible=bool(allow)
    )
    with ExitStack() as stack:
        config = read_config(config_file)
        if simulate:
            config = stack.enter_context(embedded_simulator(config, strict_ids=False))
        desk = _ReadOnlyOutput(wait=not no_wait)
        made = desk.run(
            f"Reading what the rows of {file} would change",
            lambda tell: make_plan(file, out, config, desk.way, options=options, tell=tell),
        )
    show_plan(desk.console, made)
    sys.exit(_code_of(made))


def _code_of(made: MadePlan) -> int:
    """3 where an account stopped, 1 where the vendor did not tell of some rows what it holds."""
    if made.stopped:
        return STOPPED
    return FAILED if made.planned.kinds.get(PlanKind.UNREAD) else 0


def named(run: str, config: Config) -> str:
    """The run that is meant. Raises UsageError where `latest` means none."""
    if run != LATEST:
        return run
    with open_registry(config) as runs:
        found = runs.all(most=1)
    if not found:
        raise UsageError("there is no run yet")
    return found[0].name


@click.command(short_help="Read back whether what a run applied still stands.")
@click.argument("run")
@click.option("--sample", type=click.IntRange(min=1), help="So many entities, spread over the run.")
@click.option("--no-wait", is_flag=True, help="Leave if another process uses the account.")
@click.pass_obj
def verify(config_file: Path | None, /, *, run: str, sample: int | None, no_wait: bool) -> None:
    """Read back what RUN has applied, and tell every field that is not as it was sent.

    RUN is a run's name, or `latest`. Exit code 0: all stands; 1: some has drifted, or could not be
    read; 3: an account stopped.
    """
    config, desk = read_config(config_file), _ReadOnlyOutput(wait=not no_wait)
    run = named(run, config)
    found = desk.run(
        f"Reading back {run}",
        lambda tell: verify_run(run, config, desk.way, sample=sample, tell=tell),
    )
    show_verified(desk.console, run, found)
    if not found.rows and found.blind:
        raise UsageError(
            f"nothing of {run} can be verified: we found no page that shows how its vendor is read"
        )
    if not found.rows:
        raise UsageError(f"run {run} has applied nothing: there is nothing to verify")
    if found.stopped:
        sys.exit(STOPPED)
    sys.exit(FAILED if found.drifted or found.unread else 0)


@click.command(short_help="Take a run back.")
@click.argument("run")
@click.option("--out", "-o", type=OUT, help="Where the plan goes, a .parquet file.")
@click.option("--plan-only", is_flag=True, help="Make the plan, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON at the end.")
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
    """Put back what RUN has overwritten, where nobody else has changed the entity since.

    RUN is a run's name, or `latest`. A plan is made from what the run has kept, shown, asked about
    and sent like any run; its report is its own, and it can be undone in turn.
    """
    config, desk = read_config(config_file), _ReadOnlyOutput()
    run = named(run, config)
    made = desk.run(
        f"Reading what {run} left", lambda tell: undo_plan(run, out, config, desk.way, tell=tell)
    )
    if not quiet:
        show_plan(desk.console, made, is_sent_next=not plan_only)
    if plan_only or not made.planned.sends:
        sys.exit(_code_of(made))
    session = CommandSession(quiet=quiet, as_json=as_json, goes_on=yes)
    make = partial(whole, partial(prepare, made.path, config, RunOptions()))
    sys.exit(session.run([(str(made.path), make)], is_agreed=yes))
