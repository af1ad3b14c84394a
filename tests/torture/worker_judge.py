"""What a run of several workers did, held against the vendor's log. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Arrival(NamedTuple):
    """A request that reached the vendor, and was judged by its quota.

    at_s        UTC seconds
    row         row that it carried
    is_refused  the vendor's window was full (429)
    is_applied  the vendor did what it asked
    """

    at_s: float
    row: int
    is_refused: bool = False
    is_applied: bool = True


class Recorded(NamedTuple):
    """The result of a row.

    at_s      UTC seconds of the commit that recorded it
    attempts  of the process that recorded it
    """

    status: str
    at_s: float
    attempts: int = 1


class Verdict(NamedTuple):
    """What became of a run.

    rows          rows of its file
    lost          rows without a result
    unknown       rows that ended unknown
    twice         rows that arrived again after they had been let in
    retried       of them, those that were tried again as no answer came in time: a busy machine
    acknowledged  of `twice`, those whose result was on record when they arrived again
    disordered    requests that arrived after a later row of their entity
    refused       requests above the vendor's quota
    worst         most requests within a second
    used          share of the quota, from the first to the last request, or in the time asked for
    span_s        seconds from the first to the last request
    """

    rows: int
    lost: int
    unknown: int
    twice: int
    retried: int
    acknowledged: int
    disordered: int
    refused: int
    worst: int
    used: float
    span_s: float

    def broken(self, *, most_twice: int) -> list[str]:
        """The promises that were broken, in words.

        >>> results = {1: Recorded("updated", 1.1)}
        >>> verdict(5, [Arrival(1.0, 1)], results, {}, 5).broken(most_twice=0)
        ['4 rows lost']
        """
        limits = {
            "rows lost": (self.lost, 0),
            "rows sent again that were on record": (self.acknowledged, 0),
            "requests out of order": (self.disordered, 0),
            "requests refused": (self.refused, 0),
            "rows sent twice": (self.twice - self.retried, most_twice),
        }
        return [f"{found} {what}" for what, (found, most) in limits.items() if found > most]


def verdict(
    rows: int,
    arrivals: Sequence[Arrival],
    results: Mapping[int, Recorded],
    entity_of: Mapping[int, str],
    rate: int,
    *,
    slack_s: float = 0.02,
    within_s: float | None = None,
) -> Verdict:
    """Judge a run.

    arrivals  in order of arrival
    rate      requests per second that the vendor lets in
    slack_s   by which the two clocks may differ
    within_s  the use of the quota is that of so many seconds after the first request; None: of all.
              Shares are of unequal size, and the quota of one that has ended is not used
    """
    seen: set[int] = set()
    twice: set[int] = set()
    acknowledged: set[int] = set()
    last: defaultdict[str, int] = defaultdict(int)
    disordered = 0
    for each in arrivals:
        if each.is_refused:
            continue
        if each.row in seen:
            twice.add(each.row)
            recorded = results.get(each.row)
            if recorded is not None and each.at_s > recorded.at_s + slack_s:
                acknowledged.add(each.row)
        seen.add(each.row)
        entity = entity_of.get(each.row, str(each.row))
        disordered += each.row < last[entity]
        last[entity] = max(last[entity], each.row)
    times_s = [each.at_s for each in arrivals]
    span_s = max(times_s, default=0.0) - min(times_s, default=0.0)
    asked_s = span_s if within_s is None else min(span_s, within_s)
    applied = sum(each.is_applied and each.at_s - times_s[0] <= asked_s for each in arrivals)
    statuses = Counter(each.status for each in results.values())
    return Verdict(
        rows=rows,
        lost=rows - len(results) + statuses["not_attempted"],
        unknown=statuses["unknown"],
        twice=len(twice),
        retried=sum(row in results and results[row].attempts > 1 for row in twice),
        acknowledged=len(acknowledged),
        disordered=disordered,
        refused=sum(each.is_refused for each in arrivals),
        worst=most_within(times_s, 1.0),
        used=applied / (rate * asked_s) if asked_s else 0.0,
        span_s=span_s,
    )


def most_within(times_s: Sequence[float], window_s: float) -> int:
    """Most of these times, ascending, within any window of so many seconds.

    >>> most_within([0.0, 0.4, 0.9, 1.0, 1.1], 1.0)
    4
    """
    most = first = 0
    for number, at_s in enumerate(times_s):
        while times_s[first] <= at_s - window_s:
            first += 1
        most = max(most, number - first + 1)
    return most
