"""Conditions that stop a run before damage spreads: `--stop-if "errors > 2%"`. Pure."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.model import SUCCESS, Status

JUDGED_FROM = 50
"""A share is computed over at least this many rows: the first error of a run is not 100 % of it."""

_ERRORS = frozenset(Status) - SUCCESS - {Status.NOT_ATTEMPTED, Status.INVALID}
_COUNTED: dict[str, frozenset[Status]] = {
    "errors": _ERRORS,
    "changes": frozenset({Status.UPDATED}),
    **{str(status): frozenset({status}) for status in sorted(_ERRORS | SUCCESS)},
}
_SENTENCE = re.compile(
    r"(?P<what>[a-z_]+) *> *(?P<most>[0-9]+(?:\.[0-9]+)?) *(?P<share>%?)"
    r"(?: +of +(?:the +)?last +(?P<last>[0-9]+)(?: +rows)?)?"
)


@dataclass(frozen=True, slots=True)
class StopIf:
    """One condition.

    text      the condition as written
    counted   statuses that count; rows that were never sent do not
    most      highest permitted number; percent if `is_share`
    last      number of latest rows that are considered; None: all
    """

    text: str
    counted: frozenset[Status]
    most: float
    is_share: bool = False
    last: int | None = None


def parse_stop_if(text: str) -> StopIf:
    """Parse a condition. Raises ValueError, which says what is expected.

    >>> parse_stop_if("errors > 2% of last 500").last
    500
    >>> parse_stop_if("rejected > 100").most
    100.0
    """
    found = _SENTENCE.fullmatch(" ".join(text.lower().split()))
    counted = None if found is None else _COUNTED.get(found["what"])
    if found is None or counted is None:
        raise ValueError(
            f'{text!r}: expected for example "errors > 2%", "rejected > 100", '
            f'"changes > 5000" or "errors > 5% of last 200"; counted can be {", ".join(_COUNTED)}'
        )
    last = None if found["last"] is None else int(found["last"])
    if last == 0:
        raise ValueError(f"{text!r}: expected at least one row")
    return StopIf(text, counted, float(found["most"]), bool(found["share"]), last)


class StopCheck:
    """Counts results and reports the first condition that is met, once.

    >>> check = StopCheck([parse_stop_if("errors > 2%")])
    >>> [check.on_result(Status.FAILED) for _ in range(2)]
    [None, 'errors > 2%: 2 of the 2 rows that ended']
    """

    def __init__(self, conditions: Iterable[StopIf]) -> None:
        self._counters = [_Counter(each) for each in conditions]
        self._is_met = False

    @property
    def has_conditions(self) -> bool:
        """True if a result may stop the run."""
        return bool(self._counters)

    def on_result(self, status: Status) -> str | None:
        """Count a row. Returns why the run stops now, or None; only the first condition counts."""
        if not self._counters or status in {Status.NOT_ATTEMPTED, Status.INVALID}:
            return None
        reasons = [each.on_result(status) for each in self._counters]
        return self._first(reasons)

    def on_counts(self, counts: Mapping[Status, int]) -> str | None:
        """Count rows of which the order is not known. As `on_result` after the last of them.

        >>> check = StopCheck([parse_stop_if("errors > 5% of last 200")])
        >>> check.on_counts({Status.UPDATED: 960, Status.FAILED: 40})
        >>> check.on_counts({Status.UPDATED: 190, Status.FAILED: 11})
        'errors > 5% of last 200: 11 of the last 200 rows that ended'
        """
        counted: dict[Status, int] = {
            status: count
            for status, count in counts.items()
            if status not in {Status.NOT_ATTEMPTED, Status.INVALID} and count > 0
        }
        for each in self._counters if counted else ():
            each.on_counts(counted)
        return self._first([each.met() for each in self._counters]) if counted else None

    def at_end(self) -> str | None:
        """The condition that is met by all rows together, however few; None if none is."""
        return self._first([each.reason(at_least=1) for each in self._counters])

    def _first(self, reasons: Iterable[str | None]) -> str | None:
        reason = next(filter(None, reasons), None)
        if reason is None or self._is_met:
            return None
        self._is_met = True
        return reason


class _Counter:
    def __init__(self, condition: StopIf) -> None:
        self._condition = condition
        self._counts: Counter[bool] = Counter()
        self._window: deque[bool] = deque(maxlen=condition.last)

    def on_result(self, status: Status) -> str | None:
        self._count(counts=status in self._condition.counted)
        return self.met()

    def on_counts(self, counts: Mapping[Status, int]) -> None:
        """Count rows as if those that count were spread evenly among them."""
        rows = sum(counts.values())
        hits = sum(count for status, count in counts.items() if status in self._condition.counted)
        if self._condition.last is None:
            self._counts.update({True: hits, False: rows - hits})
            return
        for number in range(max(0, rows - self._condition.last), rows):
            self._count(counts=(number + 1) * hits // rows > number * hits // rows)

    def _count(self, *, counts: bool) -> None:
        if self._condition.last is not None:
            if len(self._window) == self._condition.last:
                self._counts[self._window[0]] -= 1
            self._window.append(counts)
        self._counts[counts] += 1

    def met(self) -> str | None:
        """Why the run stops now; None if it does not."""
        return self.reason(at_least=self._condition.last or JUDGED_FROM)

    def reason(self, *, at_least: int) -> str | None:
        condition, hit = self._condition, self._counts[True]
        rows = hit + self._counts[False]
        value = 100 * hit / max(rows, at_least) if condition.is_share else hit
        if value <= condition.most:
            return None
        whole = f"last {rows:,}" if condition.last is not None else f"{rows:,}"
        return f"{condition.text}: {hit:,} of the {whole} rows that ended"
