"""What other systems write as Parquet is taken or refused as the documentation says."""

import json
from itertools import chain
from pathlib import Path

import pytest

from pipeline.jobs import read_jobs
from pipeline.model import Fault, InputError
from pipeline.run import discard, prepare
from pipeline.runs import RunOptions
from tests.loader.parquet_files import FILES, Written
from tests.workplace import configure

PAGE = Path(__file__).parents[2] / "docs" / "inputs.md"
HEAD = "| written by | column | what becomes of it |\n| --- | --- | --- |\n"
SETTINGS = '\n[input."xsolla.coupon"]\nignore = ["etl_*"]\ntimezone = "Europe/Berlin"\n'


def outcome(written: Written, folder: Path) -> str:
    """What becomes of a file, as the table says it."""
    config = configure(folder, "http://127.0.0.1:9", more=SETTINGS)
    path = folder / "a.parquet"
    written.write(path)
    try:
        prepared = prepare(path, config, RunOptions(operation="xsolla.coupon"))
    except InputError as error:
        (fault,) = error.faults
        return f"refused: {_said(fault)}"
    try:
        for kind in prepared.bound.faults:
            return f"row invalid: {_said(kind.examples[0])}"
        (job,) = chain.from_iterable(read_jobs(prepared.bound.jobs["shop"].path))
        return f"sent as `{json.dumps(json.loads(job.text)[written.field])}`"
    finally:
        discard(prepared)


def _said(fault: Fault) -> str:
    assert "polars" not in str(fault).lower()
    return fault.what


def line(written: Written, became: str) -> str:
    return f"| {written.writer} | {written.column} | {became} |\n"


def table() -> str:
    """The table of the page."""
    after = PAGE.read_text().partition(HEAD)[2]
    return after.partition("\n\n")[0] + "\n"


@pytest.mark.parametrize("written", FILES, ids=[f"{each.writer} {each.column}" for each in FILES])
def test_a_file_becomes_what_the_page_says(written: Written, tmp_path: Path) -> None:
    assert line(written, outcome(written, tmp_path)) in table()


def test_the_page_names_every_file_and_no_other() -> None:
    listed = [row.rsplit("|", 2)[0] for row in table().splitlines()]
    assert listed == [line(each, "").rsplit("|", 2)[0] for each in FILES]


@pytest.mark.parametrize("writer", ["pyarrow", "DuckDB", "Spark", "BigQuery"])
def test_there_are_ten_of_each_writer(writer: str) -> None:
    assert sum(each.writer == writer for each in FILES) >= 10
