import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from pipeline.store.parquet import (
    ROW_GROUP_ROWS,
    ParquetWriter,
    fitting_rows,
    read_frames,
    read_metadata,
    row_count,
)

SCHEMA = {"n": pl.Int64, "text": pl.String}


def numbered(start: int, stop: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"n": range(start, stop), "text": [f"row {n}" for n in range(start, stop)]}, schema=SCHEMA
    )


def write(path: Path, rows: int, batch: int = 5_000) -> Path:
    with ParquetWriter(path, SCHEMA) as writer:
        for start in range(0, rows, batch):
            writer.write(numbered(start, min(rows, start + batch)))
        assert writer.rows == rows
    return path


@pytest.mark.parametrize("rows", [0, 1, 1_024, 1_025, ROW_GROUP_ROWS, 40_001])
def test_rows_come_back_in_order(tmp_path: Path, rows: int) -> None:
    path = write(tmp_path / "a.parquet", rows)
    frames = list(read_frames(path))
    assert [n for frame in frames for n in frame["n"]] == list(range(rows))
    assert all(0 < frame.height <= ROW_GROUP_ROWS for frame in frames)
    assert row_count(path) == rows


def test_single_columns_can_be_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 10)
    assert next(read_frames(path, columns=["text"])).columns == ["text"]
    assert next(read_frames(path, columns=["text", "n"])).columns == ["n", "text"]


def test_frames_are_at_most_as_long_as_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 1_000)
    assert [frame.height for frame in read_frames(path, batch_rows=300)] == [300, 300, 300, 100]


def test_long_rows_make_short_frames(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["x" * 100_000] * 400})
    assert fitting_rows(frame) < 200
    with ParquetWriter(tmp_path / "a.parquet", frame.schema) as writer:
        for _ in range(4):
            writer.write(frame)
    first, second, *_ = read_frames(tmp_path / "a.parquet")
    assert (first.height, second.height) == (1_024, fitting_rows(frame))


@pytest.mark.parametrize(
    "name", ["a[1]*.parquet", "date=2026.parquet", "~x.parquet", "ä b.parquet"]
)
def test_the_name_of_a_file_is_only_a_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, 3)
    assert pl.concat(read_frames(path)).columns == ["n", "text"]


def test_metadata_may_be_completed_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with ParquetWriter(path, SCHEMA, metadata={"early": "1"}) as writer:
        writer.write(numbered(0, 50_000))
        writer.metadata["late"] = str(writer.rows)
    assert read_metadata(path) == {"early": "1", "late": "50000", "format": "1"}


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("older, and readable by all")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        write(path, 10)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_exception_inside_removes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"

    def fail() -> None:
        with ParquetWriter(path, SCHEMA) as writer:
            writer.write(numbered(0, 20_000))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert not path.exists()


FEW_OF_MANY = """
import re, sys
from pathlib import Path
import polars as pl
from pipeline.store.parquet import ParquetWriter

def held_mb():
    return int(re.search(r"RssAnon:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

with ParquetWriter(Path(sys.argv[1]), {"n": pl.Int64, "text": pl.String}) as writer:
    for number in range(120):
        texts = [f"{number} {n} " + "a long text " * 10 for n in range(10_000)]
        frame = pl.DataFrame({"n": range(10_000), "text": texts})
        writer.write(frame.filter(pl.col("n") % 1000 == 0))
        if number == 20:
            before_mb = held_mb()
    print(held_mb() - before_mb)
"""


def test_a_few_rows_of_many_do_not_keep_the_others_in_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FEW_OF_MANY, tmp_path / "few.parquet"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(done.stdout) < 50  # of 120 MB of texts
    assert row_count(tmp_path / "few.parquet") == 1200


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"n": ["1"], "text": ["a"]}),  # another type
        pl.DataFrame({"text": ["a"], "n": [1]}),  # another order
        pl.DataFrame({"n": [1]}),  # a column less
    ],
)
def test_a_frame_of_another_schema_is_refused(tmp_path: Path, frame: pl.DataFrame) -> None:
    with (
        pytest.raises(pl.exceptions.SchemaError),
        ParquetWriter(tmp_path / "a.parquet", SCHEMA) as writer,
    ):
        writer.write(frame)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such"):
        ParquetWriter(tmp_path / "no-such" / "a.parquet", SCHEMA)


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    writer = ParquetWriter(tmp_path / "a.parquet", SCHEMA)
    writer.close()
    writer.close()
    assert row_count(writer.path) == 0


def test_a_full_disk_is_an_os_error_and_nothing_hangs(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        import polars as pl
        from pipeline.store.parquet import ParquetWriter
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        path = Path(sys.argv[1])
        try:
            with ParquetWriter(path, {"n": pl.UInt64}) as writer:
                for i in range(40):
                    n = pl.select(pl.int_range(i * 5000, i * 5000 + 5000).hash().alias("n"))
                    writer.write(n)
        except OSError as error:
            print("OSError", path.name in str(error), path.exists())
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.parquet"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "OSError True False\n", done.stderr


def test_a_file_cut_in_half_raises(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 50_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises((pl.exceptions.PolarsError, OSError)):
        list(read_frames(path))
