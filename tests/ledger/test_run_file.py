from __future__ import annotations

import resource
import signal
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ledger import RunFile
from pipeline.model import RowResult, RunAborted, Status


def result(row: int, **fields) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", Status.UPDATED, **fields)


def test_results_come_back_in_row_order_however_they_ended(tmp_path):
    with RunFile(tmp_path / "results.jsonl") as ledger:
        ledger.end([result(5), result(2, error='say "no"\n', hint="\u2028 é")])
        ledger.end([result(9000)])
        ledger.end([result(1, seconds=0.25, http_status=204, request_id="x")])
        assert list(ledger.results(1, 10_000)) == [
            result(1, seconds=0.25, http_status=204, request_id="x"),
            result(2, error='say "no"\n', hint="\u2028 é"),
            result(5),
            result(9000),
        ]
        assert list(ledger.results(2, 5)) == [
            result(2, error='say "no"\n', hint="\u2028 é"),
            result(5),
        ]
        assert list(ledger.results(6, 8000)) == []


def test_an_empty_record_has_no_results(tmp_path):
    with RunFile(tmp_path / "results.jsonl") as ledger:
        assert list(ledger.results(1, 10)) == []


def test_a_second_result_of_a_row_is_not_hidden(tmp_path):
    with RunFile(tmp_path / "results.jsonl") as ledger:
        ledger.end([result(1), result(2), result(1, attempts=2)])
        assert [found.row for found in ledger.results(1, 9)] == [1, 1, 2]


def test_more_may_be_recorded_after_reading(tmp_path):
    with RunFile(tmp_path / "results.jsonl") as ledger:
        ledger.end([result(1)])
        assert len(list(ledger.results(1, 9))) == 1
        ledger.end([result(2)])
        assert len(list(ledger.results(1, 9))) == 2


def test_only_the_owner_can_read_it_and_the_index_is_gone_afterwards(tmp_path):
    with RunFile(tmp_path / "results.jsonl") as ledger:
        ledger.end([result(1)])
        list(ledger.results(1, 1))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes == {"results.jsonl": 0o600, "results.index": 0o600}
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_a_full_disk_is_an_error_that_says_so():
    ledger = RunFile(Path("/dev/full"))
    with pytest.raises(RunAborted, match="No space left"):
        ledger.end([result(1)])
    ledger.close()


def test_half_a_line_is_taken_back(tmp_path):
    """A full disk in the middle of a write: what was whole before stays readable."""
    path = tmp_path / "results.jsonl"
    with RunFile(path) as ledger:
        ledger.end([result(1)])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
        try:
            with pytest.raises(RunAborted, match="File too large"):
                ledger.end([result(2)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        ledger.end([result(3)])
        assert [found.row for found in ledger.results(1, 9)] == [1, 3]


def test_half_a_surrogate_pair_in_a_vendors_words_can_be_read_back(tmp_path):
    with RunFile(tmp_path / "results.jsonl") as ledger:
        ledger.end([result(1, error="\ud800")])
        assert [found.error for found in ledger.results(1, 1)] == ["\ud800"]


@given(st.permutations(range(1, 60)), st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_every_result_comes_back_once(tmp_path_factory, rows, batch):
    path = tmp_path_factory.mktemp("ledger") / "results.jsonl"
    with RunFile(path) as ledger:
        for start in range(0, len(rows), batch):
            ledger.end([result(row, error="x" * row) for row in rows[start : start + batch]])
        found = [r for first in range(1, 60, 7) for r in ledger.results(first, first + 6)]
    assert found == [result(row, error="x" * row) for row in sorted(rows)]
