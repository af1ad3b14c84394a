from __future__ import annotations

from collections import deque

import pytest

from pipeline.pacing.margin import FLOOR_S, IDLE_S, STRETCH_S, STRETCHES, Margin, deductible_s

PER_S = 20


def replies(margin: Margin, seconds: float, trip_s: float, *, from_s: float = 0.0) -> float:
    """So many a second; when the last of them came."""
    for n in range(int(seconds * PER_S)):
        left_s = from_s + n / PER_S
        margin.on_reply(left_s, left_s + trip_s)
    return from_s + seconds


def test_at_first_a_request_counts_from_its_reply():
    margin = Margin()
    assert margin.on_reply(left_s=0.0, now_s=0.4) == 0.4
    replies(margin, STRETCH_S - 1.0, 0.4)
    assert margin.deducted_s == 0.0


def test_after_steady_replies_the_shortest_round_trip_is_deducted():
    margin = Margin()
    now_s = replies(margin, STRETCH_S + 1.0, 0.4)
    assert margin.deducted_s == pytest.approx(0.4 - FLOOR_S)
    assert margin.on_reply(now_s, now_s + 0.4) == pytest.approx(now_s + FLOOR_S)
    assert margin.on_reply(now_s, now_s + 2.0) == pytest.approx(now_s + 1.6 + FLOOR_S)  # a late one


def test_strict_never_deducts():
    margin = Margin(is_strict=True)
    now_s = replies(margin, 10 * STRETCH_S, 0.4)
    assert margin.on_reply(now_s, now_s + 0.4) == now_s + 0.4


def test_few_replies_allow_no_deduction():
    margin = Margin()
    for n in range(40):
        margin.on_reply(float(n), n + 0.4)
    assert margin.deducted_s == 0.0


def test_a_time_without_replies_ends_the_deduction():
    margin = Margin()
    now_s = replies(margin, STRETCH_S + 1.0, 0.4)
    left_s = now_s + 0.4 + IDLE_S
    assert margin.on_reply(left_s, left_s + 0.5) == left_s + 0.5
    now_s = replies(margin, STRETCH_S + 1.0, 0.4, from_s=left_s)
    assert margin.deducted_s == pytest.approx(0.4 - FLOOR_S)


def test_a_reply_that_is_quicker_than_what_is_deducted_ends_it_for_twice_as_long():
    margin = Margin()
    now_s = replies(margin, STRETCH_S + 1.0, 0.4)
    assert margin.on_reply(now_s, now_s + 0.02) == now_s + 0.02
    now_s = replies(margin, 2 * STRETCH_S - 1.0, 0.019, from_s=now_s)
    assert margin.deducted_s == 0.0
    replies(margin, 2.0, 0.019, from_s=now_s)
    assert margin.deducted_s > 0.0


@pytest.mark.parametrize(
    ("refused", "is_known"),
    [
        (1, True),  # an accident
        (3, True),  # of the 300 of the stretch no more than one in a hundred
        (4, False),
    ],
)
def test_refusals_that_are_more_than_a_few_end_it(refused, is_known):
    margin = Margin()
    now_s = replies(margin, STRETCH_S + 0.5, 0.4)
    now_s = replies(margin, 15.0, 0.4, from_s=now_s)
    for _ in range(refused):
        margin.on_throttled(now_s)
    assert (margin.deducted_s > 0.0) is is_known


def test_the_shortest_round_trip_is_remembered_for_some_stretches():
    margin = Margin()
    now_s = replies(margin, STRETCH_S + 1.0, 0.1)
    now_s = replies(margin, STRETCH_S * (STRETCHES - 1), 0.4, from_s=now_s)
    assert margin.deducted_s < 0.1
    replies(margin, 2.0 * STRETCH_S, 0.4, from_s=now_s)
    assert margin.deducted_s > 0.3


@pytest.mark.parametrize(
    ("quickest_s", "mean_s", "count", "deducted_s"),
    [
        (0.020, 0.020, 100, 0.015),  # all alike: but for the floor
        (0.003, 0.003, 100, 0.0),  # too little to deduct anything
        (0.010, 0.020, 8_000, 0.005),  # the floor is more than what may be missing
        (0.100, 0.200, 8_000, 0.095),
        (0.100, 0.200, 500, 0.080),  # of few less is known
        (0.010, 0.600, 2_000, 0.0),  # as it varies anything may come
    ],
)
def test_how_much_is_deducted(quickest_s, mean_s, count, deducted_s):
    told = deque([(quickest_s, mean_s * count, count)])
    assert deductible_s(told) == pytest.approx(deducted_s, abs=1e-9)
