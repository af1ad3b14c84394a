"""Turns replies into answers without secrets, and tells kinds of answers apart. Pure.

This is the only place that interprets replies to updates: the vendor's `decode` sees the reply as
it came, and secrets that it repeats are masked in the answer. For reads `classify_read` does so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.model import Answer, Effect, NoReply, Reply, UpdateJob, Verdict
from pipeline.vendors import Operation
from pipeline.vendors.kit.classify import NOT_CONFIRMED, without_secrets
from pipeline.vendors.kit.contract import VendorSettings


def update_answers(
    operation: Operation[Any, Any],
    settings: VendorSettings,
    jobs: Sequence[UpdateJob],
    reply: Reply | NoReply,
) -> tuple[Answer, ...]:
    """Return what `reply` means for each of `jobs`, which were sent in one request."""
    answers: tuple[Answer, ...] = operation.decode(settings, jobs, reply)
    if isinstance(reply, NoReply):
        return answers
    return tuple(without_secrets(answer, reply.hide) for answer in answers)


def is_plain_success(plain: Answer, reply: object) -> bool:
    """True if `reply` is a Reply that means `plain`, which its operation declares."""
    return (
        isinstance(reply, Reply)
        and reply.status == plain.http_status
        and not (reply.body or reply.is_cut)
    )


def is_judged(answer: Answer) -> bool:
    """True if the vendor applied the request, or refused the rows in it: the vendor works.

    An unconfirmed success counts too: it is the vendor's own answer.

    >>> is_judged(Answer(Verdict.TRANSIENT, Effect.MAYBE, 500))
    False
    """
    verdict = answer.verdict
    return verdict is Verdict.OK or verdict is Verdict.REJECTED or is_unconfirmed(answer)


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
