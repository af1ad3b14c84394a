from __future__ import annotations

import time

import anyio
import pytest

from pipeline.model import Answer, Effect, NoReply, Reply, Verdict
from pipeline.model.pause import AskedPause
from pipeline.model.quota import Quota
from pipeline.pacing import limiter as limiter_module
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.margin import MAX_WAY_S
from pipeline.pacing.spacing import spacing
from pipeline.pacing.unrecorded import AgeCount
from pipeline.vendors.kit.numbers import LONGEST_S
from tests.busyness import busyness
from tests.waiting import WITHIN_S
from tests.workers.drive import limiter_of, permit_now, permit_of

pytestmark = pytest.mark.quiet("pauses are compared within 0.05 s")

REFUSED = Answer(Verdict.THROTTLED, Effect.NONE, 429)
REPLY = Reply(204, {}, b"")
LOST = NoReply("timeout", "no answer", may_have_arrived=True)
NEVER_LEFT = NoReply("connect_failed", "refused", may_have_arrived=False)


@pytest.mark.parametrize(
    ("quotas", "at_once", "rate"),
    [
        ([Quota(20, 1.0)], 2, 20.0),  # two, so that a late timer is made up for
        ([Quota(1000, 1.0)], 50, 1000.0),  # 50 ms worth
        ([Quota(100, 1.0), Quota(600, 60.0)], 2, 10.0),  # the tightest mean rate spreads
        ([Quota(100, 1.0), Quota(600, 60.0, is_burst=True)], 5, 100.0),  # of those that ask for it
        ([Quota(1, 1.0)], 2, 1.0),  # the window holds it to one all the same
    ],
)
def test_spacing(quotas, at_once, rate):
    most, period_s = spacing(LimiterSettings(quotas=tuple(quotas)).even_per_s)
    assert most == at_once
    assert most / period_s == pytest.approx(rate)


async def test_no_window_holds_more_than_the_quota_and_nearly_all_of_it_is_used(tmp_path):
    quota = Quota(20, 0.2)
    tested = limiter_of(quota)
    left: list[float] = []

    async def worker() -> None:
        while len(left) < 100:
            number = await permit_of(tested)
            left.append(time.monotonic())
            tested.on_reply(number, left[-1], REPLY)

    with busyness(tmp_path) as machine:
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(worker)
    left.sort()
    assert min(b - a for a, b in zip(left, left[20:], strict=False)) >= 0.2
    assert left[99] - left[0] < 5 * 0.2 * 1.6 + machine.late_s


async def test_requests_are_spread_not_sent_in_a_burst():
    tested = limiter_of(Quota(100, 1.0))
    start = time.monotonic()
    for _ in range(21):
        await permit_of(tested)
    assert time.monotonic() - start >= 0.15


async def test_the_longest_pause_holds():
    tested = limiter_of(Quota(1000, 1.0))
    tested.on_answer(Answer(Verdict.THROTTLED, Effect.NONE, 429, retry_after_s=0.2), 0.0)
    tested.on_answer(Answer(Verdict.THROTTLED, Effect.NONE, 429, retry_after_s=0.01), 0.0)
    assert 0.1 < tested.pause.left_s <= 0.2
    start = time.monotonic()
    await permit_of(tested)
    assert time.monotonic() - start >= 0.19


async def test_a_429_without_a_time_slows_everyone_too():
    tested = limiter_of(Quota(1000, 1.0))
    tested.on_answer(REFUSED, time.monotonic())
    assert 0.05 < tested.pause.left_s <= 0.1
    tested.on_answer(
        REFUSED, time.monotonic() + 0.1
    )  # what left after that pause is refused as well
    assert 0.15 < tested.pause.left_s <= 0.2


async def test_closing_an_account_limiter_ends_its_waits():
    tested = AccountLimiter(limiter_of(Quota(1, 3600.0)))
    assert await permit_of(tested) is not None
    told: list[int | None] = []

    async def worker() -> None:
        told.append(await permit_of(tested))

    with anyio.fail_after(WITHIN_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(worker)
            await anyio.sleep(0.02)
            tested.close()
    assert told == [None] * 5
    assert await permit_of(tested) is None


async def test_a_closed_account_limiter_leaves_the_shared_limiter_open():
    shared = limiter_of(Quota(50, 1.0))
    closed, other = AccountLimiter(shared), AccountLimiter(shared)
    closed.close()
    assert await permit_of(closed) is None
    assert [await permit_of(other) for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_closing_an_account_limiter_cancels_its_blocks():
    account_limiter, seen = AccountLimiter(limiter_of(Quota(50, 1.0))), []

    async def waiter() -> None:
        with account_limiter.while_open():
            await anyio.sleep(60)
            seen.append("never")
        seen.append("broken off")

    with anyio.fail_after(WITHIN_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiter)
            await anyio.sleep(0.01)
            account_limiter.close()
    assert seen == ["broken off"]


async def test_earlier_requests_and_the_recorded_pause_count():
    tested = limiter_of(Quota(2, 0.4))
    tested.close()
    tested.open([AgeCount(0.3), AgeCount(0.1)], AskedPause(time.time() + 0.15, time.time()))
    start = time.monotonic()
    await permit_of(tested)
    assert time.monotonic() - start >= 0.15
    await permit_of(tested)
    assert time.monotonic() - start >= 0.3


async def test_recorded_times_are_those_from_which_requests_count():
    tested = limiter_of(Quota(100, 1.0))
    numbers = [await permit_of(tested) for _ in range(4)]
    left_s = time.monotonic() - 0.5
    tested.on_reply(numbers[0], left_s, REPLY)
    tested.on_reply(numbers[1], left_s, LOST)
    tested.on_reply(numbers[2], left_s, NEVER_LEFT)
    never_left, *answered = tested.take_unrecorded()
    assert never_left.many == 1
    assert 0.49 <= never_left.age_s < 0.6  # since it should have left
    assert sum(each.many for each in answered) == 2
    assert all(-0.01 <= each.age_s < 0.1 for each in answered)  # they may have arrived until now
    assert tested.under_way == 1
    assert tested.take_unrecorded() == []
    tested.on_reply(numbers[3], left_s, REPLY)
    assert [each.many for each in tested.take_unrecorded()] == [1]


async def test_long_requests_in_flight_are_recorded_as_arriving_late(monkeypatch):
    monkeypatch.setattr(limiter_module, "HAND_OVER_S", 0.05)
    tested = limiter_of(Quota(100, 1.0))
    number = await permit_of(tested)
    tested.close()
    assert not tested.is_settled
    assert tested.take_unrecorded() == []
    await anyio.sleep(0.06)
    assert tested.is_settled
    ((age_s, count),) = tested.take_unrecorded(is_all=True)
    assert count == 1
    assert -MAX_WAY_S - 0.01 <= age_s < 1.0 - MAX_WAY_S
    tested.on_reply(number, time.monotonic() - 0.1, REPLY)
    assert tested.take_unrecorded(is_all=True) == []


async def test_a_reply_frees_the_next_permit():
    tested = limiter_of(Quota(1, 0.1))
    number, left_s = await permit_of(tested), time.monotonic()

    async def answer() -> None:
        await anyio.sleep(0.2)
        tested.on_reply(number, left_s, REPLY)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        with anyio.fail_after(WITHIN_S):
            await permit_of(tested)
    assert time.monotonic() - left_s >= 0.3


async def test_requests_off_the_record_are_bounded():
    tested = limiter_of(Quota(1000, 1.0))
    tested.close()
    tested.open(most_unrecorded=2)
    for _ in range(2):
        tested.on_reply(await permit_of(tested), time.monotonic(), REPLY)
    with anyio.move_on_after(0.05):
        await permit_of(tested)
        raise AssertionError
    assert sum(each.many for each in tested.take_unrecorded()) == 2
    with anyio.move_on_after(0.05):  # told, and not yet on the disk
        await permit_of(tested)
        raise AssertionError
    tested.recorded()
    with anyio.fail_after(WITHIN_S):
        await permit_of(tested)


async def test_a_pause_is_reported_at_once():
    told: list[str] = []
    tested = RateLimiter(
        LimiterSettings(quotas=(Quota(1000, 1.0),)),
        clock=time.monotonic,
        utc=time.time,
        paused=lambda: told.append("paused"),
    )
    tested.on_answer(
        Answer(Verdict.THROTTLED, Effect.NONE, 429, retry_after_s=5.0), time.monotonic()
    )
    tested.on_answer(
        Answer(Verdict.THROTTLED, Effect.NONE, 429, retry_after_s=1.0), time.monotonic()
    )
    tested.on_answer(Answer(Verdict.OK, Effect.APPLIED, 204), time.monotonic())
    assert told == ["paused"]


async def test_a_closed_limiter_gives_no_permit_until_it_is_opened():
    tested = limiter_of(Quota(100, 1.0))
    tested.close()
    with anyio.move_on_after(0.05):
        await permit_of(tested)
        raise AssertionError
    tested.open()
    with anyio.fail_after(WITHIN_S):
        await permit_of(tested)


async def test_lost_requests_count_and_are_recorded():
    tested = limiter_of(Quota(3, 0.3))
    tested.close()
    tested.open(unrecorded=3)
    start = time.monotonic()
    tested.on_reply(await permit_of(tested), time.monotonic(), REPLY)
    assert time.monotonic() - start >= 0.3
    assert sum(each.many for each in tested.take_unrecorded()) == 4


async def test_waits_for_a_permit_can_be_cancelled():
    account_limiter, told = AccountLimiter(limiter_of(Quota(1, 3600.0))), []
    assert await permit_of(account_limiter) == 0

    async def worker() -> None:
        told.append(await permit_of(account_limiter))

    with anyio.fail_after(WITHIN_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(worker)
            await anyio.sleep(0.02)
            account_limiter.cancel_waits()
    assert told == [None] * 3


async def test_counting_from_replies_holds_for_any_latency():
    tested, left, returned = limiter_of(Quota(2, 0.1), is_strict=True), [], []

    async def request() -> None:
        number = await permit_of(tested)
        left.append(time.monotonic())
        await anyio.sleep(0.05)
        tested.on_reply(number, left[-1], REPLY)
        returned.append(time.monotonic())

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(request)
    assert all(after - before >= 0.1 for before, after in zip(returned, left[2:], strict=False))


@pytest.mark.parametrize(
    "headers",
    [
        {"ratelimit-policy": "50;w=1"},
        {"x-ratelimit-limit": "50", "x-ratelimit-reset": "1"},
    ],
)
async def test_a_stated_limit_is_adopted_if_none_is_configured(headers):
    learning, told = limiter_of(starts_per_s=1000.0), limiter_of(Quota(1000, 1.0))
    for limiter in (learning, told):
        number = await permit_of(limiter)
        limiter.on_reply(number, time.monotonic(), Reply(204, headers, b""))
    assert learning.per_second == 50.0 * 0.95
    assert told.per_second == 1000.0  # a configured quota is what the contract says


async def test_an_empty_window_pauses_until_it_is_renewed():
    tested = limiter_of(starts_per_s=1000.0)
    number = await permit_of(tested)
    headers = {"ratelimit-remaining": "0", "ratelimit-reset": "7"}
    tested.on_reply(number, time.monotonic(), Reply(204, headers, b""))
    assert 6.5 < tested.pause.left_s <= 7.0


async def permits_in(limiter: RateLimiter, seconds: float) -> int:
    """How many permits one worker after the other gets in that time."""
    count = 0
    with anyio.move_on_after(seconds):
        while True:
            await permit_of(limiter)
            count += 1
    return count


async def test_a_cap_holds_until_it_is_removed():
    tested = limiter_of(Quota(1000, 1.0))
    tested.slow("one", 20.0)
    tested.slow("other", 50.0)
    assert tested.per_second == 20.0
    assert 3 <= await permits_in(tested, 0.25) <= 7
    tested.slow("one", None)
    assert tested.per_second == 50.0
    tested.slow("other", None)
    assert tested.per_second == 1000.0
    assert await permits_in(tested, 0.25) > 100


async def test_a_cap_above_the_quota_changes_nothing():
    tested = limiter_of(Quota(20, 1.0))
    tested.slow("one", 500.0)
    assert tested.per_second == 20.0


async def test_a_quota_that_is_no_rate_can_be_slowed_too():
    tested = limiter_of(Quota(1000, 1.0, is_burst=True))
    assert tested.per_second == float("inf")
    tested.slow("one", 20.0)
    assert await permits_in(tested, 0.25) <= 7


async def test_a_long_wait_at_a_capped_rate_ends_with_the_cap():
    tested = limiter_of(Quota(1000, 1.0))
    tested.slow("one", 0.001)
    await permit_of(tested)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(permit_of, tested)
        await anyio.sleep(0.05)
        tested.slow("one", None)
        with anyio.fail_after(WITHIN_S):
            await permit_of(tested)


# The vendor's pause: who is told, and who lifts it

THROTTLED_LONG = Answer(Verdict.THROTTLED, Effect.NONE, retry_after_s=600.0)


async def test_a_watcher_gets_each_pause_with_its_origin():
    tested = limiter_of(Quota(1000, 1.0))
    found: list[AskedPause] = []

    def on_pause(asked, now_s):
        found.append(asked)
        assert abs(now_s - time.time()) < 5

    with tested.watched(on_pause):
        AccountLimiter(tested, "a-run").on_answer(THROTTLED_LONG, 0.0, "HTTP 429, Retry-After: 600")
    tested.on_answer(THROTTLED_LONG._replace(retry_after_s=700.0), 0.0)  # nobody watches any more
    (asked,) = found
    assert asked[2:] == ("a-run", "HTTP 429, Retry-After: 600")
    assert asked.until_s - asked.asked_s == pytest.approx(600.0)
    late: list[AskedPause] = []
    with tested.watched(lambda asked, _now_s: late.append(asked)):
        assert [each.run for each in late] == [""]  # the one that is on


async def test_a_pause_is_to_be_recorded_once():
    tested = limiter_of(Quota(1000, 1.0))
    assert tested.pause.unrecorded is None
    tested.on_answer(THROTTLED_LONG, 0.0)
    asked = tested.pause.unrecorded
    assert asked is not None
    assert not tested.pause.is_on_record
    tested.on_answer(THROTTLED_LONG._replace(retry_after_s=700.0), 0.0)
    tested.pause.on_recorded(asked)  # meanwhile there is a longer one
    assert tested.pause.unrecorded is not None
    tested.pause.on_recorded(tested.pause.unrecorded)
    assert tested.pause.unrecorded is None
    assert tested.pause.is_on_record


async def test_a_lifted_pause_ends_all_waits():
    tested = limiter_of(Quota(1000, 1.0))
    tested.on_answer(THROTTLED_LONG, 0.0)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(WITHIN_S):
            tasks.start_soon(permit_of, tested)
            await anyio.sleep(0.05)
            tested.pause.lift()
    assert tested.pause.left_s == 0


async def test_a_pause_that_disappears_from_the_record_was_lifted():
    tested = limiter_of(Quota(1000, 1.0))
    tested.open((), AskedPause(time.time() + 600.0))
    assert tested.pause.left_s > 590
    tested.open((), None)
    assert tested.pause.left_s == 0
    tested.on_answer(THROTTLED_LONG, 0.0)
    tested.open((), None)  # that one never was on record
    assert tested.pause.left_s > 590


@pytest.mark.parametrize("until_s", [float("inf"), float("nan"), 1e300, 253402300799.0])
async def test_a_recorded_pause_is_always_finite(until_s):
    tested = limiter_of(Quota(1000, 1.0))
    tested.open((), AskedPause(until_s))
    assert 0 < tested.pause.left_s <= LONGEST_S


async def test_a_pause_without_a_time_is_at_most_max_wait_s():
    tested = limiter_of(Quota(1000, 1.0), max_wait_s=0.5)
    for _ in range(20):
        tested.on_answer(Answer(Verdict.THROTTLED, Effect.NONE), time.monotonic() + 1000)
    assert 0 < tested.pause.left_s <= 0.5


async def test_a_pause_lifted_while_the_limiter_was_closed_is_not_reported():
    tested = limiter_of(Quota(1000, 1.0))
    asked = AskedPause(time.time() + 600.0)
    tested.open((), asked)
    tested.close()
    found: list[AskedPause] = []
    with tested.watched(lambda asked, _now_s: found.append(asked)):
        assert found == []
        tested.open((), None)
        assert found == []
        tested.close()
        tested.open((), asked)
        assert found == [asked]


async def test_no_permit_is_given_once_another_process_may_have_the_quota():
    """A process that was stopped finds out at its next request, not at its next renewal."""
    now_s = [100.0]
    tested = RateLimiter(
        LimiterSettings(quotas=(Quota(50, 1.0, is_burst=True),)),
        clock=lambda: now_s[0],
        utc=time.time,
    )
    account_limiter = AccountLimiter(tested)
    tested.hold_until(105.0)
    assert permit_now(account_limiter) == 0  # and room for more is known
    now_s[0] = 104.999
    assert account_limiter.free(9) == 9
    now_s[0] = 105.0
    assert account_limiter.free(9) == 0
    assert permit_now(account_limiter) is None
    got: list[int] = []

    async def wait() -> None:
        got.append(await permit_of(tested))

    with anyio.fail_after(WITHIN_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(0.05)
            assert not got
            tested.hold_until(115.0)  # it was renewed: nobody else had it
    assert got == [1]


async def test_a_callback_that_waits_is_called_when_the_quota_is_held_longer():
    tested = limiter_of(Quota(50, 1.0, is_burst=True))
    tested.hold_until(time.monotonic())
    called = anyio.Event()
    assert permit_now(tested) is None
    tested.call_when_free(called.set)
    with anyio.move_on_after(0.1):
        await called.wait()
    assert not called.is_set()
    tested.hold_until(time.monotonic() + 60.0)
    with anyio.fail_after(WITHIN_S):
        await called.wait()
    assert permit_now(tested) is not None


@pytest.mark.parametrize(("many", "wait_s"), [(1, 0.01), (3, 0.03), (1_000, 0.04)])
async def test_no_more_permits_are_awaited_than_slots_are_made_up_for(many, wait_s):
    tested = limiter_of(Quota(100, 1.0))
    while permit_now(tested) is not None:
        pass
    assert tested.many_in_s(many) == pytest.approx(wait_s, abs=0.01)
