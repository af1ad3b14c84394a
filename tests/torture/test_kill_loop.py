"""Some kills of `make torture`, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.torture.lives import ROOT

KILLS = 20


@pytest.mark.timeout(200)
def test_a_run_that_is_killed_again_and_again_keeps_every_promise():
    command = [sys.executable, "-m", "tests.torture.kill_loop"]
    done = subprocess.run(
        [*command, "--kills", str(KILLS), "--seed", "6"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"kills {KILLS} in " in done.stdout
    assert "violations 0" in done.stdout
