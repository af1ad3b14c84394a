"""Runs that stop with rows in doubt, carried on: each is settled, none is sent too often."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipeline.config import Config, load_config
from pipeline.model import Status
from pipeline.reporter import Summary
from pipeline.run import RunEnvironment, Session, carry_out, prepare
from pipeline.runs import RunOptions
from pipeline.runs.registry import open_store
from pipeline.simulator import Rule, Running, SimulatorOptions, serve
from pipeline.store import RunLedger
from pipeline.store.on_files.records import LEDGER
from pipeline.vendors import load_vendors
from tests.run.test_old_rows import cells, resume, statuses, table
from tests.workplace import ENVIRON, JOURNEY

COLUMNS = ("operation", "instance_id", "add:/_instance/note", "remove:/_instance/note", "status")
TAG = "add:/_instance/xdm:tags/-"
OFFER = {"operation": "adobe.fallback-offer", "instance_id": "e"}


def rule(method: str, *replies: str) -> Rule:
    path = re.compile("/instances/e$")
    return Rule(path=path, replies=replies, method=method, retry_after_s=2)


@asynccontextmanager
async def workplace(folder: Path, *rules: Rule, more: str = "") -> AsyncIterator[Any]:
    """A simulator that follows `rules`, and a configuration that leads there: four attempts."""
    async with serve(SimulatorOptions(script=rules)) as vendor:
        origin = "/".join(vendor.base_urls["adobe"].split("/")[:3])
        text = JOURNEY.format(url=origin, in_flight=1, more=f"attempts = 4\n{more}")
        (folder / "pipeline.toml").write_text(text)
        yield vendor, load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)


def methods(vendor: Running) -> list[str]:
    return [each["method"] for each in vendor.log() if each["id"] == "e"]


async def stopped(path: Path, config: Config, vendor: Running, after: list[str]) -> Summary:
    """What is left of a run that is told to stop once these requests have come."""
    prepared = prepare(path, config, RunOptions())
    shared = Session()
    found: list[Summary] = []

    async def send() -> None:
        found.append(await carry_out(prepared, RunEnvironment(environ=ENVIRON, shared=shared)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        while methods(vendor) != after:
            await anyio.sleep(0.01)
        await anyio.sleep(0.1)  # the answer is heard
        shared.interrupt(signal.SIGTERM)
    return found[0]


def state_of(config: Config, run: str) -> str:
    return str(open_store(config).runs.get(run).state)  # type: ignore[union-attr]


async def test_a_stop_while_a_row_waits_to_be_read_back_is_no_end(tmp_path: Path) -> None:
    """The change was applied and must not be repeated; its answer was lost, and the run stopped."""
    rows = [
        OFFER | {"add:/_instance/note": "x"},
        OFFER | {"remove:/_instance/note": "true"},
        OFFER | {"status": "archived"},
    ]
    rules = rule("PATCH", "ok", "500-after", "ok"), rule("GET", "429-seconds", "ok")
    async with workplace(tmp_path, *rules, more="preconditions = false") as (vendor, config):
        before = await stopped(
            table(tmp_path / "offers.csv", COLUMNS, rows), config, vendor, ["PATCH", "PATCH", "GET"]
        )
        assert statuses(before, config) == {1: "updated", 2: "unknown", 3: "not_attempted"}
        told = cells(before, config, "_error")[2]
        assert "the run stopped before that was resolved: interrupted by SIGTERM" in told
        assert "pipeline resume" in cells(before, config, "_hint")[2]
        assert (before.exit_code, state_of(config, before.run)) == (143, "sending")
        with RunLedger(config.ledger_folder / "runs" / before.run / LEDGER) as ledger:
            assert list(ledger.claimed()) == [2]
        after = await resume(before.run, config)
        assert methods(vendor) == ["PATCH", "PATCH", "GET", "GET", "PATCH"]
    assert after.statuses[Status.UPDATED] == 3
    assert state_of(config, after.run) == "reported"


async def test_a_row_with_a_guard_that_was_read_is_applied_once_whatever_its_answer_meets(
    tmp_path: Path,
) -> None:
    """The answer to the first row was lost; the refusal of its repetition is settled by a read."""
    rows = [OFFER | {TAG: "first"}, OFFER | {TAG: "second"}]
    path = table(tmp_path / "offers.csv", ("operation", "instance_id", TAG), rows)
    script = rule("PATCH", "500-after", "ok")
    async with workplace(tmp_path, script) as (vendor, config):
        prepared = prepare(path, config, RunOptions())
        jobs = prepared.bound.jobs["journey"]
        assert (jobs.reads, jobs.requests) == (2, 2)  # a read and an update each
        summary = await carry_out(prepared, RunEnvironment(environ=ENVIRON))
        (held,) = [each["body"] for each in vendor.state() if each["id"] == "e"]
        assert methods(vendor) == ["GET", "PATCH", "PATCH", "GET", "GET", "PATCH"]
        statuses_seen = [each["status"] for each in vendor.log() if each["method"] == "PATCH"]
    assert summary.statuses[Status.UPDATED] == 2
    assert statuses_seen == [500, 409, 200]
    assert json.dumps(held).count("first") == json.dumps(held).count("second") == 1


@pytest.mark.parametrize("replies", [("500-after", "ok"), ("reset-after", "ok")])
async def test_a_second_attempt_that_is_refused_ends_as_it_truly_is(
    tmp_path: Path, replies: tuple[str, ...]
) -> None:
    """The row brings its own etag: the first attempt applied it, so the second is answered 409."""
    rows = [OFFER | {"etag": "1", "status": "archived"}]
    path = table(tmp_path / "offers.csv", ("operation", "instance_id", "etag", "status"), rows)
    async with workplace(tmp_path, rule("PATCH", *replies)) as (
        vendor,
        config,
    ):
        summary = await carry_out(
            prepare(path, config, RunOptions()), RunEnvironment(environ=ENVIRON)
        )
        seen = [(each["method"], each["status"]) for each in vendor.log() if each["id"] == "e"]
    assert summary.statuses[Status.UPDATED] == 1
    assert seen[1:] == [("PATCH", 409), ("GET", 200)]
