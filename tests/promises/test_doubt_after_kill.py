"""How many rows a kill leaves in doubt: those of docs/guarantees.md, and no more."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.store import RunLedger
from pipeline.workers.claim_ahead import MAX_AHEAD
from tests.cli.command import start
from tests.waiting import settled, until
from tests.workplace import configure, configure_all, coupon, drop, simulator

IN_FLIGHT = 8
ROWS = 60
SETTLED_S = 1.5
HANG = """
[[rule]]
path = "."
body = "{body}"
replies = ["timeout-after"]
"""
TAGS = "instance_id,add:/_instance/xdm:tags/-"
NOTES = "offer_id,status,notes"


def tag(row: int) -> str:
    return f"i{row},of {row}"


def note(row: int) -> str:
    text = json.dumps({"accountId": "0.0.0.1+-account+7", "header": f"row {row}"})
    quoted = text.replace('"', '""')
    return f'0.0.0.1+-purchased_product+{100_000 + row},inactive,"{quoted}"'


@pytest.mark.parametrize(
    ("operation", "header", "line", "body"),
    [
        ("adobe.fallback-offer", TAGS, tag, "of ([2-9]|[1-9][0-9])"),
        ("oracle.offer-status", NOTES, note, "row ([2-9]|[1-9][0-9])"),
    ],
    ids=["adobe", "oracle"],
)
def test_of_rows_that_must_not_be_sent_twice_no_more_than_may_be_in_flight(
    tmp_path, operation, header, line, body
):
    """Each of them may end `unknown`."""
    script, file = tmp_path / "script.toml", tmp_path / "rows.csv"
    script.write_text(HANG.format(body=body))
    file.write_text("\n".join([header, *(line(row) for row in range(1, ROWS + 1))]) + "\n")
    with simulator("--script", str(script)) as vendor:
        configure_all(tmp_path, vendor, in_flight=IN_FLIGHT)
        process = start(tmp_path, "run", "--yes", "--operation", operation, str(file))
        until(lambda: vendor.stats()["in_flight"] > 1)
        settled(lambda: vendor.stats()["in_flight"], SETTLED_S)
        process.kill()
        process.communicate()
    assert 1 < len(claimed(tmp_path)) <= IN_FLIGHT


def test_of_rows_that_may_be_sent_twice_a_bounded_number(tmp_path):
    with simulator() as vendor:
        configure(tmp_path, vendor.base_url, in_flight=IN_FLIGHT)
        file = drop(tmp_path, *(coupon(row) for row in range(1, 5_001)))
        process = start(tmp_path, "run", "--yes", str(file))
        until(lambda: vendor.stats()["applied"] > 1_500)
        process.kill()
        process.communicate()
        answered = settled(lambda: vendor.stats()["applied"], SETTLED_S) - recorded(tmp_path)
    assert 0 < len(claimed(tmp_path)) <= MAX_AHEAD + answered


def ledger_in(folder: Path) -> RunLedger:
    (path,) = folder.glob(".pipeline/runs/*/ledger.db")
    return RunLedger(path)


def claimed(folder: Path) -> list[int]:
    with closing(ledger_in(folder)) as ledger:
        return list(ledger.claimed())


def recorded(folder: Path) -> int:
    with closing(ledger_in(folder)) as ledger:
        return sum(ledger.counts().values())
