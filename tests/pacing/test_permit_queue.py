"""Who waits for a permit gets one in turn: callbacks and coroutines, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import Answer, Effect, NoReply, Reply, Verdict
from pipeline.model.quota import Quota
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from tests.scenarios import virtual_time
from tests.workers.drive import permit_now, permit_of

REPLY = Reply(204, {}, b"")
UNSENT = NoReply("connect_failed", "refused", may_have_arrived=False)
THROTTLED = Answer(Verdict.THROTTLED, Effect.NONE, 429, retry_after_s=3.0)


def loop_clock() -> float:
    return asyncio.get_running_loop().time()


def limiter_of(*quotas: Quota, **terms) -> RateLimiter:
    return RateLimiter(LimiterSettings(quotas=quotas, **terms), clock=loop_clock, utc=loop_clock)


class Sender:
    """Takes permits as a sender does that is called back, and as a coroutine.

    got  who got a permit, with the time, in order
    """

    def __init__(self, limiter: RateLimiter, latency_s: Callable[[], float]) -> None:
        self.account = AccountLimiter(limiter)
        self.got: list[tuple[str, float]] = []
        self.arrived: list[float] = []
        self._latency_s = latency_s

    def pump(self) -> None:
        """Send as long as there are permits, then ask to be called."""
        while (number := permit_now(self.account)) is not None:
            self._send("callback", number)
        self.account.call_when_free(self.pump)

    async def wait_for_permits(self) -> None:
        """Send one request after the other."""
        while (number := await permit_of(self.account)) is not None:
            self._send("coroutine", number)
            await anyio.lowlevel.checkpoint()

    def _send(self, who: str, number: int) -> None:
        left_s, loop = loop_clock(), asyncio.get_running_loop()
        self.got.append((who, left_s))
        way_s = self._latency_s()
        self.arrived.append(left_s + way_s / 2)
        if way_s < 0:  # it never left
            self.arrived.pop()
            loop.call_soon(self.account.on_reply, number, left_s, UNSENT)
        else:
            loop.call_later(way_s, self.account.on_reply, number, left_s, REPLY)

    def per(self, who: str) -> int:
        return Counter(name for name, _ in self.got)[who]


async def mixed(sender: Sender, callbacks: object, coroutines: int, lasts_s: float) -> None:
    async with anyio.create_task_group() as tasks:
        if callbacks:
            sender.pump()
        for _ in range(coroutines):
            tasks.start_soon(sender.wait_for_permits)
        await anyio.sleep(lasts_s)
        sender.account.close()


def least_window_s(times_s: list[float], limit: int) -> float:
    """The shortest time in which one more than the limit came."""
    times_s = sorted(times_s)
    return min((b - a for a, b in zip(times_s, times_s[limit:], strict=False)), default=1e9)


QUOTAS = st.sampled_from(
    [
        (Quota(20, 1.0),),
        (Quota(3, 1.0),),
        (Quota(200, 1.0),),
        (Quota(20, 1.0), Quota(60, 6.0)),
        (Quota(30, 1.0, is_burst=True), Quota(120, 10.0)),
        (Quota(50, 5.0, is_burst=True),),
    ]
)


@given(
    quotas=QUOTAS,
    callbacks=st.booleans(),
    coroutines=st.integers(0, 3),
    is_strict=st.booleans(),
    seed=st.integers(0, 2**32),
    most_s=st.sampled_from([0.001, 0.05, 0.5, 12.0]),
    unsent=st.sampled_from([0.0, 0.1]),
)
@settings(deadline=None, max_examples=40)
def test_no_window_is_passed_and_nobody_starves(  # noqa: PLR0917 - what it is about
    quotas, callbacks, coroutines, is_strict, seed, most_s, unsent
):
    chance = random.Random(seed)

    def latency_s() -> float:
        return -1.0 if chance.random() < unsent else chance.uniform(0.0, most_s)

    async def main() -> Sender:
        sender = Sender(limiter_of(*quotas, is_strict=is_strict), latency_s)
        await mixed(sender, callbacks, coroutines, lasts_s=25.0)
        return sender

    sender = virtual_time.run(main)
    for quota in quotas:
        assert least_window_s(sender.arrived, quota.limit) >= quota.per_s - 1e-6, quota
    if callbacks and coroutines and len(sender.got) >= 50:
        per_turn = len(sender.got) / (coroutines + 1)  # each in turn, but for the burst at first
        assert sender.per("callback") >= 0.8 * per_turn
        assert sender.per("coroutine") >= 0.5 * coroutines * per_turn


@pytest.mark.parametrize(
    ("per_s", "callbacks", "coroutines"),
    [(20, True, 0), (20, False, 1), (20, True, 3), (200, True, 3), (1000, True, 0)],
)
def test_nearly_all_of_a_quota_is_used_whoever_asks(per_s, callbacks, coroutines):
    async def main() -> Sender:
        sender = Sender(limiter_of(Quota(per_s, 1.0)), lambda: 0.010)
        await mixed(sender, callbacks, coroutines, lasts_s=35.0)
        return sender

    sender = virtual_time.run(main)
    later = [at_s for _, at_s in sender.got if at_s >= 25.0]
    assert len(later) >= 0.98 * per_s * 10.0
    assert least_window_s(sender.arrived, per_s) >= 1.0 - 1e-6


def test_callbacks_of_accounts_that_share_a_quota_take_turns():
    async def main() -> tuple[Sender, Sender]:
        shared = limiter_of(Quota(20, 1.0))
        one, other = (Sender(shared, lambda: 0.02) for _ in range(2))
        one.pump()
        other.pump()
        await anyio.sleep(20.0)
        one.account.close()
        other.account.close()
        return one, other

    one, other = virtual_time.run(main)
    assert abs(len(one.got) - len(other.got)) <= 3
    assert len(one.got) + len(other.got) >= 19 * 19


# What it is called back for, and when: everything that may free a permit


async def called_after_s(
    sender: Sender, change: Callable[[], object], *, at_s: float, within_s: float = 100.0
) -> float:
    """When a callback is called that waits from now on, while `change` happens `at_s` from now."""
    called, loop = anyio.Event(), asyncio.get_running_loop()
    began_s = loop.time()
    sender.account.call_when_free(called.set)
    loop.call_later(at_s, change)
    with anyio.fail_after(within_s):
        await called.wait()
    return loop.time() - began_s


def test_a_pause_that_ends_or_is_lifted_calls_back():
    async def main() -> None:
        limiter = limiter_of(Quota(1000, 1.0))
        sender = Sender(limiter, lambda: 0.0)
        limiter.on_answer(THROTTLED, 0.0)
        assert permit_now(sender.account) is None
        assert await called_after_s(sender, lambda: None, at_s=0.0) == pytest.approx(3.0, abs=0.01)
        limiter.on_answer(THROTTLED, 0.0)
        assert await called_after_s(sender, limiter.pause.lift, at_s=1.0) < 1.01

    virtual_time.run(main)


def test_a_limiter_that_opens_and_a_record_that_is_made_call_back():
    async def main() -> None:
        limiter = limiter_of(Quota(1000, 1.0))
        sender = Sender(limiter, lambda: 0.0)
        limiter.close()
        assert permit_now(sender.account) is None
        opened_s = await called_after_s(sender, lambda: limiter.open(most_unrecorded=1), at_s=5.0)
        assert opened_s == pytest.approx(5.0, abs=0.01)
        assert permit_now(sender.account) == 0
        limiter.on_reply(0, loop_clock(), REPLY)
        assert permit_now(sender.account) is None
        limiter.take_unrecorded()
        assert await called_after_s(sender, limiter.recorded, at_s=7.0) == pytest.approx(
            7, abs=0.01
        )
        assert permit_now(sender.account) == 1

    virtual_time.run(main)


def test_a_reply_and_a_cap_that_is_lifted_call_back():
    async def main() -> None:
        limiter = limiter_of(Quota(1, 1.0, is_burst=True))
        sender = Sender(limiter, lambda: 0.0)
        assert permit_now(sender.account) == 0
        reply = 0, loop_clock(), REPLY
        waited_s = await called_after_s(sender, lambda: limiter.on_reply(*reply), at_s=2.0)
        assert waited_s == pytest.approx(3.0, abs=0.01)  # it counts from its reply on
        sender = Sender(slow := limiter_of(Quota(1000, 1.0)), lambda: 0.0)
        slow.slow("one", 0.001)
        while permit_now(sender.account) is not None:
            pass
        waited_s = await called_after_s(sender, lambda: slow.slow("one", None), at_s=2.0)
        assert waited_s == pytest.approx(2.0, abs=0.1)

    virtual_time.run(main)


def test_who_gives_up_is_called_at_once_and_who_is_closed_no_more():
    async def main() -> None:
        sender = Sender(limiter_of(Quota(1, 3600.0)), lambda: 0.0)
        assert permit_now(sender.account) == 0
        assert await called_after_s(sender, sender.account.cancel_waits, at_s=1.0) < 1.01
        assert await called_after_s(sender, sender.account.close, at_s=1.0) < 1.01
        sender.account.call_when_free(lambda: pytest.fail("it is closed"))
        assert permit_now(sender.account) is None
        await anyio.sleep(7200.0)

    virtual_time.run(main)


def test_who_is_called_back_twice_for_one_wait_asked_once():
    async def main() -> list[float]:
        sender, called = Sender(limiter_of(Quota(1000, 1.0)), lambda: 0.0), []

        def callback() -> None:
            called.append(loop_clock())

        for _ in range(3):
            sender.account.call_when_free(callback)
        await anyio.sleep(1.0)
        sender.account.call_when_free(callback)
        await anyio.sleep(1.0)
        return called

    assert virtual_time.run(main) == pytest.approx([0.0, 1.0], abs=0.01)


def test_a_coroutine_that_gives_up_is_in_nobodys_way():
    async def main() -> None:
        limiter = limiter_of(Quota(2, 1.0, is_burst=True))
        sender = Sender(limiter, lambda: 0.0)
        for number in range(2):
            limiter.on_reply(await permit_of(limiter), loop_clock(), REPLY)
            assert number < 2
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(permit_of, limiter)
            await anyio.sleep(0.5)
            waiting = anyio.Event()
            sender.account.call_when_free(waiting.set)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(0.6):
            await waiting.wait()
        assert permit_now(sender.account) is not None

    virtual_time.run(main)


def test_a_callback_that_fails_stops_nobody_else():
    async def main() -> None:
        sender, called = Sender(limiter_of(Quota(1000, 1.0)), lambda: 0.0), anyio.Event()
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, said: reported.append(said))
        sender.account.call_when_free(lambda: 1 / 0)
        sender.account.call_when_free(called.set)
        with anyio.fail_after(1.0):
            await called.wait()
        assert reported

    virtual_time.run(main)


@pytest.mark.parametrize(
    ("limit", "most_wakes", "least_sent"),
    [
        (1_000, 260, 965),  # four permits at a time
        (500, 260, 484),
        (200, 210, 190),  # two would be few: each is used as it comes
        (20, 21, 19),
    ],
)
def test_permits_that_come_quickly_are_used_together(limit, most_wakes, least_sent):
    async def main() -> tuple[int, int]:
        sender, wakes = Sender(limiter_of(Quota(limit, 1.0)), lambda: 0.010), 0

        def pump() -> None:
            nonlocal wakes
            wakes += 1
            while (number := permit_now(sender.account)) is not None:
                sender._send("callback", number)
            sender.account.call_when_free(pump)

        pump()
        await anyio.sleep(4.0)
        before_wakes, before_sent = wakes, len(sender.got)
        await anyio.sleep(4.0)
        sender.account.close()
        return (wakes - before_wakes) / 4, (len(sender.got) - before_sent) / 4

    wakes_per_s, sent_per_s = virtual_time.run(main)
    assert wakes_per_s <= most_wakes
    assert sent_per_s >= least_sent
