from __future__ import annotations

import math
import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pacing.rate import MIN_HOLD_S, Rate

PAUSE_S = 0.2


class Vendor:
    """Any stretch of `per_s` seconds holds at most `limit` requests."""

    def __init__(self, limit: int, per_s: float = 1.0) -> None:
        self.limit = limit
        self.per_s = per_s
        self._taken_s: deque[float] = deque()

    def takes(self, now_s: float) -> bool:
        while self._taken_s and now_s - self._taken_s[0] >= self.per_s:
            self._taken_s.popleft()
        if len(self._taken_s) >= self.limit:
            return False
        self._taken_s.append(now_s)
        return True


def client(rate: Rate, vendor: Vendor, until_s: float, *, from_s: float = 0.0, latency_s=0.02):
    """Sends at the rate, pauses a little where it is refused: accepted and refused times."""
    accepted, refused, answers = [], [], deque()
    now_s = from_s
    while now_s < until_s:
        while answers and answers[0][0] <= now_s:
            heard_s, left_s, is_ok = answers.popleft()
            if is_ok:
                rate.accepted()
                continue
            rate.refused(left_s, heard_s, pause_s=PAUSE_S)
            now_s = max(now_s, heard_s + PAUSE_S)
        rate.on_sent(now_s)
        is_ok = vendor.takes(now_s)
        (accepted if is_ok else refused).append(now_s)
        answers.append((now_s + latency_s, now_s, is_ok))
        now_s += 1.0 / rate.per_s
    return accepted, refused


def test_without_refusals_it_stays_at_the_quota():
    rate = Rate(50.0, most_per_s=50.0)
    _accepted, refused = client(rate, Vendor(51), until_s=100.0)
    assert not refused
    assert rate.per_s == 50.0


def test_a_limit_that_was_halved_is_found_within_two_seconds_and_used():
    rate, vendor = Rate(100.0, most_per_s=100.0), Vendor(101)
    client(rate, vendor, until_s=30.0)
    vendor.limit = 50
    accepted, refused = client(rate, vendor, from_s=30.0, until_s=60.0)
    assert sum(at_s > 32.0 for at_s in refused) <= 10  # tries of a higher rate, and no more
    assert rate.per_s == pytest.approx(50 * 0.95, rel=0.1)
    later = [at_s for at_s in accepted if at_s >= 40.0]
    assert len(later) >= 0.85 * 20 * 50
    assert len(refused) <= 0.02 * len(accepted)


def test_a_limit_that_was_raised_again_is_used_within_a_minute():
    rate, vendor = Rate(100.0, most_per_s=100.0), Vendor(50)
    client(rate, vendor, until_s=60.0)
    vendor.limit = 101
    client(rate, vendor, from_s=60.0, until_s=120.0)
    assert rate.per_s >= 90.0


def test_a_single_refusal_in_a_thousand_costs_nothing():
    rate = Rate(50.0, most_per_s=50.0)
    chance = random.Random(1)
    for n in range(100_000):
        rate.on_sent(n / 50)
        if chance.random() < 0.001:
            rate.refused(n / 50, n / 50)
        else:
            rate.accepted()
    assert rate.per_s == 50.0


@pytest.mark.parametrize("pause_s", [0.0, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("share", [0.005, 0.01, 0.02])
def test_accidents_cost_their_pause_and_hardly_more(share, pause_s):
    """Random refusals, whatever they ask for, at 200/s: the time it took above what it had to."""
    rate, chance, now_s = Rate(200.0, most_per_s=200.0), random.Random(2), 0.0
    pauses = 0
    for _ in range(20_000):
        rate.on_sent(now_s)
        if chance.random() < share:
            rate.refused(now_s, now_s + 0.02, pause_s=pause_s)
            now_s += 0.02 + pause_s
            pauses += 1
        else:
            rate.accepted()
            now_s += 1.0 / rate.per_s
    had_to_s = 20_000 / 200.0 + pauses * (0.02 + pause_s)
    assert now_s <= had_to_s / 0.9


@pytest.mark.parametrize("limit", [30, 300])
def test_an_unknown_limit_is_found_within_half_a_minute(limit):
    rate = Rate(10.0, most_per_s=math.inf)
    accepted, refused = client(rate, Vendor(limit), until_s=60.0)
    lately = [at_s for at_s in accepted if 30.0 <= at_s < 60.0]
    assert len(lately) / 30.0 == pytest.approx(limit, rel=0.1)
    assert len(refused) <= 0.02 * (len(accepted) + len(refused))


def test_a_limit_over_a_longer_time_is_found_too():
    """Twelve in six seconds, and we believe in ten a second."""
    rate, vendor = Rate(10.0, most_per_s=10.0), Vendor(12, 6.0)
    client(rate, vendor, until_s=90.0)
    accepted, refused = client(rate, vendor, from_s=90.0, until_s=390.0)
    assert len(accepted) >= 0.85 * 2 * 300
    assert len(refused) <= 0.06 * len(accepted)


def test_a_stated_limit_lowers_the_rate_at_once_and_raises_it_step_by_step():
    rate = Rate(10.0)
    rate.set_limit(4.0, now_s=1.0)
    assert rate.per_s == 4.0
    rate.set_limit(40.0, now_s=2.0)
    assert rate.per_s == 4.0
    now_s = 2.0
    while now_s < 30.0:
        rate.on_sent(now_s)
        now_s += 1.0 / rate.per_s
    assert rate.per_s == 40.0


def test_a_rate_that_is_not_used_does_not_rise():
    rate = Rate(10.0)
    for n in range(100):
        rate.on_sent(float(n))
    assert rate.per_s == 10.0


def test_a_storm_in_which_all_is_refused_does_not_end_it():
    rate = Rate(100.0, most_per_s=100.0)
    for n in range(1, 20_000):
        rate.on_sent(n * 0.01)
        rate.refused(n * 0.01, n * 0.01)
    assert rate.per_s >= 1.0


def test_refusals_that_come_as_regularly_as_a_limit_do_not_end_it_either():
    """Every fiftieth, whatever the rate."""
    rate, now_s, lowest = Rate(100.0, most_per_s=100.0), 0.0, 100.0
    for n in range(20_000):
        now_s += 1.0 / rate.per_s
        rate.on_sent(now_s)
        if n % 50 == 0:
            rate.refused(now_s, now_s + 0.01, pause_s=0.1)
            now_s += 0.1
        else:
            rate.accepted()
        lowest = min(lowest, rate.per_s)
    assert lowest >= 20.0


def test_refusals_of_the_first_requests_halve_the_rate_since_so_few_show_no_limit():
    rate = Rate(50.0, most_per_s=50.0)
    rate.on_sent(0.0)
    rate.accepted()
    for n in range(1, 6):
        rate.on_sent(n / 50)
        rate.refused(n / 50, n / 50)
    assert rate.per_s == 25.0


def test_a_sudden_refusal_of_everything_halves_the_rate_for_a_short_time():
    rate = Rate(100.0, most_per_s=100.0)
    for n in range(200):
        rate.on_sent(n / 100)
    for _ in range(195):
        rate.accepted()
    for n in range(195, 200):
        rate.refused(n / 100, 2.0 + n / 1000)
    assert rate.per_s == 50.0
    now_s = 4.5
    while now_s < 30.0:
        rate.on_sent(now_s)
        now_s += 1.0 / rate.per_s
    assert rate.per_s == 100.0


@given(st.integers(0, 2**32), st.floats(0.1, 1000.0))
@settings(deadline=None, max_examples=50)
def test_it_never_passes_the_quota(seed, most_per_s):
    chance, rate, now_s = random.Random(seed), Rate(most_per_s, most_per_s), 0.0
    for _ in range(500):
        now_s += chance.expovariate(most_per_s)
        rate.on_sent(now_s)
        if chance.random() < 0.05:
            rate.refused(now_s, now_s)
        if chance.random() < 0.1:
            now_s += MIN_HOLD_S
        assert 0 < rate.per_s <= most_per_s
