"""Input files of any size for benchmarks: realistic coupons, every row its own entity."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from pipeline.store.parquet import ParquetWriter

HEADER = (
    "external_id,name.en-US,name.de-DE,bonus,date_start,date_end,"
    "redeem_total_limit,redeem_user_limit,redeem_code_limit,attribute_conditions"
)
CHUNK_ROWS = 16_384


def csv_line(row: int) -> str:
    """One coupon; its name holds the row number, so that no two bodies are equal."""
    return (
        f"autumn_{row},Autumn coupon {row},Herbstgutschein {row},elven_shield:{row % 9 + 1},"
        f"2026-12-01T00:00:00+01:00,2026-12-31T23:59:00+01:00,{row % 500 + 1},1,null,omit\n"
    )


def _lines(rows: int) -> Iterator[str]:
    yield HEADER + "\n"
    for start in range(1, rows + 1, CHUNK_ROWS):
        yield "".join(csv_line(row) for row in range(start, min(rows, start + CHUNK_ROWS - 1) + 1))


def write_csv(path: Path, rows: int) -> None:
    """A CSV of `rows` coupons."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(_lines(rows))


def write_gz(path: Path, rows: int) -> None:
    """The same, compressed."""
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        file.writelines(_lines(rows))


def write_parquet(path: Path, rows: int, *, row_group_rows: int = 131_072) -> None:
    """The same rows as Parquet text columns."""
    names = HEADER.split(",")
    schema = dict.fromkeys(names, pl.String)
    with ParquetWriter(path, schema, row_group_rows=row_group_rows) as writer:
        for start in range(1, rows + 1, CHUNK_ROWS):
            lines = [csv_line(n) for n in range(start, min(rows, start + CHUNK_ROWS - 1) + 1)]
            columns = zip(*(line.rstrip("\n").split(",") for line in lines), strict=True)
            writer.write(pl.DataFrame(dict(zip(names, columns, strict=True)), schema=schema))


WRITERS = {".csv": write_csv, ".csv.gz": write_gz, ".parquet": write_parquet}
