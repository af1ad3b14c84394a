from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policy.margin import FLOOR_S, STRETCH_REPLIES, STRETCH_S, Margin
from pipeline.policy.quota import Quota
from pipeline.policy.windows import DayLog, ReplyLog, WindowLog, log_of

DAY_S = 86400.0


def many_replies(margin: Margin, round_trip_s: float, now_s: float) -> float:
    """As many as a stretch has; what the last of them is thought to have lost."""
    return [margin.replied(round_trip_s, now_s) for _ in range(STRETCH_REPLIES)][-1]


def greedy(log, margin: Margin, count: int, there_s, back_s) -> list[float]:
    """Leaves as soon as it may: when its requests arrived. Replies are heard of as they come."""
    now_s, arrivals, under_way = 0.0, [], []
    for number in range(count):
        while True:
            free_at_s = log.free_at_s(now_s, margin.extra_s)
            until_s = max(now_s, free_at_s)
            under_way.sort()
            if under_way and (under_way[0][0] <= until_s or free_at_s == float("inf")):
                reply_s, which, left_s = under_way.pop(0)
                now_s = max(now_s, reply_s)
                excess_s = margin.replied(reply_s - left_s, reply_s)
                log.returned(which, left_s + excess_s, now_s)
            else:
                break
        now_s = until_s
        log.left(now_s + margin.waits_s, now_s)
        arrivals.append(now_s + there_s())
        under_way.append((arrivals[-1] + back_s(), number, now_s))
    return sorted(arrivals)


@given(
    limit=st.integers(1, 30),
    per_s=st.sampled_from([1.0, 6.0, 60.0]),
    spread_s=st.floats(0.0, 0.09),
    back_s=st.floats(0.0, 0.09),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None)
def test_no_window_at_the_vendor_ever_holds_more_than_the_limit(
    limit, per_s, spread_s, back_s, seed
):
    """A greedy client, ways there and back that vary at random, a strict vendor."""
    chance = random.Random(seed)
    margin = Margin(initial_s=spread_s)
    # the fastest way there is has been seen, at the price of one more floor
    margin.replied(0.010, -2.0)
    margin.replied(0.010, -1.0)
    arrivals = greedy(
        WindowLog(Quota(limit, per_s)),
        margin,
        4 * limit,
        there_s=lambda: 0.005 + chance.uniform(0.0, spread_s),
        back_s=lambda: 0.005 + chance.uniform(0.0, back_s),
    )
    for start, end in zip(arrivals, arrivals[limit:], strict=False):
        assert end - start >= per_s - 1e-9


@pytest.mark.parametrize(
    ("limit", "count", "least"),
    [
        (20, 2_000, 0.98),  # the mean is 0.010 s, the worst 0.020 s, the floor 0.005 s
        (1_000, 8_000, 0.97),  # also where many are on their way at once
    ],
)
def test_what_is_paid_for_a_way_that_varies_is_its_mean_not_its_worst(limit, count, least):
    chance = random.Random(1)
    arrivals = greedy(
        WindowLog(Quota(limit, 1.0)),
        Margin(),
        count,
        there_s=lambda: chance.uniform(0.005, 0.015),
        back_s=lambda: chance.uniform(0.005, 0.015),
    )
    used = (count - limit) / (arrivals[-1] - arrivals[0]) / limit
    assert used >= least


def test_what_is_kept_of_a_window_is_bounded_and_nothing_that_counts_is_lost():
    log, chance = WindowLog(Quota(10, 1.0)), random.Random(2)
    counts_from_s = [n + chance.uniform(0.0, 50.0) for n in range(5_000)]
    for n, from_s in enumerate(counts_from_s):
        log.left(from_s + chance.uniform(0.0, 1.0), float(n))
        log.returned(n, from_s, n + 0.5)
        exact_s = sorted(counts_from_s[: n + 1])[-10] + 1.0 if n >= 9 else float("-inf")
        assert log.free_at_s(float(n), 0.0) == exact_s
    assert len(log._latest_s) < 300


@given(limit=st.integers(1, 20), seed=st.integers(0, 2**32))
@settings(deadline=None)
def test_counted_from_replies_it_holds_whatever_the_network_does(limit, seed):
    chance = random.Random(seed)
    arrivals = greedy(
        ReplyLog(Quota(limit, 1.0)),
        Margin(),
        4 * limit,
        there_s=lambda: chance.expovariate(1.0),
        back_s=lambda: chance.expovariate(1.0),
    )
    for start, end in zip(arrivals, arrivals[limit:], strict=False):
        assert end - start >= 1.0 - 1e-9


def test_a_day_that_begins_at_a_time_is_used_up_and_begins_anew():
    log = DayLog(Quota(2, DAY_S), started_s=100.0)
    log.left(50.0, 50.0)  # yesterday
    for now_s in (200.0, 300.0):
        assert log.free_at_s(now_s, 0.0) <= now_s
        log.left(now_s, now_s)
    assert log.free_at_s(400.0, 0.5) == 100.0 + DAY_S + 0.5
    assert log.free_at_s(101.0 + DAY_S, 0.5) <= 101.0 + DAY_S
    assert log.free_at_s(101.0 + 5 * DAY_S, 0.5) <= 101.0 + 5 * DAY_S


@pytest.mark.parametrize(
    ("quota", "fields", "kind"),
    [
        (Quota(5, 1.0), {}, WindowLog),
        (Quota(5, 1.0), {"is_strict": True}, ReplyLog),
        (Quota(5, DAY_S), {}, WindowLog),  # any 24 hours
        (Quota(5, DAY_S), {"day_started_s": 0.0}, DayLog),
        (Quota(5, 60.0), {"day_started_s": 0.0}, WindowLog),
        (Quota(5, DAY_S), {"day_started_s": 0.0, "is_strict": True}, DayLog),
    ],
)
def test_how_a_quota_is_counted(quota, fields, kind):
    assert type(log_of(quota, **fields)) is kind


def test_the_margin_grows_once_for_all_that_left_before_it_did_and_relaxes_by_and_by():
    margin = Margin(initial_s=0.0)
    for now_s in (1.0, 1.1, 1.2):
        margin.throttled(left_s=0.9, now_s=now_s)
    assert margin.extra_s == 2 * FLOOR_S
    margin.throttled(left_s=1.3, now_s=1.4)
    assert margin.extra_s == 4 * FLOOR_S
    for now_s in (2.0, 3.0 + STRETCH_S):
        many_replies(margin, 0.01, now_s)
    assert margin.extra_s == 4 * FLOOR_S  # the stretch held the throttling
    many_replies(margin, 0.01, 4.0 + 2 * STRETCH_S)
    assert margin.extra_s == 2 * FLOOR_S
    for stretch in range(3, 6):
        many_replies(margin, 0.01, 4.0 + stretch * (STRETCH_S + 1))
    assert margin.extra_s == FLOOR_S


def test_before_replies_tell_a_request_is_taken_to_be_late():
    margin = Margin(initial_s=0.05)
    assert margin.waits_s == 0.05
    for now_s, round_trip_s in enumerate((0.010, 0.030, 0.020)):
        margin.replied(round_trip_s, now_s)
    assert margin.waits_s == 0.05
    margin.replied(0.080, now_s=4.0)
    assert margin.waits_s == pytest.approx(0.070)
    margin.replied(5.0, now_s=5.0)
    assert margin.waits_s == pytest.approx(0.1)  # that was the vendor thinking
    for stretch in range(1, 4):
        many_replies(margin, 0.020, 5.0 + stretch * (STRETCH_S + 1))
    margin.replied(0.025, now_s=10.0 + 4 * STRETCH_S)
    assert margin.waits_s == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("thinks_s", "counted_s"),
    [
        (0.05, 0.05),  # as a way may vary
        (0.2, 0.1),  # so much as a rule is no longer the way
        (5.0, 0.1),
    ],
)
def test_of_a_vendor_that_takes_its_time_no_more_is_counted_than_a_way_may_vary(
    thinks_s, counted_s
):
    margin = Margin()
    for n in range(400):
        margin.replied(0.020, float(n))
        margin.replied(0.020 + 2 * thinks_s, float(n))
    both_s = margin.replied(0.020, 400.0) + margin.replied(0.020 + 2 * thinks_s, 400.0)
    assert both_s / 2 == pytest.approx(counted_s, rel=0.05)


def test_a_few_that_are_late_are_late_however_much():
    margin = Margin()
    for n in range(400):
        margin.replied(0.020 + n % 10 / 100, n / 100)
    assert margin.replied(0.320, 4.0) == pytest.approx(0.300)


def test_what_is_quick_again_after_a_slow_while_was_not_forgotten():
    """Else the slow ones would seem to have come in time, and one too many would follow them."""
    margin = Margin()
    for n in range(3):
        margin.replied(0.020, now_s=n / 100)
    for n in range(1_000):
        excess_s = margin.replied(0.080, now_s=1.0 + n / 100)
    assert excess_s == pytest.approx(0.060)
    for stretch in range(1, 4):
        excess_s = many_replies(margin, 0.080, 20.0 + stretch * (STRETCH_S + 1))
    assert excess_s == pytest.approx(0.0)  # it has been so for long: the way is another one now
