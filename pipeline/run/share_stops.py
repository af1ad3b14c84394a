"""Conditions that stop a run which several processes send: `--stop-if`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.model import Status
from pipeline.run.share_progress import ShareProgress, total
from pipeline.runs.stop_if import StopCheck, StopIf


def own_conditions(conditions: Iterable[StopIf]) -> list[StopIf]:
    """The conditions that are met by the whole run if one share meets them.

    >>> from pipeline.runs.stop_if import parse_stop_if
    >>> texts = "changes > 9", "errors > 2%", "errors > 5 of last 200"
    >>> [each.text for each in own_conditions(map(parse_stop_if, texts))]
    ['changes > 9']
    """
    return [each for each in conditions if not each.is_share and each.last is None]


class SharedStopCheck:
    """Counts the results of all shares by their progress.

    Which results of a second came first is not known: a window of the last rows is right within
    what the run does in a second.
    """

    def __init__(self, conditions: Sequence[StopIf]) -> None:
        self._check = StopCheck(conditions)
        self._counted = Counter[Status]()

    def reason(self, shares: Iterable[ShareProgress]) -> str | None:
        """Why the run stops now; None if it does not. Only the first reason counts."""
        if not self._check.has_conditions:
            return None
        done = total(shares)
        new, self._counted = done - self._counted, done
        return self._check.on_counts(new)
