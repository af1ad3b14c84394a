"""The file of jobs: what is written is what is read, in order."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import SecretStr

from pipeline.jobs.jobs_file import (
    JOBS_SCHEMA,
    JobsWriter,
    bound_request,
    encodes_with,
    job_rows,
    jobs_frame,
    jobs_path,
    read_jobs,
    written_for,
)
from pipeline.jobs.partition import Partition
from pipeline.jobs.repeats import HOT, find_repeats
from pipeline.model import DamagedError, JobRow, Link
from pipeline.model.retry import RetryPolicy
from pipeline.store.parquet import read_metadata
from pipeline.vendors import Account, RequestHead
from tests import acme

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


SENT = [
    JobRow(1, "op", "e1", True, "{}", path="/a%20b", body=b'{"n":"\xc3\xa4"}'),
    JobRow(2, "op", "e2", True, "{}"),
    JobRow(3, "op", "e3", True, "{}", path="/c", body=b""),
]


def with_requests(path: Path, jobs: list[JobRow], encodes_with: str) -> Path:
    with JobsWriter(path, lambda _operation: 1, encodes_with=encodes_with) as writer:
        writer.write(jobs)
    return path


def test_requests_are_read_by_the_account_that_they_were_written_for(tmp_path: Path) -> None:
    path = with_requests(tmp_path / "jobs", SENT, "these settings")
    bare = [job._replace(path=None, body=None) for job in SENT]
    assert written_for(path) == "these settings"
    assert list(chain.from_iterable(read_jobs(path, encodes_with="these settings"))) == SENT
    assert list(chain.from_iterable(read_jobs(path, encodes_with="others"))) == bare
    assert list(chain.from_iterable(read_jobs(path))) == bare


def test_without_settings_on_record_no_request_is_read(tmp_path: Path) -> None:
    path = with_requests(tmp_path / "jobs", SENT, "")
    assert written_for(path) == ""
    (found,) = read_jobs(path, encodes_with="these settings")
    assert all(job.path is job.body is None for job in found)


def test_jobs_of_earlier_versions_have_no_request() -> None:
    """The first version had neither states to expect nor fields to keep."""
    first = jobs_frame(SENT).drop("path", "body", "expects", "keeps")
    assert job_rows(first) == [job._replace(path=None, body=None) for job in SENT]


ACCOUNT = Account(
    name="shop",
    vendor=acme.ACME,
    settings=acme.Settings(base_url="https://acme.example", **acme.ACME.simulated),
    link=Link(base_url="https://acme.example"),
    quotas=(),
    is_assumed=False,
    in_flight=1,
    retry=RetryPolicy(),
)


def with_settings(**changes: Any) -> Account:
    return replace(ACCOUNT, settings=ACCOUNT.settings.model_copy(update=changes))


def test_settings_that_decide_a_request_are_told_apart_and_secrets_are_not() -> None:
    known = encodes_with(ACCOUNT)
    assert encodes_with(with_settings(client_secret=SecretStr("new"))) == known
    assert encodes_with(replace(ACCOUNT, name="other")) == known
    assert encodes_with(with_settings(warehouse="south")) != known


STOCK = acme.Stock.model_validate({"sku": "a b", "changes": {"level": "low"}})
MEMO = acme.Stock.model_validate({"sku": "a b", "changes": {"memo": "Seen"}})
BOUND = replace(acme.STOCK, head=lambda _s: RequestHead("PUT", acme.HEADERS))
OTHER_HEADERS = replace(acme.STOCK, head=lambda _s: RequestHead("PUT", {"If-Match": "1"}))


@pytest.mark.parametrize(
    ("operation", "job", "max_batch", "keeps", "is_bound"),
    [
        (BOUND, STOCK, 1, False, True),
        (BOUND, STOCK, 20, False, False),  # other rows may join it
        (BOUND, MEMO, 20, False, True),  # none may
        (BOUND, STOCK, 1, True, False),  # what is sent is known after a read
        (acme.STOCK, STOCK, 1, False, False),
        (OTHER_HEADERS, STOCK, 1, False, False),  # the job has headers of its own
    ],
)
def test_the_request_of_a_job_is_bound_if_the_job_decides_it(
    operation, job, max_batch, keeps, is_bound
):
    settings = with_settings(max_batch=max_batch).settings
    request = operation.encode(settings, (job,))
    expected = (request.path, request.body) if is_bound else (None, None)
    assert bound_request(operation, settings, job, keeps=keeps) == expected


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


def test_each_place_that_jobs_reach_is_told_once(tmp_path: Path) -> None:
    """Whether the jobs of one call reach one place or several, and in whatever order."""
    calls = ["aaa", "b", "ab", "ba", "caac", "d"]
    rows = iter(range(1, 100))
    with JobsWriter(tmp_path / "jobs.parquet", batch_size=lambda _operation: 3) as writer:
        for places in calls:
            entities = [f"acme|https://a|{place}|thing|7" for place in places]
            writer.write([JobRow(next(rows), "acme.put", each, True, "{}") for each in entities])
    assert writer.file().reaches == {f"acme|https://a|{place}" for place in "abcd"}


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
