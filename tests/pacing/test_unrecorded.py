"""What goes on record of requests: counts by time, of which none is older than its request."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import Reply
from pipeline.model.quota import Quota
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.quota_lease import most_in
from pipeline.pacing.unrecorded import GRAIN_S, AgeCount, Unrecorded, joined
from tests.workers.drive import permit_now

REPLY = Reply(204, {}, b"")
TIMES = st.lists(st.floats(0.0, 1e6), max_size=30)


@given(TIMES, st.floats(0.0, 1e6))
def test_none_is_lost_and_none_is_older_than_it_is(times, now_s):
    unrecorded = Unrecorded()
    for at_s in times:
        unrecorded.add(at_s)
    taken = [age_s for age_s, many in unrecorded.take(now_s) for _ in range(many)]
    assert taken == sorted(taken, reverse=True)
    for age_s, at_s in zip(taken, sorted(times), strict=True):
        assert now_s - at_s - GRAIN_S - 1e-9 <= age_s <= now_s - at_s + 1e-9
    assert unrecorded.take(now_s) == []


@given(st.lists(st.builds(AgeCount, st.floats(-10.0, 1e5), st.integers(1, 9)), max_size=30))
def test_joined_requests_are_at_most_as_old_as_each_of_them(ages):
    each_s = sorted((age_s for age_s, many in ages for _ in range(many)), reverse=True)
    found = [age_s for age_s, many in joined(ages) for _ in range(many)]
    for age_s, exact_s in zip(found, each_s, strict=True):
        assert exact_s - max(0.0, exact_s) / 2_000 <= age_s <= exact_s


def test_a_day_of_requests_takes_little_memory():
    ages = (AgeCount(n * GRAIN_S, 50) for n in range(8_640_000 // 20))
    assert len(joined(ages)) < 50_000


@pytest.mark.parametrize("rate", [100, 5_000, 50_000])
def test_a_second_of_requests_is_a_hundred_counts_at_most(rate):
    unrecorded = Unrecorded()
    for n in range(rate):
        unrecorded.add(7.0 + n / rate)
    taken = unrecorded.take(8.0)
    assert len(taken) <= 101
    assert sum(each.many for each in taken) == rate


def test_what_may_be_unrecorded_follows_from_the_quota_alone():
    assert most_in(2.0, LimiterSettings(quotas=(Quota(50_000, 1.0),))) == 100_000


class Vendor:
    """Two processes that share a quota by turns, and what arrives of both; time is a number."""

    def __init__(self, quota: Quota, latency_s: Callable[[], float], *, is_strict: bool) -> None:
        self.now_s = 1000.0
        terms = LimiterSettings(quotas=(quota,), is_strict=is_strict)
        self.processes = [
            RateLimiter(terms, clock=lambda: self.now_s, utc=lambda: self.now_s) for _ in range(2)
        ]
        self.arrived: list[float] = []
        self._latency_s = latency_s
        self._replies: list[tuple[float, int, int, float]] = []
        for process in self.processes:
            process.close()

    def send(self, which: int, until_s: float) -> None:
        """The process sends whenever it may."""
        limiter = self.processes[which]
        while self.now_s < until_s:
            while (number := permit_now(limiter)) is not None:
                way_s = self._latency_s()
                self.arrived.append(self.now_s + way_s / 2)
                heappush(self._replies, (self.now_s + way_s, which, number, self.now_s))
            self.pass_s(0.013)

    def pass_s(self, seconds: float) -> None:
        """Replies come meanwhile."""
        until_s = self.now_s + seconds
        while self._replies and self._replies[0][0] <= until_s:
            self.now_s, which, number, left_s = heappop(self._replies)
            self.processes[which].on_reply(number, left_s, REPLY)
        self.now_s = until_s


@given(
    quota=st.sampled_from([Quota(20, 1.0), Quota(300, 1.0), Quota(60, 6.0)]),
    turns=st.lists(st.floats(0.1, 3.0), min_size=2, max_size=8),
    most_s=st.sampled_from([0.002, 0.2, 3.0]),
    is_killed=st.booleans(),
    is_strict=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=150)
def test_no_window_is_passed_by_processes_that_take_turns(  # noqa: PLR0917 - what it is about
    quota, turns, most_s, is_killed, is_strict, seed
):
    """Bursts, so that the windows alone bound them; one may be killed before it records."""
    chance, burst = random.Random(seed), replace(quota, is_burst=True)
    vendor = Vendor(burst, lambda: chance.uniform(0.0, most_s), is_strict=is_strict)
    recorded: list[tuple[float, int, AgeCount]] = []  # when, by whom
    known, most, lost = [0, 0], most_in(2.0, vendor.processes[0].terms), 0
    for turn, lasts_s in enumerate(turns):
        which = turn % 2
        limiter, others = vendor.processes[which], recorded[known[which] :]
        ages = [
            AgeCount(age_s + vendor.now_s - at_s, many)
            for at_s, by, (age_s, many) in others
            if by != which
        ]
        known[which] = len(recorded)
        limiter.open(ages, unrecorded=lost, most_unrecorded=most)
        vendor.send(which, vendor.now_s + lasts_s)
        limiter.close()
        lost = 0
        if is_killed and turn == len(turns) - 2:
            lost = most + limiter.under_way  # as QuotaLease counts them; nothing was recorded
            vendor.pass_s(most_s)  # what arrives of it has left already
        else:
            vendor.pass_s(1.0)
            taken = limiter.take_unrecorded(is_all=True)
            recorded += ((vendor.now_s, which, each) for each in taken)
            limiter.recorded()
    arrived = sorted(vendor.arrived)
    pairs = zip(arrived, arrived[quota.limit :], strict=False)
    assert min((b - a for a, b in pairs), default=99.0) >= quota.per_s - 1e-6
