"""CSV and Parquet holding the same data give the same jobs; every row gives exactly one outcome."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import InputError
from tests.loader.bound_rows import ROW, Bind

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)
TEXTS = WORDS.filter(lambda text: text != "omit")
ITEMS = st.lists(
    st.fixed_dictionaries({"sku": WORDS, "quantity": st.none() | st.integers(-(2**63), 2**63 - 1)}),
    max_size=3,
)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 - made UTC below
ROWS = st.fixed_dictionaries(
    {
        "gift_id": st.integers(0, 10**18),
        "name": st.fixed_dictionaries({"en-US": TEXTS, "de-DE": TEXTS}),
        "items": st.none() | ITEMS,
        "until": st.none() | MOMENTS,
        "most": st.none() | st.integers(-5, 2**53 - 1),
        "limits": st.fixed_dictionaries({"per_user": st.none() | st.integers(0, 9)}),
    }
)
SCHEMA = {
    "gift_id": pl.Int64(),
    "name": pl.Struct({"en-US": pl.String(), "de-DE": pl.String()}),
    "items": pl.List(pl.Struct({"sku": pl.String(), "quantity": pl.Int64()})),
    "until": pl.Datetime("us"),
    "most": pl.Float64(),
    "limits": pl.Struct({"per_user": pl.Int64()}),
}
IN_PARQUET = {"missing": "clear", "empty_is_null": ("limits.per_user",)}


def as_csv(row: dict[str, Any]) -> dict[str, str]:
    """The row as a program would write it to a CSV file."""
    items, until, most = row["items"], row["until"], row["most"]
    per_user = row["limits"]["per_user"]
    given = [{k: v for k, v in item.items() if v is not None} for item in items or ()]
    return {
        "gift_id": str(row["gift_id"]),
        "name.en-US": row["name"]["en-US"],
        "name.de-DE": row["name"]["de-DE"],
        "items": "" if items is None else json.dumps(given),
        "until": "" if until is None else until.strftime("%Y-%m-%d %H:%M:%S.%f").zfill(26) + "Z",
        "most": "" if most is None else f"{most}.0",
        "limits.per_user": "" if per_user is None else str(per_user),
    }


def as_parquet(rows: list[dict[str, Any]]) -> pl.DataFrame:
    table = pl.DataFrame(
        [{**row, "most": None if row["most"] is None else float(row["most"])} for row in rows],
        schema=SCHEMA,
    )
    return table.with_columns(pl.col("until").dt.replace_time_zone("UTC"))


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=5))
def test_csv_and_parquet_give_the_same(rows: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        typed = Bind(Path(one), as_parquet(rows), settings=IN_PARQUET, file="gifts.parquet")
        text = Bind(Path(other), [as_csv(row) for row in rows], settings=IN_PARQUET)
        assert typed.rows == text.rows
        assert [r.row for r in typed.invalid] == [r.row for r in text.invalid]
        assert [c.what for c in typed.bound.faults] == [c.what for c in text.bound.faults]
        assert typed.bound.cleared == text.bound.cleared


CELLS = st.sampled_from(["", "omit", "null", "NULL", "1", "x", "[]", "{}", "13", "1E5", "\x00"])


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {name: CELLS | st.just(cell) for name, cell in ROW.items()}
            | {"operation": st.sampled_from(["", "acme.gift", "apex.gift", "acme.switch"])}
            | {"account": st.sampled_from(["", "shop", "nowhere"])}
        ),
        min_size=1,
        max_size=8,
    ),
    missing=st.sampled_from(["refuse", "clear"]),
)
def test_every_row_becomes_a_job_or_an_invalid_result(
    rows: list[dict[str, str]], missing: str
) -> None:
    with TemporaryDirectory() as folder:
        found = Bind(Path(folder), rows, settings={"missing": missing})
    assert sorted([*found.jobs, *found.errors]) == list(range(1, len(rows) + 1))
    assert len(found.invalid) == len(found.errors) == found.bound.invalid
    assert len(found.rows) == sum(jobs.rows for jobs in found.bound.jobs.values())
    assert all(result.error for result in found.invalid)


FULL = {
    "gift_id": "007",
    "name": {"en-US": "A"},
    "items": [{"sku": "s", "quantity": 2}],
    "until": datetime(2026, 12, 31, tzinfo=UTC),
    "most": 10,
    "limits": {"per_user": 3, "schedule": {"day": "1"}},
}


@pytest.mark.parametrize(
    ("column", "series", "expected"),
    [
        ("gift_id", pl.Series([7], dtype=pl.UInt16), "7"),
        ("gift_id", pl.Series([Decimal(7)], dtype=pl.Decimal(38, 0)), "7"),
        ("gift_id", pl.Series(["a"], dtype=pl.Categorical), "a"),
        ("gift_id", pl.Series(["a"], dtype=pl.Enum(["a"])), "a"),
        ("most", pl.Series([10.0]), 10),
        ("most", pl.Series([Decimal("10.00")], dtype=pl.Decimal(10, 2)), 10),
        ("most", pl.Series(["10.0"]), 10),
        ("most", pl.Series(["null"]), None),
        (
            "until",
            pl.Series([datetime(2026, 7, 1)]).dt.replace_time_zone("Europe/Berlin"),  # noqa: DTZ001
            "2026-07-01T00:00:00+02:00",
        ),
        (
            "until",
            pl.Series([datetime(2026, 7, 1, tzinfo=UTC)]).dt.cast_time_unit("ns"),
            "2026-07-01T00:00:00+00:00",
        ),
        ("items", pl.Series(["s:2"]), [{"sku": "s", "quantity": 2}]),
        ("name", pl.Series(['{"en-US": "B"}']), {"en-US": "B"}),
        ("limits", pl.Series(["null"]), None),
        ("limits", pl.Series(['{"per_user": 1}']), {"per_user": 1}),  # whole, so given on purpose
    ],
)
def test_a_parquet_column_keeps_its_meaning(
    tmp_path: Path, column: str, series: pl.Series, expected: Any
) -> None:
    table = pl.DataFrame([FULL]).with_columns(series.alias(column))
    found = Bind(tmp_path, table, file="gifts.parquet")
    assert (found.errors, found.jobs.get(1, {}).get(column, "absent")) == ({}, expected)


@pytest.mark.parametrize(
    ("column", "series", "said"),
    [
        ("gift_id", pl.Series([7.0]), "an id that is a floating-point number: 7.0"),
        ("most", pl.Series([1.5]), "not a whole number: 1.5"),
        ("most", pl.Series([float("nan")]), "not a finite number"),
        ("until", pl.Series([46353]), "a whole number, not a date"),
        ("until", pl.Series([2**62]).cast(pl.Datetime("us")), "outside the years 1 to 9999"),
        ("until", pl.Series([timedelta(1)]), "not a date"),
        ("items", pl.Series([None], dtype=pl.List(pl.Int64)), "not given, which would clear"),
        (
            "limits",
            pl.Series([{"per_user": None, "schedule": {"day": "1"}}]),
            "column limits.per_user: not given, which would clear",
        ),
    ],
)
def test_a_parquet_value_that_cannot_be_read_is_a_fault_of_its_row(
    tmp_path: Path, column: str, series: pl.Series, said: str
) -> None:
    table = pl.DataFrame([FULL]).with_columns(series.alias(column))
    found = Bind(tmp_path, table, file="gifts.parquet")
    assert said in found.errors[1]
    assert not found.errors[1].startswith("line")  # a Parquet file has none


@pytest.mark.parametrize("column", ["operation", "_account"])
def test_a_nested_column_cannot_be_a_routing_column(tmp_path: Path, column: str) -> None:
    table = pl.DataFrame([FULL]).with_columns(pl.Series(column, [["x"]]))
    with pytest.raises(InputError, match="does not hold text"):
        Bind(tmp_path, table, file="gifts.parquet")
