"""`pipeline runs`: list, show, stop, slow and remove runs."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.cli.browser import show
from pipeline.cli.console import emit, terminal
from pipeline.cli.messages import from_here
from pipeline.cli.setup import read_config
from pipeline.config import Config
from pipeline.config.keys import MAX_DAYS
from pipeline.loader.suggestions import nearest
from pipeline.model import UsageError
from pipeline.model.formatting import counted, number, one_line, printable, verdict
from pipeline.model.object_path import named_path
from pipeline.model.quota import parse_quota
from pipeline.pacing.pause import describe, remaining_s
from pipeline.reporter.summary import PAGE_NAME
from pipeline.run import deliver
from pipeline.run.history import RunEntry, Touch, entries, entry, report_of, slow, stop, touches
from pipeline.run.pauses import lift_pause
from pipeline.run.share_view import share_lines
from pipeline.runs.exchanges import exchange_of
from pipeline.runs.retention import prune, remove
from pipeline.ui.html.write import INDEX_NAME
from pipeline.ui.terminal import show_result
from pipeline.ui.terminal.runs_table import EntityQuery, RunLine, moment, runs_table

FORMAT = 1
MOST = 20
DEFAULT = "default"
_JOB_CHARS = 150
_MB = 1_000_000

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

    Without RUN, all recorded runs are listed, newest first.
    """
    action = _action(run, given)
    config = read_config(config_file)
    output = _RunsOutput(is_json=as_json)
    if action == "entity":
        _show_entity(config, given["entity"], output)
    elif action == "lift_pause":
        _lift_pause(config, given["lift_pause"], output)
    elif action == "prune":
        _prune(config, output, run, older_than=given["older_than"], is_dry=given["dry_run"])
    elif run is None:
        _list(config, output, given)
    elif action == "stop":
        _stop(config, run, output)
    elif action == "exchange":
        _show_exchange(config, run, given["exchange"], output)
    elif action == "quota":
        _slow(config, run, given["quota"], output)
    else:
        _show_run(config, run, output)
    if given["open"]:
        page = config.reports / (INDEX_NAME if run is None else f"{run}/{PAGE_NAME}")
        output.note(show(page))


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


class _RunsOutput:
    """Output of `runs`: text or JSON lines on stdout, and notes on stderr."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.console = terminal()
        self._notes = terminal(stderr=True)

    def line(self, **values: Any) -> None:
        """Print one JSON object."""
        emit(json.dumps({"format": FORMAT, **values}, separators=(",", ":")))

    def say(self, words: str) -> None:
        """Print text to stdout, unless JSON goes there."""
        if not self.is_json:
            self.console.print(Text(words), soft_wrap=True)

    def note(self, words: str) -> None:
        """Print a note to stderr."""
        self._notes.print(Text(one_line(words)), soft_wrap=True)


# The list


def _list(config: Config, output: _RunsOutput, given: dict[str, Any]) -> None:
    limit = given["limit"] or MOST
    since = None if given["since"] is None else _moment(given["since"], config)
    found = entries(
        config,
        only_unfinished=given["unfinished"],
        since=since,
        run_id=given["run_id"],
        most=limit + 1,
    )
    if output.is_json:
        for each in found[:limit]:
            output.line(**_facts(each))
        return
    if not found:
        narrowed = since or given["unfinished"] or given["run_id"]
        output.say("No matching run." if narrowed else "No runs yet.")
        return
    output.console.print(runs_table(map(_line, found[:limit])))
    if len(found) > limit:
        output.say(f"\nOlder runs exist: use --limit to list more than {limit}.")


def _moment(text: str, config: Config) -> datetime:
    """The given date or time in UTC; without an offset it is in the configured timezone."""
    try:
        given = datetime.fromisoformat(text)
        if given.tzinfo is None:
            given = given.replace(tzinfo=ZoneInfo(config.timezone) if config.timezone else UTC)
        return given.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text!r} is not a date; expected for example 2026-05-01 or "
            "2026-05-01T18:00+02:00"
        ) from None


def _line(each: RunEntry) -> RunLine:
    run = each.run
    return RunLine(
        sequence=run.sequence,
        name=run.name,
        source=str(from_here(named_path(run.source))),
        about=about(each),
        rows=run.rows,
        started=run.started,
        state=_state(each),
        exit_code=run.exit_code,
    )


def about(each: RunEntry) -> str:
    """The operations and accounts of a run, and its kind if it is special."""
    run = each.run
    where = f" via {', '.join(run.accounts)}" if run.accounts else ""
    what = ", ".join(run.operations) or "no valid row"
    return "; ".join(filter(None, [f"{what}{where}", _kind(each)]))


def _kind(each: RunEntry) -> str:
    kinds = {"file": "", "plan": "from a plan", "undo": "undo of a run"}
    simulated = "simulated: no vendor was contacted" if each.is_simulated else ""
    return ", ".join(filter(None, [kinds[each.made_of], simulated]))


def _state(each: RunEntry) -> str:
    """The state of a run, for people."""
    counts = each.run.counts
    if each.condition == "under_way":
        return "running" + (f" (process {each.holder.pid})" if each.holder else "")
    if each.condition == "refused":
        return "refused: nothing was sent"
    if each.condition == "finished":
        return f"finished: {verdict(counts)}" if counts else "finished"
    waiting = each.not_sent
    words = "its process was killed" if waiting is None else f"{counted(waiting, 'row')} not sent"
    if waiting is not None and each.report is None:
        words += f"; its report is missing: `pipeline runs {each.run.name}` writes it"
    return f"unfinished: {words}{'' if each.is_kept else ', its files were removed'}"


def _facts(each: RunEntry) -> dict[str, Any]:
    """A run as JSON values; the names are stable."""
    run = each.run
    return {
        "sequence": run.sequence,
        "run": run.name,
        "run_id": run.run_id,
        "source": run.source,
        "sha256": run.sha256,
        "rows": run.rows,
        "operations": dict(run.operations),
        "accounts": list(run.accounts),
        "made_of": each.made_of,
        "is_simulated": each.is_simulated,
        "state": each.condition,
        "pid": each.holder.pid if each.holder else None,
        "not_sent": each.not_sent,
        "counts": dict(run.counts),
        "exit_code": run.exit_code,
        "started": _iso(run.started),
        "ended": _iso(run.ended),
        "repeats": run.repeats,
        "continues": run.continues,
        "report": str(each.report) if each.report else None,
    }


def _iso(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat(timespec="seconds") if time else None


# One run


def _show_run(config: Config, name: str, output: _RunsOutput) -> None:
    """Show a run and its report; of a running one, show only what is recorded."""
    known = entry(config, name)
    if known.condition == "under_way":
        if output.is_json:
            output.line(**_facts(known), shares=share_lines(config, name), summary=None)
        else:
            _show_known(known, output)
            for line in share_lines(config, name):
                output.say(f"  {line}")
            output.say(
                f"\nThe report is written at the end. Stop it with `pipeline runs {name} --stop`."
            )
        return
    summary, is_new = report_of(config, name, output.note)
    known = entry(config, name)
    deliver(config, name)
    if output.is_json:
        output.line(**_facts(known), summary=summary.model_dump(mode="json"))
        return
    _show_known(known, output)
    if is_new:
        output.say("\nThe report was missing and has been written. Nothing was sent.")
    output.say("")
    show_result(output.console, summary, config.report_place(name))
    if known.condition == "unfinished" and known.is_kept:
        output.say(f"Continue with `pipeline resume {name}`.")


def _show_exchange(config: Config, name: str, row: int, output: _RunsOutput) -> None:
    """Show the last request and reply of a row that did not succeed."""
    entry(config, name)  # reports an unknown name as elsewhere
    found = exchange_of(config, name, row)
    if output.is_json:
        output.line(run=name, **found._asdict())
        return
    output.say(f"row {row}: {found.status}{f', {found.error_code}' if found.error_code else ''}\n")
    emit(printable(found.request))
    emit(f"\n{printable(found.reply)}")


def _show_known(known: RunEntry, output: _RunsOutput) -> None:
    run = known.run
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    facts = {
        "source": str(from_here(named_path(run.source))),
        "started": moment(run.started),
        "rows": ", ".join(_rows_of(known)),
        "accounts": ", ".join(run.accounts),
        "kind": _kind(known),
        "repeats": run.repeats,
        "continues": run.continues,
        "state": _state(known),
        "process": known.holder.command if known.holder else None,
    }
    for label, fact in facts.items():
        if fact:
            table.add_row(label, Text(one_line(fact)))
    output.console.print(Text(f"Run {run.sequence}: {run.name}", style="bold"), soft_wrap=True)
    output.console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _rows_of(known: RunEntry) -> list[str]:
    found = [f"{number(rows)} of {name}" for name, rows in known.run.operations.items()]
    invalid = known.run.rows - sum(known.run.operations.values())
    return [*found, f"{number(invalid)} invalid"] if invalid or not found else found


def _stop(config: Config, name: str, output: _RunsOutput) -> None:
    holder = stop(config, name)
    if output.is_json:
        output.line(run=name, pid=holder.pid, command=holder.command)
    output.say(
        f"Stopping process {holder.pid} ({one_line(holder.command)}): requests in flight finish, "
        "the remaining rows are not sent, and the report is written."
    )


def _slow(config: Config, name: str, given: tuple[str, str], output: _RunsOutput) -> None:
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


def _lift_pause(config: Config, account: str, output: _RunsOutput) -> None:
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


# Rows of an entity


def _show_entity(config: Config, text: str, output: _RunsOutput) -> None:
    wanted = _entity(config, text)
    found = 0
    for touch in touches(config, wanted, output.note):
        found += 1
        if output.is_json:
            output.line(**_touch_facts(touch))
        else:
            _show_touch(touch, output)
    if not found:
        output.say(
            f"No recorded run has a row for the {wanted.kind} {one_line(wanted.id)}. The id must "
            "match exactly, as it is sent."
        )


def _entity(config: Config, text: str) -> EntityQuery:
    """The entity that `xsolla.coupon:ID` names. Raises UsageError if it names none."""
    name, _, id_ = text.partition(":")
    known = {
        op.name: (vendor, op) for vendor in config.vendors.values() for op in vendor.operations
    }
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"unknown operation {name!r}; {hint}")
    if not id_:
        raise UsageError(f"--entity needs an id after the operation: {name}:ID")
    vendor, operation = known[name]
    return EntityQuery(vendor.name, operation.entity_kind, id_)


def _show_touch(touch: Touch, output: _RunsOutput) -> None:
    run, request, result = touch.entry.run, touch.request, touch.result
    row = Text(f"{run.name}  row {number(request.row)}  ", style="bold")
    row.append(touch.status.replace("_", " "))
    if touch.entry.condition == "under_way" and result is None:
        row.append(" yet: the run is not finished", style="not bold")
    output.console.print(row, soft_wrap=True)
    where = f"{moment(run.started)}  {touch.account}  {request.operation}"
    lines = [where, _shortened(request.job)]
    if result is not None and result.error:
        lines.append(_shortened(f"{result.error_code}: {result.error}"))
    words = Text("\n".join(map(one_line, lines)), style="dim", overflow="fold")
    output.console.print(Padding(words, (0, 0, 0, 2), expand=False))


def _shortened(text: str) -> str:
    return text if len(text) <= _JOB_CHARS else f"{text[: _JOB_CHARS - 3]}..."


def _touch_facts(touch: Touch) -> dict[str, Any]:
    run, request, result = touch.entry.run, touch.request, touch.result
    return {
        "sequence": run.sequence,
        "run": run.name,
        "started": _iso(run.started),
        "state": touch.entry.condition,
        "row": request.row,
        "operation": request.operation,
        "account": touch.account,
        "entity": request.entity,
        "status": touch.status,
        "http_status": result.http_status if result else None,
        "error_code": result.error_code if result else "",
        "error": result.error if result else "",
        "job": json.loads(request.job),
    }


# Removal


def _prune(
    config: Config, output: _RunsOutput, run: str | None, *, older_than: int | None, is_dry: bool
) -> None:
    """Remove old runs, or `run` regardless of its age."""
    days = config.keep_days if older_than is None else older_than
    if run is None:
        pruned = prune(config, older_than=timedelta(days=days), is_dry=is_dry)
    else:
        pruned = remove(config, run, is_dry=is_dry)
    done = "would be removed" if is_dry else "removed"
    if output.is_json:
        for gone in pruned.gone:
            state = "torn" if gone.is_torn else "finished"
            output.line(run=gone.name, removed=not is_dry, state=state, bytes=gone.bytes)
        for each in pruned.unfinished:
            output.line(run=each.name, removed=False, state="unfinished", bytes=None)
        return
    for gone in pruned.gone:
        why = "; it was not fully prepared" if gone.is_torn else ""
        output.say(f"{done}  {gone.name}  {_size(gone.bytes)}{why}")
    output.say(
        f"{counted(len(pruned.gone), 'run')} {done}: {_size(pruned.bytes)}. Reports are kept."
        if pruned.gone
        else f"Nothing to remove: no finished run is older than {counted(days, 'day')}."
    )
    if pruned.unfinished:
        output.say("\nKept because unfinished:")
    stay = [entry(config, each.name) for each in pruned.unfinished]
    for known in stay:
        output.say(f"  {known.run.name}  {_state(known)}")
    if any(known.is_kept for known in stay):
        output.say(
            "Continue one with `pipeline resume RUN`, or write its report with `pipeline runs RUN`."
        )
    if stay:
        output.say("Remove one anyway with `pipeline runs RUN --prune`.")


def _size(count: int) -> str:
    """A size in MB, rounded up.

    >>> _size(400), _size(52_000), _size(3_400_000), _size(0)
    ('0.1 MB', '0.1 MB', '3.4 MB', '0.0 MB')
    """
    return f"{-(-count * 10 // _MB) / 10:,.1f} MB"
