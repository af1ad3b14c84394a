"""Turns replies into answers without secrets, and builds the engine's own answers. Pure.

This is the only place that interprets replies: the vendor's `decode` and `classify.py` see the
reply as it came, and secrets that it repeats are masked in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.model import Answer, Effect, NoReply, Reply, UpdateJob, Verdict
from pipeline.vendors import Operation
from pipeline.vendors.kit.classify import classify_read
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


def read_answer(reply: Reply | NoReply) -> Answer:
    """Return what `reply` to a read means."""
    answer = classify_read(reply)
    return answer if isinstance(reply, NoReply) else without_secrets(answer, reply.hide)


def without_secrets(answer: Answer, hide: Callable[[str], str]) -> Answer:
    """Return `answer` with the secrets in its texts masked.

    >>> from pipeline.model import Effect, Verdict
    >>> from pipeline.workers.masking import Mask
    >>> refused = Answer(Verdict.REJECTED, Effect.NONE, 422, message="the key is sesame")
    >>> without_secrets(refused, Mask("sesame").hide).message
    'the key is ***'
    """
    if not (answer.message or answer.code or answer.request_id or answer.receipt or answer.hint):
        return answer
    return answer._replace(
        code=hide(answer.code),
        message=hide(answer.message),
        hint=hide(answer.hint),
        request_id=hide(answer.request_id),
        receipt=hide(answer.receipt),
    )


def rejection(code: str, message: str, *, hint: str, receipt: str = "") -> Answer:
    """Return the answer for a row that we refuse ourselves: certainly nothing was applied."""
    return Answer(
        Verdict.REJECTED, Effect.NONE, code=code, message=message, hint=hint, receipt=receipt
    )
