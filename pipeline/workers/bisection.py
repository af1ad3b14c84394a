"""Decides which refused groups are split in halves, and when; `row.py` which are refused. Pure.

A refused group may hold one wrong row, or the vendor may be failing: some vendors answer 500 to
both. So a group is split only on evidence that the vendor works: an answer that judged a request
sent after the group. Without evidence one row of the group is sent alone as a probe, then another,
up to `PROBES`, because one may be the wrong row itself. If all probes fail, the groups are retried
later as they are, without those rows. A group that fails twice in another way is treated the same:
one of its rows may be one that is never answered.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.workers.batches import Batch, Row, halves

PROBES = 3


class GroupParts(NamedTuple):
    """What is sent of refused groups.

    now    batches that may be sent at once
    later  groups that are retried as they are, like any failed request
    """

    now: tuple[Batch, ...] = ()
    later: tuple[Batch, ...] = ()


class Bisector:
    """Holds and splits the refused groups of one account.

    >>> from pipeline.model import JobRow
    >>> rows = [Row(JobRow(n, "op", f"e{n}", True, "{}", "x")) for n in range(1, 5)]
    >>> def numbers(parts):
    ...     return [[row.job.row for row in batch] for batch in parts.now]
    >>> bisector = Bisector()
    >>> numbers(bisector.on_refused(rows, sent_s=1.0))
    [[1]]
    >>> numbers(bisector.on_answer(rows[:1], sent_s=2.0, is_judged=True))
    [[2], [3, 4]]
    """

    def __init__(self) -> None:
        self._judged_sent_s = float("-inf")
        self._probe: Row | None = None
        self._failed_probes = 0
        self._held: list[tuple[float, Batch]] = []

    def __len__(self) -> int:
        """Return the number of rows that are held until there is evidence."""
        return sum(len(group) for _, group in self._held)

    @property
    def is_idle(self) -> bool:
        """True if no group is held, and no row is sent as a probe."""
        return self._probe is None and not self._held

    def on_refused(self, group: Batch, sent_s: float) -> GroupParts:
        """Split or hold a group of two rows or more, sent at `sent_s` and refused as a whole."""
        if self._judged_sent_s >= sent_s:
            return GroupParts(now=tuple(halves(group)))
        self._held.append((sent_s, group))
        return GroupParts() if self._probe is not None else GroupParts(now=(self._probe_next(),))

    def on_answer(self, batch: Batch, sent_s: float, *, is_judged: bool) -> GroupParts:
        """Learn from an answer to `batch` that does not refuse a group.

        is_judged  True if the vendor applied the request or refused its rows; False if it failed
        """
        is_probe = self._probe is not None and self._probe in batch
        if is_judged:
            self._judged_sent_s = max(self._judged_sent_s, sent_s)
        if is_probe:
            self._probe = None
        if is_judged:
            self._failed_probes = 0
            return self._split()
        return self._after_failure() if is_probe else GroupParts()

    def drain(self) -> Batch:
        """Take out the rows that are held: no evidence will arrive."""
        return [row for group in self._give_up().later for row in group]

    def _probe_next(self) -> Batch:
        """Take one row of the group that is held longest, to be sent alone."""
        sent_s, (self._probe, *rest) = self._held[0]
        self._held[:1] = [(sent_s, rest)] if rest else []
        return [self._probe]

    def _after_failure(self) -> GroupParts:
        self._failed_probes += 1
        if self._held and self._failed_probes < PROBES:
            return GroupParts(now=(self._probe_next(),))
        return self._give_up()

    def _split(self) -> GroupParts:
        """Split the groups sent before the judged request; the others need a new probe."""
        ready = [group for sent_s, group in self._held if sent_s <= self._judged_sent_s]
        self._held = [held for held in self._held if held[0] > self._judged_sent_s]
        now = [half for group in ready for half in halves(group)]
        if self._probe is None and self._held:
            now.append(self._probe_next())
        return GroupParts(now=tuple(now))

    def _give_up(self) -> GroupParts:
        groups = tuple(group for _, group in self._held)
        self._held = []
        self._failed_probes = 0
        return GroupParts(later=groups)
