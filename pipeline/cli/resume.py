"""`pipeline resume`: continue an unfinished run."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import click

from pipeline.cli.schedule_options import schedule_window
from pipeline.cli.sending import CommandSession
from pipeline.cli.setup import WORKERS, named, read_config
from pipeline.cli.workers_on import ON, opened_by
from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.run import reopen
from pipeline.run.failed_rows import prepare_failed
from pipeline.runs import STATES, UNFINISHED, is_alive, is_simulated, open_store
from pipeline.runs.registry import is_driven


@click.command(short_help="Continue a run that was stopped or killed.")
@click.argument("run", required=False)
@click.option("--failed", is_flag=True, help="Send the rows of RUN that did not succeed again.")
@click.option("--yes", is_flag=True, help="Do not ask. Required without a terminal.")
@click.option("--until", metavar="TIME", help="Stop at this time: 07:30 or 2026-05-01T07:30Z.")
@click.option("--workers", type=WORKERS, metavar="N", help="Send by N more worker processes.")
@click.option("--on", type=ON, help="Start them by Ray: ray, or http://HOST:8265.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one line of JSON.")
@click.pass_obj
def resume(
    config_file: Path | None,
    /,
    *,
    run: str | None,
    failed: bool,
    yes: bool,
    until: str | None,
    workers: int | None,
    on: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Continue RUN: send the remaining rows, resolve rows in doubt, report every row.

    RUN is a name or number of `pipeline runs`, or `latest`. Without it, the last unfinished run is
    continued. The original file is no longer needed. A row with a recorded answer is never sent
    again.

    With --failed, rows of RUN that did not succeed become a new run with its own report. Invalid
    rows are left out: fix them in the error file. Rows replaced by newer ones are not sent.
    """
    config = read_config(config_file)
    run = run and named(run, config)
    window = schedule_window(config, until=until)
    session = CommandSession(
        quiet=quiet,
        as_json=as_json,
        continues=yes,
        window=window,
        workers=workers,
        place=opened_by(on, workers, config, window.until, os.environ),
    )
    if failed:
        sys.exit(_send_failed(run, config, session, is_agreed=yes))
    name = run or _last_unfinished(config, beside_workers=workers is not None)
    if name is None:
        session.say("No unfinished run: nothing to do.")
        session.say("A run that was killed while it read its file sent nothing: start it again.")
        sys.exit(0)
    make = partial(reopen, name, config, beside_workers=workers is not None)
    sys.exit(session.run([(name, make)], is_agreed=yes))


def _send_failed(
    run: str | None, config: Config, session: CommandSession, *, is_agreed: bool
) -> int:
    if run is None:
        raise UsageError(
            "--failed needs the name of a run, or latest; `pipeline runs` lists all runs"
        )
    prepared = prepare_failed(run, config)
    if prepared is None:
        session.say(f"Run {run} has no failed row to send again: nothing to do.")
        return 0
    return session.run([(run, lambda: prepared)], is_agreed=is_agreed)


def _last_unfinished(config: Config, *, beside_workers: bool) -> str | None:
    states = [state for state in STATES if state in UNFINISHED]
    unfinished = open_store(config).runs.all(states=states)
    found = [run for run in unfinished if not is_simulated(config, run.name)]
    is_busy = is_driven if beside_workers else is_alive
    dead = [run.name for run in found if not is_busy(config, run)]
    if found and not dead:
        raise UsageError(f"run {found[0].name} is still running")
    return dead[0] if dead else None
