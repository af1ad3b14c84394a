"""A panic of polars is no Exception: it must not pass as one more traceback."""

from pathlib import Path

import polars as pl
import pytest

from pipeline.loader.panics import panics_as_input_errors
from pipeline.model import InputError
from pipeline.run import prepare
from pipeline.runs import RunOptions
from tests.workplace import COLUMNS, configure, coupon

NEVER = pl.Series([2**63 - 1]).cast(pl.Datetime("us"))


def test_a_panic_is_the_fault_of_the_file() -> None:
    with (
        pytest.raises(InputError, match=r"a\.parquet: cannot be read"),
        panics_as_input_errors("a.parquet"),
    ):
        NEVER.to_list()


@pytest.mark.parametrize("column", ["operation", "account", "_operation", "_account"])
def test_a_routing_column_cannot_hold_times(column: str, tmp_path: Path) -> None:
    config = configure(tmp_path, "http://127.0.0.1:9")
    cells = dict(zip(COLUMNS.split(","), coupon(1).split(","), strict=True))
    frame = pl.DataFrame(cells).with_columns(NEVER.alias(column))
    frame.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(
        InputError,
        match=f"column {column}: a column that names an operation or account does not hold text",
    ):
        prepare(tmp_path / "a.parquet", config, RunOptions(operation="xsolla.coupon"))
