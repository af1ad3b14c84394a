"""Which refused groups are sent apart, and when. Pure.

A refusal of a group says that one of its rows may be wrong, or that the vendor is in trouble: some
answer 500 to both. So a group is split only with evidence that the vendor works: an answer that
judged a request which left after the group did. Where there is none, one row is sent alone to ask
for it, up to `PROBES` of them one after the other, for one may be the bad row itself; if all fail
the groups go again later as they are, less those rows. A group that fails for the second time, with
whatever is no refusal of it, is treated alike: one row of it may be what is never answered.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.model import Answer, Effect, Verdict
from pipeline.model.retry import RETRYABLE
from pipeline.workers.batches import Batch, Row, halves
from pipeline.workers.retry_or_end import is_unconfirmed

PROBES = 3


def goes_apart(answer: Answer, size: int, counted_attempts: int, most: int) -> bool:
    """Whether a request for so many rows is not sent again as it was.

    counted_attempts  how many its rows have used with this one: `most` where they are sent no more
    most   how often a row is tried

    >>> silence = Answer(Verdict.TRANSIENT, Effect.MAYBE)
    >>> [goes_apart(silence, 20, counted_attempts, most=5) for counted_attempts in (1, 2, 5)]
    [False, True, True]
    """
    if size == 1 or answer.verdict is Verdict.SPLIT:
        return size > 1
    never_left = answer.verdict is Verdict.TRANSIENT and answer.effect is Effect.NONE
    if never_left or is_unconfirmed(answer):
        return False
    return answer.verdict in RETRYABLE and counted_attempts >= min(2, most)


class GroupParts(NamedTuple):
    """What becomes of refused groups.

    now    batches that may go at once
    later  groups that go again as they are, like any request that failed
    """

    now: tuple[Batch, ...] = ()
    later: tuple[Batch, ...] = ()


class Bisector:
    """Refused groups of one account.

    >>> from pipeline.model import JobRow
    >>> rows = [Row(JobRow(n, "op", f"e{n}", True, "{}", "x")) for n in range(1, 5)]
    >>> def told(parts):
    ...     return [[row.job.row for row in batch] for batch in parts.now]
    >>> bisector = Bisector()
    >>> told(bisector.on_refused(rows, sent_s=1.0))
    [[1]]
    >>> told(bisector.on_answer(rows[:1], sent_s=2.0, is_judged=True))
    [[2], [3, 4]]
    """

    def __init__(self) -> None:
        self._judged_sent_s = float("-inf")
        self._probe: Row | None = None
        self._failed_probes = 0
        self._held: list[tuple[float, Batch]] = []

    def __len__(self) -> int:
        """How many rows are held until there is evidence."""
        return sum(len(group) for _, group in self._held)

    def on_refused(self, group: Batch, sent_s: float) -> GroupParts:
        """`group`, two rows or more, left at `sent_s` and was refused as a whole."""
        if self._judged_sent_s >= sent_s:
            return GroupParts(now=tuple(halves(group)))
        self._held.append((sent_s, group))
        return GroupParts() if self._probe is not None else GroupParts(now=(self._probe_next(),))

    def on_answer(self, batch: Batch, sent_s: float, *, is_judged: bool) -> GroupParts:
        """An answer came to `batch` that is no refusal of a group.

        is_judged  True where the vendor carried it out or refused the very rows; False where it
                   failed
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
        """Take out the rows that are held: no evidence will come any more."""
        return [row for group in self._give_up().later for row in group]

    def _probe_next(self) -> Batch:
        """One row of the group that is held longest, to be sent alone."""
        sent_s, (self._probe, *rest) = self._held[0]
        self._held[:1] = [(sent_s, rest)] if rest else []
        return [self._probe]

    def _after_failure(self) -> GroupParts:
        self._failed_probes += 1
        if self._held and self._failed_probes < PROBES:
            return GroupParts(now=(self._probe_next(),))
        return self._give_up()

    def _split(self) -> GroupParts:
        """Those apart that left before what was judged; the others ask anew, in their turn."""
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
