"""When a run stops by itself before damage spreads: `--stop-if "errors > 2%"`. Pure."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.model import SUCCESS, Status

JUDGED_FROM = 50
"""A share is one of at least so many rows: the first error of a run is not 100 % of it."""

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

    text      as it was written
    counted   statuses whose rows count; rows that never left do not
    most      how many are borne; percent where `is_share`
    last      of how many rows at the end; None: of all so far
    """

    text: str
    counted: frozenset[Status]
    most: float
    is_share: bool = False
    last: int | None = None


def parse_stop_if(text: str) -> StopIf:
    """A condition as people write it. Raises ValueError with what is expected.

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
        raise ValueError(f"{text!r}: expected at least one row to look at")
    return StopIf(text, counted, float(found["most"]), bool(found["share"]), last)


class StopCheck:
    """Counts how rows end, and tells once a condition is met.

    >>> wire = StopCheck([parse_stop_if("errors > 2%")])
    >>> [wire.heard(Status.FAILED) for _ in range(2)]
    [None, 'errors > 2%: 2 of the 2 rows that ended']
    """

    def __init__(self, conditions: Iterable[StopIf]) -> None:
        self._watched = [_Watched(each) for each in conditions]
        self._is_tripped = False

    def heard(self, status: Status) -> str | None:
        """Count a row; why the run stops now, or None. Only the first condition counts."""
        if status in {Status.NOT_ATTEMPTED, Status.INVALID}:
            return None
        reasons = [each.heard(status) for each in self._watched]
        return self._first(reasons)

    def at_the_end(self) -> str | None:
        """Which condition holds when all rows have ended and shares are those of these rows."""
        return self._first([each.why(at_least=1) for each in self._watched])

    def _first(self, reasons: Iterable[str | None]) -> str | None:
        reason = next(filter(None, reasons), None)
        if reason is None or self._is_tripped:
            return None
        self._is_tripped = True
        return reason


class _Watched:
    def __init__(self, condition: StopIf) -> None:
        self._condition = condition
        self._counts: Counter[bool] = Counter()
        self._window: deque[bool] = deque(maxlen=condition.last)

    def heard(self, status: Status) -> str | None:
        counts = status in self._condition.counted
        if self._condition.last is not None:
            if len(self._window) == self._condition.last:
                self._counts[self._window[0]] -= 1
            self._window.append(counts)
        self._counts[counts] += 1
        return self.why(at_least=self._condition.last or JUDGED_FROM)

    def why(self, *, at_least: int) -> str | None:
        condition, hit = self._condition, self._counts[True]
        rows = hit + self._counts[False]
        value = 100 * hit / max(rows, at_least) if condition.is_share else hit
        if value <= condition.most:
            return None
        whole = f"last {rows:,}" if condition.last is not None else f"{rows:,}"
        return f"{condition.text}: {hit:,} of the {whole} rows that ended"
