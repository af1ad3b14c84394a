"""What came out of a scenario, in figures. Each is a function of the run and a stretch of it."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from pipeline.model.quota import Quota, parse_quota
from tests.scenarios.link import Sent
from tests.scenarios.scenario import Scenario
from tests.scenarios.vendor import REFUSED

QUIET_S = 1.0
"""Refusals that are further apart belong to two overloads."""

MEAN_S = 2.0
RECOVERED = 0.9
"""Recovered is who reaches this share of the best possible rate, as a mean of MEAN_S."""

MOMENT_S = 1e-6


@dataclass(frozen=True, slots=True)
class Run:
    """What happened.

    sent        every request, in the order in which they left
    lost_rows   rows that ended otherwise than updated before the run was stopped
    """

    scenario: Scenario
    sent: Sequence[Sent]
    lost_rows: int


def share(run: Run, from_s: float, until_s: float) -> float:
    """Answers that say "applied", as a share of the best possible (outages excluded)."""
    answered = sum(from_s <= s.received_s < until_s for s in run.sent if s.is_ok)
    return answered / run.scenario.best(from_s, until_s)


def wasted(run: Run, from_s: float, until_s: float) -> float:
    """Requests that were refused or lost, as a share of all; those that met an outage count for
    neither.
    """
    course = run.scenario.course
    known = [
        sent
        for sent in run.sent
        if from_s <= sent.arrived_s
        and sent.received_s < until_s
        and not course.outage(sent.left_s, sent.received_s)
    ]
    return sum(not sent.is_ok for sent in known) / max(1, len(known))


def overload_s(run: Run, from_s: float, until_s: float) -> float:
    """The longest time over which the vendor refuses for rate or concurrency, without a pause of
    QUIET_S.
    """
    longest_s, began_s, last_s = 0.0, -math.inf, -math.inf
    for at_s in sorted(s.arrived_s for s in run.sent if s.what in REFUSED):
        if from_s <= at_s < until_s:
            if at_s - last_s > QUIET_S:
                began_s = at_s
            last_s = at_s
            longest_s = max(longest_s, last_s - began_s)
    return longest_s


def recover_s(run: Run, from_s: float, until_s: float) -> float:
    """The longest time from a change, or the end of an outage, until the best rate is reached
    again: to the end of the first MEAN_S in which RECOVERED of it is answered. Infinite where that
    does not happen before the next change.
    """
    scenario = run.scenario
    events_s = [*scenario.course.events_s(), scenario.lasts_s]
    answered_s = sorted(s.received_s for s in run.sent if s.is_ok)
    return max(
        (
            _until_rate_s(answered_s, at_s, next_s, scenario.best_per_s(at_s)) - at_s
            for at_s, next_s in pairwise(events_s)
            if from_s <= at_s < until_s and scenario.best_per_s(at_s) > 0
        ),
        default=0.0,
    )


def _until_rate_s(
    answered_s: Sequence[float], from_s: float, until_s: float, per_second: float
) -> float:
    """When the first stretch of MEAN_S ends in which the rate was reached."""
    enough = RECOVERED * per_second * MEAN_S
    ends_s = answered_s[bisect_left(answered_s, from_s) : bisect_left(answered_s, until_s)]
    for end_s in [from_s + MEAN_S, *(s for s in ends_s if s >= from_s + MEAN_S)]:
        before = bisect_right(answered_s, end_s - MEAN_S)
        if bisect_right(answered_s, end_s) - before >= enough:
            return end_s
    return math.inf


def early(run: Run, from_s: float, until_s: float) -> float:
    """Requests that left while a Retry-After that had arrived asked everyone to wait."""
    asked = sorted((s.received_s, s.floor_s) for s in run.sent if s.floor_s)
    count, floor_s, heard = 0, 0.0, 0
    for sent in sorted(run.sent, key=lambda s: s.left_s):
        while heard < len(asked) and asked[heard][0] < sent.left_s - MOMENT_S:
            floor_s = max(floor_s, asked[heard][1])
            heard += 1
        count += from_s <= sent.left_s < min(until_s, floor_s - MOMENT_S)
    return count


def in_outage(run: Run, from_s: float, until_s: float) -> float:
    """Requests that left within an outage, hence beyond those in flight when it began."""
    outages = run.scenario.course.outages
    return sum(
        from_s <= s.left_s < until_s and any(o.from_s < s.left_s < o.until_s for o in outages)
        for s in run.sent
    )


def window(run: Run, from_s: float, until_s: float) -> float:
    """The most requests that arrived in any window of a stated quota, as a share of its limit."""
    arrived_s = sorted(s.arrived_s for s in run.sent if from_s <= s.arrived_s < until_s)
    return max((_worst(arrived_s, parse_quota(q)) for q in run.scenario.account.quota), default=0.0)


def _worst(arrived_s: Sequence[float], quota: Quota) -> float:
    held = (
        number + 1 - bisect_right(arrived_s, at_s - quota.per_s + MOMENT_S)
        for number, at_s in enumerate(arrived_s)
    )
    return max(held, default=0) / quota.limit


def slowdown(run: Run, from_s: float, until_s: float) -> float:
    """The mean round trip of what was applied, as a multiple of one without a queue."""
    ratios = [
        (s.received_s - s.left_s) / run.scenario.course.at(s.left_s).round_trip_s
        for s in run.sent
        if s.is_ok and from_s <= s.received_s < until_s
    ]
    return sum(ratios) / max(1, len(ratios))


def lost_rows(run: Run, _from_s: float, _until_s: float) -> float:
    """Rows that ended otherwise than updated; of the whole run."""
    return run.lost_rows


Metric = Callable[[Run, float, float], float]
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.__name__: metric
        for metric in (
            share,
            wasted,
            overload_s,
            recover_s,
            early,
            in_outage,
            window,
            slowdown,
            lost_rows,
        )
    }
)

ALWAYS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"wasted": (0.0, 0.02), "early": (0, 0), "window": (0, 1), "lost_rows": (0, 0)}
)
"""What must come out of every run whose scenario says nothing else of it."""


def faults(run: Run) -> list[str]:
    """Which expectations of the scenario were not met, in words."""
    found = []
    scenario = run.scenario
    said = {name for each in scenario.expectations for name in each.ranges}
    always = {name: bounds for name, bounds in ALWAYS.items() if name not in said}
    stretches = [(0.0, scenario.lasts_s, always)]
    stretches += [(each.from_s, each.until_s, each.ranges) for each in scenario.expectations]
    for from_s, until_s, ranges in stretches:
        for name, (least, most) in ranges.items():
            value = METRICS[name](run, from_s, until_s)
            if not least <= value <= most:
                where = f"from {from_s:g} to {until_s:g} s"
                found.append(f"{name} {where}: {value:.3f}, not in [{least:g}, {most:g}]")
    return found
