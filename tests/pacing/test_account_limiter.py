"""A run sends only as long as its leases are surely its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import anyio
import pytest

from pipeline.model.quota import Quota
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.pacing.limiter import LimiterSettings, RateLimiter
from tests.workers.drive import permit_now, permit_of


@dataclass
class Hold:
    """A clock, and the time until which the leases are sure."""

    now_s: float = 100.0
    until_s: float = 113.5

    def limiter(self) -> AccountLimiter:
        shared = RateLimiter(
            LimiterSettings(quotas=(Quota(1_000, 1.0, is_burst=True),)),
            clock=lambda: self.now_s,
            utc=lambda: self.now_s,
        )
        return AccountLimiter(shared, sure_until_s=lambda: self.until_s)


@pytest.mark.parametrize(
    ("now_s", "until_s", "may_send"),
    [
        (113.4, 113.5, True),
        (113.5, 113.5, False),  # another process may have it from now on
        (900.0, 113.5, False),  # this one was stopped for a while: no timer has told it
        (900.0, -math.inf, False),  # it was lost
        (900.0, math.inf, True),  # of files: it ends with the process
    ],
)
async def test_a_permit_is_compared_with_the_clock_when_it_is_given(
    *, now_s: float, until_s: float, may_send: bool
) -> None:
    hold = Hold()
    tested = hold.limiter()
    assert tested.free(5) == 5
    hold.now_s, hold.until_s = now_s, until_s
    assert (tested.free(5) > 0) == may_send
    assert (permit_now(tested) is not None) == may_send


async def test_who_waits_goes_on_once_the_lease_is_renewed() -> None:
    hold = Hold(now_s=120.0)
    tested = hold.limiter()
    called: list[float] = []
    tested.call_when_free(lambda: called.append(hold.until_s))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                called.append(float(await permit_of(tested) is not None))

            tasks.start_soon(wait)
            await anyio.sleep(0.2)
            assert called == [113.5]  # it may look, and sees that nothing is free
            hold.until_s = 133.5
    assert called == [113.5, 1.0]


async def test_a_limiter_that_is_closed_meanwhile_ends_the_wait() -> None:
    tested = Hold(now_s=120.0).limiter()
    got: list[int | None] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                got.append(await permit_of(tested))

            tasks.start_soon(wait)
            await anyio.sleep(0.1)
            tested.close()
    assert got == [None]
