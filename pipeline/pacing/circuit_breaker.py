"""Whether an account's vendor is down, and when it is asked again. Pure.

A row that fails is a row that fails; rows of several entities one after the other, with no answer
between that a working vendor would give, are an outage. No evidence of one is what failed before
and what left before something that was carried out since: there the vendor works, and the row is
at fault. A connection that was not made is about no row: each attempt to make one counts, once
another has been made. When one is made again, and what it carries fails, entities are counted
anew: one that fails twice before five did is at fault. In an outage one request at a time is the
probe; the others wait, and what fails meanwhile costs no row an attempt. One answer of a working
vendor to an update ends it.
"""

from __future__ import annotations

import math

DOWN_AFTER = 5
"""So many entities failed one after the other, each counted once."""

FIRST_WAIT_S = 0.5
QUICK = 8
WAIT_GROWS = 1.5
LONGEST_WAIT_S = 10.0
"""Between two probes: the first eight come quickly, for rows may be at fault instead; then ever
later. A vendor that is back is seen at the latest a third of its absence later."""


class CircuitBreaker:
    """One account's view of its vendor.

    down_since_s  when it was seen that the vendor is down; None where it is not
    due_s         when the next probe may leave; None where it is not down
    asked         probes that left in this outage

    >>> outage = CircuitBreaker()
    >>> for at_s, entity in enumerate("abcde", 1):
    ...     outage.failed(entity, left_s=at_s, now_s=at_s)
    >>> outage.is_down, outage.due_s
    (True, 5.5)
    >>> outage.worked(left_s=5.5)
    >>> outage.is_down
    False
    """

    __slots__ = (
        *("_failed", "_is_unreached", "_wait_s", "_worked_s", "asked", "down_since_s", "due_s"),
        "failing_since_s",
    )

    def __init__(self) -> None:
        self._worked_s = {True: -math.inf, False: -math.inf}  # by whether it was a read
        self.end()

    def end(self) -> None:
        """It is no outage, or not any more."""
        self._failed: dict[str | int, bool] = {}
        self._is_unreached = False  # connections were not made: that is why it is down
        self.failing_since_s = math.inf
        self._wait_s = FIRST_WAIT_S
        self.asked = 0
        self.down_since_s: float | None = None
        self.due_s: float | None = None

    @property
    def is_down(self) -> bool:
        """Whether it is an outage."""
        return self.down_since_s is not None

    @property
    def is_in_question(self) -> bool:
        """Whether something failed, nothing was answered since, and it is no outage yet."""
        return bool(self._failed) and not self.is_down

    def worked(self, left_s: float, *, is_read: bool = False) -> None:
        """The vendor carried out, or judged, a request that left at `left_s`.

        is_read  it was a read: that says nothing about updates

        >>> outage = CircuitBreaker()
        >>> for entity in "abcde":
        ...     outage.failed(entity, left_s=1.0, now_s=1.0)
        >>> outage.worked(left_s=2.0, is_read=True)
        >>> outage.is_down
        True
        """
        self._worked_s[is_read] = max(self._worked_s[is_read], left_s)
        if self.is_down and left_s < self.failing_since_s:
            return
        updates = {entity: False for entity, was_read in self._failed.items() if not was_read}
        if not is_read or not updates:
            self.end()
        elif not self.is_down:
            self._failed = updates

    def failed(
        self,
        entity: str | None,
        left_s: float,
        now_s: float,
        *,
        before_s: float | None = None,
        is_read: bool = False,
    ) -> None:
        """It failed, or did not answer, a request for `entity` that left at `left_s`.

        entity    None: no connection was made for it, which counts each time
        before_s  when the request left with which the same row failed before, outside an outage;
                  None where it did not

        >>> outage = CircuitBreaker()
        >>> outage.worked(left_s=2.0)
        >>> for entity in "abcde":
        ...     outage.failed(entity, left_s=3.0, now_s=3.0, before_s=1.0)
        >>> outage.is_down
        False
        """
        if self.is_down:
            self._failed_again(entity, is_read=is_read)
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

    def _failed_again(self, entity: str | None, *, is_read: bool) -> None:
        if entity is None or not self._is_unreached:
            return
        self._failed = {key: read for key, read in self._failed.items() if isinstance(key, str)}
        if entity in self._failed:
            self.end()
        self._failed[entity] = is_read
        self._is_unreached = self.is_down and len(self._failed) < DOWN_AFTER

    def may_probe(self, now_s: float) -> bool:
        """Whether a request may leave although the vendor is down."""
        return self.due_s is not None and now_s >= self.due_s

    def probes(self, now_s: float) -> None:
        """A probe leaves. The next one does not wait for its answer: that may never come."""
        self.asked += 1
        if self.asked >= QUICK:
            self._wait_s = min(LONGEST_WAIT_S, self._wait_s * WAIT_GROWS)
        self.due_s = now_s + self._wait_s

    def goes_on(self, now_s: float) -> None:
        """A read was answered: whether updates are, the row that it was for may ask at once."""
        if self.is_down:
            self.due_s = now_s


FEW = 10
"""Rows are few where the vendor has answered so many times as many."""


def are_rows_at_fault(
    *, answered: int, failing: int, may_others_go: bool, is_carried_on: bool = False
) -> bool:
    """Whether rows that failed as long as an outage is waited for are at fault, not the vendor.

    Nothing tells a vendor that is down from rows that it never answers, once there is nothing else
    to ask. Then the likelier holds: that few rows are bad where many were answered; and that those
    are which an earlier process has waited for as long already.

    answered       rows of the run that the vendor carried out or refused
    failing        rows that failed and have not ended
    may_others_go  whether there are rows to ask that were not sent yet
    is_carried_on  whether an earlier process of the run has left rows in doubt

    >>> are_rows_at_fault(answered=288, failing=12, may_others_go=False)
    True
    >>> are_rows_at_fault(answered=60, failing=20, may_others_go=False)
    False
    """
    enough = 1 if is_carried_on else FEW * failing
    return not may_others_go and failing > 0 and answered >= enough
