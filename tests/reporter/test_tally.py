from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import RowResult, Status
from pipeline.reporter.columns import result_frame
from pipeline.reporter.tally import MAX_KINDS, Tally
from tests.reporter.runs import rejected, updated


def tallied(*batches: list[RowResult]) -> Tally:
    tally = Tally()
    for batch in batches:
        frame = result_frame(batch, "r")
        tally.add(frame)
        tally.add_errors(frame.filter(pl.col("_status") != "updated"))
    return tally


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        ("coupon 'a' not found", "coupon 'b' not found", 1),  # a value in quotes
        ('coupon "a" not found', 'coupon "b" not found', 1),
        ("row 3 (line 4): bad", "row 17 (line 19): bad", 1),  # numbers
        ("id 5f3a-22 is gone", "id 77aa-b1 is gone", 1),  # words with a digit in them
        ("column sku: bad", "column name: bad", 2),  # other words are another error
        ("", "bad", 2),  # nothing said is a kind of its own
    ],
)
def test_errors_are_one_kind_where_only_names_differ(first: str, second: str, kinds: int) -> None:
    assert len(tallied([rejected(1, first), rejected(2, second)]).errors()) == kinds


def test_a_kind_shows_its_first_rows_over_all_batches() -> None:
    batches = [[rejected(row), rejected(row + 1), updated(row + 2)] for row in range(1, 40, 3)]
    (error,) = tallied(*batches).errors()
    assert (error.count, error.rows) == (26, (1, 2, 4, 5, 7))
    assert (error.message, error.hint, error.code) == ("no such coupon", "check the id", "0401")


def test_the_most_frequent_come_first_and_the_rest_is_counted() -> None:
    rows = [rejected(row, code=f"c{row % 15}") for row in range(1, 31)]
    tally = tallied([*rows, rejected(31, code="c7")])
    errors = tally.errors()
    assert [error.count for error in errors] == [3] + [2] * 9
    assert [error.code for error in errors][:3] == ["c7", "c1", "c2"]
    assert tally.errors_not_listed() == 10


def test_the_table_of_kinds_is_bounded() -> None:
    tally = Tally()
    for start in range(0, 3 * MAX_KINDS, MAX_KINDS):
        rows = [rejected(start + n + 1, code=f"x{start + n}") for n in range(MAX_KINDS)]
        frame = result_frame(rows, "r")
        tally.add(frame)
        tally.add_errors(frame)
    assert len(tally.errors(most=10 * MAX_KINDS)) == MAX_KINDS
    assert tally.errors_not_listed(most=10 * MAX_KINDS) == 2 * MAX_KINDS


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(Status), st.sampled_from(["", "shop", "eu"]))),
        max_size=4,
    )
)
def test_counts_are_those_of_a_plain_loop(batches: list[list[tuple[Status, str]]]) -> None:
    frames = [
        [RowResult(row, "", account, status) for row, (status, account) in enumerate(batch, 1)]
        for batch in batches
    ]
    tally = tallied(*frames)
    flat = [pair for batch in batches for pair in batch]
    assert tally.rows == len(flat)
    for account in ("", "shop", "eu"):
        expected = {s: sum(pair == (s, account) for pair in flat) for s in Status}
        assert tally.counts(account) == expected
    assert list(tally.counts()) == list(Status)
    assert set(tally.accounts()) == {account for _, account in flat if account}
