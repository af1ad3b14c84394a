"""Estimates how long sending takes, and names the bottleneck. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from pipeline.model.sample import LATENCY_BOUNDS_S

ASSUMED_LATENCY_S = 0.25
"""Seconds that a reply takes if none is on record: rows of one entity wait for it."""

_WITHIN: float = 2**-0.25  # the middle between two bounds that are half a doubling apart


class Bottleneck(Enum):
    """The bottleneck of a run."""

    QUOTA = "the quota"
    IN_FLIGHT = "requests under way at once"
    ENTITY = "one entity, whose rows go one after the other"


class Estimate(NamedTuple):
    """The time that sending takes, and its bottleneck."""

    seconds: float
    bound: Bottleneck


def estimate_sending(
    requests: int, hottest: int, *, per_s: float, in_flight: int, latency_s: float | None
) -> Estimate:
    """Estimate how long sending takes if nothing fails.

    hottest    jobs of the entity that has most of them
    per_s      requests per second that the quota allows
    in_flight  requests in flight at most
    latency_s  seconds that a reply usually takes; None if unknown

    >>> estimate_sending(1000, 1, per_s=20.0, in_flight=16, latency_s=0.2).seconds
    50.0
    >>> estimate_sending(1000, 1, per_s=200.0, in_flight=4, latency_s=0.5)
    Estimate(seconds=125.0, bound=<Bottleneck.IN_FLIGHT: 'requests under way at once'>)
    """
    known = [Estimate(requests / per_s, Bottleneck.QUOTA)]
    if latency_s is not None:
        known.append(Estimate(requests * latency_s / in_flight, Bottleneck.IN_FLIGHT))
    if hottest > 1:
        each_s = ASSUMED_LATENCY_S if latency_s is None else latency_s
        known.append(Estimate(hottest * each_s, Bottleneck.ENTITY))
    return max(known, key=lambda each: each.seconds)


def mean_latency_s(histograms: Iterable[tuple[int, ...]]) -> float | None:
    """Mean seconds of a reply, from counts per LATENCY_BOUNDS_S; None if there are no replies.

    >>> mean_latency_s([(), (0,) * 37])
    >>> counts = [0] * 37
    >>> counts[20] = 5  # within 1.024 s, and not within 0.7241 s
    >>> round(mean_latency_s([tuple(counts)]), 2)
    0.86
    """
    totals: list[int] = [sum(counts) for counts in zip(*filter(None, histograms), strict=True)]
    if not any(totals):
        return None
    middles = [bound_s * _WITHIN for bound_s in LATENCY_BOUNDS_S]
    seconds = sum(n * s for n, s in zip(totals, [*middles, LATENCY_BOUNDS_S[-1]], strict=True))
    return seconds / sum(totals)
