"""When a run stops by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Status
from pipeline.runs.stop_if import JUDGED_FROM, StopCheck, parse_stop_if

U, R, F, C, N = (
    Status.UPDATED,
    Status.REJECTED,
    Status.FAILED,
    Status.CONFLICT,
    Status.UNCHANGED,
)


def stops_at(condition: str, statuses: list[Status]) -> int | None:
    """After how many rows it stops, counted from 1."""
    check = StopCheck([parse_stop_if(condition)])
    return next((n for n, each in enumerate(statuses, 1) if check.on_result(each)), None)


@pytest.mark.parametrize(
    ("condition", "statuses", "expected", "why"),
    [
        ("rejected > 2", [R, R, R], 3, "more than two"),
        ("rejected > 2", [R, R, F, F], None, "others do not count"),
        ("errors > 0", [U, C], 2, "a conflict is an error"),
        ("errors > 0", [U, N, Status.SUPERSEDED], None, "what leaves nothing to do is none"),
        ("changes > 1", [U, N, U], 3, "what changed nothing is no change"),
        ("errors > 2%", [R, U, U], None, "one row is no share"),
        ("errors > 2%", [R, R], 2, "two of at least fifty are"),
        ("errors > 2%", [U] * 200 + [R] * 5, 205, "five of 205"),
        ("errors > 2%", [U] * 200 + [R] * 4, None, "four of 204"),
        ("errors > 2% of last 100", [U] * 900 + [R] * 3, 903, "what was good long ago is no help"),
        ("errors > 2% of last 100", [R, R] + [U] * 98 + [R], None, "what went out of sight"),
        ("errors > 2% of last 100", [R, R, R], 3, "three of a hundred already"),
        ("ERRORS>0", [F], 1, "spelt in another way"),
        ("errors > 0", [Status.INVALID, Status.NOT_ATTEMPTED], None, "rows that never left"),
    ],
)
def test_it_stops_when_the_condition_says(condition, statuses, expected, why):
    assert stops_at(condition, statuses) == expected, why


@pytest.mark.parametrize(
    "text",
    ["", "errors", "errors > ", "errors >= 2", "eros > 2%", "errors > -1", "errors > 2% of last 0"],
)
def test_text_that_is_no_condition_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_stop_if(text)


def test_a_small_trial_is_judged_by_its_own_size_at_its_end():
    check = StopCheck([parse_stop_if("errors > 2%")])
    assert [check.on_result(each) for each in [R, *[U] * 9]] == [None] * 10
    assert check.at_end() == "errors > 2%: 1 of the 10 rows that ended"


def test_it_stops_once():
    check = StopCheck([parse_stop_if("errors > 0")])
    assert check.on_result(R)
    assert check.on_result(R) is None
    assert check.at_end() is None


@given(st.lists(st.sampled_from([U, R]), max_size=300), st.integers(1, 40), st.integers(1, 80))
def test_a_window_counts_only_its_rows(statuses, most, last):
    check = StopCheck([parse_stop_if(f"errors > {most} of last {last}")])
    for n, each in enumerate(statuses, 1):
        if check.on_result(each):
            assert statuses[max(0, n - last) : n].count(R) > most
            return
        assert statuses[max(0, n - last) : n].count(R) <= most


@given(st.lists(st.sampled_from([U, R, F]), min_size=1, max_size=300), st.integers(0, 50))
def test_a_share_is_of_all_rows_so_far_and_of_fifty_at_least(statuses, percent):
    found = stops_at(f"errors > {percent}%", statuses)
    shares = [
        100 * sum(s is not U for s in statuses[:n]) / max(n, JUDGED_FROM)
        for n in range(1, len(statuses) + 1)
    ]
    assert found == next((n for n, share in enumerate(shares, 1) if share > percent), None)
