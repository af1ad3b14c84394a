from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import Status
from pipeline.reporter import ReconciliationError
from pipeline.reporter.matching import UNSENT_CODE, AccountRows, match_results
from pipeline.reporter.reconcile import check_recorded, check_results, check_totals
from pipeline.store.result_lines import Line, line_of
from tests.reporter.runs import FACTS, jobs, snapshot, source, text_frame, updated


def results_of(given_source: object) -> pl.DataFrame:
    return pl.concat([results for _, results in match_results(given_source)])  # type: ignore[arg-type]


def skus(count: int) -> pl.DataFrame:
    return text_frame({"sku": [f"s{row}" for row in range(count)]})


def test_each_row_stands_beside_its_result(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, skus(40_000))
    rows = 0
    for frame, results in match_results(source(taken, map(updated, range(1, 40_001)))):
        assert frame["__row"].to_list() == results["_row"].to_list()
        rows += len(frame)
    assert rows == 40_000


@pytest.mark.parametrize(
    ("rows", "message", "named"),
    [
        ([1, 2, 3, 3, 4], "More than one result for a row: 3", (3,)),  # twice
        ([1, 2, 3, 4, 5], "the input does not have: 5", (5,)),  # after the last row
        ([1, 2, 3, 4, 900], "the input does not have: 900", (900,)),  # far behind it
        ([0, 1, 2, 3, 4], "", ()),  # before the first: no ledger is asked for it
        ([1, 1, 1, 1], "More than one", (1,)),  # as many as there are rows, still wrong
        ([1, 2, 3, 4, *range(5, 80)], "and more", tuple(range(5, 25))),  # at most twenty are named
    ],
)
def test_results_that_fit_no_row_end_the_report(
    tmp_path: Path, rows: list[int], message: str, named: tuple[int, ...]
) -> None:
    given_source = source(snapshot(tmp_path, skus(4)), map(updated, rows))
    if not message:
        assert len(results_of(given_source)) == 4
        return
    with pytest.raises(ReconciliationError, match=message) as caught:
        results_of(given_source)
    assert caught.value.rows == named


def test_a_result_for_a_row_that_was_not_chosen_ends_the_report(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, skus(3), rows=[17, 40, 41])
    assert results_of(source(taken, map(updated, [17, 40, 41])))["_row"].to_list() == [17, 40, 41]
    with pytest.raises(ReconciliationError, match="the input does not have: 30"):
        results_of(source(taken, map(updated, [17, 30, 40, 41])))


def test_a_flood_of_strange_results_is_not_read_to_its_end(tmp_path: Path) -> None:
    read = []

    def flood(first: int, last: int) -> Iterator[Line]:
        for row in range(first, last + 1):
            read.append(row)
            yield line_of(updated(row), seed=0)

    with pytest.raises(ReconciliationError):
        results_of(replace(source(snapshot(tmp_path, skus(3)), []), lines=flood))
    assert len(read) < 50


@pytest.mark.parametrize("rows", [[2, 1, 3], [1, 2, 2]])  # out of order; twice
def test_a_snapshot_with_rows_out_of_order_ends_the_report(tmp_path: Path, rows: list[int]) -> None:
    with pytest.raises(ReconciliationError, match="twice or out of order"):
        results_of(source(snapshot(tmp_path, skus(3), rows=rows), []))


def test_a_row_without_a_result_was_not_attempted(tmp_path: Path) -> None:
    given_source = source(
        snapshot(tmp_path, skus(6)),
        [updated(1)],
        routes={
            "shop": jobs(tmp_path / "shop.parquet", [1, 2, 4]),
            "eu": jobs(tmp_path / "eu.parquet", [3], operation="xsolla.bonus-promotion"),
        },
        stopped={"shop": "=the quota is used up"},
    )
    found = results_of(given_source).select("_row", "_operation", "_account", "_status", "_error")
    assert found.rows() == [
        (1, "xsolla.coupon", "shop", "updated", None),
        (2, "xsolla.coupon", "shop", "not_attempted", "'=the quota is used up"),
        (
            3,
            "xsolla.bonus-promotion",
            "eu",
            "not_attempted",
            "the run ended before this row was sent",
        ),
        (4, "xsolla.coupon", "shop", "not_attempted", "'=the quota is used up"),
        (5, None, None, "not_attempted", "the run ended before this row was sent"),
        (6, None, None, "not_attempted", "the run ended before this row was sent"),
    ]
    assert set(results_of(given_source)["_error_code"]) == {None, UNSENT_CODE}


def test_why_the_whole_run_stopped_is_told_where_the_account_did_not(tmp_path: Path) -> None:
    facts = replace(FACTS, stopped_by="interrupted")
    found = results_of(source(snapshot(tmp_path, skus(1)), [], facts=facts))
    assert found["_error"].item() == "interrupted"


@settings(max_examples=40)
@given(
    planned=st.sets(st.integers(1, 60)),
    asked=st.lists(st.integers(1, 60), min_size=1, unique=True),
    calls=st.integers(1, 5),
)
def test_a_route_read_forward_finds_what_a_lookup_finds(
    tmp_path_factory: pytest.TempPathFactory, planned: set[int], asked: list[int], calls: int
) -> None:
    path = jobs(tmp_path_factory.mktemp("route") / "jobs.parquet", sorted(planned))
    route = AccountRows("shop", path)
    asked.sort()
    size = -(-len(asked) // calls)
    parts = [asked[start : start + size] for start in range(0, len(asked), size)]
    found = [row for part in parts for row, _ in route.of(pl.Series(part)).iter_rows()]
    assert found == sorted(planned & set(asked))


@given(rows=st.sets(st.integers(1, 30)), results=st.lists(st.integers(1, 30), max_size=30))
def test_results_agree_exactly_where_they_are_a_part_of_the_rows(
    rows: set[int], results: list[int]
) -> None:
    is_right = set(results) <= rows and len(set(results)) == len(results)
    given_rows = pl.Series(sorted(rows), dtype=pl.Int64)
    given_results = pl.Series(sorted(results), dtype=pl.Int64)
    if is_right:
        check_results(given_rows, given_results)
    else:
        with pytest.raises(ReconciliationError):
            check_results(given_rows, given_results)


@pytest.mark.parametrize("off", ["selected", "stored", "with_result", "written"])
def test_one_count_that_differs_is_enough(off: str) -> None:
    counts = dict.fromkeys(("selected", "stored", "with_result", "written"), 3)
    check_totals(**counts)
    with pytest.raises(ReconciliationError, match="4"):
        check_totals(**counts | {off: 4})


@pytest.mark.parametrize(
    ("recorded", "found", "outcome"),
    [
        ({Status.UPDATED: 2}, {Status.UPDATED: 2}, "right"),
        ({Status.UPDATED: 2}, {Status.UPDATED: 1}, "wrong"),  # one is lost
        ({}, {Status.UPDATED: 1}, "wrong"),  # one that nobody recorded
        ({}, {Status.NOT_ATTEMPTED: 5}, "right"),  # added by the report itself
        ({Status.NOT_ATTEMPTED: 2}, {Status.NOT_ATTEMPTED: 1}, "wrong"),  # recorded, then lost
    ],
)
def test_what_was_recorded_is_what_is_found(
    recorded: dict[Status, int], found: dict[Status, int], outcome: str
) -> None:
    if outcome == "right":
        check_recorded(recorded, found)
    else:
        with pytest.raises(ReconciliationError):
            check_recorded(recorded, found)
