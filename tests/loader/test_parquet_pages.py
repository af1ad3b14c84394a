"""Small Parquet files are decoded in place; whatever may need much memory, in a process first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.loader import parquet_pages
from pipeline.loader.ingest import ingest
from pipeline.loader.parquet_file import is_small
from pipeline.model import InputError, RunAborted
from pipeline.store.thrift import ThriftReader

ABORTS = Path(__file__).parents[1] / "fuzz" / "found" / "files-parquet-aborts"
ROWS = 3_000

TABLE = pa.table(
    {
        "id": [f"autumn_{row}" for row in range(ROWS)],
        "name": [f"Name {row % 7}" if row % 5 else None for row in range(ROWS)],
        "limit": list(range(ROWS)),
        "is_on": [row % 2 == 0 for row in range(ROWS)],
    }
)


def written(path: Path, **options: object) -> Path:
    pq.write_table(options.pop("table", TABLE), path, row_group_size=1_000, **options)
    return path


def judged(path: Path) -> bool:
    with path.open("rb") as file:
        return is_small(file.fileno(), "a.parquet")


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionaries", [["id", "name"], []])
def test_what_common_writers_write_is_small(
    tmp_path: Path, compression: str, version: str, dictionaries: list[str]
) -> None:
    options = {"data_page_version": version, "use_dictionary": dictionaries}
    assert judged(written(tmp_path / "a.parquet", compression=compression, **options))


def test_what_polars_writes_is_small(tmp_path: Path) -> None:
    pl.from_arrow(TABLE).write_parquet(tmp_path / "a.parquet")
    assert judged(tmp_path / "a.parquet")


def delta(path: Path) -> None:
    written(path, use_dictionary=False, column_encoding={"id": "DELTA_BYTE_ARRAY"})


NOT_SMALL: dict[str, Callable[[Path], object]] = {
    "a page that states two exbibytes": lambda path: path.write_bytes(ABORTS.read_bytes()),
    "prefixes, which are repeated as often as a page says": delta,
    "a codec that is not known here": lambda path: written(path, compression="lz4"),
    "lists, whose values no count of rows bounds": lambda path: written(
        path, table=pa.table({"a": [[1, 2]] * ROWS})
    ),
    "values of a length that only the schema states": lambda path: written(
        path, table=pa.table({"a": pa.array([b"12345678"] * ROWS, pa.binary(8))})
    ),
}


@pytest.mark.parametrize("write", NOT_SMALL.values(), ids=NOT_SMALL)
def test_what_may_need_memory_is_not_small(tmp_path: Path, write: Callable[[Path], object]) -> None:
    write(tmp_path / "a.parquet")
    assert not judged(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["MAX_UNPACKED_BYTES", "MAX_VALUES", "_MAX_PAGES"])
def test_each_limit_bounds_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = written(tmp_path / "a.parquet", compression="none", use_dictionary=False)
    pages = 3 * TABLE.num_columns
    at_most = {
        "MAX_UNPACKED_BYTES": path.stat().st_size,
        "MAX_VALUES": ROWS * (TABLE.num_columns + 1),
        "_MAX_PAGES": pages,
    }
    monkeypatch.setattr(parquet_pages, name, at_most[name])
    assert judged(path)
    monkeypatch.setattr(parquet_pages, name, at_most[name] // 2)
    assert not judged(path)


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("kind", "an index page, say, is none that is decoded"),
        ("packed", "the next header is not where this page ends"),
        ("values", "the pages of a column have as many values as the file has rows"),
    ],
)
def test_a_page_header_agrees_with_the_footer(tmp_path: Path, field: str, why: str) -> None:
    path = written(tmp_path / "a.parquet", compression="none", use_dictionary=False)
    data = path.read_bytes()
    header = ThriftReader(data, 4).struct()
    at = {"kind": header.places[1], "packed": header.places[3], "values": header[5].places[1]}
    place = at[field]
    path.write_bytes(data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])
    assert not judged(path), why


def test_only_a_large_file_is_decoded_in_a_process_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = written(tmp_path / "small.parquet")
    large = written(tmp_path / "large.parquet", table=pa.table({"a": [[1, 2]] * ROWS}))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert ingest(small, tmp_path / "s.parquet").rows == ROWS
    with pytest.raises(RunAborted, match="the process that decodes it failed"):
        ingest(large, tmp_path / "s.parquet")


def test_a_damaged_small_file_is_refused_as_a_large_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    data = path.read_bytes()
    at = data.index(b"\x28\xb5\x2f\xfd") + 20  # in the first compressed page
    path.write_bytes(data[:at] + b"\xff" * 40 + data[at + 40 :])
    assert judged(path)
    refusals = []
    for most in (parquet_pages.MAX_VALUES, 1):
        monkeypatch.setattr(parquet_pages, "MAX_VALUES", most)
        with pytest.raises(InputError, match="column id: cannot be decoded") as refused:
            ingest(path, tmp_path / "s.parquet")
        refusals.append(str(refused.value))
        assert not (tmp_path / "s.parquet").exists()
    assert refusals[0] == refusals[1]
