from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.scenarios.link import Sent
from tests.scenarios.metrics import METRICS, Run, faults
from tests.scenarios.scenario import Expectation, Scenario, Settings
from tests.scenarios.vendor import Behaviour, Course, Outage

DOWN = Outage(from_s=10.0, until_s=20.0)


def scenario(*, windows=("10/s",), changes=(), outages=(), lasts_s=30.0, **account) -> Scenario:
    return Scenario(
        name="made up",
        says="Nothing.",
        lasts_s=lasts_s,
        account=Settings(**{"quota": ["100/s"], "in_flight": 8, **account}),
        course=Course(Behaviour(way_s=0.1, windows=windows), changes, outages),
        expectations=(),
    )


def sent(left_s: float, what="ok", status=204, *, took_s=0.1, floor_s=0.0) -> Sent:
    return Sent("s1", left_s, left_s + took_s / 2, left_s + took_s, what, status, floor_s)


def spaced(from_s: float, until_s: float, per_second: float, **fields) -> list[Sent]:
    count = round((until_s - from_s) * per_second)
    return [sent(from_s + n / per_second, **fields) for n in range(count)]


def value(metric: str, of: Scenario, log: list[Sent], from_s=0.0, until_s=30.0) -> float:
    return METRICS[metric](Run(of, log, lost_rows=0), from_s, until_s)


@pytest.mark.parametrize(
    ("of", "best"),
    [
        (scenario(), 300),  # the vendor's window
        (scenario(quota=["5/s", "100/s"]), 150),  # what the account says is less
        (scenario(windows=(), in_flight=2, quota=["90/s"]), 600),  # two in flight, 0.1 s each
        (scenario(outages=[DOWN]), 200),  # nothing is possible while it is down
        (scenario(changes=[(15.0, {"windows": ["4/s"]})]), 210),
        (scenario(changes=[(15.0, {"windows": ["4/s"]})], outages=[DOWN]), 140),
    ],
)
def test_the_best_possible(of, best):
    assert of.best(0, 30) == pytest.approx(best)
    assert of.best(0, 12) + of.best(12, 30) == pytest.approx(best)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (spaced(0, 30, 9), 0.9),
        (spaced(0, 30, 9) + spaced(0, 30, 9, what="limit", status=429), 0.9),
        (spaced(0, 30, 9, status=None), 0.0),  # applied, but the client does not know
        ([], 0.0),
    ],
)
def test_share(log, expected):
    assert value("share", scenario(), log) == pytest.approx(expected, abs=0.005)


def test_share_of_a_stretch():
    log = spaced(0, 15, 5) + spaced(15, 30, 10)
    assert value("share", scenario(), log, 20, 30) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (spaced(0, 5, 9) + spaced(5, 6, 5, what="limit", status=429), 0.1),
        (spaced(0, 5, 9) + spaced(5, 6, 5, status=None), 0.1),  # lost: nobody knows
        (spaced(0, 5, 9) + spaced(5, 6, 5, what="chance", status=429), 0.1),
        (spaced(0, 5, 9) + spaced(12, 13, 5, what="down", status=503), 0.0),  # the outage's
        ([*spaced(0, 5, 9), sent(9.0, status=None, took_s=5)], 0.0),  # given up within it
        ([*spaced(0, 5, 9), sent(29.9, status=None, took_s=9)], 0.0),  # not known at the end
        ([], 0.0),
    ],
)
def test_wasted(log, expected):
    assert value("wasted", scenario(outages=[DOWN]), log) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("refused_s", "expected"),
    [
        ([], 0.0),
        ([3.0], 0.0),
        ([3.0, 3.4, 3.9, 4.8], 1.8),
        ([3.0, 3.4, 4.5, 4.9, 5.5], 1.0),  # a pause of more than a second parts two overloads
    ],
)
def test_overload(refused_s, expected):
    log = [sent(at_s, "limit", 429) for at_s in refused_s] + [sent(4.2, "chance", 429)]
    assert value("overload_s", scenario(), log) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (spaced(0, 10, 10) + spaced(20, 30, 10), 2.0),  # at once: one mean of 2 s
        (spaced(0, 10, 10) + spaced(23, 30, 10), 4.8),  # 0.9 of 2 s from 23 on
        (spaced(0, 10, 10) + spaced(20, 24, 5) + spaced(24, 30, 10), 5.7),
        (spaced(0, 10, 10) + spaced(20, 30, 8.4), math.inf),
        ([], math.inf),
    ],
)
def test_time_to_recover(log, expected):
    assert value("recover_s", scenario(outages=[DOWN]), log) == pytest.approx(expected, abs=0.15)


def test_the_rate_to_recover_is_the_new_one_and_the_slowest_recovery_counts():
    of = scenario(changes=[(10.0, {"windows": ["5/s"]}), (20.0, {"windows": ["10/s"]})])
    log = spaced(0, 10, 10) + spaced(10, 25, 5) + spaced(25, 30, 10)
    assert value("recover_s", of, log, 0, 15) == pytest.approx(2.0, abs=0.15)
    assert value("recover_s", of, log) == pytest.approx(6.7, abs=0.15)


def test_who_has_heard_that_it_should_wait_must_not_leave_before():
    log = [
        sent(1.0, "limit", 429, floor_s=4.0),  # heard at 1.1
        sent(1.05),  # could not know
        sent(1.5, "limit", 429, floor_s=3.0),  # too early; what it hears shortens nothing
        sent(3.5),  # too early
        sent(4.0),
    ]
    assert value("early", scenario(), log) == 2


def test_requests_in_an_outage_are_those_that_left_in_it():
    log = [sent(9.9), sent(10.5), sent(19.9), sent(20.0)]
    assert value("in_outage", scenario(outages=[DOWN]), log) == 2


def test_slowdown():
    log = [sent(1.0, took_s=0.1), sent(2.0, took_s=0.3), sent(3.0, "limit", 429, took_s=9)]
    assert value("slowdown", scenario(), log) == pytest.approx(2.0)


def expecting(**ranges: tuple[float, float]) -> Scenario:
    expectation = Expectation(from_s=5.0, until_s=10.0, ranges=ranges)
    return replace(scenario(lasts_s=10.0), expectations=[expectation])


def test_what_is_not_within_its_range_is_told_in_words():
    of = expecting(share=(0.9, 1.0))
    assert faults(Run(of, spaced(0, 10, 9.5), lost_rows=0)) == []
    found = faults(Run(of, [*spaced(0, 10, 5), sent(9, "limit", 429)], lost_rows=3))
    assert found == [
        "lost_rows from 0 to 10 s: 3.000, not in [0, 0]",
        "share from 5 to 10 s: 0.500, not in [0.9, 1]",
    ]


def test_what_always_holds_does_not_where_a_scenario_says_otherwise():
    log = [*spaced(0, 10, 9), *spaced(4, 6, 9, what="limit", status=429)]
    assert faults(Run(expecting(share=(0.8, 1.0)), log, lost_rows=0)) == [
        "wasted from 0 to 10 s: 0.167, not in [0, 0.02]"
    ]
    assert faults(Run(expecting(wasted=(0.1, 0.2)), log, lost_rows=0)) == []
