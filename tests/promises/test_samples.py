"""The samples are worth a first report: every status of a finished run, and they never go stale."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.config import load_config
from pipeline.run import RunEnvironment, carry_out, prepare
from pipeline.runs import RunOptions
from pipeline.simulator import SimulatorOptions, default_script, serve
from pipeline.vendors import load_vendors
from tests.make_samples import frames

SAMPLES = Path(__file__).parents[2] / "inputs" / "samples"
FINISHED = {"updated", "invalid", "rejected", "failed", "unknown"}
FEWER = {
    # a read settles what the others are in doubt about
    "autumn_coupons.csv": FINISHED - {"unknown"},
    "winter_bonuses.parquet": FINISHED - {"unknown"},
    "winter_fallbacks.csv": FINISHED - {"unknown"},
    "night_status.parquet": FINISHED - {"rejected"},  # Oracle's 500 says of no row that it is wrong
    "launch_day.csv": {"updated", "invalid"},
}


@pytest.mark.parametrize(
    ("path", "frame"), frames().items(), ids=lambda part: getattr(part, "name", "")
)
def test_a_parquet_sample_is_what_its_maker_writes(path, frame):
    assert_frame_equal(pl.read_parquet(path), frame)


FILES = sorted(path for path in SAMPLES.rglob("*.*") if path.is_file())


def test_there_are_samples_of_every_operation():
    operations = {op.name for vendor in load_vendors().values() for op in vendor.operations}
    assert operations == {path.parent.name for path in FILES} - {"samples"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_a_sample_ends_in_every_status_that_a_finished_run_can_give(tmp_path, path):
    config = load_config(None, environ={}, vendors=load_vendors(), cwd=tmp_path)
    async with serve(SimulatorOptions(script=default_script())) as vendor:
        simulated = config.simulated(vendor.base_urls)
        summary = await carry_out(
            prepare(path, simulated, RunOptions()), RunEnvironment(environ={})
        )
    ended = {status for status, count in summary.statuses.items() if count}
    assert ended == FEWER.get(path.name, FINISHED)
    assert summary.exit_code == 1
