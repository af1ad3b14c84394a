"""A real disk that is full, or may only be read: nothing leaves that is not on record."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.promises.small_disk import ROWS
from tests.workplace import row_of, simulator

APART = ("unshare", "--user", "--map-root-user", "--mount")


def mounting_is_forbidden(folder: Path) -> str | None:
    """Why no file system can be mounted here; None where it can."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    command = [*APART, "mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else None


def test_a_disk_that_fills_up_amid_a_run_costs_no_row_and_repeats_none(tmp_path):
    if why := mounting_is_forbidden(tmp_path):
        pytest.skip(f"a small file system cannot be mounted: {why}")
    with simulator() as vendor:
        command = [*APART, sys.executable, "-m", "tests.promises.small_disk", str(tmp_path)]
        done = subprocess.run(
            [*command, vendor.base_url, vendor.url], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        puts = [entry for entry in vendor.get("log") if entry["method"] == "PUT"]
    full, room, end = found["full"], found["room"], found["end"]
    assert full["code"] == 3
    assert "the run ended early" in full["words"]
    assert "ledger.db cannot be used: the disk" in full["words"]
    assert 30 <= found["sent"] < ROWS - 30  # feeding stopped
    looked_at = found["looked_at"]  # it may go, may not, and is told in words
    assert looked_at["code"] == 0 or "ledger.db cannot be used: the disk" in looked_at["words"]

    counts = room["summary"]["statuses"]
    assert room["not_sent"] == counts["not_attempted"] > 0
    assert counts["updated"] + counts["unknown"] + counts["not_attempted"] == ROWS
    assert found["resumed"]["code"] == 0, found["resumed"]
    assert end["summary"]["statuses"]["updated"] == ROWS
    assert end["state"] == "finished"

    sent = Counter(row_of(entry["body"]) for entry in puts)
    assert sent.keys() == set(range(1, ROWS + 1))
    again = {row for row, times in sent.items() if times > 1}
    assert again <= set(found["in_doubt"])  # a row whose answer was on record is never among them
    assert max(sent.values()) <= 2
    assert found["reported"] == list(range(1, ROWS + 1))

    for command, told in found["read_only"].items():
        assert told["code"] == 3, command
        assert "cannot be used: Read-only file system" in told["words"], command
    assert found["requests"] == found["sent_before"]
