"""A scenario as its file tells it: the vendor over time, the account, and what must come out.

A new scenario is a new .toml file in this folder: `says` and `lasts_s`, then

    [account]    Settings
    [vendor]     Behaviour at the beginning
    [[change]]   at_s, and the fields of Behaviour that are others from then on
    [[outage]]   Outage; with `times` and `every_s` it comes back
    [[expect]]   metrics and their least and most; of a stretch with `from_s`, `until_s`
"""

from __future__ import annotations

import math
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.model.quota import parse_quota
from tests.scenarios.vendor import Behaviour, Course, Outage

FOLDER = Path(__file__).parent

GUESS = "50/s"
"""The quota of a client that has to be told one, where the account says to learn it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user has configured; the vendor need not agree.

    quota  as in the configuration, for example ["50/s"]; empty: "auto"
    """

    quota: Sequence[str]
    in_flight: int
    timeout_s: float = 10.0

    @property
    def per_second(self) -> float:
        """The mean rate that its quota allows; infinite where it is to be learned."""
        return min((parse_quota(text).per_second for text in self.quota), default=math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must come out of a stretch of the run: metric -> least, most."""

    from_s: float
    until_s: float
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A vendor's behaviour, an account, and what must come out.

    says           what the pace should do there, in a sentence
    end_spread_s   the last outage ends up to so much later than it says, and so does the run
    """

    name: str
    says: str
    lasts_s: float
    account: Settings
    course: Course
    expectations: Sequence[Expectation]
    end_spread_s: float = 0.0
    seed: int = 0

    def best_per_s(self, now_s: float) -> float:
        """The best possible rate then: what vendor, quota and connections allow; 0 in an outage."""
        round_trip_s = self.course.at(now_s).round_trip_s
        return min(
            self.course.best_per_s(now_s),
            self.account.per_second,
            self.account.in_flight / round_trip_s,
        )

    def best(self, from_s: float, until_s: float) -> float:
        """The most requests that can be answered in a stretch of time."""
        events_s = [at_s for at_s in self.course.events_s() if from_s < at_s < until_s]
        return sum((b - a) * self.best_per_s(a) for a, b in pairwise([from_s, *events_s, until_s]))

    @property
    def rows(self) -> int:
        """More than can be sent in the time."""
        return math.ceil(self.best(0, self.lasts_s) * 1.05) + 4 * self.account.in_flight

    def shortened(self, lasts_s: float) -> Scenario:
        """Its beginning."""
        return replace(self, lasts_s=lasts_s, expectations=())

    def drawn(self, seed: int) -> Scenario:
        """The same with everything that is left to chance drawn anew."""
        longer_s = random.Random(seed).uniform(0, self.end_spread_s)
        outages = list(self.course.outages)
        if longer_s:
            outages[-1] = replace(outages[-1], until_s=outages[-1].until_s + longer_s)
        return replace(
            self,
            seed=seed,
            lasts_s=self.lasts_s + longer_s,
            course=replace(self.course, outages=outages),
        )


def load_scenarios() -> list[Scenario]:
    """All of them, by name."""
    return [load(path) for path in sorted(FOLDER.glob("*.toml"))]


def load(path: Path) -> Scenario:
    """The scenario of a file; raises TypeError where a key is unknown or missing."""
    told = tomllib.loads(path.read_text())
    lasts_s = float(told["lasts_s"])
    course = Course(
        Behaviour(**told.pop("vendor")),
        [(change.pop("at_s"), change) for change in told.pop("change", [])],
        [outage for each in told.pop("outage", []) for outage in _outages(**each)],
    )
    return Scenario(
        name=path.stem,
        account=Settings(**told.pop("account")),
        course=course,
        expectations=[_expectation(lasts_s, **each) for each in told.pop("expect")],
        **told,
    )


def _outages(
    *, from_s: float, until_s: float, how: Any, times: int = 1, every_s: float = 0.0
) -> Iterator[Outage]:
    for n in range(times):
        yield Outage(from_s=from_s + n * every_s, until_s=until_s + n * every_s, how=how)


def _expectation(
    lasts_s: float, *, from_s: float = 0.0, until_s: float | None = None, **ranges: Any
) -> Expectation:
    return Expectation(
        from_s=from_s,
        until_s=lasts_s if until_s is None else until_s,
        ranges={name: (least, most) for name, (least, most) in ranges.items()},
    )
