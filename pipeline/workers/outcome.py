"""What becomes of a row after an answer: another attempt, or its end. Pure.

A request that may have been applied leaves its row in doubt, and the row stays in doubt until an
answer says `applied`: a refusal that comes after a silence proves nothing about the silence.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.model import Answer, Effect, Status, Verdict
from pipeline.model.retry import RetryPolicy, next_delay_s
from pipeline.vendors.kit.classify import NOT_CONFIRMED


class Retry(NamedTuple):
    """The row is sent again after `delay_s` seconds."""

    delay_s: float


def is_in_doubt(answer: Answer, *, was_in_doubt: bool) -> bool:
    """Whether the update may have been applied without our knowing.

    >>> is_in_doubt(Answer(Verdict.REJECTED, Effect.NONE), was_in_doubt=True)
    True
    """
    if answer.effect is Effect.APPLIED:
        return False
    return was_in_doubt or answer.effect is Effect.MAYBE


def is_judged(answer: Answer) -> bool:
    """Whether the vendor carried the request out, or refused the very rows in it: it works.

    A success that it did not word as documented is its own answer all the same.

    >>> is_judged(Answer(Verdict.TRANSIENT, Effect.MAYBE, 500))
    False
    """
    return answer.verdict in {Verdict.OK, Verdict.REJECTED} or is_unconfirmed(answer)


def is_unconfirmed(answer: Answer) -> bool:
    """Whether the vendor answered with a success that is not its documented confirmation.

    >>> is_unconfirmed(Answer(Verdict.TRANSIENT, Effect.MAYBE, 202, NOT_CONFIRMED))
    True
    """
    return answer.code == NOT_CONFIRMED


def is_unreached(answer: Answer) -> bool:
    """Whether no connection was made: that says nothing about the rows it was for.

    >>> is_unreached(Answer(Verdict.TRANSIENT, Effect.NONE, 503))
    False
    """
    is_sure = answer.verdict is Verdict.TRANSIENT and answer.effect is Effect.NONE
    return is_sure and answer.http_status is None


def next_act(
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
    """Another attempt, or the status with which the row ends.

    attempt        1-based number of the attempt that brought `answer`
    in_doubt       this answer counted in, see `is_in_doubt`
    is_repeatable  whether sending this very request twice is harmless
    can_be_read    whether a read may settle doubt: UNKNOWN leads to it
    jitter         a draw from [0, 1)
    is_counted     False where the answer says nothing about the row

    >>> next_act(RetryPolicy(), Answer(Verdict.TRANSIENT, Effect.MAYBE), attempt=1, in_doubt=True,
    ...          is_repeatable=False, can_be_read=True, jitter=0.5)
    <Status.UNKNOWN: 'unknown'>
    """
    if answer.verdict is Verdict.OK:
        return Status.UPDATED
    if in_doubt and not is_repeatable:
        return Status.UNKNOWN
    if is_unconfirmed(answer) and can_be_read:  # a repetition would be answered likewise
        return Status.UNKNOWN
    delay_s = next_delay_s(policy, answer, attempt, jitter, is_counted=is_counted)
    if delay_s is not None:
        return Retry(delay_s)
    return end_without_success(answer, in_doubt=in_doubt)


def is_left_open(*, in_doubt: bool, is_repeatable: bool, can_be_read: bool) -> bool:
    """Whether a row that a stop meets stays in doubt on record: carried on, the run can settle it.

    >>> is_left_open(in_doubt=True, is_repeatable=False, can_be_read=False)
    False
    """
    return in_doubt and (is_repeatable or can_be_read)


def end_without_success(answer: Answer, *, in_doubt: bool) -> Status:
    """The status of a row that is not sent again although it never succeeded.

    >>> end_without_success(Answer(Verdict.REJECTED, Effect.NONE), in_doubt=False)
    <Status.REJECTED: 'rejected'>
    """
    if in_doubt:
        return Status.UNKNOWN
    return Status.REJECTED if answer.verdict is Verdict.REJECTED else Status.FAILED
