"""When nothing of a sound file is sent: a table with a reason per row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.jobs import JobsFile
from pipeline.loader import Bound
from pipeline.model import InputError, Snapshot
from pipeline.run.refusal import check_accounts, refusal_of
from pipeline.runs.options import RunOptions
from pipeline.runs.stop_if import parse_stop_if

SHOP = "xsolla|https://store.xsolla.com|44056"
OTHER = "xsolla|https://store.xsolla.com|44057"


def snapshot(**facts: Any) -> Snapshot:
    always = dict[str, Any](path=Path("a.csv"), source=Path("a.csv"), kind="csv", sha256="")
    always |= {"is_compressed": False, "size_bytes": 1, "columns": ("sku",)}
    found = always | {"rows": 10, "selected": 10} | facts
    return Snapshot(**found)


def jobs(rows: int, *reaches: str) -> JobsFile:
    path = Path("jobs-shop.parquet")
    places = frozenset(reaches or {SHOP})
    return JobsFile(path=path, rows=rows, operations={}, repeated=0, requests=rows, reaches=places)


def bound(sent: int, invalid: int) -> Bound:
    return Bound(jobs={"shop": jobs(sent)}, rows=sent + invalid, invalid=invalid)


def bound_to(one: JobsFile, other: JobsFile) -> Bound:
    return Bound(jobs={"a": one, "b": other}, rows=2, invalid=0)


STOP = (parse_stop_if("updated > 4"),)


@pytest.mark.parametrize(
    ("snapshot", "bound", "options", "says", "reason"),
    [
        (snapshot(), bound(10, 0), {}, None, "all is well"),
        (snapshot(), bound(10, 0), {"min_rows": 10}, None, "as many as asked for"),
        (snapshot(rows=9), bound(9, 0), {"min_rows": 10}, "rows in the file: 9", "too few"),
        (
            snapshot(selected=2),
            bound(2, 0),
            {"min_rows": 10},
            None,
            "the file counts, not the rows that were selected",
        ),
        (snapshot(), bound(5, 5), {}, None, "half of the rows may be invalid"),
        (snapshot(), bound(4, 6), {}, "6 of 10 rows are invalid", "more may not"),
        (snapshot(), bound(9, 1), {"max_invalid": 0.0}, "1 of 10 rows", "none may be"),
        (snapshot(), bound(0, 10), {"max_invalid": 1.0}, None, "all may be"),
        (snapshot(lacks_last_end=True), bound(10, 0), {}, None, "some files end so"),
        (
            snapshot(lacks_last_end=True),
            bound(10, 0),
            {"max_invalid": 0.0},
            "was the file cut",
            "who permits no invalid row wants no half of one",
        ),
        (
            snapshot(),
            bound(5, 0),
            {"stop_if": STOP, "is_plan": True},
            "the plan changes 5",
            "too many",
        ),
        (snapshot(), bound(4, 0), {"stop_if": STOP, "is_plan": True}, None, "as many as permitted"),
        (snapshot(), bound(5, 0), {"stop_if": STOP}, None, "a file's changes are unknown"),
        (
            snapshot(),
            bound(5, 0),
            {"stop_if": (parse_stop_if("updated > 1%"),), "is_plan": True},
            None,
            "the share is known at the end only",
        ),
        (
            snapshot(),
            bound(5, 0),
            {"stop_if": (parse_stop_if("rejected > 1"),), "is_plan": True},
            None,
            "nothing was rejected yet",
        ),
    ],
)
def test_refusal(
    snapshot: Snapshot, bound: Bound, options: dict[str, Any], says: str | None, reason: str
) -> None:
    given = {"is_plan": False} | options
    is_plan = given.pop("is_plan")
    found = refusal_of(snapshot, bound, RunOptions(**given), is_plan=is_plan)
    assert (found is None) if says is None else (says in str(found)), reason


def test_two_accounts_may_not_reach_the_same_entities() -> None:
    one, same, other = jobs(1, SHOP), jobs(1, OTHER, SHOP), jobs(1, OTHER)
    check_accounts(bound_to(one, other), Path("a.csv"))
    said = r"a and b reach the same entities \(xsolla at .*, project or container 44056\)"
    with pytest.raises(InputError, match=said):
        check_accounts(bound_to(one, same), Path("a.csv"))
