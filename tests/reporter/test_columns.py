from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import RESULT_COLUMNS, RowResult, Status
from pipeline.reporter.columns import (
    MAX_TEXT_CHARS,
    RESULT_SCHEMA,
    InputColumns,
    result_frame,
)
from pipeline.reporter.errors import ReportError
from tests.reporter.runs import snapshot, text_frame, updated


def as_reported(text: str) -> str | None:
    result = RowResult(1, "xsolla.coupon", "shop", Status.REJECTED, error=text)
    value: str | None = result_frame([result], "r")["_error"].item()
    return value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no such coupon", "no such coupon"),  # plain words stay as they are
        ("", None),  # nothing to say
        ("=1+1", "'=1+1"),  # the four that start a formula
        ("+49 30", "'+49 30"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'=1"),  # a blank in front does not stop a spreadsheet
        ("\r=1", "| =1"),  # nor does a line end; here it becomes text
        ("\u200b\u00a0=1", "'=1"),  # nor what cannot be seen
        ("＝1+1", "'＝1+1"),  # noqa: RUF001 - full width runs too
        ("a=b", "a=b"),  # harmless in the middle
        ("one\r\ntwo\nthree", "one | two | three"),  # our reader takes no control characters
        ("a\x00b\x07c\x85d", "a b c d"),
        ("\x1b[31mred\x1b[0m", "red"),  # an escape sequence goes whole
        (
            "x" * (MAX_TEXT_CHARS + 1),
            "x" * MAX_TEXT_CHARS,
        ),  # a whole HTML page is not an error text
        ("\ud800 cut", "? cut"),  # half a character, legal in JSON
    ],
)
def test_our_text_is_harmless(text: str, expected: str | None) -> None:
    assert as_reported(text) == expected


@given(st.text(st.characters(exclude_categories=[])))
def test_no_text_starts_a_formula_or_breaks_a_line(text: str) -> None:
    told = as_reported(text) or ""
    assert not told.startswith(("=", "+", "-", "@"))
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in told)


def test_results_become_columns_of_their_types() -> None:
    frame = result_frame([updated(3), RowResult(4, "", "", Status.INVALID)], "r")
    assert dict(frame.schema) == dict(RESULT_SCHEMA)
    assert frame.rows() == [
        ("r", 3, "xsolla.coupon", "shop", "updated", 204, None, None, None, 1, 0.1234, None, None),
        ("r", 4, None, None, "invalid", None, None, None, None, 0, 0.0, None, None),
    ]


def test_no_results_are_a_frame_too() -> None:
    frame = result_frame([], "r")
    assert frame.is_empty()
    assert dict(frame.schema) == dict(RESULT_SCHEMA)


def test_columns_of_an_earlier_run_are_dropped_by_their_exact_names(tmp_path: Path) -> None:
    header = ("sku", "_run", " _row ", "_Status", "_custom")
    frame = text_frame({name: ["x"] for name in header})
    columns = InputColumns(snapshot(tmp_path, frame), frame.schema)
    assert columns.header == ("sku", "_Status", "_custom", *RESULT_COLUMNS)
    rows = columns.join(frame, result_frame([updated(1)], "new"))
    assert rows.columns[:4] == ["sku", "_Status", "_custom", "_run"]
    assert rows["_run"].item() == "new"


def test_columns_without_a_name_keep_their_place(tmp_path: Path) -> None:
    frame = text_frame({"sku": ["x"], "unnamed_2": [None], "unnamed_3": [None]})
    taken = snapshot(tmp_path, frame, columns=("sku", "", ""))
    assert InputColumns(taken, frame.schema).header[:3] == ("sku", "", "")


def test_a_snapshot_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    frame = text_frame({"sku": ["x"]})
    with pytest.raises(ReportError, match="has 1 columns, the input had 2"):
        InputColumns(snapshot(tmp_path, frame, columns=("sku", "name")), frame.schema)


def test_a_parquet_file_keeps_its_header(tmp_path: Path) -> None:
    frame = pl.DataFrame({"sku": [1]})
    taken = snapshot(tmp_path, frame, columns=(" sku",), kind="parquet")
    columns = InputColumns(taken, frame.schema)
    assert columns.join(frame, result_frame([updated(1)], "r")).columns[0] == " sku"
    assert columns.schema[" sku"] == pl.Int64
