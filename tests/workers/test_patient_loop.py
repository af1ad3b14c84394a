"""While the quota alone decides when requests leave, what arrives is handled together."""

from __future__ import annotations

import asyncio
import os
import selectors
from dataclasses import replace

import anyio
import pytest

from pipeline.model import Status
from pipeline.model.quota import parse_quota
from pipeline.workers.patient_loop import MOMENT_S, PatientLoop, PatientSelector
from tests.workers.drive import ACCOUNT, Script, drive, job


@pytest.mark.parametrize(
    ("patience", "timeout", "naps"),
    [
        ([True], None, [MOMENT_S]),
        ([True], 9.0, [MOMENT_S]),
        ([True], MOMENT_S / 4, [MOMENT_S / 4]),  # no timer is late for it
        ([True], 0.0, []),  # something is to be done
        ([True, True], 9.0, [MOMENT_S]),
        ([True, False], 9.0, []),
        ([], 9.0, []),
    ],
)
def test_a_moment_passes_only_while_everybody_is_patient(patience, timeout, naps):
    slept: list[float] = []
    reads, writes = os.pipe()
    os.write(writes, b"x")
    with PatientSelector(slept.append) as selector:
        selector.register(reads, selectors.EVENT_READ)
        for who, is_patient in enumerate(patience):
            selector.set_patience(who, is_patient)
        assert [key.fd for key, _ in selector.select(timeout)] == [reads]
        assert slept == naps
        for who, _ in enumerate(patience):
            selector.set_patience(who, None)
        assert not selector.is_patient
    os.close(reads)
    os.close(writes)


@pytest.mark.parametrize(("quota", "rows", "is_seen"), [("500/s", 80, True), ("100/s", 20, False)])
def test_an_account_is_patient_while_it_waits_for_many_permits(quota, rows, is_seen):
    seen: set[bool] = set()

    async def watch(_pool: object, _script: Script) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PatientLoop)
        while True:
            seen.add(loop.patience.is_patient)
            await anyio.sleep(0.001)

    async def main() -> bool:
        account = replace(ACCOUNT, quotas=(parse_quota(quota),))
        jobs = [job(row, f"s{row}") for row in range(1, rows + 1)]
        results, _ = await drive(jobs, Script(), account=account, meanwhile=watch)
        assert {result.status for result in results} == {Status.UPDATED}
        assert len(results) == rows
        loop = asyncio.get_running_loop()
        return isinstance(loop, PatientLoop) and loop.patience.is_patient

    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        assert not runner.run(main())
    assert (True in seen) is is_seen
