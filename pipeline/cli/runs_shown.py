"""Shows the runs on record as a list, and one of them with its report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.cli.console import emit
from pipeline.cli.messages import from_here
from pipeline.cli.runs_output import RunsOutput, iso
from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.model.formatting import counted, number, one_line, printable, verdict
from pipeline.model.object_path import named_path
from pipeline.run import deliver
from pipeline.run.history import RunEntry, entries, entry, report_of
from pipeline.run.share_view import share_lines
from pipeline.runs.exchanges import exchange_of
from pipeline.ui.terminal import show_result
from pipeline.ui.terminal.runs_table import RunLine, moment, runs_table

MOST = 20


def list_runs(config: Config, output: RunsOutput, given: dict[str, Any]) -> None:
    """List the runs that the options select, newest first."""
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
        state=state_of(each),
        exit_code=run.exit_code,
    )


def about(each: RunEntry) -> str:
    """The operations and accounts of a run, and its kind if it is special."""
    run = each.run
    where = f" via {', '.join(run.accounts)}" if run.accounts else ""
    what = ", ".join(run.operations) or "no valid row"
    return "; ".join(filter(None, [f"{what}{where}", _kind(each)]))


def state_of(each: RunEntry) -> str:
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


def _kind(each: RunEntry) -> str:
    kinds = {"file": "", "plan": "from a plan", "undo": "undo of a run"}
    simulated = "simulated: no vendor was contacted" if each.is_simulated else ""
    return ", ".join(filter(None, [kinds[each.made_of], simulated]))


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
        "started": iso(run.started),
        "ended": iso(run.ended),
        "repeats": run.repeats,
        "continues": run.continues,
        "report": str(each.report) if each.report else None,
    }


def show_run(config: Config, name: str, output: RunsOutput) -> None:
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
    summary, is_new = report_of(config, name, output.note, checks_record=True)
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


def _show_known(known: RunEntry, output: RunsOutput) -> None:
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
        "state": state_of(known),
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


def show_exchange(config: Config, name: str, row: int, output: RunsOutput) -> None:
    """Show the last request and reply of a row that did not succeed."""
    entry(config, name)  # reports an unknown name as elsewhere
    found = exchange_of(config, name, row)
    if output.is_json:
        output.line(run=name, **found._asdict())
        return
    output.say(f"row {row}: {found.status}{f', {found.error_code}' if found.error_code else ''}\n")
    emit(printable(found.request))
    emit(f"\n{printable(found.reply)}")
