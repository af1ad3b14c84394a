"""How much of an input is read before its rows are sent: its bytes, once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.run import discard, prepare
from pipeline.runs import RunOptions
from tests.workplace import COLUMNS, configure, coupon

ROWS = 2_000


def bytes_read() -> int:
    """By this process so far, from files or their cache."""
    facts = Path("/proc/self/io").read_text().split()
    return int(facts[facts.index("rchar:") + 1])


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel counts what is read")
def test_the_bytes_of_a_file_are_read_once(tmp_path: Path) -> None:
    """For its hash, its structure and runs of the same content. The run's copy of it is small."""
    more = '[input."xsolla.coupon"]\nignore = ["noise"]\n'
    config = configure(tmp_path, "http://127.0.0.1:9", more=more)
    path = tmp_path / "wide.csv"
    lines = [f"{COLUMNS},noise", *(f"{coupon(row)},{'x' * 5_000}" for row in range(1, ROWS + 1))]
    path.write_text("\n".join(lines))
    before = bytes_read()
    discard(prepare(path, config, RunOptions(operation="xsolla.coupon")))
    assert 1.0 <= (bytes_read() - before) / path.stat().st_size < 1.5
