"""Rows bound by columns become what they become one by one: the same files, byte for byte."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.jobs.jobs_file import is_read_first
from pipeline.loader import bind, ingest
from pipeline.loader import plain_rows as plain_rows_module
from pipeline.loader.header import find_routing, plan_header
from pipeline.loader.make_job import JobMaker
from pipeline.loader.plain_rows import PlainBinder
from pipeline.loader.rows import RowReader
from pipeline.model import ROW_COLUMN, InputSettings, Link, RowResult
from pipeline.model.retry import RetryPolicy
from pipeline.vendors import Account, load_vendors

VENDORS = load_vendors()
OPERATIONS = {each.name: each for vendor in VENDORS.values() for each in vendor.operations}
SAMPLES = Path(__file__).parents[2] / "inputs" / "samples"


def account(vendor: str, **changes: Any) -> Account:
    found = VENDORS[vendor]
    simulated = {
        name: value.replace("{origin}", "https://x.example") if isinstance(value, str) else value
        for name, value in found.simulated.items()
    }
    settings = found.settings(**{"base_url": "https://x.example", **simulated, **changes})
    return Account(
        name=f"sample-{vendor}",
        vendor=found,
        settings=settings,
        link=Link(base_url=settings.base_url),
        quotas=(),
        is_assumed=False,
        in_flight=4,
        retry=RetryPolicy(),
    )


ACCOUNTS = {each.name: each for each in map(account, VENDORS)}


def outcome(path: Path, folder: Path, *, by_columns: bool, **options: Any) -> Sequence[Any]:
    """All that binding leaves: files as bytes, counts, faults, warnings and invalid rows."""
    folder.mkdir()
    invalid: list[RowResult] = []
    snapshot = ingest(path, folder / "snapshot.parquet")
    given: dict[str, Any] = {
        "operations": OPERATIONS,
        "accounts": ACCOUNTS,
        "inputs": {},
        "operation": None,
        "folder_operation": None,
        "account": None,
        "timezone": None,
        "force_order": False,
        "allow_irreversible": False,
        **options,
    }
    bound = bind(snapshot, folder, emit=invalid.extend, by_columns=by_columns, **given)
    files = [
        (name, jobs.path.read_bytes(), list(jobs.operations.items()), astuple(jobs)[3:])
        for name, jobs in bound.jobs.items()
    ]
    facts = (bound.rows, bound.invalid, bound.faults, bound.warnings, bound.cleared)
    return [files, *facts, bound.irreversible, bound.keeps, invalid]


def check_is_same(path: Path, folder: Path, **options: Any) -> None:
    careful = outcome(path, folder / "careful", by_columns=False, **options)
    by_columns = outcome(path, folder / "columns", by_columns=True, **options)
    assert by_columns == careful


def sample_files() -> list[tuple[Path, str | None]]:
    found = [path for path in sorted(SAMPLES.rglob("*")) if path.is_file()]
    return [
        (path, None if path.parent == SAMPLES else path.parent.name)
        for path in found
        if path.suffix in {".csv", ".parquet"}
    ]


@pytest.mark.parametrize(("path", "operation"), sample_files(), ids=lambda each: str(each)[-20:])
def test_samples_become_the_same_jobs(path, operation, tmp_path):
    check_is_same(path, tmp_path, folder_operation=operation)


DRAW = random.Random(17)


def drawn(alphabet: str, most: int) -> str:
    return "".join(DRAW.choices(alphabet, k=DRAW.randint(1, most)))


IDS = "abzAZ09_-"
TEXTS = "aZ 0'&<>%/#?+=:;,.äßéĀЖ漢字한🙂\u00a0\u200b\u202e"
HOSTILE = (
    *("", " ", "omit", "null", "NULL", "None", "nan", "\\N", "#N/A", "true", "True", "FALSE"),
    *("0", "1", "-0", "-1", "+5", "007", "1e3", "12e-5", "10.0", "20.000", "9" * 19, "9" * 400),
    *(" 7 ", "\u00a07", "7\u200b", "\u0667", ".", "..", "a/b", "a b", "a|b", "'007", '="007"'),
    *("x\x00y", "x\ty", "x\ny", "x\x93y", 'x"y', "x\\y", "ü" * 130, "x" * 3_000, "\ud7ff\ufffd"),
    *("2027-02-29T00:00:00Z", "2027-06-01T00:00:00-00:00", "2027-06-01 00:00", "2027-06-01"),
    *("2027-06-01T00:00:00Z", "1999-12-31T23:59:59+01:00", "2027-06-01T00:00:00.5+02:00"),
    *('{"en-US": "A"}', "[]", "{}", '[{"sku": "a"}]', "sword:2, shield", "sword:x", "a:b:2"),
)


def moment() -> str:
    day, month, year = DRAW.randint(1, 28), DRAW.randint(1, 12), DRAW.randint(2000, 2099)
    hour, offset = DRAW.randint(0, 23), DRAW.choice(["+00:00", "+02:00", "-03:30", "+13:45"])
    return f"{year}-{month:02}-{day:02}T{hour:02}:30:00{offset}"


def near() -> str:
    """Dates of which many are equal, or the same moment."""
    return DRAW.choice(
        [f"2027-06-01T1{DRAW.randint(0, 2)}:00:00+0{DRAW.randint(0, 2)}:00", moment()]
    )


def limit() -> str:
    return str(DRAW.randint(0, 10 ** DRAW.randint(1, 10)))


def few(*values: str) -> Callable[[], str]:
    return lambda: DRAW.choice(values)


def ident() -> str:
    return DRAW.choice([drawn(IDS, 20), f"c_{DRAW.randint(0, 10**9)}", drawn("0123456789", 20)])


def words() -> str:
    return drawn(TEXTS, 40)


COLUMNS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "xsolla.coupon": {
        "external_id": ident,
        "name.en-US": words,
        "name.de-DE": words,
        "bonus": few("sword:2", "sword, shield:3", "a:0", '[{"sku":"a","odd":1}]'),
        "date_start": near,
        "date_end": near,
        "redeem_total_limit": limit,
        "redeem_user_limit": few("null", "3", "30"),
        "redeem_code_limit": limit,
        "attribute_conditions": few("omit", "omit", ""),
    },
    "xsolla.bonus-promotion": {
        "promotion_id": lambda: str(DRAW.randint(0, 10 ** DRAW.randint(1, 18))),
        "project_id": few("", "44056", "1"),
        "name.en-US": words,
        "condition": few("null", "sword", "sword, shield"),
        "bonus": few("sword:2", "null"),
        "date_start": few("null", "2027-06-01T00:00:00+02:00"),
        "date_end": moment,
        "attribute_conditions": few("omit"),
        "limits.per_user": limit,
        "limits.recurrent_schedule": few("null"),
        "price_conditions": few("omit", "null", "ge 10"),
        "excluded_promotions": few("omit", "12, 789"),
    },
    "oracle.offer-status": {
        "offer_id": lambda: DRAW.choice(
            [
                f"0.0.0.1+-purchased_product+{DRAW.randint(0, 10 ** DRAW.randint(1, 18))}",
                f"0.0.0.1 /purchased_discount {DRAW.randint(0, 10**6)} 12",
                f"0.0.0.1+-service+{DRAW.randint(0, 9)}",
            ]
        ),
        "status": few("active", "inactive", "2", "canceled"),
        "kind": few("", "", "charge"),
        "effective_date": few("", "", "2027-06-01T00:00:00+02:00"),
        "notes": few("", "", '{"accountId": "0.0.0.1+-account+1"}'),
    },
    "adobe.fallback-offer": {
        "instance_id": ident,
        "status": few("approved", "draft", ""),
        "name": words,
        "/labels/0": words,
        "add:/labels/-": few("", "", "summer", "odd"),
    },
}


def rows_of(operation: str, rows: int, *, odd: float) -> list[dict[str, str]]:
    columns = COLUMNS[operation]
    return [
        {
            name: DRAW.choice(HOSTILE) if DRAW.random() < odd else draw()
            for name, draw in columns.items()
        }
        for _ in range(rows)
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: text.replace("\x00", "").replace("\x93", "") for name, text in row.items()}
            for row in rows
        )
    return path


OPTIONS: Sequence[Mapping[str, Any]] = (
    {},
    {"inputs": {"missing": "clear"}, "allow_irreversible": True},
    {"inputs": {"missing": "keep", "empty_is_null": ("date_end",)}, "timezone": "Europe/Berlin"},
)


@pytest.mark.parametrize("odd", [0.0, 0.01, 0.2])  # some rows are plain even among many odd cells
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("operation", COLUMNS)
def test_generated_rows_become_the_same_jobs(operation, options, odd, tmp_path):
    options = dict(options)
    inputs = options.pop("inputs", {})
    if not OPERATIONS[operation].replaces:
        inputs = {}
    inputs = {k: v for k, v in inputs.items() if k != "empty_is_null" or "xsolla" in operation}
    given = {"operation": operation, "inputs": {operation: InputSettings(**inputs)}, **options}
    rows = rows_of(operation, 300, odd=odd)
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    check_is_same(tmp_path / "rows.parquet", tmp_path, **given)
    (tmp_path / "csv").mkdir()
    check_is_same(write_csv(tmp_path / "rows.csv", rows), tmp_path / "csv", **given)


def test_typed_columns_become_the_same_jobs(tmp_path):
    rows = pl.DataFrame(rows_of("xsolla.coupon", 300, odd=0.0))
    limits = pl.Series([DRAW.randint(-3, 2**40) for _ in range(300)])
    dates = rows["date_end"].str.to_datetime("%Y-%m-%dT%H:%M:%S%:z", time_unit="us")
    items = [[{"sku": "a", "quantity": DRAW.randint(1, 3)}] for _ in range(300)]
    typed = rows.drop("name.en-US", "name.de-DE").with_columns(
        pl.struct(pl.col("external_id").alias("en-US"), pl.lit("Ä").alias("de-DE")).alias("name"),
        limits.alias("redeem_total_limit"),
        limits.cast(pl.Float64).alias("redeem_user_limit"),
        dates.alias("date_end"),
        pl.Series("bonus", items),
        pl.Series("external_id", range(10, 310), dtype=pl.UInt32),
    )
    typed.write_parquet(tmp_path / "rows.parquet")
    check_is_same(tmp_path / "rows.parquet", tmp_path, operation="xsolla.coupon")


def test_a_file_of_several_operations_becomes_the_same_jobs(tmp_path):
    rows = [{"operation": name, **row} for name in COLUMNS for row in rows_of(name, 150, odd=0.005)]
    DRAW.shuffle(rows)
    columns = {name: "" for row in rows for name in row}
    inputs = {"xsolla.coupon": InputSettings(missing="clear")}
    path = write_csv(tmp_path / "rows.csv", [{**columns, **row} for row in rows])
    check_is_same(path, tmp_path, inputs=inputs)


def missing_column() -> pl.Expr:
    return pl.col("no such column")


def panic() -> pl.Expr:
    return pl.lit(pl.Series([2**63 - 1]).cast(pl.Datetime("us")).to_list()[0])


@pytest.mark.parametrize("fail", [missing_column, panic], ids=["an error", "a panic"])
@pytest.mark.parametrize("frames_before", [0, 1])
def test_where_polars_fails_all_rows_go_the_careful_way(fail, frames_before, monkeypatch, tmp_path):
    """Nothing in a file is known to make it fail here, so the failure is put in its way."""
    pl.DataFrame(rows_of("xsolla.coupon", 3_000, odd=0.01)).write_parquet(tmp_path / "a.parquet")
    careful = outcome(
        tmp_path / "a.parquet", tmp_path / "1", by_columns=False, operation="xsolla.coupon"
    )
    frames = count()
    moments = plain_rows_module.moments

    def failing(cell: pl.Expr) -> pl.Expr:
        return moments(cell) if next(frames) < 2 * frames_before else fail()  # two dates a frame

    monkeypatch.setattr(plain_rows_module, "moments", failing)
    by_columns = outcome(
        tmp_path / "a.parquet", tmp_path / "2", by_columns=True, operation="xsolla.coupon"
    )
    assert next(frames) <= 2 * (frames_before + 1)  # no frame after that was tried
    assert by_columns == careful


# --------------------------------------------------------------------------- which rows are plain

PLAIN = {
    "external_id": "coupon_44056_7",
    "name.en-US": "Summer",
    "bonus": "sword:2",
    "date_start": "2027-06-01T00:00:00+02:00",
    "date_end": "2027-09-01T00:00:00+02:00",
    "redeem_total_limit": "100",
    "redeem_user_limit": "null",
    "redeem_code_limit": "1",
    "attribute_conditions": "omit",
}


def plain_rows(rows: Sequence[Mapping[str, str]]) -> list[int]:
    """The indexes of the plain rows of one frame, in coupons whose empty cells clear fields."""
    name = "xsolla.coupon"
    operation, sender = OPERATIONS[name], ACCOUNTS["sample-xsolla"]
    inputs = {name: InputSettings(missing="clear")}
    columns = tuple(rows[0])
    routing = find_routing(columns, inputs.values(), "a.csv")
    plan = plan_header(columns, routing, [operation], inputs, file="a.csv", structs={}, unread={})[
        name
    ]
    maker = JobMaker(RowReader(plan), sender.settings, allow_irreversible=False)
    frame = pl.DataFrame(rows).with_columns(
        pl.int_range(1, len(rows) + 1, dtype=pl.Int64).alias(ROW_COLUMN)
    )
    found = PlainBinder(maker, partial(is_read_first, sender)).bind(frame)
    assert found is not None
    return [index for index in range(len(rows)) if index not in set(found.others)]


@pytest.mark.parametrize(
    ("changes", "is_plain"),
    [
        ({}, True),
        (
            {"external_id": "007"},
            False,
        ),  # the zeros are no part of a number: four like it were plain
        ({"external_id": "a.b"}, False),
        ({"external_id": "NULL"}, False),  # a placeholder of other programs: invalid
        ({"name.en-US": 'say "hi"'}, False),  # has escapes in JSON
        ({"name.en-US": "Grüße, 漢字 🙂"}, True),
        ({"name.en-US": "None"}, False),  # warns
        ({"date_end": "2027-06-01T00:00:00+02:00"}, False),  # as the start: warns
        ({"date_start": "2000-01-01T00:00:00+13:45"}, True),
        ({"date_end": "2027-02-30T00:00:00+02:00"}, False),  # no such day
        ({"redeem_total_limit": "999999999"}, True),
        ({"redeem_total_limit": "+5"}, False),
        ({"redeem_total_limit": "1e3"}, False),
        ({"bonus": "sword:3"}, False),  # another decision: made only for MIN_ALIKE rows
    ],
)
def test_a_row_is_plain_if_it_differs_from_others_in_opaque_cells_only(changes, is_plain):
    others = [{**PLAIN, "external_id": f"coupon_44056_{number}"} for number in range(10, 20)]
    assert (10 in plain_rows([*others, {**PLAIN, **changes}])) == is_plain


@pytest.mark.parametrize(
    ("changes", "is_plain"),
    [
        ({"bonus": "sword:3"}, True),
        ({"bonus": "sword:0"}, False),  # warns
        ({"attribute_conditions": "[]"}, False),  # invalid
        ({"external_id": "12e-5"}, False),  # a number that was damaged
    ],
)
def test_rows_that_share_a_decision_are_plain_if_it_needs_no_words(changes, is_plain):
    found = plain_rows([{**PLAIN, **changes}] * 8)
    assert found == (list(range(8)) if is_plain else [])
