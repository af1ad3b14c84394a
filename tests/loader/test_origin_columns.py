from __future__ import annotations

from typing import Any

import pytest

from pipeline.loader.origin_columns import NEW, OriginReader, RowOrigin

RUN = "20260501T020000Z-coupons-abcd"


def read(run: Any, row: Any) -> Any:
    return OriginReader({RUN}.__contains__).read([run], [row])[0]


@pytest.mark.parametrize(
    ("run", "row", "expected"),
    [
        (RUN, "5", RowOrigin(RUN, 5)),
        (RUN, 5, RowOrigin(RUN, 5)),  # a Parquet report
        (f" {RUN}\u00a0", " 5.0 ", RowOrigin(RUN, 5)),  # a spreadsheet's
        (RUN, 5.0, RowOrigin(RUN, 5)),
        ("", "", NEW),  # a row that was added by hand
        (None, None, NEW),
    ],
)
def test_an_origin_is_read(run: Any, row: Any, expected: RowOrigin) -> None:
    assert read(run, row) == expected


@pytest.mark.parametrize(
    ("run", "row", "said"),
    [
        ("20260501T020000Z-coupons-abce", "5", "a run that is not on record"),
        (RUN, "", "_run is"),  # half of it
        ("", "5", "_row is"),
        (RUN, "5.5", "not a whole number"),
        (RUN, "1E5", "not a whole number"),
        (RUN, "0", "numbered from 1"),
        (RUN, "-3", "numbered from 1"),
        (RUN, "row 5", "not a whole number"),
        (RUN, "NaN", "missing value"),
        ("a\x00b", "5", "a control character"),
        (["a"], "5", "in the Parquet file"),
    ],
)
def test_an_invalid_origin_is_refused(run: Any, row: Any, said: str) -> None:
    (fault,) = read(run, row)
    assert said in fault.what


def test_the_error_names_force_order() -> None:
    for run, row in (("nobody", "5"), (RUN, "")):
        (fault,) = read(run, row)
        assert "--force-order" in (fault.todo or "")


def test_faults_of_both_cells_are_reported() -> None:
    assert [fault.column for fault in read("nobody", "x")] == ["_run", "_row"]


def test_each_run_is_looked_up_once() -> None:
    asked: list[str] = []

    def is_known(name: str) -> bool:
        asked.append(name)
        return True

    reader = OriginReader(is_known)
    for _ in range(3):
        reader.read(["a", "b", "a"], ["1", "2", "3"])
    assert asked == ["a", "b"]
