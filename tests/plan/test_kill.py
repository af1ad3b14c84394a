"""A run with prechecks, and its undo, are killed in the middle and resumed."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from tests.cli.command import start, typed
from tests.waiting import until
from tests.workplace import Simulator, configure, configure_all, simulator

ROWS = 60
HANG = """
[[rule]]
method = "PATCH"
path = "/hang-"
replies = ["timeout-after"]
"""
FAULTS = ("--fault", "500-after=0.03", "--fault", "reset-after=0.03", "--fault", "503=0.02")
MORE = 'attempts = 8\n[input."xsolla.coupon"]\nmissing = "keep"'


def file_of(folder: Path, limit: int) -> Path:
    path = folder / f"to{limit}.csv"
    rows = [f"c{n},{limit},{'Bon' if n % 3 else ''}" for n in range(1, ROWS + 1)]
    path.write_text("\n".join(["external_id,redeem_user_limit,name.fr-FR", *rows]) + "\n")
    return path


def killed(folder: Path, vendor: Simulator, after: int, *arguments: str) -> None:
    """`pipeline ...`, killed once the vendor has applied `after` updates more."""
    goal = applied(vendor) + after
    process = start(folder, *arguments)
    try:
        until(lambda: applied(vendor) >= goal, every_s=0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def applied(vendor: Simulator) -> int:
    return int(vendor.stats()["applied"])


def held(vendor: Simulator) -> dict[str, dict]:
    """What was written, without what says nothing."""
    return {
        entity["id"]: {name: value for name, value in entity["body"].items() if value is not None}
        for entity in vendor.get("state")
    }


def newest(folder: Path) -> str:
    """The run that was last begun."""
    return max(each.name for each in (folder / ".pipeline" / "runs").iterdir())


def statuses(folder: Path, run: str) -> dict[str, int]:
    summary = json.loads((folder / "reports" / run / "summary.json").read_text())
    return {status: count for status, count in summary["statuses"].items() if count}


@pytest.mark.parametrize("way", ["keep", "plan"])
def test_a_kill_loses_no_row_and_no_before(tmp_path, way):
    with simulator("--latency-ms", "15", "--seed", "3", *FAULTS) as vendor:
        configure(tmp_path, vendor.base_url, in_flight=8, more=MORE)
        first = typed(tmp_path, "run", "--yes", "--operation", "xsolla.coupon",
                      str(file_of(tmp_path, 3)))  # fmt: skip
        assert first.code == 0, first
        before = held(vendor)
        assert len(before) == ROWS
        asked = ["--operation", "xsolla.coupon", str(file_of(tmp_path, 8))]
        if way == "plan":
            planned = typed(tmp_path, "plan", "-o", "plan.parquet", *asked)
            assert planned.code == 0, planned
            asked = ["plan.parquet"]
        time.sleep(1.0)  # names of runs begin with the second
        killed(tmp_path, vendor, 25, "run", "--yes", *asked)
        run = newest(tmp_path)
        resumed = typed(tmp_path, "resume", "--yes")
        assert resumed.code == 0, resumed
        assert statuses(tmp_path, run) == {"updated": ROWS}, "its own rows became conflicts"
        assert {body["redeem_user_limit"] for body in held(vendor).values()} == {8}
        assert typed(tmp_path, "verify", run).code == 0

        time.sleep(1.0)
        killed(tmp_path, vendor, 25, "undo", run, "--yes")
        assert newest(tmp_path) != run
        undone = typed(tmp_path, "resume", "--yes")
        assert undone.code == 0, undone
        assert statuses(tmp_path, newest(tmp_path)) == {"updated": ROWS}
        assert held(vendor) == before
        sent = Counter(e["id"] for e in vendor.get("log") if e["applied"] and not e["fault"])
    # once each: the first file, the second, the undo; twice only what was in flight at a kill
    assert sum(sent.values()) <= 3 * ROWS + 2 * 8


ENTITIES = ["first", *(f"hang-{n}" for n in range(1, 5))]


@contextmanager
def killed_in_flight(folder: Path, column: str, cells: Iterable[str]) -> Iterator[Simulator]:
    """A run of all entities that was killed when all but the first had a request in flight."""
    script, file = folder / "script.toml", folder / "offers.csv"
    script.write_text(HANG)
    rows = [f"{entity},{cell}" for entity, cell in zip(ENTITIES, cells, strict=True)]
    file.write_text("\n".join([f"instance_id,{column}", *rows]) + "\n")
    with simulator("--script", str(script)) as vendor:
        configure_all(folder, vendor)
        asked = ["--record-previous", "--operation", "adobe.fallback-offer", str(file)]
        process = start(folder, "run", "--yes", *asked)
        until(lambda: vendor.stats()["in_flight"] == len(ENTITIES) - 1)
        process.kill()
        process.communicate()
        yield vendor


def test_what_an_entity_held_before_tells_if_a_killed_run_has_changed_it(tmp_path):
    """Another tag in a list may be anybody's. Beside the list as it was, it is the row's."""
    tags = [f"of {entity}" for entity in ENTITIES]
    with killed_in_flight(tmp_path, "add:/_instance/xdm:tags/-", tags) as vendor:
        resumed = typed(tmp_path, "resume", "--yes")
        assert resumed.code == 0, resumed
        assert statuses(tmp_path, newest(tmp_path)) == {"updated": len(ENTITIES)}
        sent = Counter(e["id"] for e in vendor.get("log") if e["method"] == "PATCH")
        assert sent == dict.fromkeys(ENTITIES, 1)


def test_undo_restores_what_was_in_flight_when_a_run_was_killed(tmp_path):
    with killed_in_flight(tmp_path, "status", ["approved"] * len(ENTITIES)):
        planned = typed(tmp_path, "undo", newest(tmp_path), "--plan-only", "-o", "back.parquet")
    assert planned.code == 0, planned
    plan = pl.read_parquet(tmp_path / "back.parquet")
    assert sorted(plan["note"]) == [f"undoes row {n}" for n in range(1, len(ENTITIES) + 1)]
