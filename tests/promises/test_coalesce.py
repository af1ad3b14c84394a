"""Many rows for few coupons, of each of which only the last matters."""

from __future__ import annotations

from collections import Counter

import anyio
import anyio.to_thread
import pytest

from pipeline.model import Status
from pipeline.run import RunEnvironment, Session, carry_out, prepare, reopen
from pipeline.runs import RunOptions
from pipeline.simulator import SimulatorOptions, serve
from tests.workplace import ENVIRON, configure, coupon, drop, row_of

COALESCE = RunOptions(coalesce=True)


def many_rows(folder, rows: int = 300, coupons: int = 10):
    return drop(folder, *(coupon(row, f"c{row % coupons}") for row in range(1, rows + 1)))


@pytest.mark.parametrize("faults", [{}, {"503": 0.2, "500-after": 0.1, "reset-before": 0.1}])
async def test_the_last_row_of_each_coupon_is_what_is_there_and_few_are_sent(tmp_path, faults):
    options = SimulatorOptions(faults=faults, seed=7)
    async with serve(options) as vendor:
        config = configure(tmp_path, vendor.base_urls["xsolla"])
        prepared = await anyio.to_thread.run_sync(prepare, many_rows(tmp_path), config, COALESCE)
        summary = await carry_out(prepared, RunEnvironment(environ=ENVIRON))
        log = list(vendor.log())
    assert sum(summary.statuses.values()) == 300
    applied = [row_of(entry["body"]) for entry in log if entry["applied"]]
    for number in range(10):
        of_coupon = [row for row in applied if row % 10 == number]
        assert of_coupon == sorted(of_coupon)  # never an older one after a newer
    if not faults:
        assert len(log) == summary.statuses[Status.UPDATED] <= 30
        assert summary.statuses[Status.SUPERSEDED] == 300 - len(log)
        assert sorted(applied)[-10:] == list(range(291, 301))


async def test_a_run_that_is_stopped_and_carried_on_overwrites_nothing_newer(tmp_path):
    async with serve(SimulatorOptions(latency_s=0.05)) as vendor:
        config = configure(tmp_path, vendor.base_urls["xsolla"], quota='"40/s"', in_flight=4)
        path = many_rows(tmp_path, rows=12_000, coupons=40)
        prepared = await anyio.to_thread.run_sync(prepare, path, config, COALESCE)
        shared = Session()

        async def stop() -> None:
            while vendor.stats()["requests"] < 25:
                await anyio.sleep(0.01)
            for sent in shared._sending:
                sent.pool.stop("look again")
                sent.pool.stop("at once: what is under way stays in doubt")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            first = await carry_out(prepared, RunEnvironment(environ=ENVIRON, shared=shared))
        assert first.statuses[Status.NOT_ATTEMPTED] > 0
        resumed = await anyio.to_thread.run_sync(reopen, prepared.run, config)
        last = await carry_out(resumed, RunEnvironment(environ=ENVIRON))
        applied = [row_of(entry["body"]) for entry in vendor.log() if entry["applied"]]
    assert last.statuses[Status.UPDATED] + last.statuses[Status.SUPERSEDED] == 12_000
    newest: Counter[int] = Counter()
    for row in applied:
        assert row >= newest[row % 40]
        newest[row % 40] = row
    assert set(newest.values()) == set(range(11_961, 12_001))
