"""Next steps after a run, most urgent first. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.model import SUCCESS, Status
from pipeline.model.exit_codes import INTERRUPTED, NOTHING_SENT, STOPPED
from pipeline.model.formatting import counted, number
from pipeline.reporter.summary import Summary

Tone = Literal["good", "attention", "bad"]

_MAX_HINTS = 3
_MAX_NAMED = 4
_TO_FIX = (Status.INVALID, Status.REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """One step.

    text     may contain text of a vendor
    command  for a shell; empty if there is none
    anchor   id of the part of the page with details; empty if there is none
    """

    text: str
    command: str = ""
    anchor: str = ""


def tone_of(exit_code: int) -> Tone:
    """Tone of a run: good, bad if it stopped early or nothing was sent, else attention.

    >>> tone_of(0), tone_of(1), tone_of(130)
    ('good', 'attention', 'bad')
    """
    if not exit_code:
        return "good"
    return "attention" if exit_code == 1 else "bad"


def ended(summary: Summary) -> str:
    """Describe the end of a run in a few words."""
    if summary.exit_code >= INTERRUPTED:
        return "Interrupted"
    names = {0: "Succeeded", NOTHING_SENT: "Nothing was sent", STOPPED: "Stopped early"}
    return names.get(summary.exit_code, "Some rows did not succeed")


def headline(why: str, counts: Mapping[Status, int]) -> str:
    """Return `why`, or a shorter sentence if it names more than four statuses.

    >>> headline("3 of 4 rows updated; 1 invalid", {Status.UPDATED: 3, Status.INVALID: 1})
    '3 of 4 rows updated; 1 invalid'
    >>> headline("...", dict.fromkeys(Status, 1)).partition(" of ")[0]
    '3'
    """
    if sum(count > 0 for count in counts.values()) <= _MAX_NAMED:
        return why
    rows, good = sum(counts.values()), sum(counts.get(status, 0) for status in SUCCESS)
    return f"{number(good)} of {counted(rows, 'row')} succeeded, {number(rows - good)} did not"


def steps(summary: Summary) -> tuple[NextStep, ...]:
    """List all steps; none if every row succeeded."""
    return tuple(_steps(summary))


def _steps(summary: Summary) -> Iterator[NextStep]:
    for name, account in summary.accounts.items():
        if account.stopped is not None:
            yield NextStep(text=f"Account {name} stopped: {account.stopped}", anchor="outcomes")
    if summary.stopped:
        yield NextStep(text=f"The run ended early: {summary.stopped}")
    if summary.statuses.get(Status.UNKNOWN):
        rows = counted(summary.statuses[Status.UNKNOWN], "row")
        yield NextStep(text=f"Check {rows} at the vendor: they may have been applied", anchor="why")
    yield from _hints(summary)
    if any(summary.statuses.get(status) for status in _TO_FIX):
        text = "Fix the rows in the error file and send it again"
        if summary.made_of != "file":
            text = "Fix the plan's input file and make a new plan"
        yield NextStep(text=text, anchor="why")
    if summary.exit_code != NOTHING_SENT and not summary.is_simulated:
        yield from _again(summary)


def commands(summary: Summary) -> tuple[str, ...]:
    """List the commands of the steps."""
    return tuple(step.command for step in steps(summary) if step.command)


def _hints(summary: Summary) -> Iterator[NextStep]:
    """Hints of the most frequent kinds of errors, each hint once."""
    shown: set[str] = set()
    for index, error in enumerate(summary.errors, start=1):
        if error.hint and error.hint not in shown and len(shown) < _MAX_HINTS:
            shown.add(error.hint)
            what = f"{counted(error.count, 'row')} {error.status.replace('_', ' ')}"
            yield NextStep(text=f"{what}: {error.hint}", anchor=f"kind-{index}")


def _again(summary: Summary) -> Iterator[NextStep]:
    run = shlex.quote(summary.run)
    if summary.statuses.get(Status.NOT_ATTEMPTED):
        rows = counted(summary.statuses[Status.NOT_ATTEMPTED], "row")
        yield NextStep(
            text=f"Then send the remaining {rows} and resolve rows in doubt",
            command=f"pipeline resume {run}",
        )
    elif summary.statuses.get(Status.FAILED):
        yield NextStep(
            text="Then send the failed rows again",
            command=f"pipeline resume --failed {run}",
        )
