from __future__ import annotations

import random
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.quota import Quota
from pipeline.pacing.margin import Margin
from pipeline.pacing.windows import GRAINS, DayLog, WindowLog, log_of

DAY_S = 86400.0


def greedy(quota: Quota, margin: Margin, count: int, there_s, back_s) -> list[float]:
    """Leaves as soon as it may: when its requests arrived. Replies are heard of as they come."""
    log = WindowLog(quota)
    now_s, arrivals, under_way, left = 0.0, [], [], {}
    for number in range(count):
        while log.room(now_s, left.values()) <= 0:
            until_s = max(now_s, log.free_at_s(now_s, left.values()))
            if under_way and under_way[0][0] <= until_s:
                reply_s, which, left_s = heappop(under_way)
                now_s = max(now_s, reply_s)
                del left[which]
                log.add(left_s, margin.on_reply(left_s, reply_s))
            else:
                now_s = until_s + 1e-6
        left[number] = now_s
        arrivals.append(now_s + there_s(now_s))
        heappush(under_way, (arrivals[-1] + back_s(now_s), number, now_s))
    return sorted(arrivals)


def worst(arrivals: list[float], quota: Quota) -> float:
    """The shortest time in which one more than the limit arrived."""
    pairs = zip(arrivals, arrivals[quota.limit :], strict=False)
    return min((end - start for start, end in pairs), default=DAY_S)


@given(
    limit=st.integers(1, 30),
    per_s=st.sampled_from([1.0, 6.0, 60.0]),
    spread_s=st.floats(0.0, 3.0),
    back_s=st.floats(0.0, 3.0),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=200)
def test_no_window_at_the_vendor_ever_holds_more_than_the_limit(
    limit, per_s, spread_s, back_s, seed
):
    """A greedy client that knows nothing yet, and ways there and back that vary at random."""
    chance, quota = random.Random(seed), Quota(limit, per_s)
    arrivals = greedy(
        quota,
        Margin(is_strict=seed % 2 == 0),
        4 * limit,
        there_s=lambda _now_s: chance.uniform(0.0, spread_s),
        back_s=lambda _now_s: chance.uniform(0.0, back_s),
    )
    assert worst(arrivals, quota) >= per_s - 1e-9


@pytest.mark.parametrize(
    ("there_s", "reason"),
    [
        (lambda chance, _s: chance.uniform(0.010, 0.030), "varies a little"),
        (lambda chance, _s: chance.uniform(0.2, 0.3), "far away"),
        (lambda chance, _s: chance.uniform(0.0, 0.3), "varies much"),
        (lambda chance, _s: chance.uniform(0.0, 1.2), "varies very much"),
        (lambda chance, _s: chance.choice([0.01, 0.01, 0.01, 0.9]), "one in four is late"),
        (lambda chance, s: chance.uniform(0.3, 0.4) if s < 15 else 0.02, "warms up"),
        (lambda chance, s: 0.02 + chance.uniform(0.0, 0.01) + 0.5 * (s > 40), "slower later on"),
        (lambda _chance, s: 0.4 if s % 10 < 0.2 else 0.01, "cold again and again"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
@pytest.mark.parametrize("seed", range(3))
def test_no_window_holds_more_than_the_limit_after_learning(there_s, reason, seed):
    chance, quota = random.Random(seed), Quota(20, 1.0)
    arrivals = greedy(
        quota,
        Margin(),
        2_000,
        there_s=lambda now_s: there_s(chance, now_s),
        back_s=lambda _now_s: chance.uniform(0.001, 0.003),
    )
    assert worst(arrivals, quota) >= 1.0 - 1e-9, reason


@pytest.mark.parametrize(
    ("limit", "there_s", "least"),
    [
        (20, (0.005, 0.015), 0.98),  # the mean is 0.010 s, and 0.005 s are never deducted
        (1_000, (0.005, 0.015), 0.98),  # also where many are on their way at once
        (20, (0.29, 0.31), 0.96),  # what all of them need costs nothing
    ],
)
def test_a_steady_latency_costs_its_mean(limit, there_s, least):
    chance, count = random.Random(1), 60 * limit
    arrivals = greedy(
        Quota(limit, 1.0),
        Margin(),
        count,
        there_s=lambda _now_s: chance.uniform(*there_s),
        back_s=lambda _now_s: chance.uniform(0.005, 0.015),
    )
    later = [at_s for at_s in arrivals if at_s > 25.0]
    assert (len(later) - limit) / (later[-1] - later[0]) / limit >= least - limit / len(later)


@pytest.mark.parametrize(("limit", "per_s"), [(10, 1.0), (1_000_000, DAY_S)])
def test_memory_of_a_window_is_bounded_and_no_request_leaves_it_early(limit, per_s):
    """However many it holds, in whatever order: a grain late at the latest."""
    log, chance, grain_s = WindowLog(Quota(limit, per_s)), random.Random(2), per_s / GRAINS
    every_s = per_s / 3_000
    counts_from_s = [n * every_s + chance.uniform(0.0, per_s / 3) for n in range(15_000)]
    for n, from_s in enumerate(counts_from_s):
        log.add(n * every_s, from_s)
        now_s = n * every_s + per_s
        room = log.room(now_s, [])
        if n % 50 == 0:
            known = counts_from_s[: n + 1]
            exact, later = (sum(each > now_s - per_s - s for each in known) for s in (0, grain_s))
            assert limit - later <= room <= limit - exact
    assert len(log._ends) < 3 * GRAINS


@given(
    left=st.lists(st.floats(0.0, 5.0), max_size=8).map(sorted),
    known=st.lists(st.floats(0.0, 5.0), max_size=8),
    limit=st.integers(1, 6),
    now_s=st.floats(5.0, 30.0),
    many=st.integers(1, 3),
)
def test_room_that_is_announced_is_there_then_and_not_before(left, known, limit, now_s, many):
    """Replies may bring it forward; of those in flight for long none counts any more."""
    quota = Quota(limit, 1.0)
    log = WindowLog(quota)
    for from_s in known:
        log.add(from_s, from_s)
    many = min(many, limit)
    free_s = log.free_at_s(now_s, left, many)
    if log.room(now_s, left) >= many:
        assert free_s == now_s
    else:
        assert log.room(max(now_s, free_s - 0.01), left) < many or free_s < now_s + 0.01
        assert log.room(free_s + 1e-6, left) >= many


def test_a_day_that_is_used_up_starts_again():
    log = DayLog(Quota(2, DAY_S), started_s=100.0)
    log.add(50.0, 51.0)  # yesterday
    for now_s in (200.0, 300.0):
        assert log.room(now_s, []) > 0
        assert log.free_at_s(now_s, []) == now_s
        log.add(now_s, now_s + 1.0)
    assert log.room(400.0, []) == 0
    assert log.free_at_s(400.0, []) == 100.0 + DAY_S
    assert log.room(101.0 + DAY_S, []) == 2
    assert log.free_at_s(101.0 + 5 * DAY_S, [101.0 + 5 * DAY_S]) == 101.0 + 5 * DAY_S


@pytest.mark.parametrize(
    ("reply_s", "is_free"),
    [
        (-1.0, True),  # answered before: it arrived yesterday
        (1.0, False),  # answered today: it may have arrived today
        (None, False),  # not answered yet
    ],
)
def test_a_request_in_flight_when_a_day_begins_counts_for_both(reply_s, is_free):
    log, left_s = DayLog(Quota(1, DAY_S), started_s=0.0), DAY_S - 2.0
    in_flight = [left_s] if reply_s is None else []
    if reply_s is not None:
        log.add(left_s, DAY_S + reply_s)
    assert log.room(DAY_S - 1.0, in_flight) == 0
    assert (log.room(DAY_S + 2.0, in_flight) > 0) is is_free
    assert log.room(2 * DAY_S + 2.0, []) > 0


@pytest.mark.parametrize(
    ("quota", "fields", "kind"),
    [
        (Quota(5, 1.0), {}, WindowLog),
        (Quota(5, DAY_S), {}, WindowLog),  # any 24 hours
        (Quota(5, DAY_S), {"day_started_s": 0.0}, DayLog),
        (Quota(5, 60.0), {"day_started_s": 0.0}, WindowLog),
    ],
)
def test_how_a_quota_is_counted(quota, fields, kind):
    assert type(log_of(quota, **fields)) is kind
