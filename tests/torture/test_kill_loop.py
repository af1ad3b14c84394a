"""Some kills of `make torture`, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.torture.lives import ROOT

KILLS = 12


@pytest.mark.parametrize(
    ("store", "kills"),
    [([], KILLS), (["--postgres"], 4)],  # in a database each waits for the end of a lease
    ids=["files", "postgres"],
)
def test_a_run_that_is_killed_again_and_again_keeps_every_promise(store: list[str], kills: int):
    command = [sys.executable, "-m", "tests.torture.kill_loop", *store]
    done = subprocess.run(
        [*command, "--kills", str(kills), "--seed", "6"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"^(\d+) kills, 0 violations$", done.stdout, re.MULTILINE)
    assert int(told[-1]) >= kills  # of runs, workers and the database's server
    assert "violations 0" in done.stdout
