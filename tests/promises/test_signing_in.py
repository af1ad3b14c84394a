"""Tokens over whole runs: fetched once, renewed once, and never a row lost to them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipeline.config import Config
from pipeline.model import Status
from pipeline.reporter import Summary
from pipeline.run import RunEnvironment, carry_out, prepare
from pipeline.runs import RunOptions
from tests.busyness import busyness
from tests.workplace import ENVIRON, Simulator, configure_all, simulator

AHEAD_S = 0.2  # a token of two seconds is renewed so long before its end
TOKEN = {"adobe": "/ims/token/v3", "oracle": "/authentication/queryAccessToken"}


def drop(folder: Path, vendor: str, count: int) -> Path:
    """Rows of one operation of `vendor`."""
    if vendor == "adobe":
        lines = ["instance_id,status", *(f"i{n},approved" for n in range(count))]
    else:
        first = "0.0.0.1+-purchased_product+"
        lines = ["offer_id,status", *(f"{first}{n + 100},2" for n in range(count))]
    path = folder / f"{vendor}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


async def send(
    path: Path, config: Config, *, during: Any = None, environ: dict[str, str] = ENVIRON
) -> Summary:
    operation = {"adobe": "adobe.fallback-offer", "oracle": "oracle.offer-status"}[path.stem]
    options = RunOptions(operation=operation)
    prepared = await anyio.to_thread.run_sync(prepare, path, config, options)
    async with anyio.create_task_group() as tasks:
        if during is not None:
            tasks.start_soon(during)
        return await carry_out(prepared, RunEnvironment(environ=environ))


def calls(vendor: Simulator, name: str) -> list[dict[str, Any]]:
    return [entry for entry in vendor.get("log") if TOKEN[name] in entry["raw_path"]]


@pytest.mark.parametrize("name", ["adobe", "oracle"])
async def test_one_token_serves_a_whole_run(tmp_path, name):
    with simulator() as vendor:
        config = configure_all(tmp_path, vendor, max_batch=1)
        summary = await send(drop(tmp_path, name, 300), config)
        assert len(calls(vendor, name)) == 1
    assert summary.statuses[Status.UPDATED] == 300


@pytest.mark.quiet("a token of 2 s is renewed 0.2 s before its end: requests arrive within that")
async def test_a_token_that_expires_in_mid_run_costs_no_row(tmp_path):
    """It is renewed before its end, so that no request meets a 401."""
    with (
        busyness(tmp_path) as machine,
        simulator("--token-lifetime-s", "2", "--latency-ms", "50") as vendor,
    ):

        async def send_all(name: str) -> None:
            folder = tmp_path / name
            folder.mkdir()
            config = configure_all(folder, vendor, max_batch=1, in_flight=8)
            began_s = time.monotonic()
            summary = await send(drop(folder, name, 450), config)
            took_s = time.monotonic() - began_s
            assert summary.statuses[Status.UPDATED] == 450
            assert len(calls(vendor, name)) >= 2
            assert machine.late_s > AHEAD_S or len(calls(vendor, name)) <= 1 + took_s / 1.8

        async with anyio.create_task_group() as tasks:
            for name in TOKEN:
                tasks.start_soon(send_all, name)
        met = {entry["status"] for entry in vendor.get("log")}
        assert 401 not in met or machine.late_s > AHEAD_S


@pytest.mark.parametrize("name", ["adobe", "oracle"])
async def test_a_token_that_is_revoked_in_mid_run_is_renewed_once(tmp_path, name):
    """All that were in flight meet the 401; one of them asks for a new token, no attempt counts."""
    with simulator("--latency-ms", "50") as vendor:
        config = configure_all(tmp_path, vendor, max_batch=1, in_flight=16, more="attempts = 1")

        async def revoke() -> None:
            while vendor.stats()["requests"] < 150:
                await anyio.sleep(0.02)
            vendor.revoke()

        summary = await send(drop(tmp_path, name, 500), config, during=revoke)
        statuses = Counter(entry["status"] for entry in vendor.get("log"))
        asked = len(calls(vendor, name))
    assert summary.statuses[Status.UPDATED] == 500
    assert 1 <= statuses[401] <= 16
    assert asked == 2


@pytest.mark.parametrize("name", ["adobe", "oracle"])
async def test_wrong_credentials_cost_one_request(tmp_path, name):
    with simulator() as vendor:
        config = configure_all(tmp_path, vendor, max_batch=1)
        environ = {**ENVIRON, "CLIENT_SECRET": "a-wrong-secret"}
        summary = await send(drop(tmp_path, name, 50), config, environ=environ)
        log = list(vendor.get("log"))
    assert summary.exit_code == 3
    assert len(log) == 1
    told = Counter({status: count for status, count in summary.statuses.items() if count})
    assert told == {Status.NOT_ATTEMPTED: 50}
    (account,) = summary.accounts.values()
    assert account.stopped
    assert "credentials" in account.stopped or "client" in account.stopped
    assert "a-wrong-secret" not in summary.one_line()
