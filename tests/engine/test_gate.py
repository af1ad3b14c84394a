from __future__ import annotations

import time

import anyio
import pytest

from pipeline.engine.gate import Door, Gate, spacing
from pipeline.model import Answer, Effect, Verdict
from pipeline.policy.quota import Quota

OK = Answer(Verdict.OK, Effect.APPLIED, http_status=204)


def gate(*quotas: Quota) -> Gate:
    return Gate(quotas, clock=time.monotonic)


@pytest.mark.parametrize(
    ("quotas", "at_once", "rate"),
    [
        ([Quota(20, 1.0)], 2, 20.0),  # two, so that a late timer is made up for
        ([Quota(1000, 1.0)], 20, 1000.0),  # 20 ms worth
        ([Quota(100, 1.0), Quota(600, 60.0)], 2, 10.0),  # the tightest mean rate spreads
        ([Quota(1, 1.0)], 2, 1.0),  # the window holds it to one all the same
    ],
)
def test_spacing(quotas, at_once, rate):
    most, period_s = spacing(quotas)
    assert most == at_once
    assert most / period_s == pytest.approx(rate)


async def test_no_window_holds_more_than_the_quota_and_nearly_all_of_it_is_used():
    quota = Quota(20, 0.2)
    tested = gate(quota)
    left: list[float] = []

    async def worker() -> None:
        while len(left) < 100:
            await tested.permit()
            left.append(time.monotonic())
            tested.heard(OK, 0.001)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(worker)
    left.sort()
    assert min(b - a for a, b in zip(left, left[20:], strict=False)) >= 0.2
    assert left[99] - left[0] < 5 * 0.2 * 1.6


async def test_requests_are_spread_not_sent_in_a_burst():
    tested = gate(Quota(100, 1.0))
    start = time.monotonic()
    for _ in range(21):
        await tested.permit()
    assert time.monotonic() - start >= 0.15


async def test_the_longest_pause_holds():
    tested = gate(Quota(1000, 1.0))
    tested.heard(Answer(Verdict.THROTTLED, Effect.NONE, 429, retry_after_s=0.2), 0.01)
    tested.heard(Answer(Verdict.THROTTLED, Effect.NONE, 429, retry_after_s=0.01), 0.01)
    assert 0.1 < tested.pause_left_s() <= 0.2
    start = time.monotonic()
    await tested.permit()
    assert time.monotonic() - start >= 0.19


async def test_a_429_without_a_time_slows_everyone_too():
    tested = gate(Quota(1000, 1.0))
    tested.heard(Answer(Verdict.THROTTLED, Effect.NONE, 429), 0.01)
    assert tested.pause_left_s() > 0.5


async def test_closing_a_door_lets_nobody_wait_there():
    tested = Door(gate(Quota(1, 3600.0)))
    assert await tested.permit()
    told: list[bool] = []

    async def worker() -> None:
        told.append(await tested.permit())

    with anyio.fail_after(2):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(worker)
            await anyio.sleep(0.02)
            tested.close()
    assert told == [False] * 5
    assert not await tested.permit()


async def test_a_closed_door_leaves_the_gate_open_to_others():
    shared = gate(Quota(50, 1.0))
    closed, other = Door(shared), Door(shared)
    closed.close()
    assert not await closed.permit()
    assert all([await other.permit() for _ in range(5)])


async def test_what_waits_behind_a_door_is_broken_off_when_it_closes():
    door, seen = Door(gate(Quota(50, 1.0))), []

    async def waiter() -> None:
        with door.while_open():
            await anyio.sleep(60)
            seen.append("never")
        seen.append("broken off")

    with anyio.fail_after(2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiter)
            await anyio.sleep(0.01)
            door.close()
    assert seen == ["broken off"]


async def test_what_left_before_counts_and_so_does_the_pause():
    tested = gate(Quota(2, 0.4))
    tested.recall([0.3, 0.1], pause_left_s=0.15)
    start = time.monotonic()
    await tested.permit()
    assert time.monotonic() - start >= 0.15
    await tested.permit()
    assert time.monotonic() - start >= 0.3
    ages = tested.take_ages_s()
    assert len(ages) == 2
    assert ages[0] >= ages[1] >= 0
    assert tested.take_ages_s() == []
