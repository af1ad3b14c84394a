"""When nothing of a sound file may be sent, and why. Pure."""

from __future__ import annotations

from pathlib import Path

from pipeline.loader import Bound
from pipeline.model import (
    EntityKey,
    Fault,
    InputError,
    Snapshot,
    Status,
)
from pipeline.runs.options import RunOptions

CUT_LAST_LINE = "the last line of the file has no line end, unlike those before: was the file cut?"


def refusal_of(
    snapshot: Snapshot, bound: Bound, options: RunOptions, *, is_plan: bool
) -> str | None:
    """Why nothing of a file may be sent; None if it may be.

    is_plan  the file is a plan, whose rows are known to change something
    """
    if snapshot.rows < options.min_rows:
        return f"rows in the file: {snapshot.rows}, fewer than the {options.min_rows} asked for"
    if snapshot.lacks_last_end and not options.max_invalid:
        return f"{CUT_LAST_LINE}. Nothing was sent"
    if bound.invalid > options.max_invalid * bound.rows:
        return (
            f"{bound.invalid} of {bound.rows} rows are invalid, more than "
            f"{options.max_invalid:.0%}: nothing was sent"
        )
    return _too_many_changes(bound, options) if is_plan else None


def _too_many_changes(bound: Bound, options: RunOptions) -> str | None:
    changes = sum(file.rows for file in bound.jobs.values())
    for condition in options.stop_if:
        is_of_changes = condition.counted == {Status.UPDATED} and not condition.is_share
        if is_of_changes and changes > condition.most:
            return f"{condition.text}: the plan changes {changes}. Nothing was sent"
    return None


def check_accounts(bound: Bound, path: Path) -> None:
    """Raise InputError if two accounts of the file reach the same entities.

    Rows of an entity are kept in order within one account only.
    """
    reached: dict[str, str] = {}
    for name, file in bound.jobs.items():
        for place in file.reaches:
            if place in reached:
                raise InputError(
                    Fault(
                        what=f"accounts {reached[place]} and {name} reach the same entities "
                        f"({describe_place(place)}), and rows sent through both would lose "
                        "their order",
                        file=str(path),
                        todo="Name one of them in all rows",
                    )
                )
            reached[place] = name


def describe_place(place: str) -> str:
    """A destination as text.

    >>> describe_place("xsolla|https://store.xsolla.com|44056")
    'xsolla at https://store.xsolla.com, project or container 44056'
    """
    key = EntityKey.parse(place)
    where = f"{key.vendor} at {key.origin}"
    return f"{where}, project or container {key.scope}" if key.scope else where
