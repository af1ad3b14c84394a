from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Answer, Effect, Verdict
from pipeline.model.retry import RetryPolicy, next_delay_s

POLICY = RetryPolicy(max_attempts=4, base_s=1.0, cap_s=3.0)
T, S, R, F = Verdict.TRANSIENT, Verdict.THROTTLED, Verdict.REJECTED, Verdict.FATAL


@pytest.mark.parametrize(
    ("verdict", "attempt", "retry_after_s", "jitter", "expected_s"),
    [
        (T, 1, None, 1.0, 1.0),  # the first ceiling is the base
        (T, 2, None, 1.0, 2.0),  # then twice as high
        (T, 3, None, 1.0, 3.0),  # 4 s, capped
        (T, 3, None, 0.0, 0.0),  # full jitter reaches down to nothing
        (S, 1, 7.0, 0.5, 0.5),  # a pause holds the account, at the gate: not each row once more
        (T, 4, None, 1.0, None),  # out of attempts
        (S, 4, 1.0, 1.0, None),  # throttling counts as an attempt too
        (R, 1, None, 1.0, None),  # a wrong row stays wrong
        (F, 1, None, 1.0, None),  # wrong credentials stay wrong
        (Verdict.OK, 1, None, 1.0, None),  # nothing to repeat
    ],
)
def test_delay(verdict, attempt, retry_after_s, jitter, expected_s):
    answer = Answer(verdict, Effect.NONE, retry_after_s=retry_after_s)
    assert next_delay_s(POLICY, answer, attempt, jitter) == expected_s


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_never_passes_the_cap_and_never_overflows(attempt, jitter):
    policy = RetryPolicy(max_attempts=20_000, base_s=0.5, cap_s=30.0)
    delay_s = next_delay_s(policy, Answer(T, Effect.MAYBE), attempt, jitter)
    assert delay_s is not None
    assert 0.0 <= delay_s <= 30.0
