"""What other systems write as Parquet is taken or refused as the documentation says."""

from pathlib import Path

import pytest

from tests.loader.parquet_files import FILES, Written
from tests.loader.parquet_outcomes import outcome

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "parquet.md"
HEAD = "| written by | column | result |\n| --- | --- | --- |\n"


def line(written: Written, became: str) -> str:
    return f"| {written.writer} | {written.column} | {became} |\n"


def table() -> str:
    """The table of the page."""
    after = PAGE.read_text().partition(HEAD)[2]
    return after.partition("\n\n")[0].rstrip("\n") + "\n"


@pytest.mark.parametrize("written", FILES, ids=[f"{each.writer} {each.column}" for each in FILES])
def test_a_file_is_read_as_documented(written: Written, tmp_path: Path) -> None:
    assert line(written, outcome(written, tmp_path)) in table()


def test_the_page_names_every_file_and_no_other() -> None:
    listed = [row.rsplit("|", 2)[0] for row in table().splitlines()]
    assert listed == [line(each, "").rsplit("|", 2)[0] for each in FILES]


@pytest.mark.parametrize("writer", ["pyarrow", "DuckDB", "Spark", "BigQuery"])
def test_there_are_ten_of_each_writer(writer: str) -> None:
    assert sum(each.writer == writer for each in FILES) >= 10
