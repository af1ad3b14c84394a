"""The examples of the page for Dagster and Prefect, in the real engines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.schedulers.airflow_server import ROOT
from tests.workplace import ENVIRON, configure, coupon, drop, simulator

PYTHON = ROOT / ".venv" / "schedulers" / "bin" / "python"
PAGE = ROOT / "docs" / "howto" / "schedulers.md"

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason="no engines here: make test-schedulers"),
]

DAGSTER = """
import dagster as dg
from dagster_offers import offers

with dg.DagsterInstance.ephemeral() as instance:
    done = dg.materialize([offers], instance=instance, raise_on_error=False)
    print("ended", done.success)
    for event in done.get_asset_materialization_events():
        metadata = event.step_materialization_data.materialization.metadata
        print("updated", metadata["updated"].value)
    print("retries", sum(each.is_step_up_for_retry for each in done.all_events))
"""
PREFECT = """
from prefect.testing.utilities import prefect_test_harness
from prefect_offers import offers

with prefect_test_harness(server_startup_timeout=300):
    state = offers(return_state=True)
    print("ended", state.is_completed())
    if state.is_completed():
        print("updated", state.result()["updated"])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name, text in re.findall(
        r"```python file=(\w+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL
    ):
        (tmp_path / name).write_text(text)
    with simulator() as vendor:
        configure(tmp_path, vendor.base_url)
        yield tmp_path


def ran(folder: Path, code: str) -> str:
    """What the code prints, in the Python of the engines, with the command on its path."""
    environ = {
        **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
        **ENVIRON,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PREFECT_HOME": str(folder / "prefect"),
        "DO_NOT_TRACK": "1",
    }
    done = subprocess.run(
        [PYTHON, "-c", code], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("code", [DAGSTER, PREFECT], ids=["dagster", "prefect"])
def test_a_file_is_sent_and_its_counts_are_returned(folder: Path, code: str):
    drop(folder, coupon(1), coupon(2), name="night.csv")
    out = ran(folder, code)
    assert "ended True" in out
    assert "updated 2" in out


@pytest.mark.parametrize("code", [DAGSTER, PREFECT], ids=["dagster", "prefect"])
def test_rows_that_fail_fail_it_without_another_try(folder: Path, code: str):
    drop(folder, coupon(1), "wrong" + "," * 8, name="night.csv")
    out = ran(folder, code)  # each of three tries would wait for a minute
    assert "ended False" in out
    assert "updated" not in out
