"""The legs of a run: what each process that worked on it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from pipeline.model import AccountProgress
from pipeline.model.leg import Leg
from pipeline.run.session import RunOutcome


class LegCounter(Protocol):
    """Returns the legs of this process so far."""

    def __call__(
        self, progress: Sequence[AccountProgress], last_at_s: float, *, is_over: bool
    ) -> list[Leg]:
        """As `legs_of`."""


def legs_of(
    outcome: RunOutcome, progress: Sequence[AccountProgress], last_at_s: float, *, is_over: bool
) -> list[Leg]:
    """The legs of this process so far, one per account.

    outcome    of its earlier stretches, which are included
    progress   of the current stretch; empty if there is none
    last_at_s  the time, in UTC seconds since 1970
    is_over    the process sends no more
    """
    return [
        Leg(
            number=outcome.leg,
            account=each.account,
            began_at_s=outcome.began_at_s,
            last_at_s=last_at_s,
            requests=each.sent,
            retries=each.retries,
            sending_s=each.sending_s,
            is_over=is_over,
        )
        for each in (merge_progress(outcome.progress, progress) if progress else outcome.progress)
    ]


def merge_progress(
    first: Sequence[AccountProgress], second: Sequence[AccountProgress]
) -> tuple[AccountProgress, ...]:
    """Add the progress of two stretches of one run."""
    before = {each.account: each for each in first}
    return tuple(_merged(before.get(each.account), each) for each in second)


def _merged(first: AccountProgress | None, second: AccountProgress) -> AccountProgress:
    if first is None:
        return second
    return AccountProgress(
        account=second.account,
        rows=second.rows,
        done=Counter(first.done) + Counter(second.done),
        sent=first.sent + second.sent,
        retries=first.retries + second.retries,
        sending_s=first.sending_s + second.sending_s,
        in_flight=second.in_flight,
        in_flight_limit=second.in_flight_limit,
        retrying=second.retrying,
        pause_left_s=second.pause_left_s,
        quota=second.quota,
        quota_per_s=second.quota_per_s,
        stopped=second.stopped,
    )
