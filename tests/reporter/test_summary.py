from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.model import Status
from pipeline.reporter import ReportError, Summary, exit_code, read_summary
from tests.reporter.runs import rejected, snapshot, source, text_frame, updated, write_report

U, R, X, N = Status.UPDATED, Status.REJECTED, Status.UNKNOWN, Status.NOT_ATTEMPTED


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    taken = snapshot(tmp_path, text_frame({"sku": ["a", "b"]}))
    return write_report(source(taken, [updated(1), rejected(2)]), tmp_path / "r")


@pytest.mark.parametrize(
    ("counts", "tolerance", "expected"),
    [
        ({}, 0.0, 0),  # a header without rows
        ({U: 5}, 0.0, 0),
        ({U: 99, R: 1}, 0.0, 1),  # one is one too many
        ({U: 99, R: 1}, 0.01, 0),  # unless that was agreed
        ({U: 98, R: 2}, 0.01, 1),
        ({U: 999, X: 1}, 0.5, 1),  # never where one is unknown
        ({N: 1}, 0.99, 1),
        ({N: 1}, 1.0, 0),
    ],
)
def test_the_exit_code_follows_from_the_rows(
    counts: dict[Status, int], tolerance: float, expected: int
) -> None:
    assert exit_code(counts, tolerance) == expected


def test_a_summary_is_read_as_it_was_written(summary: Summary, tmp_path: Path) -> None:
    path = tmp_path / "r" / "summary.json"
    assert read_summary(path) == summary
    assert path.read_text() == summary.text()


def test_its_keys_keep_their_order_and_every_status_is_there(summary: Summary) -> None:
    stored = json.loads(summary.text())
    assert list(stored) == list(Summary.model_fields)
    assert list(stored)[:4] == ["format", "run", "why", "exit_code"]
    assert list(stored["statuses"]) == [status.value for status in Status]


def test_for_a_program_it_is_one_line(summary: Summary) -> None:
    assert "\n" not in summary.one_line()
    assert json.loads(summary.one_line()) == json.loads(summary.text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a summary of a run"),
        (b"[]", "not a summary of a run"),
        (b"{}", "not a summary of a run"),
        (b'{"format": 2}', "written in format 2; this version reads up to 1. Update the program"),
        (b'{"format": 1}', "a damaged summary"),
    ],
)
def test_what_is_no_summary_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(ReportError, match=message):
        read_summary(tmp_path / "summary.json")


def test_a_missing_summary_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="the summary cannot be read: No such file"):
        read_summary(tmp_path / "summary.json")
