"""Parquet files as four kinds of writers write them, and what becomes of each here.

    python -m tests.loader.parquet_files FOLDER

writes them all. pyarrow and DuckDB write as they are; "like Spark" and "like BigQuery" is pyarrow
with the settings and types of those systems: there is no Spark and no BigQuery here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

ROW: Mapping[str, Any] = {  # a coupon; a file below changes one column, or adds one
    "external_id": "c1",
    "name.en-US": "Chest",
    "bonus": "gold:1",
    "date_start": "2026-11-23T08:00:00Z",
    "date_end": "null",
    "redeem_total_limit": 1,
    "redeem_user_limit": 1,
    "redeem_code_limit": 1,
    "attribute_conditions": "omit",
}
AT = datetime(2026, 11, 23, 8, tzinfo=UTC)
NAIVE = datetime(2026, 11, 23, 8)  # noqa: DTZ001 - as a file without a zone holds it
NEVER = datetime(9999, 12, 31)  # noqa: DTZ001


@dataclass(frozen=True)
class Written:
    """A file, and what people read of it.

    writer  the system
    column  what it is about, as the documentation says it
    field   of the job, to be looked at
    write   makes the file
    """

    writer: str
    column: str
    field: str
    write: Callable[[Path], None]


def arrow(field: str, array: pa.Array, **options: Any) -> Callable[[Path], None]:
    """Written by pyarrow: the row, with this array in the field's column."""

    def write(path: Path) -> None:
        columns = {name: pa.array([value]) for name, value in ROW.items()} | {field: array}
        pq.write_table(pa.table(columns), path, **options)

    return write


def duck(field: str, expression: str, **options: str) -> Callable[[Path], None]:
    """Written by DuckDB: the row, with this expression in the field's column."""

    def write(path: Path) -> None:
        literals = {name: f"'{v}'" if isinstance(v, str) else str(v) for name, v in ROW.items()}
        columns = literals | {field: expression}
        select = ", ".join(f'{text} as "{name}"' for name, text in columns.items())
        settings = "".join(f", {name} '{value}'" for name, value in options.items())
        with duckdb.connect() as database:
            database.execute("set timezone = 'UTC'")
            database.execute("create type kind as enum ('c1', 'c2')")
            database.execute(f"copy (select {select}) to '{path}' (format parquet{settings})")

    return write


def spark(field: str, array: pa.Array, **options: Any) -> Callable[[Path], None]:
    """As Spark writes: no Arrow schema, pages of version 1, snappy, dictionaries, old lists."""
    own = {
        "store_schema": False,
        "version": "1.0",
        "data_page_version": "1.0",
        "compression": "snappy",
        "use_compliant_nested_type": False,
    }
    return arrow(field, array, **own | options)


def bigquery(field: str, array: pa.Array) -> Callable[[Path], None]:
    """As BigQuery exports: no Arrow schema, snappy."""
    return arrow(field, array, store_schema=False, compression="snappy")


REWARD = [{"sku": "gold", "quantity": 2}]
REWARDS = pa.array([REWARD], pa.list_(pa.struct({"sku": pa.string(), "quantity": pa.int64()})))
MAP = pa.array([[("en-US", "Chest")]], pa.map_(pa.string(), pa.string()))
PAIR = "{'sku': 'gold', 'quantity': 2}"


FILES = (
    # pyarrow
    Written("pyarrow", "dictionary of text, zstd, pages v2", "external_id",
            arrow("external_id", pa.array(["c1"]).dictionary_encode(), compression="zstd",
                  data_page_version="2.0")),
    Written("pyarrow", "large_string, brotli", "external_id",
            arrow("external_id", pa.array(["c1"], pa.large_string()), compression="brotli")),
    Written("pyarrow", "timestamp[us, +05:30]", "date_start",
            arrow("date_start", pa.array([AT], pa.timestamp("us", "+05:30")))),
    Written("pyarrow", "timestamp[ns, Europe/Berlin], gzip", "date_start",
            arrow("date_start", pa.array([AT], pa.timestamp("ns", "Europe/Berlin")),
                  compression="gzip")),
    Written("pyarrow", "timestamp[ns] as INT96", "date_start",
            arrow("date_start", pa.array([NAIVE], pa.timestamp("ns")),
                  use_deprecated_int96_timestamps=True)),
    Written("pyarrow", "timestamp[ns, Europe/Berlin] as INT96", "date_start",
            arrow("date_start", pa.array([AT], pa.timestamp("ns", "Europe/Berlin")),
                  use_deprecated_int96_timestamps=True)),
    Written("pyarrow", "timestamp[ms, UTC] in the year 9999", "date_end",
            arrow("date_end", pa.array([NEVER], pa.timestamp("ms", "UTC")))),
    Written("pyarrow", "decimal128(10, 2), lz4", "redeem_total_limit",
            arrow("redeem_total_limit", pa.array([Decimal("7.00")], pa.decimal128(10, 2)),
                  compression="lz4")),
    Written("pyarrow", "uint64, delta encoding", "redeem_total_limit",
            arrow("redeem_total_limit", pa.array([7], pa.uint64()), use_dictionary=False,
                  column_encoding={"redeem_total_limit": "DELTA_BINARY_PACKED"})),
    Written("pyarrow", "halffloat", "redeem_total_limit",
            arrow("redeem_total_limit", pa.array([7.0], pa.float16()))),
    Written("pyarrow", "list of structs", "bonus", arrow("bonus", REWARDS)),
    Written("pyarrow", "binary", "external_id", arrow("external_id", pa.array([b"c1"]))),
    Written("pyarrow", "duration[us]", "date_end",
            arrow("date_end", pa.array([timedelta(1)], pa.duration("us")))),
    Written("pyarrow", "date32", "date_start", arrow("date_start", pa.array([date(2026, 11, 23)]))),
    Written("pyarrow", "uuid", "external_id",
            arrow("external_id", pa.array([bytes(range(16))], pa.uuid()))),
    # DuckDB
    Written("DuckDB", "UUID", "external_id",
            duck("external_id", "'00010203-0405-0607-0809-0a0b0c0d0e0f'::uuid")),
    Written("DuckDB", "JSON", "bonus",
            duck("bonus", """'[{"sku": "gold", "quantity": 2}]'::json""")),
    Written("DuckDB", "ENUM", "external_id", duck("external_id", "'c1'::kind")),
    Written("DuckDB", "HUGEINT (stored as DOUBLE)", "redeem_total_limit",
            duck("redeem_total_limit", "7::hugeint")),
    Written("DuckDB", "HUGEINT as an id", "external_id", duck("external_id", "7::hugeint")),
    Written("DuckDB", "TIMESTAMPTZ, zstd", "date_start",
            duck("date_start", "timestamptz '2026-11-23 08:00:00+00'", compression="zstd")),
    Written("DuckDB", "TIMESTAMP 'infinity'", "date_end",
            duck("date_end", "timestamp 'infinity'")),
    Written("DuckDB", "STRUCT[]", "bonus", duck("bonus", f"[{PAIR}]")),
    Written("DuckDB", "INTERVAL", "date_end", duck("date_end", "interval 3 day")),
    Written("DuckDB", "INTERVAL, ignored", "external_id", duck("etl_age", "interval 3 day")),
    Written("DuckDB", "MAP", "bonus", duck("bonus", "map {'gold': 2}")),
    Written("DuckDB", "BLOB", "external_id", duck("external_id", "blob 'c1'")),
    Written("DuckDB", "TIME", "date_start", duck("date_start", "time '08:00'")),
    Written("DuckDB", "DECIMAL(38, 10), pages v2", "redeem_total_limit",
            duck("redeem_total_limit", "7::decimal(38, 10)", parquet_version="v2")),
    # like Spark
    Written("Spark", "TIMESTAMP as INT96", "date_start",
            spark("date_start", pa.array([NAIVE]), use_deprecated_int96_timestamps=True)),
    Written("Spark", "TIMESTAMP as INT96 in the year 9999", "date_end",
            spark("date_end", pa.array([NEVER], pa.timestamp("us")),
                  use_deprecated_int96_timestamps=True)),
    Written("Spark", "TIMESTAMP_MICROS in UTC", "date_start",
            spark("date_start", pa.array([AT], pa.timestamp("us", "UTC")), version="2.6")),
    Written("Spark", "DECIMAL(20, 0) as fixed-length bytes", "external_id",
            spark("external_id", pa.array([Decimal(7)], pa.decimal128(20, 0)))),
    Written("Spark", "DECIMAL(9, 2) as INT32", "redeem_total_limit",
            spark("redeem_total_limit", pa.array([Decimal("7.00")], pa.decimal128(9, 2)),
                  store_decimal_as_integer=True)),
    Written("Spark", "ARRAY<STRUCT> in the old structure", "bonus", spark("bonus", REWARDS)),
    Written("Spark", "MAP<STRING, STRING>", "bonus", spark("bonus", MAP)),
    Written("Spark", "STRING without annotation", "external_id",
            spark("external_id", pa.array([b"c1"]))),
    Written("Spark", "DOUBLE that is whole, gzip", "redeem_total_limit",
            spark("redeem_total_limit", pa.array([7.0]), compression="gzip")),
    Written("Spark", "DATE", "date_start", spark("date_start", pa.array([date(2026, 11, 23)]))),
    Written("Spark", "ARRAY<ARRAY<MAP>>, ignored", "external_id",
            spark("etl_nested", pa.array([[[[("a", 1)]]]],
                                         pa.list_(pa.list_(pa.map_(pa.string(), pa.int64())))))),
    # like BigQuery
    Written("BigQuery", "TIMESTAMP", "date_start",
            bigquery("date_start", pa.array([AT], pa.timestamp("us", "UTC")))),
    Written("BigQuery", "TIMESTAMP as text", "date_start",
            bigquery("date_start", pa.array(["2026-11-23 08:00:00 UTC"]))),
    Written("BigQuery", "DATETIME", "date_start",
            bigquery("date_start", pa.array([NAIVE], pa.timestamp("us")))),
    Written("BigQuery", "NUMERIC", "redeem_total_limit",
            bigquery("redeem_total_limit", pa.array([Decimal(7)], pa.decimal128(38, 9)))),
    Written("BigQuery", "BIGNUMERIC", "redeem_total_limit",
            bigquery("redeem_total_limit", pa.array([Decimal(7)], pa.decimal256(76, 38)))),
    Written("BigQuery", "BIGNUMERIC, ignored", "external_id",
            bigquery("etl_total", pa.array([Decimal(7)], pa.decimal256(76, 38)))),
    Written("BigQuery", "ARRAY<STRUCT>", "bonus", bigquery("bonus", REWARDS)),
    Written("BigQuery", "JSON", "bonus",
            bigquery("bonus", pa.array(['[{"sku": "gold", "quantity": 2}]'], pa.json_()))),
    Written("BigQuery", "TIME", "date_start", bigquery("date_start", pa.array([time(8)]))),
    Written("BigQuery", "BYTES", "external_id", bigquery("external_id", pa.array([b"c1"]))),
    Written("BigQuery", "GEOGRAPHY and RANGE, ignored", "external_id",
            bigquery("etl_place", pa.array([{"point": "POINT(1 2)", "from": date(2026, 1, 1)}]))),
    Written("BigQuery", "FLOAT64 as an id", "external_id",
            bigquery("external_id", pa.array([7.0]))),
)  # fmt: skip


def main(folder: Path) -> None:
    """Write all of them."""
    for number, each in enumerate(FILES, 1):
        each.write(folder / f"{number:02}-{each.writer}.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
