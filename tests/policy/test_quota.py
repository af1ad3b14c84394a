from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policy.quota import (
    EXTRA_CAP_S,
    MARGIN_FLOOR_S,
    Margin,
    Quota,
    WindowLog,
    parse_quota,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20/s", Quota(20, 1.0)),
        ("1000/min", Quota(1000, 60.0)),
        ("12/6s", Quota(12, 6.0)),  # Adobe Analytics' way of stating it
        ("50000/day", Quota(50000, 86400.0)),
        (" 5 / 2 min ", Quota(5, 120.0)),
    ],
)
def test_quotas_as_people_write_them(text, expected):
    assert parse_quota(text) == expected
    assert parse_quota(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "20", "20/", "0/s", "1.5/s", "-1/s", "20/0s", "20/month"])
def test_what_is_no_quota_says_what_is_expected(text):
    with pytest.raises(ValueError, match="expected requests per time"):
        parse_quota(text)


@given(
    limit=st.integers(1, 30),
    per_s=st.sampled_from([1.0, 6.0, 60.0]),
    spread_s=st.floats(0.0, 0.2),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None)
def test_no_window_at_the_vendor_ever_holds_more_than_the_limit(limit, per_s, spread_s, seed):
    """A greedy client, a way that takes up to `spread_s` longer at random, a strict vendor."""
    chance = random.Random(seed)
    log, now_s = WindowLog(Quota(limit, per_s)), 0.0
    arrivals: list[float] = []
    for _ in range(4 * limit):
        now_s = max(now_s, log.free_at_s(margin_s=spread_s + 1e-6))
        log.left(now_s)
        arrivals.append(now_s + chance.uniform(0.0, spread_s))
    arrivals.sort()
    for start, end in zip(arrivals, arrivals[limit:], strict=False):
        assert end - start >= per_s


def test_the_margin_follows_the_spread_of_the_round_trips():
    margin = Margin(initial_s=0.05, stretch=4)
    assert margin.s() == pytest.approx(0.05 + MARGIN_FLOOR_S)  # cautious at first
    for round_trip_s in (0.010, 0.030, 0.020, 0.025):
        margin.replied(round_trip_s)
    assert margin.s() == pytest.approx(0.020 + MARGIN_FLOOR_S)
    margin.replied(0.500)
    margin.replied(0.010)
    assert margin.s() == pytest.approx(0.100 + MARGIN_FLOOR_S)  # widened at once, within the cap


def test_the_margin_grows_when_throttled_and_relaxes_after_clean_replies():
    margin = Margin(initial_s=0.0, stretch=2)
    for _ in range(20):
        margin.throttled()
    assert margin.s() == pytest.approx(EXTRA_CAP_S)
    for _ in range(4):
        margin.replied(0.01)
    assert margin.s() == pytest.approx(EXTRA_CAP_S / 2)  # the first stretch held the throttling
