"""`pipeline runs`: list, show, stop, slow and remove runs."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

import click

from pipeline.cli.runs_entity import show_entity
from pipeline.cli.runs_output import RunsOutput
from pipeline.cli.runs_prune import prune_runs
from pipeline.cli.runs_shown import list_runs, show_exchange, show_run
from pipeline.cli.setup import named, read_config
from pipeline.config import Config
from pipeline.config.keys import MAX_DAYS
from pipeline.model import UsageError
from pipeline.model.formatting import one_line
from pipeline.model.quota import parse_quota
from pipeline.pacing.pause import describe, remaining_s
from pipeline.reporter.summary import PAGE_NAME
from pipeline.run.history import slow, stop
from pipeline.run.pauses import lift_pause
from pipeline.ui.html.run_index import INDEX_NAME

DEFAULT = "default"
_GO_WITH: dict[str, tuple[str, ...]] = {
    "entity": (),
    "prune": ("older_than", "dry_run"),
    "stop": (),
    "exchange": (),
    "quota": (),
    "lift_pause": (),
    "RUN": ("open",),
    "the list of runs": ("limit", "since", "unfinished", "run_id", "open"),
}
_NEED_RUN = {
    "stop": "the run to stop",
    "exchange": "the run of the row",
    "quota": "the run to slow down",
}


@click.command(short_help="List recorded runs, their results and reports.")
@click.argument("run", required=False)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="List at most N runs [20].")
@click.option("--since", metavar="DATE", help="List runs since DATE, such as 2026-05-01.")
@click.option("--unfinished", is_flag=True, help="List unfinished runs only.")
@click.option("--run-id", metavar="ID", help="List only the run with this id of a scheduler.")
@click.option("--entity", metavar="OPERATION:ID", help="List the rows of one entity in all runs.")
@click.option(
    "--exchange",
    type=click.IntRange(min=1),
    metavar="ROW",
    help="Show the request and reply of a row of RUN.",
)
@click.option("--open", is_flag=True, help="Open the page of RUN, or of all runs, in a browser.")
@click.option("--stop", is_flag=True, help="Stop RUN after its requests in flight.")
@click.option(
    "--quota",
    nargs=2,
    metavar="ACCOUNT QUOTA",
    help="Override a quota of RUN: shop 5/s, or shop default.",
)
@click.option("--lift-pause", metavar="ACCOUNT", help="End a pause that the vendor asked for.")
@click.option("--prune", is_flag=True, help="Remove old finished runs, or RUN; keep reports.")
@click.option(
    "--older-than",
    type=click.IntRange(0, MAX_DAYS),
    metavar="DAYS",
    help="With --prune: minimum age. Default: keep_days.",
)
@click.option("--dry-run", is_flag=True, help="With --prune: only list what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@click.pass_obj
def runs(config_file: Path | None, /, *, run: str | None, as_json: bool, **given: Any) -> None:
    """Show the results of RUN, and write its report if it is missing. Nothing is sent.

    RUN is a name or number of `pipeline runs`, or `latest`. Without it, all recorded runs are
    listed, newest first.
    """
    action = _action(run, given)
    config = read_config(config_file)
    output = RunsOutput(is_json=as_json)
    run = run and named(run, config)
    if action == "entity":
        show_entity(config, given["entity"], output)
    elif action == "lift_pause":
        _lift_pause(config, given["lift_pause"], output)
    elif action == "prune":
        prune_runs(config, output, run, older_than=given["older_than"], is_dry=given["dry_run"])
    elif run is None:
        list_runs(config, output, given)
    elif action == "stop":
        _stop(config, run, output)
    elif action == "exchange":
        show_exchange(config, run, given["exchange"], output)
    elif action == "quota":
        _slow(config, run, given["quota"], output)
    else:
        show_run(config, run, output)
    if given["open"]:
        page = config.reports / (INDEX_NAME if run is None else f"{run}/{PAGE_NAME}")
        output.note(_opened(page))


def _action(run: str | None, given: dict[str, Any]) -> str:
    """The action that the options select. Raises UsageError if they select two."""
    named = {name for name, value in given.items() if value is not None and value is not False}
    other = "the list of runs" if run is None else "RUN"
    action = next((name for name in _GO_WITH if name in named), other)
    wrong = sorted(named - {action, *_GO_WITH[action]})
    label = action if action == other else f"--{action.replace('_', '-')}"
    if wrong:
        raise UsageError(f"--{wrong[0].replace('_', '-')} cannot be combined with {label}")
    if run is None and action in _NEED_RUN:
        raise UsageError(f"{label} needs RUN: {_NEED_RUN[action]}")
    if run is not None and (action in {"entity", "lift_pause"} or "older_than" in named):
        flag = "--older-than" if "older_than" in named else label
        raise UsageError(f"{flag} applies to all runs: leave out {run}")
    return action


def _stop(config: Config, name: str, output: RunsOutput) -> None:
    holder = stop(config, name)
    if output.is_json:
        output.line(run=name, pid=holder.pid, command=holder.command)
    output.say(
        f"Stopping process {holder.pid} ({one_line(holder.command)}): requests in flight finish, "
        "the remaining rows are not sent, and the report is written."
    )


def _slow(config: Config, name: str, given: tuple[str, str], output: RunsOutput) -> None:
    account, text = given
    try:
        quota = None if text == DEFAULT else parse_quota(text)
    except ValueError as error:
        raise UsageError(f"--quota {error}, or {DEFAULT!r} for the configured one") from None
    holder = slow(config, name, account, quota)
    if output.is_json:
        output.line(run=name, account=account, quota=str(quota) if quota else None, pid=holder.pid)
    what = f"a quota of at most {quota}" if quota else "the configured quota again"
    output.say(f"Process {holder.pid} ({one_line(holder.command)}): {account} now has {what}.")


def _lift_pause(config: Config, account: str, output: RunsOutput) -> None:
    now_s = time.time()
    lifted = lift_pause(config, account, os.environ, now_s)
    left_s = 0.0 if lifted is None else remaining_s(lifted, now_s)
    if output.is_json:
        output.line(
            account=account, lifted_s=round(left_s, 3), words=lifted.words if lifted else ""
        )
    if lifted is None or left_s <= 0:
        output.say(f"{account}: no pause is recorded.")
        return
    output.say(
        f"{account}: the pause is lifted for all accounts with the same credential. It was "
        f"{describe(lifted, now_s)}. Waiting runs continue within a second."
    )


def _opened(page: Path) -> str:
    """Open a page; return a message that names it.

    Without a display nothing is opened, since a text browser would take over this terminal, unless
    `BROWSER` is set.
    """
    if not page.exists():
        return f"No page at {page}"
    has_screen = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    is_open = has_screen and webbrowser.open(page.absolute().as_uri())
    return f"{'Opened' if is_open else 'Cannot open a browser here. Page:'} {page}"
