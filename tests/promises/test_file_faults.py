"""A broken file sends nothing; a broken row costs itself. The simulator's log is the judge."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import polars as pl
import pytest

from pipeline import Config, InputError, PipelineError, RunOptions, Summary, run_file_async
from pipeline.model import Status, UsageError
from pipeline.simulator import Running, serve
from tests.workplace import COLUMNS, ENVIRON, configure, coupon, drop

LATE = 4_500
LINES = [COLUMNS, *map(coupon, range(1, 5_001))]  # more than one chunk of the reader
TEXT = "\n".join(LINES) + "\n"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def shop(folder: Path, more: str = "") -> AsyncIterator[tuple[Config, Running]]:
    """A working folder whose account is at a simulator."""
    async with serve() as running:
        yield configure(folder, running.base_urls["xsolla"], more=more), running


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / "inputs" / "xsolla.coupon" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def what_is_left(folder: Path) -> list[Path]:
    """Reports and runs, whole or half-made."""
    return [
        path
        for name in ("reports", ".pipeline/runs")
        if (folder / name).exists()
        for path in (folder / name).iterdir()
    ]


async def assert_nothing_was_sent(path: Path, words: tuple[str, ...], folder: Path) -> None:
    async with shop(folder) as (config, vendor):
        with pytest.raises(PipelineError) as caught:
            await run_file_async(path, config=config, confirm=True)
        told = str(caught.value)
        assert vendor.stats()["requests"] == 0
        assert list(vendor.log()) == []
    for word in (path.name, *words):
        assert word in told
    assert what_is_left(folder) == []


def late(change: Callable[[str], str], row: int = LATE) -> bytes:
    """The file with one record changed, far from its start."""
    lines = list(LINES)
    lines[row] = change(lines[row])
    return ("\n".join(lines) + "\n").encode()


def renamed(old: str, new: str) -> bytes:
    return TEXT.replace(COLUMNS, COLUMNS.replace(old, new), 1).encode()


def parquet() -> bytes:
    out = io.BytesIO()
    pl.read_csv(TEXT.encode(), infer_schema=False).write_parquet(out)
    return out.getvalue()


def spreadsheet() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
        file.writestr("xl/workbook.xml", "<workbook/>")
    return out.getvalue()


AT = (f"row {LATE}", f"line {LATE + 1}")

BROKEN: dict[str, tuple[str, Callable[[], bytes], tuple[str, ...]]] = {
    # the faults that polars gives rows out before, or never tells
    "a field too many": ("a.csv", lambda: late(lambda line: line + ",x"), (*AT, "10 fields", "9")),
    "a field too few": (
        "a.csv",
        lambda: late(lambda line: line.rpartition(",")[0]),
        (*AT, "8 fields"),
    ),
    "Latin-1": (
        "a.csv",
        lambda: (
            late(lambda line: line.replace("row", "Gl\N{LATIN SMALL LETTER U WITH DIAERESIS}ck"))
            .decode()
            .encode("latin-1")
        ),
        ("UTF-8", f"line {LATE + 1}", "iconv -f WINDOWS-1252"),
    ),
    "the last line cut": (
        "a.csv",
        lambda: TEXT.encode()[:-40],
        ("row 5000", "line 5001", "fields"),
    ),
    "an unclosed quote": (
        "a.csv",
        lambda: late(lambda line: line.replace("row", '"row', 1)),
        ("quote", f"line {LATE + 1}"),
    ),
    "a stray quote": (
        "a.csv",
        lambda: late(lambda line: line.replace("row", 'r"ow')),
        (*AT, "quote"),
    ),
    "a cut .gz": (
        "a.csv.gz",
        lambda: gzip.compress(TEXT.encode(), mtime=0)[:-3_000],
        ("cut", "gzip -t"),
    ),
    "a .gz without its trailer": (
        "a.csv.gz",
        lambda: gzip.compress(TEXT.encode(), mtime=0)[:-8],
        ("cut",),
    ),
    "UTF-16": ("a.csv", lambda: TEXT.encode("utf-16"), ("UTF-16", "iconv -f UTF-16")),
    "UTF-16 without a mark": ("a.csv", lambda: TEXT.encode("utf-16-le"), ("UTF-16", "iconv")),
    "line ends of CR only": ("a.csv", lambda: TEXT.replace("\n", "\r").encode(), ("CR", "line")),
    "a column twice": ("a.csv", lambda: renamed("date_end", "date_start"), ("date_start", "twice")),
    # the rest of what arrives in practice
    "an unknown column": (
        "a.csv",
        lambda: renamed("bonus", "bonuss"),
        ("'bonuss'", "bonus", "rename"),
    ),
    "no delimiter": ("a.csv", lambda: b"external_id\nc1\nc2\n", ("delimiter",)),
    "a NUL": (
        "a.csv",
        lambda: late(lambda line: line.replace("row", "r\0w")),
        (f"line {LATE + 1}", "NUL"),
    ),
    "a control character": (
        "a.csv",
        lambda: late(lambda line: line.replace("row", "r\x07w")),
        (*AT, "control character 0x07"),
    ),
    "a Parquet cut in half": ("a.parquet", lambda: parquet()[:9_000], ("Parquet",)),
    "a Parquet of text": ("a.parquet", TEXT.encode, ("is text", ".csv")),
    "a .csv that is Parquet": ("a.csv", parquet, ("is parquet", ".parquet")),
    "a .csv that is gzip": (
        "a.csv",
        lambda: gzip.compress(TEXT.encode(), mtime=0),
        ("is gzip", ".csv.gz"),
    ),
    "a spreadsheet": (
        "a.xlsx",
        lambda: b"PK\3\4" + bytes(100),
        ("spreadsheet", "Save as, CSV UTF-8"),
    ),
    "a spreadsheet named .csv": ("a.csv", spreadsheet, ("Excel", "Save as, CSV UTF-8")),
    "zero bytes": ("a.csv", lambda: b"", ("empty", "zero bytes")),
    "a cell of 20 MB": (
        "a.csv",
        lambda: late(lambda line: line.replace("omit", '"' + "x" * 20_000_000 + '"')),
        (f"line {LATE + 1}",),
    ),
    "two columns only": (
        "a.csv",
        lambda: b"external_id,name.en-US\nc1,Chest\n",
        (
            "bonus",
            "date_start",
            "date_end",
            "redeem_total_limit",
            "redeem_user_limit",
            "redeem_code_limit",
            "attribute_conditions",
            "clear",
        ),
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_file_sends_nothing(tmp_path, fault):
    name, content, words = BROKEN[fault]
    await assert_nothing_was_sent(put(tmp_path, name, content()), words, tmp_path)


async def test_a_file_that_is_not_there_sends_nothing(tmp_path):
    await assert_nothing_was_sent(tmp_path / "no.csv", ("no such file",), tmp_path)


async def test_a_file_that_nothing_says_an_operation_of_sends_nothing(tmp_path):
    path = tmp_path / "coupons.csv"
    path.write_text(TEXT)
    await assert_nothing_was_sent(path, ("operation", "--operation"), tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (RunOptions(operation="xsolla.cupon"), ("xsolla.cupon", "xsolla.coupon")),
        (RunOptions(operation="xsolla.bonus-promotion"), ("xsolla.coupon", "folder")),
        (RunOptions(account="shopp"), ("shopp", "shop")),
        (RunOptions(max_invalid=50), ("max_invalid", "from 0 to 1", "50")),
        (RunOptions(max_invalid=float("nan")), ("max_invalid", "nan")),
        (RunOptions(tolerate=5), ("tolerate", "from 0 to 1")),
        (RunOptions(canary=-1), ("canary", "-1")),
        (RunOptions(min_rows=-1), ("min_rows", "-1")),
        (RunOptions(grace_s=float("inf")), ("grace_s", "inf")),
        (RunOptions(run_id=" "), ("run id is empty", "variable")),
    ],
)
async def test_an_option_that_does_not_fit_sends_nothing(tmp_path, options, words):
    path = put(tmp_path, "a.csv", TEXT.encode())
    async with shop(tmp_path) as (config, vendor):
        with pytest.raises((UsageError, InputError)) as caught:
            await run_file_async(path, config=config, options=options, confirm=True)
        assert vendor.stats()["requests"] == 0
    for word in words:
        assert word in str(caught.value)
    assert what_is_left(tmp_path) == []


async def test_cleared_fields_are_named_and_sent_where_the_settings_allow_it(tmp_path):
    path = put(
        tmp_path,
        "a.csv",
        b"external_id,name.en-US,redeem_total_limit,redeem_user_limit,redeem_code_limit\n"
        b"c1,Chest,1,1,null\n",
    )
    more = '[input."xsolla.coupon"]\nmissing = "clear"\n'
    async with shop(tmp_path, more) as (config, vendor):
        summary = await run_file_async(path, config=config, confirm=True)
        (entry,) = vendor.log()
    assert set(json.loads(entry["body"])) == {
        "name",
        "redeem_total_limit",
        "redeem_user_limit",
        "redeem_code_limit",
    }
    assert set(summary.cleared["xsolla.coupon"]) == {
        "bonus",
        "date_start",
        "date_end",
        "attribute_conditions",
    }


async def test_a_header_without_rows_is_a_run_without_rows(tmp_path):
    path = put(tmp_path, "a.csv", f"{COLUMNS}\n".encode())
    async with shop(tmp_path) as (config, vendor):
        summary = await run_file_async(path, config=config, confirm=True)
        assert vendor.stats()["requests"] == 0
    assert (summary.rows, summary.exit_code) == (0, 0)
    assert "the file has no rows" in summary.warnings


# Rows...

MIXED = f"operation,account,{COLUMNS}"
WRONG_CELLS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # what is wrong: column, cell, words of the error
    "number of 70 bits": ("redeem_total_limit", "1180591620717411303424", ("64 bits",)),
    "number with an exponent": ("redeem_total_limit", "1E5", ("1E5",)),
    "number of words": ("redeem_total_limit", "ten", ("ten",)),
    "number with a comma": ("redeem_user_limit", "1,5", ("1,5",)),
    "date without an offset": ("date_start", "2026-12-01T00:00:00", ("offset", "timezone")),
    "date without a time": ("date_end", "2026-12-01", ("2026-12-01",)),
    "date as Excel keeps it": ("date_end", "46353", ("46353",)),
    "no JSON": ("attribute_conditions", '[{"attribute": ', ("JSON",)),
    "a key twice": ("attribute_conditions", '[{"a": 1, "a": 2}]', ("same key twice",)),
    "NaN": ("attribute_conditions", '[{"value": NaN}]', ("NaN",)),
    "70 bits in JSON": (
        "attribute_conditions",
        '[{"attribute": "n", "operator": "eq", "value": 1180591620717411303424, "type": "number"}]',
        ("64 bits",),
    ),
    "JSON 100,000 deep": ("attribute_conditions", "[" * 100_000, ("JSON",)),
    "a megabyte of JSON": (
        "attribute_conditions",
        json.dumps([{"attribute": "x" * 1_000_000}]),
        ("attribute_conditions",),
    ),
    "a short form that is none": ("bonus", "elven_shield:two", ("two",)),
    "a warehouse's null": ("attribute_conditions", r"\N", (r"\N", "missing value")),
    "pandas's null": ("redeem_total_limit", "NaN", ("NaN", "null")),
    "an id that Excel damaged": ("external_id", "1.23457E+15", ("spreadsheet",)),
    "a needed cell empty": ("external_id", "", ("external_id",)),
    "a cell that would clear": ("bonus", "", ("bonus", "clear")),
    "an unknown operation": ("operation", "xsolla.cupon", ("xsolla.cupon", "xsolla.coupon")),
    "an unknown account": ("account", "shopp", ("shopp", "shop")),
}


def wrong_rows(columns: list[str]) -> list[list[str]]:
    """A good row, a wrong one, a good one, and so on."""
    rows = []
    for number, (column, cell, _) in enumerate(WRONG_CELLS.values(), start=1):
        rows.append(["", "", *coupon(2 * number - 1).split(",")])
        wrong = ["", "", *coupon(2 * number).split(",")]
        wrong[columns.index(column)] = cell
        rows.append(wrong)
    return rows


async def test_a_wrong_row_costs_that_row_only(tmp_path):
    columns = MIXED.split(",")
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([columns, *wrong_rows(columns)])
    path = put(tmp_path, "rows.csv", written.getvalue().encode())
    async with shop(tmp_path) as (config, vendor):
        summary = await run_file_async(path, config=config, confirm=True)
        sent = [entry["id"] for entry in vendor.log()]
    good = range(1, 2 * len(WRONG_CELLS), 2)
    assert sorted(sent) == sorted(f"c{row}" for row in good)
    assert summary.statuses[Status.UPDATED] == len(good)
    assert summary.statuses[Status.INVALID] == len(WRONG_CELLS)
    assert summary.exit_code == 1
    told = errors_of(summary, config)
    assert list(told) == list(range(2, 2 * len(WRONG_CELLS) + 1, 2))
    for row, (fault, (column, _, words)) in zip(told, WRONG_CELLS.items(), strict=True):
        for word in (column, f"line {row + 1}", *words):
            assert word in told[row], f"{fault}: {told[row][:300]}"
        assert len(told[row]) < 1_000, fault


def errors_of(summary: Summary, config: Config) -> dict[int, str]:
    """What the error file says of each of its rows."""
    csv.field_size_limit(2_000_000)
    path = config.reports / summary.run / "errors.csv"
    with path.open(newline="", encoding="utf-8") as lines:
        return {
            int(cells["_row"]): f"{cells['_error']} {cells['_hint']}"
            for cells in csv.DictReader(lines)
        }


async def test_mostly_wrong_rows_are_a_wrong_file(tmp_path):
    """A swapped column is not 60,000 separate mistakes."""
    swapped = COLUMNS.replace("bonus,date_start", "date_start,bonus")
    path = drop(tmp_path, *map(coupon, range(1, 11)))
    path.write_text(path.read_text().replace(COLUMNS, swapped))
    async with shop(tmp_path) as (config, vendor):
        summary = await run_file_async(path, config=config, confirm=True)
        assert vendor.stats()["requests"] == 0
    assert summary.exit_code == 2
    assert summary.statuses[Status.INVALID] == 10


async def test_an_unknown_operation_costs_its_row_and_names_the_nearest(tmp_path):
    path = tmp_path / "mixed.csv"
    lines = [
        f"operation,{COLUMNS}",
        f"xsolla.coupon,{coupon(1)}",
        f"xsolla.cupon,{coupon(2)}",
        f",{coupon(3)}",
        f"xsolla.coupon,{coupon(4)}",
    ]
    path.write_text("\n".join(lines) + "\n")
    async with shop(tmp_path) as (config, vendor):
        summary = await run_file_async(path, config=config, confirm=True)
        assert sorted(entry["id"] for entry in vendor.log()) == ["c1", "c4"]
    told = errors_of(summary, config)
    assert list(told) == [2, 3]
    assert "'xsolla.cupon'" in told[2]
    assert "xsolla.coupon" in told[2]
    assert "operation" in told[3]
