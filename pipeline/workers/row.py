"""A row's life: which request comes next, and what follows from its answer. Pure.

Nothing else decides the status of a row. `next_step` names the next request; after its answer
`after_update`, `after_verification`, `after_guard_read` or `after_precheck` changes the row and
returns what to do with it. `after_refusal`, `after_connection`, `after_bug` and `after_stop` do the
same for events that are no answers. `attempts`, `reads`, `undecided` and `result_writer` carry it
out. What only the account knows comes as `Facts`.

A row is in doubt once an update may have been applied without a confirmation. It stays in doubt
until an answer confirms the update or a read resolves it: a refusal after a timeout proves nothing
about the request that timed out.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from pipeline.model import Answer, Effect, Status, Verdict
from pipeline.model.retry import RETRYABLE, RetryPolicy, ceiling_s, next_delay_s
from pipeline.workers.answers import is_unconfirmed, is_unreached
from pipeline.workers.batches import Row
from pipeline.workers.own_answers import (
    BEHIND_UNKNOWN,
    GONE,
    HELD,
    INTERRUPTED,
    INTERRUPTED_EARLIER,
    MIXED,
    MOVING,
    NO_GUARD,
    UNREADABLE,
    about_this_row,
    applied,
    changed_between,
    conflict,
    left_to_resume,
    no_description,
    no_further,
    not_applied,
    nothing_sent,
    rejection,
    unread,
)
from pipeline.workers.precheck import PrecheckAction, PrecheckOutcome


class Step(Enum):
    """A request for a row."""

    UPDATE = "update"
    VERIFICATION = "verification"  # read if a row in doubt was applied
    GUARD_READ = "guard_read"  # read the state for a precondition
    PRECHECK = "precheck"  # read the entity before an update


# What to do with a row...


class Wait(NamedTuple):
    """Make its next request after `delay_s` seconds.

    is_alone  False: together with the rows of its last request that wait too
    """

    delay_s: float
    is_alone: bool = True


class Hold(NamedTuple):
    """Hold it until it is known whether its refusal `answer` is about the row or the account."""

    answer: Answer


class Finish(NamedTuple):
    """End it; `answer` tells people why."""

    status: Status
    answer: Answer


class Then(Enum):
    """The other things that may follow."""

    SEND = "send it now: what was read for it is current"
    APART = "send the rows of its request apart from each other"
    AWAIT_CONNECTION = "hold it until any request gets a connection"
    KEEP = "leave it in doubt on record: `pipeline resume` resolves it"
    RELEASE = "delete its claim: it was never sent"
    FORGET = "nothing: it was never claimed"


Action = Wait | Hold | Finish | Then


class Facts(NamedTuple):
    """What the account and the vendor's declaration add to an answer.

    retry          limits on attempts and reads
    can_be_read    the vendor supports reads of the row's entity
    jitter         a draw from [0, 1)
    is_counted     False if the answer says nothing about the row: the account is throttled, or the
                   vendor is down. It uses up no attempt then
    is_last_call   True if only rows that fail are left: the attempt was the last
    has_reply      the vendor has answered some request in this process
    refuses_guard  answer -> True if it may mean that the precondition failed
    """

    retry: RetryPolicy
    can_be_read: bool = False
    jitter: float = 0.0
    is_counted: bool = True
    is_last_call: bool = False
    has_reply: bool = True
    refuses_guard: Callable[[Answer], bool] = lambda _answer: False


# The next request...


def next_step(
    row: Row,
    *,
    can_be_read: bool,
    is_prechecked_first: bool,
    needs_guard: Callable[[], bool],
    has_previous: Callable[[], bool] = lambda: False,
) -> Step | Finish:
    """Return the next request for `row`, or its end if a read is due and impossible.

    is_prechecked_first  the entities of such rows are read before each attempt
    needs_guard          True if it may only be sent with a precondition; asked only if that matters
    has_previous         True if it is known what the entity held before the row, which a precheck
                         compares with; asked only if that matters
    """
    is_repeatable = row.is_repeatable
    is_unsure = row.in_doubt and not is_repeatable
    if row.needs_read or (is_unsure and not (is_prechecked_first and has_previous())):
        return Step.VERIFICATION if can_be_read else _unresolved(row)
    if is_prechecked_first:
        return Step.PRECHECK
    if not (is_repeatable or row.in_doubt) and needs_guard():
        return Step.GUARD_READ
    return Step.UPDATE


def on_sent(row: Row, step: Step, now_s: float) -> None:
    """Note that a request for `row` is sent at `now_s`, in monotonic seconds."""
    if step is Step.UPDATE:
        if not row.attempts:
            row.first_sent_s = now_s
        row.attempts += 1
        row.last_sent_s = now_s
    elif step is Step.VERIFICATION and not row.attempts:
        # an earlier process sent it; when is unknown, so the vendor may still work on it
        row.attempts, row.first_sent_s, row.last_sent_s = 1, now_s, now_s
    elif step is Step.PRECHECK:
        row.is_prechecked = False
        row.prechecked_s = now_s


def forget_precheck(row: Row) -> None:
    """Note that `row` is prechecked anew before it may be sent."""
    row.is_prechecked = False


def on_lost_turn(row: Row) -> None:
    """Note that an update was not sent after all, for a reason that is not about the row."""
    row.attempts -= 1


def on_cut_off(row: Row) -> None:
    """Note that an update was aborted before its answer arrived."""
    row.in_doubt = True


# After an update...


def after_update(row: Row, answer: Answer, facts: Facts, *, size: int = 1) -> Action:
    """Return what follows from `answer` to an attempt.

    size  number of rows in the request

    >>> from pipeline.model import JobRow
    >>> row = Row(JobRow(1, "op", "e", True, "{}"))
    >>> unavailable = Answer(Verdict.TRANSIENT, Effect.MAYBE, 503)
    >>> after_update(row, unavailable, Facts(RetryPolicy(), jitter=0.5)), row.in_doubt
    (Wait(delay_s=0.25, is_alone=False), True)
    """
    row.answer = answer
    if answer.verdict is Verdict.OK:
        return Finish(Status.UPDATED, answer)
    row.in_doubt = is_in_doubt(answer, was_in_doubt=row.in_doubt)
    most, before, counted = facts.retry.max_attempts, row.counted_attempts, _counted(row, facts)
    if goes_apart(answer, size, max(before + 1, counted), most):
        return Then.APART
    if answer.verdict is Verdict.FATAL and size > 1:
        return Hold(answer)
    row.counted_attempts = counted
    may_repeat = row.is_repeatable or not row.in_doubt
    # what is not confirmed is read if possible: another attempt would get the same answer
    if may_repeat and not (is_unconfirmed(answer) and _has_read(row, facts)):
        delay_s = _delay_s(row, answer, counted, facts)
        if delay_s is not None:
            return Wait(delay_s, is_alone=False)
    return _end_attempt(row, answer, facts)


def _end_attempt(row: Row, answer: Answer, facts: Facts) -> Action:
    """Return what follows from the answer to the last attempt for now."""
    status = end_without_success(answer, in_doubt=row.in_doubt)
    if row.in_doubt and _has_read(row, facts):
        return _read(row)
    if status is Status.REJECTED and _is_guard_refused(row, answer, facts):
        return _read_guard_again(row, facts)
    if answer.verdict is Verdict.FATAL:
        return Hold(answer)
    if not row.in_doubt and is_unreached(answer):
        return Then.AWAIT_CONNECTION
    return Finish(status, answer)


def is_in_doubt(answer: Answer, *, was_in_doubt: bool) -> bool:
    """True if the update may have been applied without a confirmation.

    >>> is_in_doubt(Answer(Verdict.REJECTED, Effect.NONE), was_in_doubt=True)
    True
    """
    if answer.effect is Effect.APPLIED:
        return False
    return was_in_doubt or answer.effect is Effect.MAYBE


def end_without_success(answer: Answer, *, in_doubt: bool) -> Status:
    """Return the status of a row that is not sent again and was not confirmed.

    >>> end_without_success(Answer(Verdict.REJECTED, Effect.NONE), in_doubt=False)
    <Status.REJECTED: 'rejected'>
    """
    if in_doubt:
        return Status.UNKNOWN
    return Status.REJECTED if answer.verdict is Verdict.REJECTED else Status.FAILED


def goes_apart(answer: Answer, size: int, counted_attempts: int, most: int) -> bool:
    """True if a request for `size` rows is not sent again as it was: one row may be at fault.

    counted_attempts  attempts of its rows, this one included
    most              attempts that a row may use

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


def group_delay_s(row: Row, retry: RetryPolicy, jitter: float) -> float:
    """Return the seconds until a refused group whose first row is `row` is sent again whole."""
    return ceiling_s(retry, max(1, row.counted_attempts)) * jitter


# After a verification read...


class FoundState(NamedTuple):
    """How the entity at the vendor compares with what a row writes.

    is_held         the entity holds everything that the row writes
    can_tell        it does not, and the difference proves that the update was not applied
    settle_after_s  seconds for which the vendor may still work on an update
    receipt         what is recorded of the read, as JSON; empty if nothing is
    """

    is_held: bool
    can_tell: bool
    settle_after_s: float
    receipt: str = ""


def after_verification(
    row: Row, found: FoundState | None, answer: Answer, facts: Facts, *, since_attempt_s: float
) -> Action:
    """Return what follows from a verification read.

    found            None if the reply shows no state
    answer           what the reply to the read means
    since_attempt_s  seconds since the last attempt was sent
    """
    row.reads += facts.is_counted
    if found is None:
        return _after_failed_verification(row, answer, facts)
    if found.is_held:
        return Finish(Status.UPDATED, applied(found.receipt))
    if not found.can_tell:
        return _unresolved(row)
    if since_attempt_s < found.settle_after_s:
        row.reads -= 1  # this read uses up none: the next one is certain to decide
        return _read(row, found.settle_after_s - since_attempt_s)
    return _after_not_applied(row, facts)


def _after_failed_verification(row: Row, answer: Answer, facts: Facts) -> Action:
    delay_s = _delay_s(row, answer, row.reads, facts)
    if delay_s is not None:
        return _read(row, delay_s)
    if answer.verdict is Verdict.FATAL or not facts.has_reply:
        return Hold(answer)  # if the account stops, another process can resolve the row
    return _unresolved(row)


def _after_not_applied(row: Row, facts: Facts) -> Action:
    """Return the next attempt if there is one left: a read showed that none was applied."""
    row.in_doubt = row.needs_read = False
    answer = row.answer or INTERRUPTED_EARLIER
    if _is_guard_refused(row, answer, facts):
        return _read_guard_again(row, facts)
    if not is_unconfirmed(answer):  # else another attempt would get the same answer
        delay_s = next_delay_s(facts.retry, answer, row.counted_attempts, facts.jitter)
        if delay_s is not None:
            return Wait(delay_s)
    status = end_without_success(answer, in_doubt=False)
    return Finish(status, not_applied(answer) if status is Status.FAILED else answer)


# After a read for a precondition...


class GuardOutcome(NamedTuple):
    """A precondition on the state that was read.

    text    the job with the precondition, as JSON; empty if the state offers nothing to test
    change  for people: how the state differs from the one of the precondition that was refused
    """

    text: str
    change: str = ""


def after_guard_read(row: Row, guard: GuardOutcome, retry: RetryPolicy) -> Action:
    """Return what follows from a read that showed a state."""
    row.reads = 0
    if not guard.text:
        return Finish(Status.FAILED, NO_GUARD)
    refusal = row.answer
    if row.refused_text and refusal is not None:
        if guard.text == row.refused_text:  # the precondition holds: the refusal is about the row
            return Finish(Status.REJECTED, refusal)
        if row.counted_attempts >= retry.max_attempts:
            return Finish(Status.CONFLICT, changed_between(refusal, guard.change))
        row.refused_text = ""
    row.guarded_text = guard.text
    return Then.SEND


def after_unread_guard(row: Row, answer: Answer, facts: Facts, *, is_missing: bool) -> Action:
    """Return what follows from a read for a precondition that showed no state.

    is_missing  the vendor has no such entity
    """
    if answer.verdict is Verdict.OK:
        answer = no_description(answer)
    if answer.verdict is Verdict.FATAL:
        return Hold(answer)
    row.reads += facts.is_counted
    delay_s = None if is_missing else _delay_s(row, answer, row.reads, facts)
    if delay_s is not None:
        return Wait(delay_s)
    if is_unreached(answer):
        return Then.AWAIT_CONNECTION
    return Finish(end_without_success(answer, in_doubt=False), nothing_sent(answer))


# After a precheck...


class Readied(NamedTuple):
    """A row as it is sent after its precheck, as JSON.

    guarded   with a precondition on the state; empty without one
    previous  the state that was read
    """

    text: str
    guarded: str
    previous: str


def after_precheck(
    row: Row, outcome: PrecheckOutcome, retry: RetryPolicy, *, readied: Readied | None, receipt: str
) -> Action:
    """Return what follows from a precheck that showed a state.

    readied  None unless `outcome` has it sent
    receipt  what is recorded of the state, as JSON; empty if nothing is
    """
    row.failed_prechecks = 0
    if readied is not None:
        return _ready(row, readied, retry)
    match outcome.action:
        case PrecheckAction.UNCHANGED:
            return Finish(Status.UNCHANGED, HELD)
        case PrecheckAction.APPLIED:
            return Finish(Status.UPDATED, applied(receipt))
        case PrecheckAction.CONFLICT:
            return Finish(Status.CONFLICT, conflict(outcome.differences))
        case PrecheckAction.MISSING:
            return Finish(Status.REJECTED, GONE)
    return Finish(Status.UNKNOWN, MIXED)


def _ready(row: Row, readied: Readied, retry: RetryPolicy) -> Action:
    if row.refused_text:
        if row.refused_text == readied.guarded:  # it holds: the refusal is about the row
            return Finish(Status.REJECTED, row.answer or GONE)
        if row.counted_attempts >= retry.max_attempts:
            return Finish(Status.CONFLICT, MOVING)
    if row.in_doubt and not (row.job.is_repeatable or readied.guarded):
        return _read(row)  # the state offers no precondition that would refuse a second update
    row.merged_text = readied.text
    row.guarded_text, row.refused_text = readied.guarded, ""
    row.is_prechecked = True
    if not (row.in_doubt or row.job.expects):
        row.previous_state = readied.previous
    return Then.SEND


def after_failed_precheck(row: Row, answer: Answer, facts: Facts) -> Action:
    """Return what follows from a precheck that showed no state."""
    if answer.verdict is Verdict.FATAL:
        return Hold(answer)
    row.failed_prechecks += facts.is_counted
    delay_s = _delay_s(row, answer, row.failed_prechecks, facts)
    if delay_s is not None:
        return Wait(delay_s)
    if not row.in_doubt and is_unreached(answer):
        return Then.AWAIT_CONNECTION
    return _unread(row, answer)


# After what is no answer...


def after_refusal(
    row: Row, step: Step, refusal: Answer, *, was_in_group: bool, is_about_row: bool
) -> Action:
    """Return what follows for a row that was held.

    is_about_row  False if no request showed whether the account works, and none is left to show it
    """
    if was_in_group:
        return Then.APART
    if not is_about_row:
        return Finish(Status.UNKNOWN if row.in_doubt else Status.FAILED, refusal)
    refusal = about_this_row(refusal)
    if step is Step.VERIFICATION:
        return _unresolved(row)
    if step is Step.PRECHECK:
        return _unread(row, refusal)
    return Finish(Status.UNKNOWN if row.in_doubt else Status.REJECTED, refusal)


def after_connection(row: Row) -> Wait:
    """Return the next step of a row that never got a connection, with all its attempts."""
    row.counted_attempts = row.reads = row.failed_prechecks = 0
    return Wait(0.0)


def after_bug(row: Row, step: Step, *, was_answered: bool) -> Finish:
    """Return the end of a row whose request met a bug of ours, which would occur again.

    was_answered  a reply arrived
    """
    if step is Step.UPDATE:
        return Finish(Status.UNKNOWN, UNREADABLE if was_answered else INTERRUPTED)
    if step is Step.VERIFICATION:
        return Finish(Status.UNKNOWN, row.answer or INTERRUPTED)
    return Finish(Status.FAILED, UNREADABLE)


def after_stop(
    row: Row, reason: str | None, *, can_be_read: bool, held: Answer | None = None
) -> Action:
    """Return what happens to a row that was given out when its account stopped.

    A row in doubt that `resume` can resolve stays claimed on record. A row that was certainly not
    applied ends `not_attempted`, whatever its answers were.

    reason  None if the run was interrupted
    held    the refusal for which it was held; None if it was not
    """
    if row.in_doubt:
        if row.is_repeatable or can_be_read:
            return Then.KEEP
        return Finish(Status.UNKNOWN, no_further(row.answer or INTERRUPTED, reason))
    answer = held or row.answer
    if answer is not None and answer.http_status is not None:
        return Finish(Status.NOT_ATTEMPTED, left_to_resume(answer, reason))
    return Then.RELEASE if row.is_claimed else Then.FORGET


# Rows that are not sent because of another row of their entity...


END_OF_BLOCKED = Finish(Status.NOT_ATTEMPTED, BEHIND_UNKNOWN)
"""How partial updates end whose entity a row left `unknown`."""

COVERED = {
    Status.UPDATED: (Status.SUPERSEDED, "superseded", "was applied", "nothing to do"),
    Status.UNCHANGED: (Status.SUPERSEDED, "superseded", "already matches", "nothing to do"),
    Status.UNKNOWN: (
        Status.FAILED,
        "overtaken",
        "may have been applied",
        "compare it with the vendor; --force-order sends the row",
    ),
}
"""Status of a row -> how the rows that it covers end: status, code, message part and hint. After
any other status they are sent instead of it."""


def end_of_covered(row: Row, status: Status) -> Finish | None:
    """Return how rows end that `row` covers once it has ended; None if they are sent instead."""
    if status not in COVERED:
        return None
    end, code, outcome, hint = COVERED[status]
    message = f"row {row.job.row} is newer, replaces the whole entity and {outcome}"
    return Finish(end, rejection(code, message, hint=hint))


# Shared by several steps...


def _counted(row: Row, facts: Facts) -> int:
    """Return `row.counted_attempts` after the answer that just arrived."""
    if not facts.is_counted:
        return row.counted_attempts
    return facts.retry.max_attempts if facts.is_last_call else row.counted_attempts + 1


def _delay_s(row: Row, answer: Answer, tries: int, facts: Facts) -> float | None:
    """Return the seconds until the next try, after `tries` that count; None after the last."""
    attempt = row.throttles.attempt(tries, is_counted=facts.is_counted)
    return next_delay_s(facts.retry, answer, attempt, facts.jitter, is_counted=facts.is_counted)


def _has_read(row: Row, facts: Facts) -> bool:
    """True if `row` has a verification read left."""
    return facts.can_be_read and row.reads < facts.retry.max_attempts


def _read(row: Row, delay_s: float = 0.0) -> Wait:
    row.needs_read = True
    return Wait(delay_s)


def _is_guard_refused(row: Row, answer: Answer, facts: Facts) -> bool:
    """True if `answer`, which leaves no doubt, may refuse the precondition, not the row."""
    return bool(row.guarded_text) and facts.refuses_guard(answer)


def _read_guard_again(row: Row, facts: Facts) -> Wait:
    """Have the entity read again: the precondition may be stale."""
    row.refused_text, row.guarded_text = row.guarded_text, ""
    again = Answer(Verdict.TRANSIENT, Effect.NONE)
    return Wait(next_delay_s(facts.retry, again, row.counted_attempts, facts.jitter) or 0.0)


def _unresolved(row: Row) -> Finish:
    """Return the end of a row in doubt that no read can resolve."""
    return Finish(Status.UNKNOWN, row.answer or INTERRUPTED_EARLIER)


def _unread(row: Row, answer: Answer) -> Finish:
    """Return the end of a row whose entity cannot be read before the update."""
    if row.in_doubt:
        return _unresolved(row)
    return Finish(Status.FAILED, unread(answer))
