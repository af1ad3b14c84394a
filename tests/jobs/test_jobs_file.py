"""The file of jobs: what is written is what is read, in order."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from pipeline.jobs.jobs_file import (
    JOBS_SCHEMA,
    JobsWriter,
    jobs_frame,
    jobs_path,
    read_jobs,
)
from pipeline.jobs.partition import Partition
from pipeline.jobs.repeats import HOT, find_repeats
from pipeline.model import DamagedError, JobRow
from pipeline.store.parquet import read_metadata

JOBS = [
    JobRow(
        row,
        f"acme.{row % 2}",
        f"e{row % 7}",
        row % 3 == 0,
        f'{{"n":"ä{row}"}}',
        f"b{row % 5}",
        *(("monday", row + 7) if row % 4 else ()),
    )
    for row in range(1, 101)
]


def written(folder: Path, jobs: list[JobRow]) -> Path:
    path = jobs_path(folder, "shop")
    with JobsWriter(path, batch_size=lambda _operation: 3) as writer:
        for start in range(0, len(jobs), 30):
            writer.write(jobs[start : start + 30])
    return path


def test_jobs_are_read_back_in_order_and_in_batches(tmp_path: Path) -> None:
    batches = list(read_jobs(written(tmp_path, JOBS), batch_rows=32))
    assert [job for batch in batches for job in batch] == JOBS
    assert [len(batch) for batch in batches] == [32, 32, 32, 4]
    assert isinstance(batches[0][0], JobRow)


def test_the_file_is_private_and_says_its_format(tmp_path: Path) -> None:
    path = written(tmp_path, JOBS)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_metadata(path)["format"] == "1"


def test_written_jobs_are_counted(tmp_path: Path) -> None:
    jobs = [
        *(JobRow(row, "acme.1", "e", True, "{}", "together") for row in range(1, 8)),
        *(JobRow(row, "acme.2", f"e{row}", True, "{}") for row in range(8, 10)),
    ]
    with JobsWriter(tmp_path / "jobs", batch_size=lambda _operation: 3) as writer:
        writer.write(jobs[:4])
        writer.write(jobs[4:])
    file = writer.file()
    assert (file.rows, file.operations) == (9, {"acme.1": 7, "acme.2": 2})
    assert (file.repeated, file.requests) == (7, 3 + 2)


def test_no_jobs_make_an_empty_frame() -> None:
    assert jobs_frame([]).schema == pl.Schema(JOBS_SCHEMA)


@pytest.mark.parametrize(
    ("entities", "expected"),
    [
        ("", 0),
        ("abc", 0),  # each once
        ("aba", 2),  # both of them count
        ("abcabca", 7),
        ("a" * 10, 10),
    ],
)
@pytest.mark.parametrize("part_rows", [100, 2])  # at once, and in parts
def test_repeated_entities_are_counted(
    tmp_path: Path, entities: str, expected: int, part_rows: int
) -> None:
    jobs = [JobRow(n, "o", entity, True, "{}") for n, entity in enumerate(entities, 1)]
    path = written(tmp_path, jobs)
    assert find_repeats(path, len(jobs), part_rows=part_rows).jobs == expected
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left


@pytest.mark.parametrize("part_rows", [1000, 7])
def test_the_most_repeated_entity_is_found_with_its_first_row(
    tmp_path: Path, part_rows: int
) -> None:
    entities = [f"e{n % 50}" for n in range(100)] + ["hot"] * (HOT + 1)
    jobs = [JobRow(n, "o", entity, True, "{}") for n, entity in enumerate(entities, 11)]
    path = written(tmp_path, jobs)
    repeats = find_repeats(path, len(jobs), part_rows=part_rows)
    assert (repeats.jobs, repeats.most) == (100 + HOT + 1, HOT + 1)
    hottest = repeats.hottest(path)
    assert hottest is not None
    assert (hottest.entity, hottest.row, hottest.jobs) == ("hot", 111, HOT + 1)
    assert list(tmp_path.iterdir()) == [path]


def test_an_entity_with_few_jobs_is_not_named(tmp_path: Path) -> None:
    jobs = [JobRow(n, "o", "e", True, "{}") for n in range(1, HOT)]
    path = written(tmp_path, jobs)
    repeats = find_repeats(path, len(jobs))
    assert repeats.most == HOT - 1
    assert repeats.hottest(path) is None


def test_changed_rows_in_a_temporary_file_are_noticed(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": range(100_000)})
    with Partition(tmp_path, 100_000, part_rows=10_000) as parts:
        parts.add(frame, frame["n"].hash())
        with min(tmp_path.glob("*/*")).open("rb+") as file:
            file.seek(4_000)
            file.write(b"\xff\x00\xff")
        with pytest.raises(DamagedError, match="not what was written"):
            list(parts)
