"""What replies mean, in words that people may see. Pure.

Replies are understood here alone: the vendor's `decode` and the classifier see what came, and no
secret that it repeats is in a text of what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.model import Answer, NoReply, Reply, UpdateJob
from pipeline.vendors import Operation
from pipeline.vendors.kit.classify import classify_read
from pipeline.vendors.kit.contract import VendorSettings


def update_answers(
    operation: Operation[Any, Any],
    settings: VendorSettings,
    jobs: Sequence[UpdateJob],
    reply: Reply | NoReply,
) -> tuple[Answer, ...]:
    """What `reply` means to each of `jobs`, which went out in one request."""
    answers: tuple[Answer, ...] = operation.decode(settings, jobs, reply)
    if isinstance(reply, NoReply):
        return answers
    return tuple(without_secrets(answer, reply.hide) for answer in answers)


def read_answer(reply: Reply | NoReply) -> Answer:
    """What `reply` means to whoever asked for something and changed nothing."""
    answer = classify_read(reply)
    return answer if isinstance(reply, NoReply) else without_secrets(answer, reply.hide)


def without_secrets(answer: Answer, hide: Callable[[str], str]) -> Answer:
    """`answer` with every text of it hidden.

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
