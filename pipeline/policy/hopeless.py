"""Which answers make it pointless to send further rows to an account. Pure."""

from __future__ import annotations

import math

from pipeline.model import Answer, Verdict
from pipeline.policy.brake import Brake


def hopeless(
    answer: Answer,
    brake: Brake | None,
    *,
    is_first_lost: bool = False,
    down_s: float = 0.0,
    max_outage_s: float = math.inf,
) -> str | None:
    """Why no further row should go to the account, or None.

    brake          is told of the answer; None where that is no answer to an update
    is_first_lost  `answer` stands for all that came of the account's first request: no reply
    down_s         how long the vendor has been down; 0 where it is not
    max_outage_s   a longer outage is not waited for

    >>> hopeless(Answer(Verdict.FATAL, "none", 401, "401013"), Brake())
    'HTTP 401: 401013'
    """
    if answer.verdict is Verdict.FATAL:
        return in_words(answer)
    if brake is not None and brake.pulls(answer):
        return (
            f"the first {brake.after} answers were all the same refusal: "
            f"{in_words(answer)}. Nothing was sent after that; --no-brake sends all the same"
        )
    if down_s > max_outage_s:
        return (
            f"the vendor has been down for {down_s:.0f} s, longer than max_outage_s = "
            f"{max_outage_s:.0f}: {in_words(answer)}"
        )
    if is_first_lost:
        return f"no reply came to the first request: {in_words(answer)}"
    return None


def in_words(answer: Answer) -> str:
    """What was wrong, and what to do, in one phrase."""
    status = f"HTTP {answer.http_status}" if answer.http_status is not None else ""
    parts = [part for part in (status, answer.code, answer.message, answer.hint) if part]
    return ": ".join(parts)
