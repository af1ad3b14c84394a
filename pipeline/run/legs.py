"""The legs of a run: what each process that worked on it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter

from pipeline.model import AccountProgress
from pipeline.model.leg import Leg
from pipeline.run.outcome import RunOutcome


def legs_of(
    outcome: RunOutcome, progress: Sequence[AccountProgress], *, is_over: bool
) -> list[Leg]:
    """The legs of this process so far, one per account.

    outcome   of its earlier stretches, which are included
    progress  of the current stretch; empty if there is none
    is_over   the process sends no more
    """
    return [
        Leg(
            number=outcome.leg,
            account=each.account,
            began_at_s=outcome.began_at_s,
            last_at_s=outcome.now_at_s,
            requests=each.sent,
            retries=each.retries,
            sending_s=each.sending_s,
            is_over=is_over,
        )
        for each in (merge_progress(outcome.progress, progress) if progress else outcome.progress)
    ]


def one_after_another(legs: Iterable[Leg]) -> list[Leg]:
    """The legs, those of an account that were side by side as one: workers send its shares at once.

    >>> first = Leg(1, "shop", 0.0, 10.0, requests=5, sending_s=9.0, is_over=True)
    >>> second = Leg(1, "shop", 1.0, 12.0, requests=6, sending_s=9.0, is_over=True)
    >>> one_after_another([second, first])
    [Leg(number=1, account='shop', began_at_s=0.0, last_at_s=12.0, requests=11, retries=0, \
sending_s=12.0, is_over=True)]
    """
    found: list[Leg] = []
    for leg in sorted(legs, key=attrgetter("account", "began_at_s")):
        last = found[-1] if found and found[-1].account == leg.account else None
        if last is not None and leg.began_at_s < last.last_at_s:
            found[-1] = _joined(last, leg)
        else:
            found.append(leg)
    return sorted(found)


def _joined(first: Leg, second: Leg) -> Leg:
    last_at_s = max(first.last_at_s, second.last_at_s)
    return first._replace(
        number=min(first.number, second.number),
        last_at_s=last_at_s,
        requests=first.requests + second.requests,
        retries=first.retries + second.retries,
        sending_s=min(first.sending_s + second.sending_s, last_at_s - first.began_at_s),
        is_over=first.is_over and second.is_over,
    )


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
