"""A Parquet file of ours that is not what was written is noticed before a row of it is used."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pipeline.model import DamagedError
from pipeline.store.checksums import KEY, check_is, read_checksums
from pipeline.store.parquet import ParquetWriter, read_back_frames, read_frames, read_metadata

SCHEMA = {
    "n": pl.Int64(),
    "text": pl.String(),
    "yes": pl.Boolean(),
    "list": pl.List(pl.Float64()),
    "both": pl.Struct({"a": pl.String(), "b": pl.Datetime("us", "UTC")}),
}


def written(path: Path, rows: int = 1_000, group_rows: int = 300, *, salt: str = "") -> str:
    with ParquetWriter(path, SCHEMA, row_group_rows=group_rows, is_checked=True) as writer:
        for start in range(0, rows, 250):
            numbers = range(start, min(rows, start + 250))
            cells = {
                "n": numbers,
                "text": [f"{salt}{n % 40}" for n in numbers],
                "yes": [n % 3 == 0 for n in numbers],
                "list": [[n / 7] * (n % 3) for n in numbers],
                "both": [{"a": None if n % 5 else "x", "b": None} for n in numbers],
            }
            writer.write(pl.DataFrame(cells, schema=SCHEMA))
        writer.metadata["late"] = "said"
    return writer.digest


def everything(path: Path) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=SCHEMA), *read_frames(path, batch_rows=200)])


@pytest.mark.parametrize("rows", [0, 1, 299, 300, 301, 1_000])
def test_a_sound_file_is_read_in_any_direction(tmp_path: Path, rows: int) -> None:
    digest = written(path := tmp_path / "a.parquet", rows)
    assert everything(path)["n"].to_list() == list(range(rows))
    back = [n for frame in read_back_frames(path, batch_rows=70) for n in frame["n"]]
    assert sorted(back) == list(range(rows))
    assert pl.read_parquet(path).height == rows  # to others it is plain Parquet
    found = check_is(path, digest)
    assert found is not None
    assert [group.last_row for group in found.groups] == [*range(300, rows, 300), rows][: rows or 0]
    assert read_metadata(path) == {"late": "said", "format": "1"}


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    digest = written(path := tmp_path / "a.parquet")
    whole, chance = path.read_bytes(), random.Random(7)
    for place in chance.sample(range(len(whole) * 8), 400):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises((DamagedError, pl.exceptions.PolarsError, OSError)):
            everything(path)
        with pytest.raises(DamagedError, match=r"a\.parquet is damaged"):
            check_all(path, digest)


def check_all(path: Path, digest: str) -> None:
    found = check_is(path, digest)
    assert found is not None
    found.check_all()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut in half"),
        pytest.param(lambda data: data[:-1], id="the last byte lost"),
        pytest.param(lambda data: data[:0], id="emptied"),
        pytest.param(lambda data: bytes(4096) + data[4096:], id="the first block zeroed"),
        pytest.param(lambda data: data[:4096] + bytes(4096) + data[8192:], id="a block zeroed"),
        pytest.param(lambda data: data[:-900] + bytes(900), id="the end zeroed"),
        pytest.param(lambda data: data + bytes(100), id="zeros behind it"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    digest = written(path := tmp_path / "a.parquet")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError):
        check_all(path, digest)
    with pytest.raises((DamagedError, pl.exceptions.PolarsError, OSError)):
        everything(path)


def test_another_intact_file_is_refused(tmp_path: Path) -> None:
    digest = written(path := tmp_path / "a.parquet")
    other = written(tmp_path / "b.parquet", salt="another ")
    again = written(tmp_path / "c.parquet")
    assert digest != other
    assert digest == again  # the same rows, written in the same way
    shutil.copy(tmp_path / "b.parquet", path)
    everything(path)
    with pytest.raises(DamagedError, match="it is another file than the one that was written"):
        check_is(path, digest)
    path.unlink()
    with pytest.raises(DamagedError, match="is gone"):
        check_is(path, digest)


def test_damage_after_the_file_was_opened_is_noticed_where_it_is(tmp_path: Path) -> None:
    written(path := tmp_path / "a.parquet")
    found = read_checksums(path)
    assert found is not None
    frames = read_frames(path, batch_rows=300)
    next(frames)
    with path.open("rb+") as file:
        file.seek(found.groups[1].end + 9)
        file.write(b"\x00\xff")
    assert next(frames)["n"].to_list() == list(range(300, 600))
    with pytest.raises(DamagedError, match="the checksum of its rows 601 to 900 does not match"):
        next(frames)


def test_a_file_of_an_earlier_version_carries_none_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with ParquetWriter(path, {"n": pl.Int64()}) as writer:
        writer.write(pl.DataFrame({"n": [1, 2]}))
    assert writer.digest == ""
    assert read_checksums(path) is None
    assert check_is(path, "") is None
    assert next(read_frames(path))["n"].to_list() == [1, 2]
    with pytest.raises(DamagedError, match="another file"):
        check_is(path, "ab")


def test_a_file_rewritten_by_another_program_has_no_checksums(tmp_path: Path) -> None:
    written(path := tmp_path / "a.parquet")
    frame = pl.read_parquet(path)
    frame.write_parquet(path, metadata={KEY: "1"})
    with pytest.raises(DamagedError, match="its checksums are missing"):
        everything(path)


def test_a_footer_of_many_row_groups_and_columns_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    schema = {f"column {n}": pl.Int64() for n in range(20)}
    with ParquetWriter(path, schema, row_group_rows=10, is_checked=True) as writer:
        writer.write(pl.DataFrame(dict.fromkeys(schema, range(1_000)), schema=schema))
    found = read_checksums(path)
    assert found is not None
    assert len(found.groups) == 100
    found.check_all()
