"""Merges samples into curves of at most MAX_POINTS points, for runs of any length. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from operator import add
from typing import NamedTuple

from pipeline.model.sample import LATENCY_BOUNDS_S, Sample

MAX_POINTS = 240
_FIRST_WIDTH_S = 1.0
_GAP_S = 30.0  # samples come once a second: after such a gap no process was running
_MAX_BREAKS = 20


@dataclass(slots=True)
class Point:
    """One account over a part of the run.

    start_s, end_s   seconds of sending since the first sample
    seconds          sum of the samples' lengths
    sent             requests sent
    in_flight        highest number of requests in flight, at most `in_flight_limit`
    paused_s         seconds in which a pause of the vendor was in force
    allowed_per_s    highest rate in force; 0 if nothing limits it
    throttled        replies that said: too many requests
    probing_s        seconds in which the vendor was down, with one probe request at a time
    """

    start_s: float
    end_s: float
    seconds: float = 0.0
    sent: int = 0
    in_flight: int = 0
    in_flight_limit: int = 0
    paused_s: float = 0.0
    allowed_per_s: float = 0.0
    throttled: int = 0
    probing_s: float = 0.0

    @property
    def sent_per_s(self) -> float:
        """Requests per second."""
        return self.sent / self.seconds if self.seconds > 0 else 0.0

    def merge(self, later: Point) -> None:
        """Merge `later` into this point."""
        self.start_s = min(self.start_s, later.start_s)
        self.end_s = max(self.end_s, later.end_s)
        self.seconds += later.seconds
        self.sent += later.sent
        self.in_flight = max(self.in_flight, later.in_flight)
        self.in_flight_limit = max(self.in_flight_limit, later.in_flight_limit)
        self.paused_s += later.paused_s
        self.allowed_per_s = max(self.allowed_per_s, later.allowed_per_s)
        self.throttled += later.throttled
        self.probing_s += later.probing_s


class Break(NamedTuple):
    """The run was resumed at `at_s` (UTC seconds since 1970), after no process ran for `gap_s`."""

    elapsed_s: float
    at_s: float
    gap_s: float


class Timelines:
    """Curves per account over one time axis, which leaves out time without a running process.

    seconds    length of the axis
    breaks     gaps that were left out, the first `_MAX_BREAKS`
    latencies  account -> number of replies per bound of LATENCY_BOUNDS_S, the last beyond them
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.breaks: list[Break] = []
        self.latencies: dict[str, tuple[int, ...]] = {}
        self._points: dict[str, dict[int, Point]] = defaultdict(dict)
        self._width_s = _FIRST_WIDTH_S
        self._last_at_s: float | None = None

    def add(self, sample: Sample) -> None:
        """Add a sample; samples come in the order of their times."""
        self._move_to(sample)
        start_s = max(0.0, self.seconds - sample.seconds)
        point = Point(
            start_s,
            self.seconds,
            sample.seconds,
            sample.sent,
            sample.in_flight,
            sample.in_flight_limit,
            min(sample.seconds, sample.pause_left_s),
            sample.allowed_per_s,
            sample.throttled,
            sample.seconds if sample.is_probing else 0.0,
        )
        _put(self._points[sample.account], self._number(start_s, self.seconds), point)
        if sample.latencies:
            known = self.latencies.get(sample.account, (0,) * (len(LATENCY_BOUNDS_S) + 1))
            self.latencies[sample.account] = tuple(map(add, known, sample.latencies))

    def points(self) -> Mapping[str, list[Point]]:
        """Account -> its points in order of time, accounts in the order of their first sample."""
        return {
            account: [points[number] for number in sorted(points)]
            for account, points in self._points.items()
        }

    def _move_to(self, sample: Sample) -> None:
        """Extend the axis to the end of a sample; samples of several accounts have the same end."""
        if sample.at_s == self._last_at_s:
            return
        gap_s = 0.0 if self._last_at_s is None else sample.at_s - self._last_at_s - sample.seconds
        if gap_s > _GAP_S and len(self.breaks) < _MAX_BREAKS:
            self.breaks.append(Break(self.seconds, sample.at_s - sample.seconds, gap_s))
        self._last_at_s = sample.at_s
        self.seconds += sample.seconds
        while self.seconds > self._width_s * MAX_POINTS:
            self._widen()

    def _number(self, start_s: float, end_s: float) -> int:
        return int((start_s + end_s) / 2 / self._width_s)

    def _widen(self) -> None:
        self._width_s *= 2
        for account, points in self._points.items():
            wider: dict[int, Point] = {}
            for number, point in points.items():
                _put(wider, number // 2, point)
            self._points[account] = wider


def _put(points: dict[int, Point], number: int, point: Point) -> None:
    known = points.setdefault(number, point)
    if known is not point:
        known.merge(point)


def percentile_s(counts: tuple[int, ...], share: float) -> float | None:
    """Percentile of latencies, as a bound of LATENCY_BOUNDS_S.

    None without replies, and if it is beyond the last bound.

    >>> percentile_s((0, 8, 1, 1, *(0,) * 33), 0.5), percentile_s((0,) * 37, 0.5)
    (0.0014, None)
    """
    reached, wanted = 0, share * sum(counts)
    for bound_s, count in zip(LATENCY_BOUNDS_S, counts, strict=False):  # the last has no bound
        reached += count
        if count and reached >= wanted:
            return bound_s
    return None
