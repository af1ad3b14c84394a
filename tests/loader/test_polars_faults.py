"""What polars makes of broken files, and that `ingest` refuses each of them.

The first half is why polars never reads an input itself. Where one of these tests fails after an
upgrade, polars has changed, not we: read what it does now.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from pipeline.loader.ingest import ingest
from pipeline.model import InputError

ROWS = 60_000
BROKEN = 40_000


def text(*, header: str = "id,name,n", line_end: str = "\n", broken: str | None = None) -> bytes:
    lines = [header, *(f"coupon-{n},some name {n},{n % 7}" for n in range(1, ROWS + 1))]
    if broken is not None:
        lines[BROKEN] = broken
    return "".join(line + line_end for line in lines).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    rows: int
    nulls: int
    columns: tuple[str, ...]
    error: str | None


def scanned(path: Path) -> Outcome:
    """What a lazy scan in batches gives out before it ends, in one way or another."""
    rows, nulls, columns, error = 0, 0, (), None
    try:
        for frame in pl.scan_csv(path, infer_schema=False).collect_batches(
            chunk_size=1_000, maintain_order=True
        ):
            rows += frame.height
            nulls += sum(column.null_count() for column in frame)
            columns = tuple(frame.columns)
    except (pl.exceptions.PolarsError, OSError) as caught:
        error = type(caught).__name__
    return Outcome(rows=rows, nulls=nulls, columns=columns, error=error)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        ingest(path, path.with_name("snapshot.parquet"))
    assert not path.with_name("snapshot.parquet").exists()
    return str(caught.value)


PLACE = f"row {BROKEN} (line {BROKEN + 1}): "


def packed() -> bytes:
    return gzip.compress(text(), mtime=0)


ROWS_AND_THEN_AN_ERROR = {  # name, content, our message
    "a field too many": (
        "a.csv",
        lambda: text(broken="coupon-x,a,b,c"),
        PLACE + "the record has 4 fields",
    ),
    "Latin-1": (
        "a.csv",
        lambda: text().replace(b"n-40000,some", b"n-40000,s\xf6me"),
        PLACE + "byte 0xF6",
    ),
    "an unclosed quote": (
        "a.csv",
        lambda: text(broken='coupon-x,"a,1'),
        PLACE + "the quote opened on line 40001 is never",
    ),
    "a stray quote": (
        "a.csv",
        lambda: text(broken='coupon-x,a"b,1'),
        PLACE + "a quote inside a cell",
    ),
    "a gzip that is cut": (
        "a.csv.gz",
        lambda: packed()[:150_000],
        "the compressed stream is cut",
    ),
    "a gzip without its trailer": (
        "a.csv.gz",
        lambda: packed()[:-8],
        "the compressed stream is cut",
    ),
}


@pytest.mark.parametrize(
    ("name", "content", "message"), ROWS_AND_THEN_AN_ERROR.values(), ids=ROWS_AND_THEN_AN_ERROR
)
def test_polars_gives_rows_out_before_it_finds_the_fault(
    tmp_path: Path, name: str, content: Callable[[], bytes], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content())
    outcome = scanned(path)
    assert outcome.error is not None
    assert outcome.rows > 0
    assert message in refused(path)


ROWS_WITH_NULLS = {  # content, our message
    "a field too few": (
        lambda: text(broken="coupon-x,a"),
        PLACE + "the record has 2 fields",
    ),
    "the last line cut": (
        lambda: text()[:-12],
        "row 60000 (line 60001): the record has 2 fields",
    ),
}


@pytest.mark.parametrize(("content", "message"), ROWS_WITH_NULLS.values(), ids=ROWS_WITH_NULLS)
def test_polars_fills_what_is_missing_with_null(
    tmp_path: Path, content: Callable[[], bytes], message: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content())
    outcome = scanned(path)
    assert (outcome.rows, outcome.nulls, outcome.error) == (ROWS, 1, None)
    assert message in refused(path)


def test_polars_counts_a_blank_line_as_a_row_and_we_do_not(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text(broken=""))
    assert scanned(path).rows == ROWS
    assert scanned(path).nulls == 3
    taken = ingest(path, tmp_path / "snapshot.parquet")
    assert (taken.rows, taken.blank_lines) == (ROWS - 1, 1)


def test_polars_reads_utf_16_as_junk_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text().decode().encode("utf-16"))
    outcome = scanned(path)
    assert outcome.error is None
    assert "id" not in outcome.columns
    assert "is UTF-16LE, not UTF-8" in refused(path)


def test_polars_reads_nothing_where_lines_end_in_a_carriage_return(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text(line_end="\r"))
    outcome = scanned(path)
    assert (outcome.rows, outcome.error) == (0, None)
    assert "line 1: a carriage return" in refused(path)


def test_polars_renames_duplicate_headers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text(header="id,id,n"))
    assert scanned(path).columns == ("id", "id_duplicated_0", "n")
    assert "this name is given twice: columns 1 and 2" in refused(path)


def test_polars_takes_a_nul_byte_for_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text(broken="coupon-x,a\0b,1"))
    assert scanned(path).error is None
    assert PLACE + "a NUL byte" in refused(path)


def test_mixed_line_ends_are_read_by_us(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text(broken="coupon-x,a,1\r"))
    assert ingest(path, tmp_path / "snapshot.parquet").rows == ROWS
