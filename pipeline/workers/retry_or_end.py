"""Decides after each answer: retry the row, or end it with a status. Pure.

`vendors/kit/classify.py` maps a reply to a verdict (a 503 is `TRANSIENT`), `model/retry.py` says
which verdicts are retried, how often and after which delay; `next_action` here combines both with
what is known of the row.

A row is in doubt once an update may have been applied without a confirmation. It stays in doubt
until an answer confirms the update: a refusal after a timeout proves nothing about the request that
timed out.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.model import Answer, Effect, Status, Verdict
from pipeline.model.retry import RetryPolicy, next_delay_s
from pipeline.vendors.kit.classify import NOT_CONFIRMED


class Retry(NamedTuple):
    """Send the row again after `delay_s` seconds."""

    delay_s: float


def is_in_doubt(answer: Answer, *, was_in_doubt: bool) -> bool:
    """True if the update may have been applied without a confirmation.

    >>> is_in_doubt(Answer(Verdict.REJECTED, Effect.NONE), was_in_doubt=True)
    True
    """
    if answer.effect is Effect.APPLIED:
        return False
    return was_in_doubt or answer.effect is Effect.MAYBE


def is_judged(answer: Answer) -> bool:
    """True if the vendor applied the request, or refused the rows in it: the vendor works.

    An unconfirmed success counts too: it is the vendor's own answer.

    >>> is_judged(Answer(Verdict.TRANSIENT, Effect.MAYBE, 500))
    False
    """
    return answer.verdict in {Verdict.OK, Verdict.REJECTED} or is_unconfirmed(answer)


def is_unconfirmed(answer: Answer) -> bool:
    """True if the answer is a success, but not the confirmation that the vendor documents.

    >>> is_unconfirmed(Answer(Verdict.TRANSIENT, Effect.MAYBE, 202, NOT_CONFIRMED))
    True
    """
    return answer.code == NOT_CONFIRMED


def is_unreached(answer: Answer) -> bool:
    """True if no connection was made: such an answer says nothing about its rows.

    >>> is_unreached(Answer(Verdict.TRANSIENT, Effect.NONE, 503))
    False
    """
    is_sure = answer.verdict is Verdict.TRANSIENT and answer.effect is Effect.NONE
    return is_sure and answer.http_status is None


def next_action(
    policy: RetryPolicy,
    answer: Answer,
    *,
    attempt: int,
    in_doubt: bool,
    is_repeatable: bool,
    can_be_read: bool,
    jitter: float,
    is_counted: bool = True,
) -> Retry | Status:
    """Return another attempt, or the status with which the row ends.

    attempt        1-based number of the attempt that got `answer`
    in_doubt       the row's doubt after `answer`, see `is_in_doubt`
    is_repeatable  True if sending this request twice is harmless
    can_be_read    True if a read can resolve doubt; the caller reads before it ends a row UNKNOWN
    jitter         a draw from [0, 1)
    is_counted     False if the answer says nothing about the row: it uses up no attempt

    >>> unavailable = Answer(Verdict.TRANSIENT, Effect.MAYBE, 503)
    >>> next_action(RetryPolicy(), unavailable, attempt=1, in_doubt=True,
    ...             is_repeatable=True, can_be_read=False, jitter=0.5)
    Retry(delay_s=0.25)
    >>> next_action(RetryPolicy(), unavailable, attempt=1, in_doubt=True,
    ...             is_repeatable=False, can_be_read=True, jitter=0.5)
    <Status.UNKNOWN: 'unknown'>
    """
    if answer.verdict is Verdict.OK:
        return Status.UPDATED
    if in_doubt and not is_repeatable:
        return Status.UNKNOWN
    if is_unconfirmed(answer) and can_be_read:  # another attempt would get the same answer
        return Status.UNKNOWN
    delay_s = next_delay_s(policy, answer, attempt, jitter, is_counted=is_counted)
    if delay_s is not None:
        return Retry(delay_s)
    return end_without_success(answer, in_doubt=in_doubt)


def stays_in_doubt(*, in_doubt: bool, is_repeatable: bool, can_be_read: bool) -> bool:
    """True if a row stays in doubt on record when its account stops: `resume` can resolve it.

    >>> stays_in_doubt(in_doubt=True, is_repeatable=False, can_be_read=False)
    False
    """
    return in_doubt and (is_repeatable or can_be_read)


def end_without_success(answer: Answer, *, in_doubt: bool) -> Status:
    """Return the status of a row that is not sent again and was not confirmed.

    >>> end_without_success(Answer(Verdict.REJECTED, Effect.NONE), in_doubt=False)
    <Status.REJECTED: 'rejected'>
    """
    if in_doubt:
        return Status.UNKNOWN
    return Status.REJECTED if answer.verdict is Verdict.REJECTED else Status.FAILED
