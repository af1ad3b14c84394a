"""Windows of claims: they go once their rows have results, and what they say is never lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import RowResult, Status
from pipeline.store import LedgerError, RunLedger
from pipeline.store.claim_windows import ranges


def result(row: int, status: Status = Status.UPDATED) -> RowResult:
    return RowResult(row, "acme.price", "shop", status)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[RunLedger]:
    with RunLedger.create(tmp_path / "ledger.db") as each:
        yield each


def windows(ledger: RunLedger) -> list[str]:
    return [text for (text,) in ledger._database.rows("SELECT ranges FROM claim_windows")]


@given(st.lists(st.integers(0, 40) | st.integers(0, 2**40)))
def test_ranges_name_each_row_once_and_never_touch(rows):
    found = ranges(rows)
    assert [row for first, last in found for row in range(first, last + 1)] == sorted(set(rows))
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found))


def test_a_window_is_one_line_and_goes_with_the_commit_after_its_last_result(ledger):
    ledger.record(range(1, 1_001), [])
    assert windows(ledger) == ["[[1,1000]]"]
    ledger.record([], [result(row) for row in range(1, 1_000)])
    ledger.record([], [])
    assert windows(ledger) == ["[[1,1000]]"]
    assert list(ledger.claimed()) == [1_000]
    ledger.record([], [result(1_000)])
    assert list(ledger.claimed()) == []
    ledger.record([2_000], [])
    assert windows(ledger) == ["[[2000,2000]]"]


def test_rows_that_are_claimed_again_are_in_one_window(ledger):
    ledger.record([3, 1, 2], [])
    ledger.record([2, 3, 4, 4], [])
    assert windows(ledger) == ["[[1,3]]", "[[4,4]]"]
    ledger.record([1], [])
    assert windows(ledger) == ["[[1,3]]", "[[4,4]]"]


def test_a_row_that_was_not_attempted_is_claimed_again_by_a_window_of_its_own(ledger):
    """And the older window that names it may go before it ends, or after."""
    ledger.record([1, 2], [])
    ledger.record([], [result(1, Status.NOT_ATTEMPTED)])
    ledger.record([1], [])
    assert list(ledger.claimed()) == [1, 2]
    ledger.record([], [result(2)])
    ledger.record([], [])
    assert windows(ledger) == ["[[1,1]]"]
    assert list(ledger.claimed()) == [1]
    ledger.release([1])
    assert windows(ledger) == []


def test_a_released_row_leaves_every_window_that_names_it(ledger):
    ledger.record([1, 2, 3], [])
    ledger.record([], [result(1, Status.NOT_ATTEMPTED)])
    ledger.record([1], [])
    ledger.release([1])
    assert list(ledger.claimed()) == [2, 3]
    assert windows(ledger) == ["[[2,3]]"]


def test_a_failed_commit_forgets_no_window(ledger):
    """What it would have deleted is deleted by the next; what it would have added is not there."""
    ledger.record([1, 2], [])
    ledger.record([3], [result(1), result(2)])
    with pytest.raises(LedgerError):
        ledger.record([4, 5], [result(1)])
    assert windows(ledger) == ["[[1,2]]", "[[3,3]]"]
    assert list(ledger.claimed()) == [3]
    ledger.record([5], [])
    assert windows(ledger) == ["[[3,3]]", "[[5,5]]"]


def test_a_long_run_with_stragglers_keeps_only_their_windows(tmp_path):
    """Of 200 windows, the two whose rows still wait remain, in the file and for a reader."""
    path, size, stragglers = tmp_path / "ledger.db", 50, {7, 5_003}
    with RunLedger.create(path) as ledger:
        for first in range(1, 10_001, size):
            rows = range(first, first + size)
            ledger.record(rows, [])
            ledger.record([], [result(row) for row in rows if row not in stragglers])
        assert list(ledger.claimed()) == sorted(stragglers)
    with RunLedger(path) as ledger:
        ledger.record([], [])
        assert windows(ledger) == ["[[1,50]]", "[[5001,5050]]"]
        assert list(ledger.claimed()) == sorted(stragglers)


row_lists = st.lists(st.integers(1, 40), max_size=20)
calls = st.lists(
    st.tuples(st.just("claim"), row_lists)
    | st.tuples(st.just("end"), row_lists)
    | st.tuples(st.just("leave"), row_lists)
    | st.tuples(st.just("release"), row_lists)
    | st.tuples(st.just("reopen"), st.just([])),
    max_size=40,
)


@given(calls)
@settings(max_examples=150)
def test_after_any_calls_the_claimed_rows_are_those_of_the_plainest_model(wanted):
    """`end` ends rows for good, `leave` as not attempted; a call of both kinds names free rows."""
    claimed: set[int] = set()
    done: set[int] = set()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        ledger = RunLedger.create(path)
        for call, rows in wanted:
            free = dict.fromkeys(row for row in rows if row not in done)
            if call == "claim":
                ledger.record(list(free), [])
                claimed |= set(free)
            elif call == "release":
                ledger.release(rows)
                claimed -= set(rows)
            elif call == "reopen":
                ledger.close()
                ledger = RunLedger(path)
            else:
                status = Status.UPDATED if call == "end" else Status.NOT_ATTEMPTED
                ledger.record([], [result(row, status) for row in free])
                claimed -= set(free)
                done |= set(free) if call == "end" else set()
            assert list(ledger.claimed()) == sorted(claimed)
        ledger.record([], [])
        assert len(windows(ledger)) <= len(claimed)
        ledger.close()
