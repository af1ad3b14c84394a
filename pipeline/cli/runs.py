"""`pipeline runs`: what became of runs, and what is to become of their files."""

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
from pipeline.config.keys import MOST_DAYS
from pipeline.loader.suggestions import nearest
from pipeline.model import UsageError
from pipeline.model.formatting import counted, number, one_line, printable, verdict
from pipeline.model.quota import parse_quota
from pipeline.pacing.pause import describe, remaining_s
from pipeline.reporter.summary import PAGE_NAME
from pipeline.run.history import RunEntry, Touch, entries, entry, report_of, slow, stop, touches
from pipeline.run.pauses import lift_pause
from pipeline.runs.exchanges import exchange_of
from pipeline.runs.retention import prune, remove
from pipeline.ui.html.write import INDEX_NAME
from pipeline.ui.terminal import closing
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
    "the list of runs": ("most", "since", "unfinished", "open"),
}
_NEED_RUN = {
    "stop": "which one is to stop",
    "exchange": "whose row it is",
    "quota": "which one is to go more slowly",
}


@click.command(short_help="Runs on record: what became of them, and their reports.")
@click.argument("run", required=False)
@click.option(
    "--most", type=click.IntRange(min=1), metavar="N", help="List at most N. Default: 20."
)
@click.option("--since", metavar="DATE", help="List those begun then or later, as in 2026-05-01.")
@click.option("--unfinished", is_flag=True, help="List those that are not finished.")
@click.option("--entity", metavar="OPERATION:ID", help="Rows of all runs about one entity.")
@click.option(
    "--exchange", type=click.IntRange(min=1), metavar="ROW", help="What a row of RUN met, in full."
)
@click.option("--open", is_flag=True, help="Show the page of RUN, or of all runs, in a browser.")
@click.option("--stop", is_flag=True, help="Let the process that works on RUN finish and leave.")
@click.option(
    "--quota", nargs=2, metavar="ACCOUNT QUOTA", help="Slow RUN down, as in shop 5/s; shop default."
)
@click.option("--lift-pause", metavar="ACCOUNT", help="Forget the pause that its vendor asked for.")
@click.option("--prune", is_flag=True, help="Remove old finished runs, or RUN; reports stay.")
@click.option(
    "--older-than",
    type=click.IntRange(0, MOST_DAYS),
    metavar="DAYS",
    help="With --prune: ended so long ago. Default: keep_days.",
)
@click.option("--dry-run", is_flag=True, help="With --prune: only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@click.pass_obj
def runs(config_file: Path | None, /, *, run: str | None, as_json: bool, **given: Any) -> None:
    """What became of RUN; its report is made where it has none. Nothing is sent.

    Without RUN, the runs on record are listed, newest first.
    """
    asked = _asked(run, given)
    config = read_config(config_file)
    told = _RunsOutput(is_json=as_json)
    if asked == "entity":
        _tell_entity(config, given["entity"], told)
    elif asked == "lift_pause":
        _lift_pause(config, given["lift_pause"], told)
    elif asked == "prune":
        _prune(config, told, run, older_than=given["older_than"], is_dry=given["dry_run"])
    elif run is None:
        _list(config, told, given)
    elif asked == "stop":
        _stop(config, run, told)
    elif asked == "exchange":
        _tell_exchange(config, run, given["exchange"], told)
    elif asked == "quota":
        _slow(config, run, given["quota"], told)
    else:
        _tell_run(config, run, told)
    if given["open"]:
        page = config.reports / (INDEX_NAME if run is None else f"{run}/{PAGE_NAME}")
        told.aside(show(page))


def _asked(run: str | None, given: dict[str, Any]) -> str:
    """Which of the things that the command does is asked for. Raises UsageError for two."""
    named = {name for name, value in given.items() if value is not None and value is not False}
    other = "the list of runs" if run is None else "RUN"
    asked = next((name for name in _GO_WITH if name in named), other)
    wrong = sorted(named - {asked, *_GO_WITH[asked]})
    label = asked if asked == other else f"--{asked.replace('_', '-')}"
    if wrong:
        raise UsageError(f"--{wrong[0].replace('_', '-')} does not go with {label}")
    if run is None and asked in _NEED_RUN:
        raise UsageError(f"{label} needs RUN: {_NEED_RUN[asked]}")
    if run is not None and (asked in {"entity", "lift_pause"} or "older_than" in named):
        flag = "--older-than" if "older_than" in named else label
        raise UsageError(f"{flag} is about all runs: leave {run} out")
    return asked


class _RunsOutput:
    """What goes to stdout: words, or lines of JSON; and asides to people."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.console = terminal()
        self._aside = terminal(stderr=True)

    def line(self, **values: Any) -> None:
        """One JSON object."""
        emit(json.dumps({"format": FORMAT, **values}, separators=(",", ":")))

    def say(self, words: str) -> None:
        """To people, where they read stdout."""
        if not self.is_json:
            self.console.print(Text(words), soft_wrap=True)

    def aside(self, words: str) -> None:
        """To people, wherever stdout goes."""
        self._aside.print(Text(one_line(words)), soft_wrap=True)


# The list


def _list(config: Config, told: _RunsOutput, given: dict[str, Any]) -> None:
    most = given["most"] or MOST
    since = None if given["since"] is None else _moment(given["since"], config)
    found = entries(config, only_unfinished=given["unfinished"], since=since, most=most + 1)
    if told.is_json:
        for each in found[:most]:
            told.line(**_facts(each))
        return
    if not found:
        told.say("No such run is on record." if since or given["unfinished"] else "No runs yet.")
        return
    told.console.print(runs_table(map(_line, found[:most])))
    if len(found) > most:
        told.say(f"\nThere are older ones: --most shows more than {most}.")


def _moment(text: str, config: Config) -> datetime:
    """A date or time as the user gave it, in UTC; without an offset in the configured zone."""
    try:
        given = datetime.fromisoformat(text)
        if given.tzinfo is None:
            given = given.replace(tzinfo=ZoneInfo(config.timezone) if config.timezone else UTC)
        return given.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text!r} is no date; expected one such as 2026-05-01 or "
            "2026-05-01T18:00+02:00"
        ) from None


def _line(each: RunEntry) -> RunLine:
    run = each.run
    return RunLine(
        sequence=run.sequence,
        name=run.name,
        source=str(from_here(Path(run.source))),
        about=about(each),
        rows=run.rows,
        started=run.started,
        state=_state(each),
        exit_code=run.exit_code,
    )


def about(each: RunEntry) -> str:
    """What a run is: its operations, the accounts it goes through, and a mark if it is special."""
    run = each.run
    where = f" through {', '.join(run.accounts)}" if run.accounts else ""
    what = ", ".join(run.operations) or "no valid row"
    return "; ".join(filter(None, [f"{what}{where}", _kind(each)]))


def _kind(each: RunEntry) -> str:
    kinds = {"file": "", "plan": "of a plan", "undo": "takes a run back"}
    rehearsal = "rehearsal: no vendor was contacted" if each.is_rehearsal else ""
    return ", ".join(filter(None, [kinds[each.made_of], rehearsal]))


def _state(each: RunEntry) -> str:
    """What became of a run, in words."""
    counts = each.run.counts
    if each.condition == "under_way":
        return "under way" + (f" (process {each.holder.pid})" if each.holder else "")
    if each.condition == "refused":
        return "refused: nothing was sent"
    if each.condition == "finished":
        return f"finished: {verdict(counts)}" if counts else "finished"
    waiting = each.not_sent
    words = "its process was killed" if waiting is None else f"{counted(waiting, 'row')} not sent"
    if waiting is not None and each.report is None:
        words += f"; its report is missing, `pipeline runs {each.run.name}` makes it"
    return f"unfinished: {words}{'' if each.is_kept else ', and its files are gone'}"


def _facts(each: RunEntry) -> dict[str, Any]:
    """A run as JSON values, under names that stay."""
    run = each.run
    return {
        "sequence": run.sequence,
        "run": run.name,
        "source": run.source,
        "sha256": run.sha256,
        "rows": run.rows,
        "operations": dict(run.operations),
        "accounts": list(run.accounts),
        "made_of": each.made_of,
        "is_rehearsal": each.is_rehearsal,
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


def _tell_run(config: Config, name: str, told: _RunsOutput) -> None:
    """What is known of a run, then its report; one that is under way is not touched."""
    known = entry(config, name)
    if known.condition == "under_way":
        if told.is_json:
            told.line(**_facts(known), summary=None)
        else:
            _tell_known(known, told)
            told.say(f"\nIts report comes when it ends. `pipeline runs {name} --stop` stops it.")
        return
    summary, is_new = report_of(config, name, told.aside)
    known = entry(config, name)
    if told.is_json:
        told.line(**_facts(known), summary=summary.model_dump(mode="json"))
        return
    _tell_known(known, told)
    if is_new:
        told.say("\nIts report was made now; nothing was sent.")
    told.say("")
    closing(told.console, summary, config.reports / name)
    if known.condition == "unfinished" and known.is_kept:
        told.say(f"`pipeline resume {name}` carries it on.")


def _tell_exchange(config: Config, name: str, row: int, told: _RunsOutput) -> None:
    """What was sent last for a row that did not succeed, and what came back."""
    entry(config, name)  # so that a wrong name is told as everywhere
    found = exchange_of(config, name, row)
    if told.is_json:
        told.line(run=name, **found._asdict())
        return
    told.say(f"row {row}: {found.status}{f', {found.error_code}' if found.error_code else ''}\n")
    emit(printable(found.request))
    emit(f"\n{printable(found.reply)}")


def _tell_known(known: RunEntry, told: _RunsOutput) -> None:
    run = known.run
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    facts = {
        "source": str(from_here(Path(run.source))),
        "begun": moment(run.started),
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
    told.console.print(Text(f"Run {run.sequence}: {run.name}", style="bold"), soft_wrap=True)
    told.console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _rows_of(known: RunEntry) -> list[str]:
    found = [f"{number(rows)} of {name}" for name, rows in known.run.operations.items()]
    invalid = known.run.rows - sum(known.run.operations.values())
    return [*found, f"{number(invalid)} invalid"] if invalid or not found else found


def _stop(config: Config, name: str, told: _RunsOutput) -> None:
    holder = stop(config, name)
    if told.is_json:
        told.line(run=name, pid=holder.pid, command=holder.command)
    told.say(
        f"Told process {holder.pid} ({one_line(holder.command)}) to stop: what is in flight "
        "finishes, the rest is not sent, and the report is written."
    )


def _slow(config: Config, name: str, asked: tuple[str, str], told: _RunsOutput) -> None:
    account, text = asked
    try:
        quota = None if text == DEFAULT else parse_quota(text)
    except ValueError as error:
        raise UsageError(f"--quota {error}, or {DEFAULT!r} for the configured one") from None
    holder = slow(config, name, account, quota)
    if told.is_json:
        told.line(run=name, account=account, quota=str(quota) if quota else None, pid=holder.pid)
    what = f"at most {quota} from now on" if quota else "its configured quota again"
    told.say(f"Told process {holder.pid} ({one_line(holder.command)}): {account}, {what}.")


def _lift_pause(config: Config, account: str, told: _RunsOutput) -> None:
    now_s = time.time()
    lifted = lift_pause(config, account, os.environ)
    left_s = 0.0 if lifted is None else remaining_s(lifted, now_s)
    if told.is_json:
        told.line(account=account, lifted_s=round(left_s, 3), words=lifted.words if lifted else "")
    if lifted is None or left_s <= 0:
        told.say(f"{account}: no pause is on record.")
        return
    told.say(
        f"{account}: its pause is lifted, for all accounts of the same credential. It was "
        f"{describe(lifted, now_s)}. Runs that wait for it go on within a second."
    )


# Rows of an entity


def _tell_entity(config: Config, text: str, told: _RunsOutput) -> None:
    wanted = _entity(config, text)
    found = 0
    for touch in touches(config, wanted, told.aside):
        found += 1
        if told.is_json:
            told.line(**_touch_facts(touch))
        else:
            _tell_touch(touch, told)
    if not found:
        told.say(
            f"No kept run has a row about the {wanted.kind} {one_line(wanted.id)}. The id is "
            "compared letter by letter, as it is sent."
        )


def _entity(config: Config, text: str) -> EntityQuery:
    """What `xsolla.coupon:ID` means. Raises UsageError where it means nothing."""
    name, _, id_ = text.partition(":")
    known = {
        op.name: (vendor, op) for vendor in config.vendors.values() for op in vendor.operations
    }
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(known)}"
        raise UsageError(f"{name!r} is no operation; {hint}")
    if not id_:
        raise UsageError(f"--entity needs an id after the operation, as in {name}:ID")
    vendor, operation = known[name]
    return EntityQuery(vendor.name, operation.entity_kind, id_)


def _tell_touch(touch: Touch, told: _RunsOutput) -> None:
    run, asked, result = touch.entry.run, touch.asked, touch.result
    row = Text(f"{run.name}  row {number(asked.row)}  ", style="bold")
    row.append(touch.status.replace("_", " "))
    if touch.entry.condition == "under_way" and result is None:
        row.append(" yet: its run is under way", style="not bold")
    told.console.print(row, soft_wrap=True)
    where = f"{moment(run.started)}  {touch.account}  {asked.operation}"
    lines = [where, _shortened(asked.job)]
    if result is not None and result.error:
        lines.append(_shortened(f"{result.error_code}: {result.error}"))
    words = Text("\n".join(map(one_line, lines)), style="dim", overflow="fold")
    told.console.print(Padding(words, (0, 0, 0, 2), expand=False))


def _shortened(text: str) -> str:
    return text if len(text) <= _JOB_CHARS else f"{text[: _JOB_CHARS - 3]}..."


def _touch_facts(touch: Touch) -> dict[str, Any]:
    run, asked, result = touch.entry.run, touch.asked, touch.result
    return {
        "sequence": run.sequence,
        "run": run.name,
        "started": _iso(run.started),
        "state": touch.entry.condition,
        "row": asked.row,
        "operation": asked.operation,
        "account": touch.account,
        "entity": asked.entity,
        "status": touch.status,
        "http_status": result.http_status if result else None,
        "error_code": result.error_code if result else "",
        "error": result.error if result else "",
        "job": json.loads(asked.job),
    }


# What may go


def _prune(
    config: Config, told: _RunsOutput, run: str | None, *, older_than: int | None, is_dry: bool
) -> None:
    """Old runs, or `run` whatever its age."""
    days = config.keep_days if older_than is None else older_than
    if run is None:
        pruned = prune(config, older_than=timedelta(days=days), is_dry=is_dry)
    else:
        pruned = remove(config, run, is_dry=is_dry)
    done = "would be removed" if is_dry else "removed"
    if told.is_json:
        for gone in pruned.gone:
            state = "torn" if gone.is_torn else "finished"
            told.line(run=gone.name, removed=not is_dry, state=state, bytes=gone.bytes)
        for each in pruned.unfinished:
            told.line(run=each.name, removed=False, state="unfinished", bytes=None)
        return
    for gone in pruned.gone:
        why = "; it was never prepared to its end" if gone.is_torn else ""
        told.say(f"{done}  {gone.name}  {_size(gone.bytes)}{why}")
    told.say(
        f"{counted(len(pruned.gone), 'run')} {done}: {_size(pruned.bytes)}. Reports stay."
        if pruned.gone
        else f"No finished run ended more than {counted(days, 'day')} ago: nothing to remove."
    )
    if pruned.unfinished:
        told.say("\nOld and unfinished, so they stay:")
    stay = [entry(config, each.name) for each in pruned.unfinished]
    for known in stay:
        told.say(f"  {known.run.name}  {_state(known)}")
    if any(known.is_kept for known in stay):
        told.say("`pipeline resume RUN` carries one on, `pipeline runs RUN` makes its report.")
    if stay:
        told.say("`pipeline runs RUN --prune` removes one all the same.")


def _size(count: int) -> str:
    """Bytes as people say them.

    >>> _size(400), _size(52_000), _size(3_400_000), _size(0)
    ('0.1 MB', '0.1 MB', '3.4 MB', '0.0 MB')
    """
    return f"{-(-count * 10 // _MB) / 10:,.1f} MB"
