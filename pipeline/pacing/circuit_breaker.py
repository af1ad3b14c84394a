"""Detects an outage of an account's vendor and schedules probes. Pure.

Five entities that fail one after the other, without an answer of a working vendor between them, are
an outage. Two failures are no evidence of one: that of a row that failed before, if a later request
succeeded since; and that of a request sent before one that succeeded. In both cases the vendor
works, and the row is at fault.

A failed connection is about no row, so each attempt counts. If connections work again and requests
fail, entities are counted again from zero: an entity that fails twice before five have failed is at
fault.

In an outage one probe at a time is sent; other requests wait, and a failure uses no attempt of a
row. One answer of a working vendor to an update ends the outage.
"""

from __future__ import annotations

import math

DOWN_AFTER = 5
"""Consecutive failed entities that are an outage, each counted once."""

FIRST_WAIT_S = 0.5
QUICK = 8
WAIT_GROWS = 1.5
LONGEST_WAIT_S = 10.0
"""Seconds between two probes. The first eight follow quickly, since rows may be at fault instead;
then the wait grows. The end of an outage is seen after at most a third of its length."""


class CircuitBreaker:
    """The circuit breaker of one account.

    down_since_s  when the outage was detected; None if there is none
    due_s         when the next probe may be sent; None if there is no outage
    asked         probes sent in this outage

    >>> breaker = CircuitBreaker()
    >>> for at_s, entity in enumerate("abcde", 1):
    ...     breaker.on_failure(entity, left_s=at_s, now_s=at_s)
    >>> breaker.is_down, breaker.due_s
    (True, 5.5)
    >>> breaker.on_success(left_s=5.5)
    >>> breaker.is_down
    False
    """

    __slots__ = (
        *("_failed", "_is_unreached", "_wait_s", "_worked_s", "asked", "down_since_s", "due_s"),
        "failing_since_s",
    )

    def __init__(self) -> None:
        self._worked_s = {True: -math.inf, False: -math.inf}  # is_read -> latest success
        self.close()

    def close(self) -> None:
        """End the outage and forget all failures."""
        self._failed: dict[str | int, bool] = {}
        self._is_unreached = False  # failed connections count among the failures
        self.failing_since_s = math.inf
        self._wait_s = FIRST_WAIT_S
        self.asked = 0
        self.down_since_s: float | None = None
        self.due_s: float | None = None

    @property
    def is_down(self) -> bool:
        """True during an outage."""
        return self.down_since_s is not None

    @property
    def is_clear(self) -> bool:
        """True if no request has failed since the last success."""
        return not self._failed

    @property
    def is_in_question(self) -> bool:
        """True if requests failed since the last success, and it is no outage yet."""
        return bool(self._failed) and not self.is_down

    def on_success(self, left_s: float, *, is_read: bool = False) -> None:
        """The vendor applied or refused a request sent at `left_s`.

        is_read  the request was a read, which proves nothing about updates
        """
        self._worked_s[is_read] = max(self._worked_s[is_read], left_s)
        if self.is_down and left_s < self.failing_since_s:
            return
        updates = {entity: False for entity, was_read in self._failed.items() if not was_read}
        if not is_read or not updates:
            self.close()
        elif not self.is_down:
            self._failed = updates

    def on_failure(
        self,
        entity: str | None,
        left_s: float,
        now_s: float,
        *,
        before_s: float | None = None,
        is_read: bool = False,
    ) -> None:
        """A request sent at `left_s` failed or got no answer.

        entity    that the request was for; None: no connection was made, which counts each time
        before_s  when the previous failed request of the same row was sent, outside an outage;
                  None if there was none
        """
        if self.is_down:
            self._on_failure_in_outage(entity, is_read=is_read)
            return
        worked_s = max(self._worked_s.values()) if is_read else self._worked_s[False]
        is_explained = before_s is not None and before_s < worked_s
        if is_explained or left_s < worked_s:
            return
        key = len(self._failed) if entity is None else entity
        self._failed[key] = is_read and self._failed.get(key, True)
        self.failing_since_s = min(self.failing_since_s, left_s)
        if len(self._failed) >= DOWN_AFTER:
            self.down_since_s = now_s
            self.due_s = now_s + self._wait_s
            self._is_unreached = any(isinstance(key, int) for key in self._failed)

    def _on_failure_in_outage(self, entity: str | None, *, is_read: bool) -> None:
        if entity is None or not self._is_unreached:
            return
        self._failed = {key: read for key, read in self._failed.items() if isinstance(key, str)}
        if entity in self._failed:
            self.close()
        self._failed[entity] = is_read
        self._is_unreached = self.is_down and len(self._failed) < DOWN_AFTER

    def may_probe(self, now_s: float) -> bool:
        """True if a probe is due."""
        return self.due_s is not None and now_s >= self.due_s

    def on_probe(self, now_s: float) -> None:
        """A probe is sent. The next one does not wait for its answer, which may never come."""
        self.asked += 1
        if self.asked >= QUICK:
            self._wait_s = min(LONGEST_WAIT_S, self._wait_s * WAIT_GROWS)
        self.due_s = now_s + self._wait_s

    def probe_now(self, now_s: float) -> None:
        """A read was answered: its row may at once probe whether updates are answered too."""
        if self.is_down:
            self.due_s = now_s


FEW = 10
"""Failing rows are few if the vendor has answered this many times as many."""


def are_rows_at_fault(
    *, answered: int, failing: int, may_others_go: bool, is_resumed: bool = False
) -> bool:
    """True if rows that failed for the whole `max_outage_s` are at fault, not the vendor.

    Once no other row is left to try, an outage looks like rows that the vendor never answers. The
    likelier case is assumed: few rows are bad if many were answered, and rows are bad for which an
    earlier process has waited as long already.

    answered       rows of the run that the vendor applied or refused
    failing        rows that failed and have not ended
    may_others_go  there are rows that were not sent yet
    is_resumed     an earlier process of the run left rows in doubt

    >>> are_rows_at_fault(answered=288, failing=12, may_others_go=False)
    True
    >>> are_rows_at_fault(answered=60, failing=20, may_others_go=False)
    False
    """
    enough = 1 if is_resumed else FEW * failing
    return not may_others_go and failing > 0 and answered >= enough
