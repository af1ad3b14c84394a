from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Verdict
from pipeline.pacing.concurrency import START, Concurrency

OK, SLOW_DOWN, FAILED = Verdict.OK, Verdict.THROTTLED, Verdict.TRANSIENT


def rounds(
    concurrency: Concurrency, count: int, latency_s: float = 0.1, *, now_s: float = 0.0
) -> float:
    """So many round trips, each with as many requests as may be under way; when they are over."""
    for _ in range(count):
        for in_flight in range(1, concurrency.limit + 1):
            concurrency.on_sent(in_flight)
        for _ in range(concurrency.limit):
            concurrency.on_answer(OK, left_s=now_s, now_s=now_s + latency_s + 1e-6)
        now_s += latency_s + 2e-6
    return now_s


def test_it_doubles_at_first_and_never_passes_the_most():
    concurrency, seen = Concurrency(most=50), []
    now_s = 0.0
    for _ in range(20):
        seen.append(concurrency.limit)
        now_s = rounds(concurrency, 1, now_s=now_s)
    assert seen[0] == START
    assert max(seen) == 50
    assert seen.index(50) <= 5


def test_an_account_may_have_less_than_what_others_start_with():
    assert Concurrency(most=1).limit == 1


def test_a_limit_that_was_not_reached_is_not_raised():
    concurrency = Concurrency(most=64)
    for now_s in range(100):
        concurrency.on_sent(in_flight=START - 1)
        concurrency.on_answer(OK, left_s=float(now_s), now_s=now_s + 0.1)
    assert concurrency.limit == START


def test_throttling_lowers_it_once_for_all_that_left_before():
    concurrency = Concurrency(most=40, start=40)
    concurrency.on_sent(in_flight=40)
    for n in range(10):
        concurrency.on_answer(SLOW_DOWN, left_s=0.0, now_s=1.0 + n / 100)
    concurrency.on_answer(OK, left_s=2.0, now_s=2.1)
    assert concurrency.limit == 36
    concurrency.on_sent(in_flight=36)
    concurrency.on_answer(SLOW_DOWN, left_s=3.0, now_s=3.1)
    concurrency.on_answer(OK, left_s=4.0, now_s=4.1)
    assert concurrency.limit == 32


def test_after_throttling_one_goes_alone_until_it_is_carried_out():
    concurrency = Concurrency(most=40, start=40)
    concurrency.on_sent(in_flight=40)
    for _ in range(5):
        concurrency.on_answer(SLOW_DOWN, left_s=0.0, now_s=1.0)
    assert concurrency.limit == 1
    concurrency.on_answer(OK, left_s=0.5, now_s=1.1)  # it left before: that proves nothing
    concurrency.on_answer(FAILED, left_s=1.2, now_s=1.3)
    assert concurrency.limit == 1
    concurrency.on_answer(OK, left_s=1.4, now_s=1.5)
    assert concurrency.limit == 36


@pytest.mark.parametrize("verdict", [SLOW_DOWN, FAILED])
def test_one_that_is_refused_or_fails_alone_changes_nothing(verdict):
    concurrency = Concurrency(most=40, start=40)
    for now_s in range(100):
        concurrency.on_sent(in_flight=40)
        for n in range(60):
            concurrency.on_answer(OK if n else verdict, left_s=float(now_s), now_s=now_s + 0.5)
            assert concurrency.limit == 40


def test_refusals_while_few_are_under_way_have_another_reason():
    concurrency = Concurrency(most=40, start=40)
    concurrency.on_sent(in_flight=3)
    for _ in range(10):
        concurrency.on_answer(SLOW_DOWN, left_s=0.0, now_s=1.0)
    concurrency.on_answer(OK, left_s=1.4, now_s=1.5)
    assert concurrency.limit == 40


def test_failures_lower_it_only_while_something_works():
    concurrency = Concurrency(most=40, start=40)
    concurrency.on_sent(in_flight=40)
    for _ in range(20):
        concurrency.on_answer(FAILED, left_s=0.0, now_s=1.0)
    assert concurrency.limit == 40  # an outage, and that is for others to tell
    concurrency.on_answer(OK, left_s=0.0, now_s=1.1)
    concurrency.on_answer(FAILED, left_s=0.0, now_s=1.2)
    assert concurrency.limit == 36


def test_failures_lower_it_where_the_limit_is_reached_and_it_stays_below_for_a_while():
    concurrency, now_s = Concurrency(most=64, start=20), 0.0
    for _ in range(4):
        concurrency.on_sent(in_flight=concurrency.limit)
        for n in range(concurrency.limit):
            concurrency.on_answer(FAILED if n % 4 == 0 else OK, left_s=now_s, now_s=now_s + 0.1)
        now_s += 0.11
    lowered = concurrency.limit
    assert lowered < 20
    now_s = rounds(concurrency, 100, now_s=now_s)
    assert concurrency.limit <= 19
    rounds(concurrency, 300, now_s=now_s)
    assert concurrency.limit > 20


def test_it_is_never_below_one():
    concurrency = Concurrency(most=2)
    for now_s in range(100):
        concurrency.on_sent(in_flight=2)
        concurrency.on_answer(SLOW_DOWN, left_s=float(now_s), now_s=now_s + 0.5)
    assert concurrency.limit == 1


@pytest.mark.parametrize(("later_s", "is_lowered"), [(0.005, False), (0.008, True)])
def test_a_few_milliseconds_more_are_the_machine_s(later_s, is_lowered):
    concurrency = Concurrency(most=50)
    now_s = rounds(concurrency, 40, latency_s=0.001)
    before = concurrency.limit
    rounds(concurrency, 2, latency_s=later_s, now_s=now_s)
    assert (concurrency.limit < before) is is_lowered


def test_answers_that_take_clearly_longer_lower_it():
    concurrency = Concurrency(most=64, start=32)
    now_s = rounds(concurrency, 20)
    before = concurrency.limit
    rounds(concurrency, 2, latency_s=0.3, now_s=now_s)
    assert concurrency.limit < before


@pytest.mark.parametrize("seed", range(5))
def test_answers_that_merely_vary_do_not(seed):
    chance = random.Random(seed)
    concurrency, now_s = Concurrency(most=32, start=32), 0.0
    lowest = 32
    for _ in range(400):
        for in_flight in range(1, concurrency.limit + 1):
            concurrency.on_sent(in_flight)
        left_s = now_s
        for _ in range(concurrency.limit):
            now_s = left_s + chance.uniform(0.05, 0.15)
            concurrency.on_answer(OK, left_s=left_s, now_s=now_s)
        now_s = left_s + 0.15
        lowest = min(lowest, concurrency.limit)
    assert lowest >= 24


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Verdict)), st.floats(0, 100), st.floats(0, 100)),
        max_size=200,
    ),
    st.integers(1, 100),
)
def test_whatever_comes_the_limit_stays_between_one_and_the_most(answers, most):
    concurrency = Concurrency(most)
    for verdict, left_s, took_s in answers:
        concurrency.on_sent(concurrency.limit)
        concurrency.on_answer(verdict, left_s, left_s + took_s)
        assert 1 <= concurrency.limit <= most
