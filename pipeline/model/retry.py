"""Decides how long a row waits before a retry, and when to give up. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.model import Answer, Verdict

RETRYABLE = frozenset({Verdict.THROTTLED, Verdict.TRANSIENT, Verdict.SPLIT})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits on the attempts of a row and the waits between them.

    max_attempts  most attempts per row, 1 or more
    base_s        ceiling of the first wait; doubles with each further wait
    cap_s         highest ceiling
    """

    max_attempts: int = 5
    base_s: float = 0.5
    cap_s: float = 30.0


def ceiling_s(policy: RetryPolicy, attempt: int) -> float:
    """The longest wait after an attempt, 1-based, if the vendor does not ask for a longer one.

    >>> [ceiling_s(RetryPolicy(), attempt) for attempt in (1, 2, 3, 99)]
    [0.5, 1.0, 2.0, 30.0]
    """
    return min(policy.cap_s, policy.base_s * 2.0 ** min(attempt - 1, 30))


def next_delay_s(
    policy: RetryPolicy, answer: Answer, attempt: int, jitter: float, *, is_counted: bool = True
) -> float | None:
    """Seconds to wait before attempt + 1, or None to give up.

    attempt     1-based number of the attempt that brought `answer`
    jitter      random number from [0, 1)
    is_counted  False if the answer says nothing about the row, so that it never gives up the row

    Full jitter under an exponential ceiling. A pause that the vendor asks for is not included: the
    account's limiter applies it to all rows.

    >>> next_delay_s(RetryPolicy(), Answer(Verdict.TRANSIENT, "maybe"), attempt=3, jitter=0.5)
    1.0
    """
    if answer.verdict not in RETRYABLE or (is_counted and attempt >= policy.max_attempts):
        return None
    return jitter * ceiling_s(policy, attempt)
